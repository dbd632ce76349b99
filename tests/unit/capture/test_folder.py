"""The folder of captures: every fault leaves a file, and neither the folder nor the stream suffers from it."""

from __future__ import annotations

import multiprocessing
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard import activation as switch
from openai_stream_guard.capture import folder as module
from openai_stream_guard.capture import recording
from openai_stream_guard.capture.folder import CaptureFile
from openai_stream_guard.capture.rerun import rerun
from openai_stream_guard.capture.ssecap import load
from openai_stream_guard.engine.session import Session
from openai_stream_guard.testing import FAULTS, ScriptedResponse, Send, Server, ServerBehaviour, captured, replying
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support import pages
from tests.support.recorded import a_capture
from tests.support.streams import (
    CLIENT_KINDS,
    KEY,
    VERSION,
    chat,
    client_for,
    completions,
    consume,
    responses,
    scripted,
    silence_for,
)

pytestmark = pytest.mark.usefixtures("guarded")

BROKEN = [fault for fault in FAULTS.values() if fault.verdict is not None]
ASKED: list[Any] = [{"role": "user", "content": "Why?"}]
NAME = "20260301T101112.{:06}Z-0123456789abcdef.ssecap"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where captures go; it does not exist yet, and nothing was warned of."""
    monkeypatch.setattr(module, "_warned", set())
    path = tmp_path / "captures"
    configure(capture=path, max_retries=2)
    return path


def the_file(folder: Path) -> Path:
    """The one file in the folder."""
    (path,) = folder.iterdir()
    return path


@pytest.mark.slow
@pytest.mark.parametrize("client_kind", ["sync", "asyncio"])
@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault.name)
def test_every_fault_is_captured_and_judged_again_as_it_was(
    server: Server, folder: Path, fault: Any, client_kind: str
) -> None:
    """Whatever breaks a stream, each attempt's recording gives the same fault, reason, events, bytes and repairs."""
    api = fault.api or "chat"
    if api == "responses" and VERSION < (1, 66):
        pytest.skip("this SDK has no Responses API")
    wait = silence_for(fault.name)
    configure(idle_timeout=wait)
    scripted_answer = scripted(fault.name, api, after=None if fault.answer else 3)
    server.script(scripted_answer, scripted_answer)
    seen = consume(server, client_kind, {"chat": chat, "responses": responses}[api], timeout=wait)
    assert seen.report is not None
    faults = [attempt for attempt in seen.report.attempts if attempt.fault is not None]
    capture = load(the_file(folder).read_bytes())
    assert capture.whole
    judged = [recording.verdict for recording in capture.attempts]
    assert [(one.fault, one.events, one.bytes) for one in judged if one] == [
        (attempt.fault, attempt.events, attempt.bytes) for attempt in faults
    ]
    assert judged[0] is not None
    assert judged[0].fault == fault.verdict
    runs = rerun(capture)
    assert [one.verdict for one in runs] == judged
    assert {one.comparison for one in runs} == {"same"}
    for one in runs:
        assert sum(step.size for step in one.steps) == one.recording.verdict.bytes
        assert sum(len(step.payloads) for step in one.steps) >= one.recording.verdict.events


@pytest.mark.slow
@pytest.mark.parametrize("fault", [one for one in BROKEN if one.verdict == "stalled"], ids=lambda fault: fault.name)
def test_a_slow_program_s_stream_is_judged_again_as_it_was(server: Server, folder: Path, fault: Any) -> None:
    """What it takes for an event is no silence of the stream's, neither live nor from the file."""
    configure(idle_timeout=0.3, recovery=())
    server.script(scripted(fault.name, after=3))
    with client_for(server) as client, suppress(OpenAIStreamParseError):
        for _ in chat(client):
            time.sleep(0.4)
    (one,) = rerun(load(the_file(folder).read_bytes()))
    assert one.verdict is not None
    assert (one.verdict.fault, one.comparison) == ("stalled", "same")


def test_an_answer_that_is_not_repeated_is_judged_so_again(server: Server, folder: Path) -> None:
    """A divergence is a matter of both answers, and the capture has both."""
    with Server(sampled=True, fault="truncate_clean", after=6) as sampling:
        seen = consume(sampling)
    assert seen.error.stopped_by == "diverged"
    capture = load(the_file(folder).read_bytes())
    assert [one.verdict.fault for one in rerun(capture) if one.verdict] == ["truncated", "diverged"]
    assert [one.comparison for one in rerun(capture)] == ["same", "same"]


@pytest.mark.skipif(VERSION < (1, 66), reason="this SDK has no Responses API")
def test_a_resumed_answer_is_judged_as_the_rest_of_the_first(server: Server, folder: Path) -> None:
    """A second attempt that goes on from the first is run again with what the first had."""
    server.reset(fault="truncate_clean", after=6, times=2)
    seen = consume(
        server, "sync", lambda client: client.responses.create(model="m", input="", stream=True, background=True)
    )
    assert seen.error is None
    capture = load(the_file(folder).read_bytes())
    assert [recording.way for recording in capture.attempts] == [None, "resume"]
    assert [one.comparison for one in rerun(capture)] == ["same", "same"]


CONTINUATIONS: dict[str, Any] = {
    "anchored": "anchored",
    "a body": lambda body, text: {**body, "messages": [{"role": "user"}]},
    "a body and an anchor": lambda body, text: (body, text[-9:]),
}


@pytest.mark.parametrize("anchored", ["compliant", "chatty"])
@pytest.mark.parametrize("how", CONTINUATIONS)
def test_a_continued_answer_is_judged_again(server: Server, folder: Path, how: str, anchored: Any) -> None:
    """Also where the second answer was asked for as more of the first, behind an anchor or unverified."""
    configure(recovery=("continue",), continuation=CONTINUATIONS[how])
    server.behaviour = ServerBehaviour(anchored=anchored)
    server.reset(fault="truncate_clean", after=6, times=2)
    consume(server, ask=lambda client: client.chat.completions.create(model="m", messages=ASKED, stream=True))
    capture = load(the_file(folder).read_bytes())
    assert [recording.way for recording in capture.attempts][:2] == [None, "continue"]
    assert {one.comparison for one in rerun(capture)} == {"same"}
    assert (capture.attempts[1].anchor is None) == (how == "a body")


def test_a_healthy_stream_leaves_nothing(server: Server, folder: Path) -> None:
    """Not even the folder."""
    assert consume(server).error is None
    assert not folder.exists()


def test_the_modes_keep_others_out(server: Server, folder: Path) -> None:
    """The folder is made for its owner only, and so is the file, whatever the umask allows."""
    server.script(scripted("truncate_clean"))
    before = os.umask(0)
    try:
        consume(server)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(the_file(folder).stat().st_mode) == 0o600


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_an_observed_stream_is_captured(server: Server, folder: Path, client_kind: str) -> None:
    """Under observation a fault is captured, and nothing else changes."""
    switch.observe()
    server.script(scripted("truncate_clean", after=4))
    assert consume(server, client_kind).error is None
    (one,) = rerun(load(the_file(folder).read_bytes()))
    assert one.verdict is not None
    assert (one.verdict.fault, one.comparison) == ("truncated", "same")


def test_raw_bytes_are_captured(server: Server, folder: Path) -> None:
    """So it is where a program reads the bytes for itself."""
    server.script(scripted("truncate_clean", after=4))
    with (
        client_for(server) as client,
        client.chat.completions.with_streaming_response.create(model="m", messages=[], stream=True) as response,
        pytest.raises(OpenAIStreamParseError, match="Incomplete chunk"),
    ):
        list(response.iter_lines())
    (one,) = rerun(load(the_file(folder).read_bytes()))
    assert one.verdict is not None
    assert (one.verdict.fault, one.comparison) == ("truncated", "same")


def test_a_capture_holds_no_key_and_no_question(server: Server, folder: Path) -> None:
    """Neither from the request nor from the headers, and one that an error message repeats is blanked."""
    head = (("set-cookie", KEY), ("openai-organization", "org-of-mine"), ("server", f"proxy key={KEY}"))
    body = {"error": {"message": f"bad key {KEY}", "type": "server_error"}}
    scripted_answer = replying(body, headers=head)
    server.script(scripted_answer, scripted_answer, scripted_answer)
    ask = [{"role": "user", "content": "a planted question"}]
    consume(server, "sync", lambda client: client.chat.completions.create(model="m", messages=ask, stream=True))
    data = the_file(folder).read_bytes()
    for secret in (KEY, "planted", "org-of-mine", "cookie", "uthorization"):
        assert secret.encode() not in data
    assert b"bad key ********************" in data
    assert [one.comparison for one in rerun(load(data))] == ["same"] * 3


def test_a_folder_that_cannot_be_written_is_told_of_once(
    server: Server, folder: Path, warned: Callable[[], list[str]]
) -> None:
    """One WARNING for a process, and every stream comes out as it would."""
    folder.write_text("a file where the folder should be")
    for _ in range(2):
        server.reset(fault="truncate_clean")
        assert consume(server).text == TEXT
    told = [message for message in warned() if "cannot write the capture" in message]
    assert len(told) == 1
    assert str(folder) in told[0]


def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """Who can make links in the folder cannot have another file written."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    file = CaptureFile(str(folder))
    file.write(a_capture())
    path = the_file(folder)
    path.unlink()
    path.symlink_to(victim)
    path.with_name(f"{path.name}.tmp").symlink_to(victim)
    file.write(a_capture())
    assert victim.read_text() == "mine"
    assert not path.is_symlink()
    assert load(path.read_bytes()).whole


def test_only_the_newest_are_kept_and_nothing_else_is_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bounds the oldest captures go: not what others keep there, and not what was just written."""
    monkeypatch.setattr(module, "MAX_FILES", 5)
    folder.mkdir()
    foreign = [folder / name for name in ("notes.txt", "mine.ssecap", NAME.format(1) + ".bak", "..ssecap")]
    old = [folder / NAME.format(number).replace("2026", "2999") for number in range(8)]  # by a clock that was ahead
    for path in [*foreign, *old]:
        path.write_bytes(b"x")
    left_over, unfinished = (folder / f"{NAME.format(number)}.tmp" for number in (20, 21))
    for path in (left_over, unfinished):
        path.write_bytes(b"x")
    os.utime(left_over, (0, 0))
    CaptureFile(str(folder)).write(a_capture())
    names = {path.name for path in folder.iterdir()}
    assert {path.name for path in foreign} <= names
    assert unfinished.name in names
    assert left_over.name not in names
    ours = names - {path.name for path in [*foreign, unfinished]}
    assert len(ours) == 5
    assert {path.name for path in old[-4:]} < ours


def test_the_bytes_of_a_folder_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a few files may be too much."""
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    folder.mkdir()
    for number in range(4):
        (folder / NAME.format(number)).write_bytes(b"x" * 4000)
    CaptureFile(str(folder)).write(a_capture())
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000
    assert len(list(folder.iterdir())) == 3


def _write(folder: str, count: int) -> None:
    for _ in range(count):
        CaptureFile(folder).write(a_capture())


@pytest.mark.parametrize("kind", ["thread", "fork"])
def test_many_writers_do_not_disturb_each_other(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch, warned: Callable[[], list[str]]
) -> None:
    """Each stream has a file of its own, every file is whole, and the bound holds, whoever else writes."""
    monkeypatch.setattr(module, "MAX_FILES", 30)
    workers: list[Any]
    if kind == "thread":
        workers = [threading.Thread(target=_write, args=(str(folder), 10)) for _ in range(4)]
    else:
        if "fork" not in multiprocessing.get_all_start_methods():
            pytest.skip("this system cannot fork")
        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=_write, args=(str(folder), 10)) for _ in range(4)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        for path in folder.glob("*.ssecap"):
            with suppress(FileNotFoundError):  # it was rotated away meanwhile
                assert load(path.read_bytes()).whole
    for worker in workers:
        worker.join(30)
    assert 26 <= len(list(folder.iterdir())) <= 34  # a writer does not see what another is about to add
    assert all(load(path.read_bytes()).whole for path in folder.iterdir())
    assert warned() == []


def test_a_forked_child_writes_a_file_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that was open when the process forked has one file in each of the two."""
    file = CaptureFile(str(folder))
    file.write(a_capture())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    file.write(a_capture())
    file.write(a_capture())
    assert len(list(folder.iterdir())) == 2


def test_what_was_captured_breaks_a_test_in_the_same_way(server: Server, folder: Path) -> None:
    """A capture is served as it was read, and comes to the same end."""
    for name in ("garbage_event", "rst", "missing_blank"):
        scripted_answer = scripted(name, after=5)
        server.script(
            *[scripted_answer if name != "missing_blank" else ScriptedResponse((*scripted_answer.steps[:-3],))] * 3
        )
        first = consume(server)
        path = max(folder.iterdir())
        server.script(*captured(path))
        again = consume(server)
        assert first.error.fault == again.error.fault
        assert str(first.error).partition("(")[0] == str(again.error).partition("(")[0]
        assert first.text == again.text
    timed = captured(path, timed=True)
    assert [step for step in timed[0].steps if isinstance(step, Send)] == [
        step for step in captured(path)[0].steps if isinstance(step, Send)
    ]


def test_without_a_folder_nothing_is_recorded(server: Server) -> None:
    """Who has not asked for captures has a session that knows nothing of them, and pays nothing."""
    with client_for(server) as client, chat(client) as stream:
        next(stream)
        assert type(stream.response.extensions["openai_stream_guard"].session) is Session


def test_a_finished_stream_keeps_no_recording(server: Server, folder: Path) -> None:
    """What holds on to a stream does not hold on to its bytes."""
    with client_for(server) as client:
        stream = completions(client)
        list(stream)
        session = stream.response.extensions["openai_stream_guard"].session
    assert session._observer.capture.attempts == ()
    assert session._observer._buffer.reads == ()


def test_the_page_names_the_bounds() -> None:
    """What the page on captures says is kept is what is kept."""
    said = pages.read(pages.CAPTURES)
    assert f"newest {module.MAX_FILES} files and at most {module.MAX_BYTES >> 20} MiB" in said
    kept = f"the last {recording.MAX_BYTES >> 10} KiB (and {recording.MAX_READS:,} reads)"
    assert kept in said
    assert f"of one stream {recording.MAX_ATTEMPTS} attempts" in said
