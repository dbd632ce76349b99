"""Second answers: whatever a server says when it is asked again, a program gets one whole answer, once, or an error.

    python -m tests.proof.answers [--runs N] [--seed N] [--only N] [--jobs N] [--quick]

Each run makes up an answer of chat completions or of Responses, breaks up to four attempts at it, and lets every other
attempt say the same in other pieces, or something else: longer, shorter, under other names, in another order, sealed
otherwise, told whole otherwise than in pieces. The real SDK reads it, sync or async, by `create` or by a helper; only
the transport is ours. The model of an answer, in `answers_chat` and `answers_responses`, shares nothing with the guard.

The law: a stream that ends without an exception is one of the answers that the server told, whole and once; one that
raises has the typed error, and what was delivered is the beginning of one answer; where the second answer was the
first one again, nothing is raised. Then background responses of every kind of item are cut at every byte, resumed and
polled: all have to come out whole. Exit status 1 on an exception to the law.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import multiprocessing
import random
import signal
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import openai

from openai_stream_guard import OpenAIStreamParseError, Policy, sdk
from openai_stream_guard import activation as switch
from openai_stream_guard.config.policy import PolicyFields
from openai_stream_guard.testing.clock import Clock, SkippedTime
from openai_stream_guard.transport import clock as timing
from tests.support.mock_servers import client_over, streamed
from tests.support.ported import HTTP
from tests.support.streams import VERSION, helpers_of
from tests.support.streams import run as run_for

from . import answers_background as background
from . import answers_chat as chat
from . import answers_responses as responses

Door = Literal["create", "helper"]
End = Literal["whole", "clean", "reset", "silence", "error", "refused"]
RETRIES = 4
OUTCOMES = ("whole", "recovered", "raised", "wrong")
_BROKEN: tuple[End, ...] = ("clean", "reset", "silence", "error")
_STATUS = {"error": {"message": "overloaded", "type": "server_error", "code": "server_error"}}


@dataclass
class Attempt:
    """What the server says to one request."""

    kind: str
    """How this answer differs from the first."""
    answer: Any
    told: list[dict[str, Any]]
    reads: list[bytes]
    end: End
    hole: bool = False
    """A delta was swallowed on its way, which a client can tell by what is told whole."""
    telling: responses.Telling = field(default_factory=lambda: responses.Telling(0))


class Run:
    """One run: a server's plan, made up as it is asked for, and the program that asks."""

    def __init__(self, seed: int, number: int) -> None:
        self.dice = dice = random.Random(f"{seed} {number}")
        self.is_chat = VERSION < (1, 66) or dice.random() < 0.5
        self.sync = dice.random() < 0.5
        self.door: Door = "helper" if dice.random() < 0.25 else "create"
        self.delivery = dice.choice(("live", "live", "live", "atomic", "tool_calls"))
        self.faults = dice.choices((0, 1, 2, 3, 4), (4, 54, 22, 10, 10))[0]
        self.store: bool | None = dice.choice((False, False, None, True))
        self.background = not self.is_chat and VERSION >= (1, 109) and dice.random() < 0.3
        self.asked_by_guard = self.background and dice.random() < 0.5
        """The setting `background="always"` asks for it, and not the program."""
        self.numbered = self.background or dice.random() < 0.8
        self.resume_kind = dice.choice(list(RESUMES)) if self.background else ""
        self.answer: Any = chat.chat_answer(dice) if self.is_chat else responses.responses_answer(dice)
        self.untold = not self.is_chat and any(item.untold for item in self.answer.items)
        """What is told whole only cannot be told otherwise than piece by piece."""
        if isinstance(self.answer, chat.ChatAnswer) and not _helper_reads(self.answer):
            self.door = "create"
        self.attempts: list[Attempt] = []
        self.candidates: list[Any] = []
        self.requests = self.polls = self.generations = 0
        self.stored: Any = None
        """The attempt that a resume goes on with."""
        self.delivered: list[dict[str, Any]] = []
        self.error: BaseException | None = None

    @property
    def kind(self) -> str:
        """What the table calls the first second answer."""
        seconds = [attempt.kind for attempt in self.attempts[1:] if attempt.end != "refused"]
        api = "chat" if self.is_chat else "background" if self.background else "responses"
        return f"{api}: {seconds[0] if seconds else 'no second answer'}"

    @property
    def body(self) -> dict[str, Any]:
        """What the program asks for."""
        if self.is_chat:
            return dict(self.answer.body)
        if self.asked_by_guard:
            return dict(self.answer.body)
        kept = {"background": True} if self.background else {} if self.store is None else {"store": self.store}
        return {**self.answer.body, **kept}

    @property
    def settings(self) -> PolicyFields:
        """What the guard is told."""
        if not self.asked_by_guard:
            return {"delivery": self.delivery}
        return {"delivery": self.delivery, "background": "always", "background_hosts": ("answers.test",)}

    # The server.

    def __call__(self, request: Any) -> Any:
        """Answer a request."""
        if request.url.path.endswith("/cancel"):  # what the guard gave up is cancelled, when other runs are on already
            return HTTP.Response(200, json={})
        query = dict(request.url.params)
        if request.method == "GET" and "stream" not in query:
            return self._polled()
        self.requests += 1
        if self.requests > 20:
            raise AssertionError("there is no end to the requests")
        if request.method == "GET":
            attempt = self._resumed(int(query["starting_after"]))
            if attempt is None:
                told = {
                    "error": {"message": "This response can no longer be streamed.", "type": "invalid_request_error"}
                }
                return HTTP.Response(400, json=told)
        else:
            attempt = self._next()
        self.attempts.append(attempt)
        if request.method == "POST":
            self.generations += 1
            self.stored = attempt
        if attempt.end == "refused":
            return HTTP.Response(503, json=_STATUS)
        return streamed(attempt.reads, attempt.end, sync=self.sync)

    def _next(self) -> Attempt:
        """The next attempt, by the plan: broken ones first."""
        serial, dice = len(self.attempts) + 1, self.dice
        broken = len(self.attempts) < self.faults
        if broken and self.attempts and dice.random() < 0.1:
            return Attempt("refused", self.answer, [], [], "refused")
        kind, answer = "first", self.answer
        telling = responses.Telling(serial, self.numbered, stored=self.store is not False, background=self.background)
        if self.attempts:
            kind, answer, telling = self._varied(telling)
        self.candidates.append(answer)
        if self.is_chat:
            told = chat.chunks(answer, serial, dice)
            return self._broken(Attempt(kind, answer, told, chat.wire(told), "whole"), broken)
        told = responses.events(answer, telling, dice)
        deltas = _deltas(told)
        hole = dice.random() < 0.06 and bool(deltas) and self.door == "create"
        if hole:
            told = _without(told, dice.choice(deltas), renumbered=dice.random() < 0.5)
            kind = "a delta was swallowed" if self.attempts else kind
        attempt = Attempt(kind, answer, told, responses.wire(told), "whole", hole, telling)
        return self._broken(attempt, broken)

    def _varied(self, telling: responses.Telling) -> tuple[str, Any, responses.Telling]:
        """Another answer, or another telling of the same."""
        dice = self.dice
        if dice.random() < 0.35:
            return "same", self.answer, telling
        if not self.is_chat and self.door == "create" and not self.untold and dice.random() < 0.3:
            if dice.random() < 0.5:
                return "done says otherwise", self.answer, replace(telling, done="other")
            final = dice.choice(("other", "empty", "less"))
            return f"final says {final}", self.answer, replace(telling, final=final)
        variations: Any = chat.VARIATIONS if self.is_chat else responses.VARIATIONS
        kinds = dice.choices(list(variations), k=2 if dice.random() < 0.25 else 1)
        other = self.answer
        for (
            kind
        ) in kinds:  # of two parts that differ, one is read before the other can be held against the first answer
            other = variations[kind](dice, other)
        changed = [kind for kind in kinds if kind != "same"]
        return changed[0] if other != self.answer else "same", other, telling

    def _broken(self, attempt: Attempt, broken: bool) -> Attempt:
        """The same attempt, as far as it comes."""
        dice, frames = self.dice, attempt.reads
        if broken:
            attempt.end = dice.choice(_BROKEN)
            place = dice.randint(0, len(frames))
            next_frame = frames[place] if place < len(frames) and attempt.end != "error" else b""
            part = next_frame[: dice.randint(0, len(next_frame))]
            frames = [*frames[:place], *([part] if part and dice.random() < 0.4 else [])]
            if attempt.end == "error":
                error = {"type": "error", "code": "server_error", "message": "overloaded"}
                frames.append(f"data: {json.dumps(_STATUS if self.is_chat else error)}\n\n".encode())
        elif self.is_chat:
            frames = [*frames, b"data: [DONE]\n\n"]
        size = dice.choice((1, 1, 2, 4, 100))
        attempt.reads = [b"".join(frames[start : start + size]) for start in range(0, len(frames), size)]
        return attempt

    def _resumed(self, after: int) -> Attempt | None:
        """The rest of the stored response; None where it can no longer be streamed."""
        first, kind = self.stored, self.resume_kind
        if kind.startswith("polled"):
            return None
        rest = [event for event in first.told if self._late(event, after)]
        hole = kind.startswith("an event is skipped") and bool(_deltas(rest))
        if hole:
            rest = _without(rest, self.dice.choice(_deltas(rest)), renumbered=kind.endswith("renumbered"))
        if kind == "from the beginning":
            rest = list(first.told)
        if kind == "done says otherwise" and not self.untold:
            other = replace(first.telling, done="other", final="other")
            said = {_place(event): event for event in responses.events(first.answer, other, random.Random(0))}
            rest = [
                event if "delta" in event else {**said[_place(event)], "sequence_number": event["sequence_number"]}
                for event in rest
            ]
        attempt = Attempt(kind, first.answer, rest, responses.wire(rest), "whole", hole, first.telling)
        return self._broken(attempt, len(self.attempts) < self.faults)

    @staticmethod
    def _late(event: dict[str, Any], after: int) -> bool:
        return bool(event["sequence_number"] > after)

    def _polled(self) -> Any:
        """The stored response as a whole."""
        self.polls += 1
        first, kind = self.stored, self.resume_kind
        if self.polls < 3 and kind == "polled: still in progress":
            return HTTP.Response(200, json={**responses.final(first.answer, first.telling), "status": "in_progress"})
        answer = first.answer
        if kind == "polled: something else":
            name = self.dice.choice([name for name in responses.VARIATIONS if name != "same"])
            answer = responses.VARIATIONS[name](self.dice, answer)
        if kind == "polled: cancelled":
            answer = replace(answer, items=answer.items[:1], status="cancelled")
        self.candidates.append(answer)
        final = responses.final(answer, first.telling)
        self.attempts.append(Attempt(kind, answer, [{"response": final}], [], "whole"))
        return HTTP.Response(200, json=final)

    # The verdict.

    def ended_well(self, items: Sequence[dict[str, Any]]) -> bool:
        """Whether the helper has a final value: of an incomplete response the SDK has none."""
        return self.is_chat or (bool(items) and items[-1]["type"] == "response.completed")

    def judge(self, items: list[dict[str, Any]], error: BaseException | None, final: Any) -> str:
        """One of OUTCOMES, a wrong one with the reason behind a colon."""
        self.delivered, self.error = items, error
        if error is not None and not isinstance(error, OpenAIStreamParseError):
            if isinstance(error, openai.LengthFinishReasonError):
                return "raised"
            return f"wrong: {type(error).__name__}: {error}"[:150]
        verbatim = any(items == attempt.told[: len(items)] for attempt in self.attempts)
        if error is None and self.door == "create" and self.requests == 1:
            first = self.attempts[0]
            if not verbatim or (len(items) < len(first.told) and not self._enough(items)):
                return "wrong: complete, and other items than were sent"
            return "wrong: a swallowed delta was not noticed" if first.hole else "whole"
        if error is None and any(
            items == attempt.told and (before.hole or not attempt.hole) for before, attempt in pairwise(self.attempts)
        ):
            return "recovered"  # nothing was delivered to hold against it; and a hole that came twice is a habit
        reader: Any = (
            chat.ChatReader(self.answer)
            if self.is_chat
            else responses.ResponsesReader(self.answer, own_ids=self.store is not False and self.door == "create")
        )
        for item in items:
            reader.add(item)
        if error is not None:
            if any(attempt.hole for attempt in self.attempts):
                return "raised"  # what came behind the hole was delivered before anything told of it
            if not verbatim and (reader.wrong or not any(map(reader.is_beginning, self.candidates))):
                return f"wrong: raised, after {next(iter(reader.wrong), 'what no answer begins with')}"
            return "wrong: raised without need" if self._needless() else "raised"
        if reader.wrong:
            return f"wrong: {reader.wrong[0]}"
        if not any(map(reader.is_whole, self.candidates)):
            return "wrong: none of the answers"
        if not self.is_chat and not reader.seals <= set().union(
            *(responses.seals_in(attempt.told) for attempt in self.attempts)
        ):
            return "wrong: sealed content under an id that it was not sealed for"
        if final is not None and (found := self._helper_differs(reader, final)):
            return found
        return "whole" if self.requests == 1 else "recovered"

    def _enough(self, items: list[dict[str, Any]]) -> bool:
        """Of a chat, whether every choice is finished: what may follow is not asked for again."""
        finished = {choice["index"] for item in items for choice in item.get("choices", ()) if choice["finish_reason"]}
        return self.is_chat and len(finished) == len(self.answer.choices)

    def _needless(self) -> bool:
        """Whether the second answer was the first one again, and nothing stood in the way of a replay."""
        if len(self.attempts) < 2 or any(attempt.kind not in ("first", "refused", *SAME) for attempt in self.attempts):
            return False
        if any(attempt.hole for attempt in self.attempts) or self.attempts[-1].end != "whole":
            return False
        if self.background:
            return bool(self.attempts[0].reads) and self.attempts[0].told[0]["type"] in "".join(
                read.decode() for read in self.attempts[0].reads
            )
        if self.is_chat:
            return not self.answer.logprobs
        kinds = {item.kind for item in self.answer.items}
        sealed = any(item.sealed for item in self.answer.items)
        return kinds.isdisjoint(responses.HOSTED) and not sealed and (self.store is False or kinds == {"message"})

    def _helper_differs(self, reader: Any, final: Any) -> str | None:
        if self.is_chat:
            said = {
                choice.index: (
                    choice.message.content or "",
                    [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()],
                    choice.finish_reason,
                )
                for choice in final.choices
            }
            return None if said == reader.messages else "wrong: the helper's final completion differs"
        final_texts = [
            part.text
            for item in final.output
            if item.type == "message"
            for part in item.content
            if hasattr(part, "text")
        ]
        told_texts = [
            part["text"]
            for item in reader.final["output"]
            if item["type"] == "message"
            for part in item["content"]
            if "text" in part
        ]
        return None if final_texts == told_texts else "wrong: the helper's final response differs"


SAME = ("same", "the rest", "from the beginning", "polled", "polled: still in progress")
RESUMES = (
    *("the rest", "the rest", "from the beginning", "an event is skipped", "an event is skipped, renumbered"),
    *("done says otherwise", "polled", "polled: still in progress", "polled: something else", "polled: cancelled"),
)
"""What the server makes of a resume."""


def _helper_reads(answer: chat.ChatAnswer) -> bool:
    """Whether the SDK's helper reads such an answer at all."""
    objects = any(isinstance(call.arguments, dict) for choice in answer.choices for call in choice.calls)
    cut = any(choice.finish == "length" for choice in answer.choices)
    return not (objects or cut or answer.legacy)


def _place(event: dict[str, Any]) -> tuple[Any, ...]:
    """What an event is, and where."""
    indexes = ("output_index", "content_index", "summary_index", "annotation_index")
    return (event["type"], *map(event.get, indexes))


def _deltas(events: Sequence[dict[str, Any]]) -> list[int]:
    """Where the deltas are of texts that have several. (Where the only one is lost, the text was never streamed.)"""
    counts = Counter(_place(event) for event in events)
    return [at for at, event in enumerate(events) if "delta" in event and counts[_place(event)] > 1]


def _without(events: list[dict[str, Any]], place: int, *, renumbered: bool) -> list[dict[str, Any]]:
    left = [dict(event) for at, event in enumerate(events) if at != place]
    if renumbered:
        for event in left[place:]:
            if "sequence_number" in event:
                event["sequence_number"] -= 1
    return left


# The program.


def _asked(client: Any, run: Run) -> Any:
    body = run.body
    if run.door == "helper":
        endpoint = helpers_of(client) if run.is_chat else client.responses
        return endpoint.stream(**body)
    if run.is_chat:
        endpoint = client.completions if run.answer.legacy else client.chat.completions
    else:
        endpoint = client.responses
    return endpoint.create(**body, stream=True)


def _item(item: Any) -> dict[str, Any] | None:
    """The JSON that an item was made of; of a helper's events, of those that are the API's."""
    chunk = getattr(item, "chunk", None)
    if chunk is None and not hasattr(item, "choices") and not str(getattr(item, "type", "")).startswith("response."):
        return None
    told: dict[str, Any] = (item if chunk is None else chunk).to_dict(warnings=False)
    return told


async def see(client: Any, run: Run) -> str:
    """The verdict on a run."""
    items, error, final = list[dict[str, Any]](), None, None
    try:
        if run.door == "create":
            items.extend([item.to_dict(warnings=False) async for item in await _asked(client, run)])
        else:
            async with _asked(client, run) as stream:
                items.extend([told async for event in stream if (told := _item(event)) is not None])
                if run.ended_well(items):
                    final = await (stream.get_final_completion() if run.is_chat else stream.get_final_response())
    except Exception as raised:
        error = raised
    return run.judge(items, error, final)


class Servers:
    """The transport of one client: whatever run is on answers."""

    run: Run

    def client(self, *, sync: bool) -> Any:
        """A client of the SDK on this transport, to be used as an asynchronous one."""
        return client_over(lambda request: self.run(request), sync=sync, base_url="http://answers.test/v1")


@contextmanager
def guarded() -> Iterator[None]:
    """The guard on, on a clock that jumps over every wait."""
    before = timing.current
    timing.current = SkippedTime(Clock())
    try:
        with switch.restored():
            switch.enable(Policy(retry_budget=None, backoff_initial=0.0, backoff_max=0.0, max_retries=RETRIES))
            yield
    finally:
        timing.current = before


def verdicts(seed: int, numbers: Sequence[int]) -> list[tuple[int, str, str]]:
    """Of each run its number, its kind, and its verdict."""
    runs = {number: Run(seed, number) for number in numbers}
    found: list[tuple[int, str]] = []
    with guarded():
        for sync in (True, False):
            some = {number: run for number, run in runs.items() if run.sync == sync}
            found += run_for("sync" if sync else "asyncio", _verdicts, some, sync)
    return [(number, runs[number].kind, verdict) for number, verdict in found]


async def _verdicts(runs: Mapping[int, Run], sync: bool) -> list[tuple[int, str]]:
    servers, found = Servers(), []
    async with servers.client(sync=sync) as client:
        for number, run in runs.items():
            servers.run = run
            sdk.RUNTIME.hosts.forget()  # one run must not learn from another
            with switch.guarding(**run.settings):
                found.append((number, await see(client, run)))
    return found


def prepared() -> None:
    """What a process of runs is to leave out: each fault is a warning of the guard's, and of pydantic's each odd item;
    the modules of the SDK are too many objects for the garbage collector to look through again and again; and Ctrl-C is
    for the process that prints the table."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable()
    warnings.simplefilter("ignore")
    gc.freeze()


def table(found: Sequence[tuple[int, str, str]]) -> Iterator[str]:
    """Kinds by outcomes, and what was wrong, each with the run that shows it."""
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    wrong: defaultdict[str, list[int]] = defaultdict(list)
    for number, kind, verdict in found:
        kinds[kind][verdict.partition(":")[0]] += 1
        if verdict.startswith("wrong"):
            wrong[f"{kind}: {verdict.partition(': ')[2]}"].append(number)
    yield f"{'second answer':45}{'runs':>9}" + "".join(f"{outcome:>11}" for outcome in OUTCOMES)
    for kind, counts in sorted(kinds.items()):
        yield f"{kind:45}{counts.total():9,}" + "".join(f"{counts[outcome]:11,}" for outcome in OUTCOMES)
    for reason, numbers in sorted(wrong.items(), key=lambda pair: -len(pair[1])):
        yield f"{len(numbers):6,}  --only {min(numbers)}  {reason}"


def cut_everywhere(stride: int, name: str) -> tuple[str, int, list[str]]:
    """Cut a background response at every `stride`-th byte: its name, how many cuts, and what is wrong."""
    answer, wrong, cuts = background.ANSWERS[name], list[str](), 0
    with guarded():
        for way in background.WAYS:
            places = background.offsets(answer, stride)
            cuts += len(places)
            wrong += background.cut_at(answer, places, way, Servers())
    return name, cuts, wrong


def _cut_background(stride: int, jobs: int) -> int:
    """Print what became of each background response that was cut; return how many were not whole."""
    print(f"\n{'background response, cut at every ' + (f'{stride}. byte' if stride > 1 else 'byte'):45}{'cuts':>9}")
    wrong = 0
    with multiprocessing.Pool(jobs, prepared) as pool, suppress(KeyboardInterrupt):
        for name, cuts, failed in pool.imap(partial(cut_everywhere, stride), background.ANSWERS):
            print(f"{name:45}{cuts:9,}", *failed[:5], sep="\n  ")
            wrong += len(failed)
    return wrong


def main(arguments: Sequence[str]) -> int:
    """Print the tables; 1 if there is an exception to the law."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof.answers", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--runs", type=int, default=100_000, metavar="N", help="(100,000)")
    parser.add_argument("--seed", type=int, default=1, help="of all runs (1)")
    parser.add_argument("--only", type=int, metavar="N", help="the N-th run, with all that was sent and delivered")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (one for each core)")
    parser.add_argument("--quick", action="store_true", help="a slice of some seconds: --runs 1000")
    options = parser.parse_args(arguments)
    if options.quick:
        options.runs = 1000
    if options.only is not None:
        return _show(options.seed, options.only)
    started, found = time.monotonic(), list[tuple[int, str, str]]()
    parts = [range(start, min(start + 500, options.runs)) for start in range(0, options.runs, 500)]
    with multiprocessing.Pool(options.jobs, prepared) as pool, suppress(KeyboardInterrupt):  # then with what came
        for part in pool.imap_unordered(partial(verdicts, options.seed), parts):
            found += part
            for number, kind, verdict in part:
                if verdict.startswith("wrong"):
                    print(f"--only {number}  {kind}: {verdict}", file=sys.stderr, flush=True)
    print(f"openai {openai.__version__}, seed {options.seed}", *table(found), sep="\n")
    wrong = sum(verdict.startswith("wrong") for _, _, verdict in found)
    print(f"{len(found):,} runs, {wrong:,} exceptions to the law, {time.monotonic() - started:.0f} s")
    wrong += _cut_background(101 if options.quick else 1, options.jobs)
    return 1 if wrong else 0


def _show(seed: int, number: int) -> int:
    """One run in full."""
    logging.disable()
    run = Run(seed, number)
    with guarded():
        ((_, verdict),) = run_for("sync" if run.sync else "asyncio", _verdicts, {number: run}, run.sync)
    print(f"{run.kind}; {run.door}, {run.delivery}, store={run.store}, background={run.background}, sync={run.sync}")
    for attempt in run.attempts:
        print(f"\n{attempt.kind}, ends: {attempt.end}, hole: {attempt.hole}\n{attempt.answer}")
        print(b"".join(attempt.reads).decode(errors="replace"))
    print("\ndelivered", *map(json.dumps, run.delivered), sep="\n")
    print(f"\n{run.error!r}\n{verdict}")
    return 1 if verdict.startswith("wrong") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
