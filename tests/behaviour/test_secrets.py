"""The law: no key leaves by a log, an error, a notice, a report, a span or a pickle, and no answer text by any of them
but the attributes that are there to carry it.

Keys and words are planted in everything that a request and a response have, and the whole catalogue of faults is run.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import re
import traceback
from pathlib import Path
from typing import Any

import pytest

from openai_stream_guard import OpenAIStreamParseError, configure
from openai_stream_guard.notices import Notice
from openai_stream_guard.testing import FAULTS, Raw, ScriptedResponse, Send, Server, replying
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.mock_servers import HTTP
from tests.support.responses import has_responses
from tests.support.streams import CLIENT_KINDS, VERSION, chat, consume, responses, scripted

pytestmark = pytest.mark.usefixtures("guarded")

KEYS = {
    "api_key": "sk-proj-PLANTEDxKEY_0123-456789abcdefghij",
    "azure": "0123456789abcdef0123456789plant0",  # of no form at all: known since the request was sent with it
    "organization": "org-PLANTEDorganization12",
    "project": "proj_PLANTEDproject0123456",
    "query": "PLANTEDquery+signature/0123",
    "bearer": "Bearer PLANTEDbearer.token-0123456789",
}
PASSWORD = "PLANTEDhunter2hunter2"
"""Known by its label only."""
WORD = "plantedanswerword"
PROMPT = "plantedpromptword"
ECHO = json.dumps([WORD, *KEYS.values(), {"password": PASSWORD}, json.dumps({"api_key": PASSWORD})])
SECRETS = [PASSWORD, *(key.removeprefix("Bearer ") for key in KEYS.values())]
WORDS = [WORD, PROMPT, *(word for word in re.findall(r"\w{6,}", TEXT) if word not in ("Zürich",))]
OPTIONS: dict[str, Any] = {
    "api_key": KEYS["api_key"],
    "organization": KEYS["organization"],
    "project": KEYS["project"],
    "default_headers": {"api-key": KEYS["azure"], "x-forwarded-authorization": KEYS["bearer"]},
    "default_query": {"sig": KEYS["query"]},
    "timeout": 0.3,
    "max_retries": 1,
}


def planted(played: ScriptedResponse) -> ScriptedResponse:
    """The same response, whose payloads repeat every key, and whose headers do."""
    steps = tuple(Send(_plant(step.data)) if isinstance(step, Send) else step for step in played.steps)
    headers = (*played.headers, ("x-request-id", f"req {KEYS['api_key']} {KEYS['azure']}"), ("x-echo", KEYS["bearer"]))
    framing = {"length": None} if played.length is None else {}
    return dataclasses.replace(played, steps=steps, headers=headers, **framing)


def _plant(data: bytes) -> bytes:
    data = re.sub(rb'^(data: ?\{)"', lambda found: found[1] + b'"echo": %b, "' % ECHO.encode(), data, flags=re.M)
    said = f"Incorrect key {KEYS['api_key']}, {KEYS['azure']} or {KEYS['query']}: password={PASSWORD}. "
    return re.sub(rb'("message": ?")(?=\w)', lambda found: found[1] + said.encode(), data)


CATALOGUE = [
    fault.name
    for fault in FAULTS.values()
    if fault.name != "slow" and (fault.api in (None, "chat") or (fault.api == "responses" and VERSION >= (1, 66)))
]


def logged_words(records: list[logging.LogRecord]) -> list[str]:
    """Each record as a formatter writes it, and with all its attributes."""
    return [told for record in records for told in (logging.Formatter().format(record), repr(vars(record)))]


def chained(error: BaseException | None) -> list[BaseException]:
    """An exception and all that stands behind it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def told_of(error: Any) -> list[str]:
    """All the words of an exception that a log or a person may be shown."""
    words = [repr(error), repr(error.args), repr(error.__notes__), repr(error.attempts), error.hint]
    words += [str(error.request_id), "".join(traceback.format_exception(error))]
    return words + [str(one) for one in chained(error)]


def assert_free(told: list[str], planted_words: list[str]) -> None:
    # Python 3.13 writes "..." into tracebacks, and one of the ids is "..".
    told = [words.replace("...", "") for words in told]
    found = {word for words in told for word in planted_words if word in words}
    assert found == set(), "\n".join(words for words in told if any(word in words for word in found))[:2000]


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize("name", CATALOGUE)
def test_no_fault_gives_anything_away(server: Server, name: str, client_kind: str, records: Any, recwarn: Any) -> None:
    """Log, error, chain of causes, notices, report and warnings hold neither keys nor text; a pickle holds no key."""
    api = FAULTS[name].api or "chat"
    ask = responses if api == "responses" else lambda client: chat(client, user=PROMPT)
    notices: list[Notice] = []

    def listen(notice: Notice) -> None:
        notices.append(notice)
        raise ZeroDivisionError("the hook's own")  # so that a traceback is logged during whatever is being handled

    configure(on_event=listen, idle_timeout=0.3, log_raw=False)
    server.script(*[planted(scripted(name, api))] * 4)
    seen = consume(server, client_kind, ask, **OPTIONS)

    told = [*logged_words(records), repr(notices), repr(seen.report), *(str(warning.message) for warning in recwarn)]
    assert notices or name == "status_503"
    error = seen.error
    if isinstance(error, OpenAIStreamParseError):
        told += told_of(error)
        assert_free([repr(error.raw_tail), repr(error.body), repr(vars(error))], SECRETS)
        assert_free([pickle.dumps(error).decode("latin-1")], SECRETS)
    assert_free(told, SECRETS)
    # What the API says of an error is its word, and is handed on.
    assert_free(told, [] if getattr(error, "fault", "") == "upstream_error" else WORDS)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize(
    "name", ["truncate_mid_event", "garbage_event", "invalid_utf8", "bad_chunk_header", "error_event"]
)
def test_the_raw_tail_that_is_logged_holds_no_key(server: Server, name: str, client_kind: str, records: Any) -> None:
    """`log_raw` asks for text; keys are masked there too."""
    configure(log_raw=True, max_retries=0)
    server.script(planted(scripted(name, after=6)))
    consume(server, client_kind, **OPTIONS)
    assert any("raw tail" in words for words in logged_words(records))
    assert_free(logged_words(records), SECRETS)


def test_what_the_api_says_is_kept_but_for_the_keys_in_it(server: Server) -> None:
    """An error that repeats the key it refuses keeps its words, its code and its shape."""
    body = {
        "message": f"Incorrect API key provided: {KEYS['azure']}.",
        "type": "invalid_request_error",
        "code": "bad",
        "param": None,
        "inner": [{"api_key": "short", "n": 1}],
    }
    server.script(
        scripted("clean"), ScriptedResponse((Send(b"data: " + json.dumps({"error": body}).encode() + b"\n\n"),))
    )
    consume(server, **OPTIONS)
    error = consume(server, **OPTIONS).error
    assert str(error) == "Incorrect API key provided: ***."
    assert error.body == {**body, "message": str(error), "inner": [{"api_key": "***", "n": 1}]}
    assert (error.code, error.type) == ("bad", "invalid_request_error")


CARRIED: dict[str, tuple[str, dict[str, Any]]] = {
    "a key of no form": (KEYS["azure"], {"api_key": KEYS["azure"]}),
    "a short key": ("k3y-Ab", {"api_key": "k3y-Ab"}),
    "a short key without a digit": ("my-key", {"api_key": "my-key"}),
    "a cookie": ("Ab3xZ9", {"default_headers": {"Cookie": "theme=dark; sid=Ab3xZ9"}}),
    "a header": ("hunter22", {"default_headers": {"X-Gateway": "hunter22"}}),
    "a part of the query": ("s1gn-ed", {"default_query": {"sig": "s1gn-ed"}}),
}
"""By what the request carries: the secret itself, and the options of the client."""


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
@pytest.mark.parametrize("carried", CARRIED)
def test_what_the_request_carried_is_masked_wherever_it_comes_back(
    server: Server, carried: str, client_kind: str, records: Any, tmp_path: Path
) -> None:
    """As an id, a code, a type, a message, an event's name or a header: in no log, error, notice, report or capture."""
    secret, options = CARRIED[carried]
    notices: list[Notice] = []
    configure(on_event=notices.append, max_retries=0, log_raw=True, capture=tmp_path)
    error = {"message": f"bad {secret}.", "code": f"no {'x ' * 26}{secret}", "type": secret, "param": [secret]}
    first = f'event: {secret}\nid: {secret}\ndata: {{"id":"{secret}","choices":[{{"index":0,"delta":{{}}}}]}}\n\n'
    headers = (("content-type", "text/event-stream"), ("x-request-id", secret), ("server", secret), ("via", secret))
    for last in (f"data: {json.dumps({'error': error})}\n\n", "data: {\n\n"):
        server.script(ScriptedResponse((Send(first.encode()), Send(f"{last}: {secret}\n".encode())), headers=headers))
        found = consume(server, client_kind, **{"api_key": "none", **options})
        assert isinstance(found.error, OpenAIStreamParseError)
        fields = [getattr(found.error, name) for name in ("body", "code", "type", "param", "message", "raw_tail")]
        assert_free(
            [*logged_words(records), repr(notices), repr(found.report), *told_of(found.error), repr(fields)], [secret]
        )
    captures = [path.read_text(encoding="utf-8") for path in tmp_path.glob("*.ssecap")]
    assert len(captures) == 2
    assert_free(captures, [secret])


def test_the_words_of_a_refusal_are_one_line_without_a_key(server: Server, records: Any) -> None:
    """A re-issue that got no response keeps the class of its exception, and what that says."""
    sent: list[Any] = []

    class Lost(HTTP.HTTPTransport):  # type: ignore[misc, name-defined] # of httpx or httpx2
        def handle_request(self, request: Any) -> Any:
            sent.append(request)
            if len(sent) > 1:
                raise HTTP.ConnectError(f"refused: {KEYS['azure']}\x1b[2J\n 'quoted'", request=request)
            return super().handle_request(request)

    configure(outage_timeout=0.0)
    server.script(scripted("truncate_clean", after=6))
    error = consume(server, http_client=HTTP.Client(transport=Lost()), **OPTIONS).error
    refused = error.attempts[-1]
    assert (refused.error, refused.error_message) == ("ConnectError", "refused: ***?[2J?")
    assert str(refused) == "refused without a response (ConnectError: refused: ***?[2J?)"
    assert str(refused) in error.__notes__[-2]
    assert any("ConnectError (refused: ***?[2J?), attempt 2" in told for told in logged_words(records))
    assert_free([*logged_words(records), *told_of(error)], SECRETS)


def test_a_refused_request_for_more_gives_nothing_away(server: Server, records: Any) -> None:
    """The refusal of a re-issue may repeat the key in its body and its headers."""
    refusal = replying({"error": {"message": f"no {KEYS['azure']} {WORD}"}}, 401, (("x-request-id", KEYS["api_key"]),))
    server.script(planted(scripted("truncate_clean", after=6)), refusal)
    error = consume(server, **OPTIONS).error
    assert_free([*logged_words(records), *told_of(error), repr(vars(error))], SECRETS)
    assert_free([*logged_words(records), *told_of(error)], WORDS)


IDS = [
    "resp\r\nX-Injected: 1",
    "../../files/secret",
    "resp_1?stream=false",
    "..",
    "sk-PLANTEDid0123456789",
    "x" * 10_000,
    "\x1b[31m",
]


@has_responses
@pytest.mark.parametrize("given", IDS)
def test_an_id_that_is_none_is_neither_told_nor_asked_for(server: Server, given: str, records: Any) -> None:
    """A server chooses the id of its answer: it becomes no header, no path and no line of a log."""
    created = {"type": "response.created", "sequence_number": 0, "response": {"id": given, "object": "response"}}
    server.script(ScriptedResponse((Send(b"data: " + json.dumps(created).encode() + b"\n\n"),)))
    asked: dict[str, Any] = {"model": "m", "input": "", "stream": True, "extra_body": {"background": True}}
    seen = consume(server, ask=lambda client: client.responses.create(**asked))
    assert seen.error.stopped_by == "unsafe"
    assert seen.error.attempts[0].response_id is None
    assert len(server.requests) == 1
    assert_free([*logged_words(records), *told_of(seen.error)], [given[:20]])


def test_a_request_id_is_one_short_line(server: Server, records: Any) -> None:
    """A header can hold what a terminal obeys, and no end: in the log it does neither."""
    strange = scripted("truncate_clean", after=6)
    server.script(dataclasses.replace(strange, headers=(*strange.headers, ("x-request-id", "a\x7fb\t" + "c" * 5000))))
    seen = consume(server, max_retries=0)
    assert len(seen.error.request_id) <= 200
    assert seen.error.request_id.isprintable()
    assert seen.error.request_id == seen.error.attempts[0].request_id


@pytest.mark.parametrize("client_kind", CLIENT_KINDS[:2])
def test_what_a_transport_quotes_is_in_no_traceback(server: Server, client_kind: str, records: Any) -> None:
    """h11 quotes the bytes that it cannot read: neither the causes of the error nor a hook's traceback print them."""

    def listen(notice: Notice) -> None:
        raise ZeroDivisionError("the hook's own")

    configure(on_event=listen, max_retries=0)
    first = scripted("clean").steps[0]
    server.script(ScriptedResponse((first, Raw(f"{WORD} {KEYS['api_key']}\r\n".encode()))))
    error = consume(server, client_kind, **OPTIONS).error
    assert "illegal chunk header" in str(error)
    assert "illegal chunk header" in str(chained(error)[-1])
    assert any("the hook's own" in words for words in logged_words(records))
    assert_free([*logged_words(records), *told_of(error), *(repr(one) for one in chained(error))], [*SECRETS, WORD])


@pytest.mark.parametrize("offset", range(990, 1060, 7))
def test_a_key_that_the_tail_cuts_in_two_is_not_shown(server: Server, offset: int) -> None:
    """Its second half alone looks like nothing, and is a secret."""
    configure(max_retries=0)
    key = "sk-" + "".join(chr(97 + number % 26) for number in range(60))
    server.script(ScriptedResponse((Send(b": " + key.encode() + b" " + b"." * (offset - 1)), Send(b"\n\n"))))
    tail = consume(server, **OPTIONS).error.raw_tail
    assert len(tail) <= 1024
    assert not set(re.findall("[a-z]{4,}", tail.decode()))
