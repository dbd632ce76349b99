"""The law: evidence leads to one cause and its remedy, to each row of the table by its own, and to none by less."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from itertools import product
from typing import Any, get_args

import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.config.policy import SETTINGS
from openai_stream_guard.diagnosis.causes import CAUSES, advice, hint, likely_causes
from openai_stream_guard.diagnosis.evidence import Clues, Cut, Evidence, Party
from openai_stream_guard.notices import Attempt, FaultKind, StoppedBy
from openai_stream_guard.testing import ScriptedResponse, Server, Wait
from tests.support.streams import chat, client_for, consume, scripted, silence_for


def by(*parties: Party, **more: Any) -> Clues:
    """The headers of a response that these had a hand in."""
    return Clues(parties=frozenset(parties), **more)


FIN = Evidence("disconnected", "unterminated", bytes=900, events=9, reads=9, seconds=20.0)
CLEAN = Evidence("truncated", "clean", bytes=900, events=9, reads=9, seconds=20.0)
STALLED = Evidence("stalled", "timeout", bytes=900, events=9, reads=9, seconds=90.0, silence=60.0, waited=60.0)
BURSTS = Evidence(None, bytes=9000, events=90, reads=3, first_event_seconds=0.5, worst_gap=4.0)
TWICE = (Cut(20.0, 2.0, -60.0), Cut(20.1, 2.1))


def idle(seconds: float, *parties: Party) -> Evidence:
    """Cut after that silence, and five seconds of events."""
    return replace(FIN, silence=seconds, waited=seconds, seconds=seconds + 5.0, clues=by(*parties))


EXAMPLES: dict[str, Evidence] = {
    "page_mid_stream": Evidence("not_a_stream", events=4, bytes=900),
    "html_page": Evidence("not_a_stream", clues=Clues("html"), opening="html"),
    "compressed_unnoticed": Evidence("not_a_stream", opening="compressed"),
    "json_answer": Evidence("not_a_stream", clues=Clues("json"), opening="json"),
    "not_a_stream": Evidence("not_a_stream"),
    "out_of_memory": Evidence("upstream_error", complaint="memory"),
    "context_exceeded": Evidence("upstream_error", complaint="context"),
    "quota_spent": Evidence("upstream_error", complaint="quota"),
    "rate_limited": Evidence("upstream_error", complaint="rate"),
    "overloaded": Evidence("upstream_error", complaint="overloaded"),
    "unterminated_error": Evidence("upstream_error", unterminated=True),
    "upstream_error_litellm": Evidence("upstream_error", clues=by("litellm")),
    "upstream_error": Evidence("upstream_error"),
    "damaged_compression": Evidence("malformed", "decoding", clues=Clues(encoding="gzip")),
    "not_utf8": Evidence("malformed", not_utf8=True),
    "malformed": Evidence("malformed"),
    "gap": Evidence("gap"),
    "oversized": Evidence("oversized"),
    "diverged": Evidence("diverged"),
    "read_slowly": replace(FIN, consumer_busy_seconds=61.0, silence=61.0),
    "idle_cut_cloudflare": idle(100.1, "cloudflare"),
    "idle_cut_nginx": idle(60.1, "nginx"),
    "idle_cut_envoy": idle(300.0, "envoy"),
    "idle_cut_apache": idle(60.0, "apache"),
    "idle_cut_60": idle(60.1),
    "idle_cut_240": idle(239.8),
    "idle_cut_300": idle(300.2),
    "idle_cut_350": idle(350.3),
    "idle_cut": idle(45.0),
    "cut_together": replace(FIN, seconds=3.0, cuts=(Cut(3.0, 0.0, 0.0, 40),)),
    "old_cut_envoy": replace(FIN, seconds=15.1, clues=by("envoy")),
    "old_cut_30": replace(FIN, seconds=29.9),
    "old_cut": replace(FIN, cuts=TWICE),
    "json_cut_short": Evidence("truncated", "clean", opening="json", bytes=90),
    "empty_stream_nginx": Evidence("truncated", "clean", clues=by("nginx")),
    "empty_stream": Evidence("truncated", "clean"),
    "done_before_last_event": replace(CLEAN, done=True, marks="terminal_event"),
    "done_too_early": replace(CLEAN, done=True),
    "clean_end_nginx": replace(CLEAN, clues=by("nginx"), inside_event=True),
    "clean_end_lighttpd": replace(CLEAN, clues=by("lighttpd")),
    "clean_end_portkey": replace(CLEAN, clues=by("portkey")),
    "cut_inside_event": replace(CLEAN, inside_event=True),
    "no_terminal_event": replace(CLEAN, marks="terminal_event"),
    "ended_early": replace(CLEAN, marks="unknown"),
    "truncated": CLEAN,
    "client_proxy": replace(FIN, ending="proxy"),
    "tls": replace(FIN, ending="tls"),
    "bad_framing": replace(FIN, ending="protocol"),
    "short_body": replace(FIN, ending="short"),
    "reset": replace(FIN, ending="reset"),
    "unterminated": FIN,
    "disconnected": replace(FIN, ending="open"),
    "buffered_not_by_nginx": replace(BURSTS, clues=by("nginx", accel=True)),
    "buffered_nginx": replace(BURSTS, clues=by("nginx", encoding="gzip")),
    "buffered_lighttpd": replace(BURSTS, clues=by("lighttpd")),
    "buffered_compressed": replace(BURSTS, clues=by(encoding="gzip")),
    "buffered": BURSTS,
    "compressed": Evidence(clues=by(encoding="br")),
    "keepalives_only": replace(STALLED, ending="open", silence=0.0, waited=300.0),
    "client_timeout": replace(STALLED, read_timeout=60.0),
    "stalled_at_once_nginx": replace(STALLED, read_timeout=600.0, events=0, bytes=0, clues=by("nginx")),
    "stalled_at_once": replace(STALLED, read_timeout=600.0, events=0),
    "stalled": replace(STALLED, read_timeout=600.0),
}
"""For each row of the table, by name, evidence that leads to it."""


@pytest.mark.parametrize("name", [row.name for row in CAUSES])
def test_each_row_is_reached(name: str) -> None:
    """By evidence that no row before it takes."""
    assert likely_causes(EXAMPLES[name])[0].name == name


def test_rows_have_names_of_their_own() -> None:
    """And each has its example, by that name, in the table's order."""
    assert [row.name for row in CAUSES] == list(EXAMPLES)


@pytest.mark.parametrize("fault", get_args(FaultKind))
def test_every_fault_has_an_answer(fault: FaultKind) -> None:
    """However little else is known of it."""
    assert advice(Evidence(fault))


def test_a_whole_stream_that_shows_nothing_odd_has_none() -> None:
    """Nobody is to look for what is not there: a slow model, a fast one, a proxy that only passes on."""
    assert advice(Evidence(events=90, reads=90, bytes=9000, first_event_seconds=50.0, worst_gap=20.0)) == ""
    assert advice(Evidence(events=90, reads=3, bytes=9000, clues=by("nginx", "cloudflare"))) == ""


@pytest.mark.parametrize(
    ("evidence", "name"),
    [
        (idle(14.0), "unterminated"),
        (idle(14.0, "nginx"), "unterminated"),
        (replace(idle(2.0), cuts=(Cut(9.0, 2.0),)), "unterminated"),
        (replace(idle(2.0), cuts=(Cut(9.0, 2.0, -60.0), Cut(30.0, 2.1))), "idle_cut"),
        (replace(idle(2.0, "nginx"), cuts=(Cut(9.0, 2.0, -60.0), Cut(30.0, 2.1))), "idle_cut_nginx"),
        (replace(idle(60.0), fault="truncated", ending="clean"), "idle_cut_60"),
        (idle(60.0, "cloudflare"), "idle_cut_60"),
        (idle(100.0), "idle_cut"),
        (replace(idle(60.0), ending="tls"), "tls"),
        (replace(FIN, seconds=15.0), "unterminated"),
        (replace(FIN, seconds=8.0, clues=by("envoy")), "unterminated"),
        (replace(FIN, seconds=16.1, silence=1.1, clues=by("envoy")), "old_cut_envoy"),
        (replace(FIN, silence=1.0, clues=by("envoy"), cuts=(Cut(9.0, 1.0, -60.0), Cut(30.0, 1.0))), "unterminated"),
        (replace(FIN, silence=3.0, clues=by("envoy"), cuts=(Cut(9.0, 3.0, -60.0), Cut(30.0, 3.0))), "idle_cut_envoy"),
        (replace(FIN, consumer_busy_seconds=14.0), "unterminated"),
        (replace(FIN, seconds=30.0, silence=16.0), "idle_cut"),
        (replace(idle(2.0), cuts=(Cut(9.0, 2.0), Cut(30.0, 2.1))), "unterminated"),
        (replace(FIN, seconds=3.0, cuts=(Cut(3.0, 0.0, 0.0, 2),)), "unterminated"),
        (replace(FIN, seconds=3.0, cuts=(Cut(3.0, 0.0, -60.0, 40), Cut(9.0, 0.0))), "old_cut"),
        (replace(idle(60.0), cuts=(Cut(65.0, 60.0, 0.0, 40),)), "idle_cut_60"),
        (replace(CLEAN, done=True, clues=by("nginx")), "done_too_early"),
        (replace(STALLED, ending="open", read_timeout=60.0), "stalled"),
        (replace(STALLED, read_timeout=60.0, silence=4.0, waited=60.0), "keepalives_only"),
        (replace(BURSTS, fault="stalled", ending="timeout", silence=9.0, waited=9.0), "buffered"),
    ],
)
def test_a_row_claims_no_more_than_its_evidence(evidence: Evidence, name: str) -> None:
    """Just short of what it asks for, the next one that fits speaks."""
    assert likely_causes(evidence)[0].name == name


@pytest.mark.parametrize("name", EXAMPLES)
def test_advice_is_one_whole_sentence(name: str) -> None:
    """A cause and a remedy, with its times filled in and without a claim that evidence cannot carry."""
    text = advice(EXAMPLES[name])
    assert re.fullmatch(r"[A-Z`].{20,}: .{15,}\.", text)
    assert not re.search(r"[{}]|\. [A-Z]|\binf\b|surely|always", text)
    assert len(text) < 360


def test_the_settings_it_names_exist() -> None:
    """Whatever stands there as a setting of ours is one."""
    named = re.findall(r"`(\w+)(?:=[^`]*)?`", " ".join(row.remedy for row in CAUSES))
    ours = {name for name in named if name in SETTINGS}
    assert ours == {"delivery", "end_rule", "lenient_hosts", "idle_timeout", "first_event_timeout"}


@pytest.mark.parametrize(("fault", "stopped_by"), list(product(get_args(FaultKind), get_args(StoppedBy))))
def test_a_hint_also_says_why_recovery_stopped(fault: FaultKind, stopped_by: StoppedBy) -> None:
    """In a sentence of its own, another for each reason."""
    others = {hint(Evidence(fault), stop) for stop in get_args(StoppedBy)}
    assert len(others) == len(get_args(StoppedBy))
    assert re.fullmatch(re.escape(advice(Evidence(fault))) + r" \S.{15,}\.", hint(Evidence(fault), stopped_by))


REAL = {
    "truncate_clean": "truncated",
    "truncate_mid_event": "cut_inside_event",
    "truncate_close_delimited": "truncated",
    "empty_body": "empty_stream",
    "truncate_content_length": "short_body",
    "fin_mid_chunk": "unterminated",
    "fin_no_terminator": "unterminated",
    "rst": "reset",
    "bad_chunk_header": "bad_framing",
    "gzip_corrupt": "damaged_compression",
    "stall": "client_timeout",
    "stall_before_first": "client_timeout",
    "stall_heartbeat": "keepalives_only",
    "garbage_event": "malformed",
    "invalid_utf8": "not_utf8",
    "error_event": "upstream_error",
    "error_event_unterminated": "unterminated_error",
    "error_llamacpp_line": "overloaded",
    "html_200": "html_page",
    "html_mid_stream": "page_mid_stream",
    "json_200": "json_answer",
    "json_page_200": "json_answer",
    "early_finish_cut": "truncated",
    "early_finish_rst": "reset",
    "line_start_lost": "malformed",
    "error_in_event": "upstream_error",
    "error_bare": "rate_limited",
    "error_after_finish": "upstream_error",
}
"""The cause that is to be named for faults of the catalogue."""


def _row_of(text: str | None) -> str:
    """The row whose words these are."""
    assert text
    causes = {row.name: re.sub(r"\\\{.*?\\\}", ".+?", re.escape(row.claim)) for row in CAUSES}
    (name,) = [name for name, cause in causes.items() if re.match(f"{cause}: ", text)]
    return name


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("client_kind", ["sync", "asyncio"])
@pytest.mark.parametrize("fault", REAL)
def test_a_real_fault_is_named(server: Server, fault: str, client_kind: str, records: Any) -> None:
    """Over real sockets, in the error, in the report, and in a record of its own beside the one WARNING."""
    configure(idle_timeout=0.3 if fault == "stall_heartbeat" else None)
    server.script(scripted(fault))
    seen = consume(server, client_kind, timeout=silence_for(fault), max_retries=0)
    assert seen.report is not None
    assert _row_of(seen.report.hint) == REAL[fault]
    assert seen.error.hint == f"{seen.report.hint}{hint(Evidence(), seen.error.stopped_by)}"
    assert seen.error.hint in seen.error.__notes__
    assert [record.levelno for record in records].count(logging.WARNING) == 1
    assert [record.hint for record in records if record.stream_event == "hint"] == [seen.report.hint]


@pytest.mark.usefixtures("guarded")
def test_equal_silences_of_a_host_are_noticed(server: Server) -> None:
    """A connection that is cut twice after the same silence is cut by a timeout: the error of the second says so."""
    whole = scripted("fin_no_terminator")
    cut = ScriptedResponse(
        (*whole.steps[:-1], Wait(0.6), whole.steps[-1]), headers=(*whole.headers, ("server", "nginx/1.22"))
    )
    server.script(cut, cut, cut)
    first = consume(server, max_retries=0)
    assert _row_of(first.error.hint) == "unterminated"
    assert "nginx" not in first.error.hint
    again = consume(server, max_retries=1)
    assert _row_of(again.error.hint) == "idle_cut_nginx"


@pytest.mark.usefixtures("guarded")
def test_a_recovered_stream_has_a_hint_and_a_healthy_one_none(server: Server) -> None:
    """What was healed is worth knowing as well."""
    server.script(scripted("rst"))
    recovered, healthy = consume(server), consume(server)
    assert recovered.report is not None
    assert recovered.report.outcome == "recovered"
    assert _row_of(recovered.report.hint) == "reset"
    assert healthy.report is not None
    assert healthy.report.hint is None


@pytest.mark.usefixtures("guarded")
def test_a_slow_reader_is_told_apart_from_a_slow_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program did between two reads is not held against the connection."""
    monkeypatch.setattr("openai_stream_guard.diagnosis.causes_early_end.SLOW_READER", 0.04)
    server.script("rst", "rst")  # 50 ms after the last event
    assert _row_of(consume(server, max_retries=0).error.hint) == "reset"
    with client_for(server, max_retries=0) as client, pytest.raises(OpenAIStreamParseError) as raised:
        [time.sleep(0.1) for _ in chat(client)]
    assert _row_of(raised.value.hint) == "read_slowly"


def test_what_was_refused_and_what_would_be_safe_is_named() -> None:
    """The class of the exception that a re-issue came to; and what makes a response one that may be sent again."""
    refused = Attempt(None, "replay", 1, 0, 0, 0.0, None, None, None, refused=True, error="ConnectError")
    assert hint(Evidence(), "time", [refused]).endswith("The last re-issue got no response (ConnectError).")
    assert "store=False" in hint(Evidence(marks="terminal_event"), "unsafe")
    assert "store=False" not in hint(Evidence(), "unsafe")
    for stop, settings in {"time": ("outage_timeout", "max_elapsed"), "budget": ("retry_budget",)}.items():
        assert all(f"`{name}`" in hint(Evidence(), stop) for name in settings)
