"""The rows of the demo, as data: which fault, where and how often it strikes, what the guard then owes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ...testing import Promise, Raises, find_fault

MAX_RETRIES: Final = 2
MIDWAY: Final = 6  # the frame at which the text is under way


@dataclass(frozen=True, slots=True)
class Row:
    """
    A fault, the number of the frame at which it strikes (None: before visible text), and whether every time.

    `settings` are the policy fields in which the row differs. `owed` is the promise, by default the
    catalogue's.
    """

    fault: str
    after: int | None = None
    every_time: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    owed: Promise | None = None

    @property
    def name(self) -> str:
        """How the table calls the row."""
        place = f" after {self.after}" if self.after is not None and find_fault(self.fault).placed else ""
        settings = [f"{key}={value}" for key, value in self.settings.items()]
        return ", ".join([self.fault + place, *["every time"] * self.every_time, *settings])

    @property
    def promise(self) -> Promise:
        """What the guarded stream must come to."""
        if self.owed is not None:
            return self.owed
        return find_fault(self.fault).promised(every_time=self.every_time, max_retries=MAX_RETRIES)


def _rows(names: str, after: int | None = None, *, every_time: bool = False) -> tuple[Row, ...]:
    return tuple(Row(name, after, every_time) for name in names.split())


ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    "odd but healthy: the same items, nothing else": _rows(
        "clean one_chunk byte_by_byte crlf_split comments unicode_separators gzip huge_event slow"
        " trailing_after_done no_done nul_keepalive finish_length tool_clean",
        MIDWAY,
    ),
    "damaged framing: repaired within the one request": _rows(
        "bom retry_only id_only empty_data event_only ping_event missing_blank glued_objects glued_prefix"
        " bare_json_lines no_final_blank_no_done fin_after_finish fin_after_done",
        MIDWAY,
    ),
    "lost before any text was visible: asked again": _rows(
        "truncate_clean truncate_mid_event truncate_close_delimited truncate_content_length empty_body"
        " fin_mid_chunk rst bad_chunk_header gzip_corrupt stall stall_heartbeat stall_before_first"
        " blank_inside garbage_event invalid_utf8 error_event error_event_flat error_llamacpp_line"
        " html_200 json_200 json_error_200 status_503",
    ),
    "lost in mid-text: asked again, and what is repeated kept back": _rows(
        "truncate_clean truncate_mid_event tool_cut fin_mid_chunk rst stall garbage_event error_event",
        MIDWAY,
    ),
    "no answer to be had: the typed error": (
        *_rows("truncate_clean rst stall garbage_event error_event html_200", every_time=True),
        Row("error_invalid_request"),
        Row("rst", MIDWAY, settings={"recovery": "none"}, owed=Raises("disconnected", requests=1)),
    ),
}
