"""Background responses cut at every byte behind their first event: each comes out whole, in one generation.

The guard asks for them (`background="always"`). The server is the one of `answers`: it tells an answer of the model in
`answers_responses`, and the rest of it from any number, or the whole of it once it can no longer be streamed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from openai_stream_guard import activation as switch
from openai_stream_guard.config.policy import PolicyFields
from tests.support.mock_servers import streamed
from tests.support.ported import HTTP
from tests.support.streams import run as run_for

from . import answers_responses as responses
from .answers_responses import HOSTED, Item, Part, ResponsesAnswer, ResponsesReader, Telling, hosted_item

ALWAYS: PolicyFields = {"background": "always", "background_hosts": ("answers.test",)}
Way = Literal["resumed", "polled"]
WAYS: tuple[Way, ...] = ("resumed", "polled")
_TELLING = Telling(1, background=True, stored=True)
_TEXT = Item("message", (Part("output_text", "Trams, cafés 🚋.", ("https://a.test",)),))
_THOUGHT = Item("reasoning", (Part("summary_text", "Trams first."), Part("summary_text", "Then cafés.")), sealed=True)
_CALLS = tuple(Item("function_call", (), name, '{"city": "Zürich"}') for name in ("get_weather", "get_trams"))

ANSWERS: dict[str, ResponsesAnswer] = {
    "reasoning, two calls, a search, text": ResponsesAnswer((_THOUGHT, *_CALLS, Item("web_search_call"), _TEXT)),
    "message": ResponsesAnswer((_TEXT,)),
    "refusal": ResponsesAnswer((Item("message", (Part("refusal", "I cannot."),)),)),
    "reasoning, its text": ResponsesAnswer((Item("reasoning", (Part("reasoning_text", "Trams first."),)), _TEXT)),
    "custom_tool_call": ResponsesAnswer((Item("custom_tool_call", (), "shell", "ls -l"),)),
    "incomplete": ResponsesAnswer((_TEXT,), "incomplete"),
    **{kind: ResponsesAnswer((hosted_item(random.Random(kind), kind), _TEXT)) for kind in HOSTED},
}
"""Every kind of item."""


@dataclass
class Cut:
    """One stream: its server, and what its program got."""

    answer: ResponsesAnswer
    offset: int
    way: Way
    generations: int = 0
    gets: int = 0
    items: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_sync(self) -> bool:
        return self.offset % 4 != 3

    def __call__(self, request: Any) -> Any:
        """Answer a request."""
        if request.method == "POST":
            assert '"background":true' in request.content.decode().replace(" ", "")
            self.generations += 1
            return self._streamed(wire_of(self.answer)[: self.offset], cut=True)
        self.gets += 1
        query = dict(request.url.params)
        if "stream" not in query:
            return HTTP.Response(200, json=responses.final(self.answer, _TELLING))
        if self.way == "polled":
            return HTTP.Response(400, json={"error": {"message": "This response can no longer be streamed."}})
        rest = [event for event in told(self.answer) if event["sequence_number"] > int(query["starting_after"])]
        return self._streamed(b"".join(responses.wire(rest)))

    def _streamed(self, data: bytes, *, cut: bool = False) -> Any:
        return streamed([data], "reset" if cut and self.offset % 2 else "clean", sync=self.is_sync)

    def verdict(self) -> str | None:
        """What is wrong with what came out."""
        if self.generations != 1:
            return f"{self.generations} generations"
        if self.way == "resumed" and self.items != told(self.answer):
            return "other events than were told"
        reader = ResponsesReader(self.answer, own_ids=False)
        for item in self.items:
            reader.add(item)
        if reader.wrong:
            return reader.wrong[0]
        return None if reader.is_whole(self.answer) else "not the answer"


def told(answer: ResponsesAnswer) -> list[dict[str, Any]]:
    """Its events, the same each time."""
    return responses.events(answer, _TELLING, random.Random(1))


def wire_of(answer: ResponsesAnswer) -> bytes:
    """The same as bytes."""
    return b"".join(responses.wire(told(answer)))


def offsets(answer: ResponsesAnswer, stride: int = 1) -> range:
    """Where it is cut: from the end of its first event to the byte before its last."""
    return range(len(responses.wire(told(answer))[0]), len(wire_of(answer)), stride)


def cut_at(answer: ResponsesAnswer, places: Iterable[int], way: Way, servers: Any) -> Iterator[str]:
    """Cut an answer at each of these places; return what is wrong, each with its place.

    Args:
        servers: makes the transport of a client, see `answers.Servers`.
    """
    cuts = [Cut(answer, place, way) for place in places]
    with switch.guarding(**ALWAYS):
        for sync in (True, False):
            run_for("sync" if sync else "asyncio", _read, [cut for cut in cuts if cut.is_sync == sync], sync, servers)
    yield from (f"byte {cut.offset}, {way}: {wrong}" for cut in cuts if (wrong := cut.verdict()) is not None)


async def _read(cuts: Sequence[Cut], sync: bool, servers: Any) -> None:
    async with servers.client(sync=sync) as client:
        for cut in cuts:
            servers.run = cut
            stream = await client.responses.create(**cut.answer.body, stream=True)
            cut.items.extend([event.to_dict(warnings=False) async for event in stream])
