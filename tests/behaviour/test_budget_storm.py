"""The law: an outage is not answered with twice the traffic, and one host's outage is no other's."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import openai
import pytest

from openai_stream_guard import Policy
from openai_stream_guard import activation as switch
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support.ported import HTTP
from tests.support.simulated import answer_variant

STREAMS = 1000
WHOLE = b"".join(answer_variant("text", 1).encode())
BROKEN = WHOLE[:1500]


class Outage:
    """Two hosts: one breaks every stream in the middle, the other one in each hundred requests."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()

    async def __call__(self, request: Any) -> Any:
        host = request.url.host
        self.requests[host] += 1
        broken = host == "failing.test" or self.requests[host] % 100 == 1
        await asyncio.sleep(0)  # as a network would, let the others run
        headers = {"content-type": "text/event-stream"}
        return HTTP.Response(200, headers=headers, content=BROKEN if broken else WHOLE)

    def client(self, host: str) -> Any:
        """A client of one of the hosts."""
        http = HTTP.AsyncClient(transport=HTTP.MockTransport(self))
        return openai.AsyncOpenAI(base_url=f"http://{host}/v1", api_key="none", http_client=http)


async def text_of(client: Any) -> Any:
    """The text of one stream, or its error."""
    said = ""
    try:
        async for chunk in await client.chat.completions.create(model="m", messages=[], stream=True):
            said += chunk.choices[0].delta.content or ""
    except openai.APIConnectionError as error:
        return error
    return said


@pytest.mark.slow
def test_an_outage_costs_a_tenth_more_requests_and_no_other_host() -> None:
    """1,000 streams at once to a failing host ask at most 1,110 times; its neighbour recovers as ever."""
    switch.enable(Policy(backoff_initial=0.01, backoff_max=0.01))
    outage = Outage()

    async def storm() -> tuple[list[Any], list[Any]]:
        async with outage.client("failing.test") as failing, outage.client("healthy.test") as healthy:
            lost = [asyncio.ensure_future(text_of(failing)) for _ in range(STREAMS)]
            whole = [asyncio.ensure_future(text_of(healthy)) for _ in range(STREAMS // 10)]
            return await asyncio.gather(*lost), await asyncio.gather(*whole)

    lost, whole = asyncio.run(storm())
    assert STREAMS < outage.requests["failing.test"] <= 1.1 * STREAMS + 10
    stops = Counter(error.stopped_by for error in lost)
    assert set(stops) <= {"budget", "retries"}
    assert stops["budget"] > 0.8 * STREAMS
    assert all(TEXT.startswith(error.partial_text) and error.partial_text for error in lost)
    assert whole == [TEXT] * (STREAMS // 10)
    assert outage.requests["healthy.test"] == STREAMS // 10 + 2, "some of them had to be asked for again"


def test_without_a_budget_every_stream_has_all_its_retries() -> None:
    """The same outage costs threefold: it is the budget that holds it."""
    switch.enable(Policy(backoff_initial=0.0, retry_budget=None))
    outage = Outage()

    async def storm() -> list[Any]:
        async with outage.client("failing.test") as failing:
            return await asyncio.gather(*(text_of(failing) for _ in range(50)))

    assert {error.stopped_by for error in asyncio.run(storm())} == {"retries"}
    assert outage.requests["failing.test"] == 150
