"""The rows of the demo, as data: which fault, where and how often it strikes, and what the guard then promises.

Faults of the Responses API are played there, all others with chat completions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ...testing import Promise, Raises, find_fault
from ...testing.server.answers import Api

MAX_RETRIES: Final = 2
MIDWAY: Final = 6
"""The frame at which the text has begun and not ended."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: a fault of the catalogue, and how it is played."""

    fault: str
    after: int | None = None
    """The number of the frame at which the fault strikes; None: before any visible text."""
    every_time: bool = False
    """Whether it strikes every request, and not the first one only."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Fields of the policy that differ from those of the other rows."""
    own_promise: Promise | None = None
    """None: the promise of the catalogue."""

    @property
    def name(self) -> str:
        """The text in the first column."""
        place = f" after {self.after}" if self.after is not None and find_fault(self.fault).placed else ""
        settings = [f"{key}={value}" for key, value in self.settings.items()]
        return ", ".join([self.fault + place, *["every time"] * self.every_time, *settings])

    @property
    def api(self) -> Api | None:
        """The only API that has this fault, if it is one's own."""
        return find_fault(self.fault).api

    @property
    def promise(self) -> Promise:
        """What the guard promises for this row."""
        if self.own_promise is not None:
            return self.own_promise
        return find_fault(self.fault).promised(every_time=self.every_time, max_retries=MAX_RETRIES)


def _rows(names: str, after: int | None = None, *, every_time: bool = False) -> tuple[Row, ...]:
    return tuple(Row(name, after, every_time) for name in names.split())


ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    "odd but healthy: the same items, nothing else": _rows(
        "clean one_chunk byte_by_byte crlf_split comments unicode_separators gzip huge_event slow"
        " trailing_after_done no_done nul_keepalive finish_length tool_clean early_finish no_finish"
        " interim_completed seq_restart seq_partial",
        MIDWAY,
    ),
    "damaged framing: repaired within the one request": _rows(
        "bom retry_only id_only empty_data event_only ping_event missing_blank glued_objects glued_prefix"
        " bare_json_lines no_final_blank_no_done fin_after_finish fin_after_done",
        MIDWAY,
    ),
    "lost before any text was visible: requested again": _rows(
        "truncate_clean truncate_mid_event truncate_close_delimited truncate_content_length empty_body"
        " fin_mid_chunk rst bad_chunk_header gzip_corrupt stall stall_heartbeat stall_before_first"
        " blank_inside garbage_event line_start_lost invalid_utf8 error_event error_event_flat error_in_event"
        " error_bare error_llamacpp_line html_200 json_200 json_page_200 json_error_200 status_503",
    ),
    "lost in the middle of the text: requested again, the repeated part dropped": _rows(
        "truncate_clean truncate_mid_event early_finish_cut tool_cut fin_mid_chunk rst early_finish_rst stall"
        " garbage_event line_start_lost error_event",
        MIDWAY,
    ),
    "the answer cannot be had: the typed error": (
        *_rows("truncate_clean rst stall garbage_event error_event html_200", every_time=True),
        *_rows("error_invalid_request error_after_finish"),
        Row("rst", MIDWAY, settings={"recovery": "none"}, own_promise=Raises("disconnected", requests=1)),
    ),
}
