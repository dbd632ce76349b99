"""The law, by OpenTelemetry's own SDK: what goes wrong is on the span that asked, and every stream is counted once."""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openai_stream_guard import Policy, configure
from openai_stream_guard import activation as switch
from openai_stream_guard.notices import (
    Attempt,
    CancelSent,
    Ended,
    FaultSeen,
    Notice,
    Recovering,
    Refused,
    StreamReport,
    Waiting,
)
from openai_stream_guard.testing import Server, replying
from openai_stream_guard.testing.server.answers.answer import TEXT
from tests.support import pages, programs
from tests.support.streams import CLIENT_KINDS, KEY, chat, client_for, consume, run, scripted

sdk_metrics = pytest.importorskip("opentelemetry.sdk.metrics", reason="opentelemetry-sdk is not installed")
from opentelemetry import metrics, trace  # noqa: E402 - skipped before
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader  # noqa: E402 - skipped before
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402 - skipped before
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402 - skipped before
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402 - skipped before

from openai_stream_guard.observability import opentelemetry as telemetry  # noqa: E402 - skipped before

ROOT = Path(__file__).parents[3]
SPANS = InMemorySpanExporter()
READER = InMemoryMetricReader(
    preferred_temporality={
        sdk_metrics.Counter: AggregationTemporality.DELTA,
        sdk_metrics.Histogram: AggregationTemporality.DELTA,
    }
)
PREFIX = "openai_stream_guard."


@functools.cache  # tests of other files may come between those of this one, so that a fixture is set up again
def exporters() -> None:
    """An application that has set up OpenTelemetry: once for the process, as its API wants it."""
    spans = TracerProvider()
    spans.add_span_processor(SimpleSpanProcessor(SPANS))
    trace.set_tracer_provider(spans)
    metrics.set_meter_provider(sdk_metrics.MeterProvider([READER]))


@pytest.fixture(autouse=True)
def fresh(guarded: None) -> Iterator[None]:
    exporters()
    READER.get_metrics_data()
    SPANS.clear()
    yield
    SPANS.clear()


def tracer() -> Any:
    return trace.get_tracer("the application")


def events() -> list[tuple[str, dict[str, Any]]]:
    """The span events that were exported, by the name of their span: a list in order."""
    return [
        (event.name.removeprefix(PREFIX), dict(event.attributes))
        for span in SPANS.get_finished_spans()
        for event in span.events
    ]


def points() -> dict[str, list[Any]]:
    """What was measured since the last time, by the instrument's name; only the guard's."""
    data = READER.get_metrics_data()
    found: dict[str, list[Any]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            if scope.scope.name == "openai_stream_guard":
                for metric in scope.metrics:
                    found.setdefault(metric.name.removeprefix(PREFIX), []).extend(metric.data.data_points)
    return found


def in_a_span(server: Server, client_kind: str = "sync") -> Any:
    with tracer().start_as_current_span("ask"):
        return consume(server, client_kind)


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_recovery_is_on_the_span_and_counted(server: Server, client_kind: str) -> None:
    """Fault, re-issue and end are events of the span that asked, in order; each counter counted what it names."""
    server.reset(fault="truncate_clean", after=6)
    assert in_a_span(server, client_kind).text == TEXT
    (fault_name, fault), (way_name, way), (end_name, end) = events()
    place = {"server.address": "127.0.0.1", "server.port": int(server.base_url.split(":")[2][:-3])}
    place["gen_ai.request.model"] = "m"
    assert (fault_name, way_name, end_name) == ("fault", "recovering", "ended")
    assert fault["error.type"] == "truncated"
    assert fault[PREFIX + "request_id"] == server.requests[0].request_id
    assert fault["http.response.status_code"] == 200
    assert way[PREFIX + "way"] == "replay"
    assert end[PREFIX + "outcome"] == "recovered"
    assert end[PREFIX + "recoveries"] == ("replay",)
    for attributes in (fault, way, end):
        assert place.items() <= attributes.items()

    measured = points()
    assert [(point.value, point.attributes) for point in measured["streams"]] == [
        (1, {PREFIX + "outcome": "recovered", **place})
    ]
    assert [(point.value, point.attributes) for point in measured["faults"]] == [
        (1, {"error.type": "truncated", **place})
    ]
    assert [(point.value, point.attributes) for point in measured["reissues"]] == [
        (1, {PREFIX + "way": "replay", **place})
    ]
    for name in ("first_event.duration", "worst_gap.duration", "recovery.duration"):
        (point,) = measured[name]
        assert point.count == 1
        assert 0 < point.sum < 5
        assert point.explicit_bounds == telemetry.SECONDS_BUCKETS
        assert point.attributes == place


@pytest.mark.parametrize("client_kind", CLIENT_KINDS)
def test_a_healthy_stream_is_counted_and_leaves_the_span_alone(server: Server, client_kind: str) -> None:
    """One stream, its times, and no event: there is nothing to tell."""
    assert in_a_span(server, client_kind).text == TEXT
    assert events() == []
    measured = points()
    assert sorted(measured) == [
        "first_event.duration", "streams", "time_per_output_chunk", "time_to_first_chunk", "worst_gap.duration",
    ]  # fmt: skip
    assert measured["streams"][0].attributes[PREFIX + "outcome"] == "complete"


def test_a_failed_stream_says_by_what(server: Server) -> None:
    """`error.type` is the first fault's; the refused re-issue is an event and a request."""
    server.script("truncate_clean", replying({"error": {"message": TEXT}}, 401), after=6)
    in_a_span(server)
    names = [name for name, _ in events()]
    assert names == ["fault", "recovering", "refused", "ended"]
    assert events()[2][1]["http.response.status_code"] == 401
    assert events()[3][1][PREFIX + "stopped_by"] == "not_retryable"
    measured = points()
    (stream,) = measured["streams"]
    assert (stream.attributes[PREFIX + "outcome"], stream.attributes["error.type"]) == ("failed", "truncated")
    assert measured["reissues"][0].value == 1
    assert "recovery.duration" not in measured


def test_repairs_are_counted_by_kind(server: Server) -> None:
    """A stream that came out whole only since it was repaired says so."""
    server.reset(fault="glued_objects")
    in_a_span(server)
    ((name, end),) = events()
    assert (name, end[PREFIX + "repairs"]) == ("ended", ("glued_values",))
    assert [(point.value, point.attributes[PREFIX + "repair"]) for point in points()["repairs"]] == [
        (1, "glued_values")
    ]


def test_the_span_that_asked_gets_the_events_wherever_the_stream_is_read(server: Server) -> None:
    """A span that is current where the stream is read, perhaps of another request, is not the stream's."""
    server.reset(fault="truncate_clean", after=6)
    with client_for(server) as client:
        asking = tracer().start_span("ask")
        with trace.use_span(asking):
            stream = chat(client)
        with tracer().start_as_current_span("read"):
            list(stream)
        asking.end()
    told = {span.name: len(span.events) for span in SPANS.get_finished_spans()}
    assert told == {"ask": 3, "read": 0}


def test_once_that_has_ended_the_current_one_does(server: Server, caplog: Any) -> None:
    """A program that asks in one span and reads in another loses nothing, and OpenTelemetry has no complaints."""
    server.reset(fault="truncate_clean", after=6)
    with client_for(server) as client:
        with tracer().start_as_current_span("ask"):
            stream = chat(client)
        with tracer().start_as_current_span("read"):
            list(stream)
    told = {span.name: len(span.events) for span in SPANS.get_finished_spans()}
    assert told == {"ask": 0, "read": 3}
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


def test_concurrent_tasks_keep_their_spans_apart(server: Server) -> None:
    """Each of twenty streams is told of on its own task's span."""

    async def ask(client: Any, number: int) -> None:
        with tracer().start_as_current_span(f"ask {number}"):
            stream = await chat(client, user=str(number))
            assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]) == TEXT

    async def main() -> None:
        async with client_for(server, "asyncio") as client:
            await asyncio.gather(*(ask(client, number) for number in range(20)))

    def play(request: Any) -> Any:
        first = request.headers.get("x-stainless-retry-count", "0") == "0"
        return scripted("truncate_clean" if first else "clean", after=6 if first else None)

    server.script(*[play] * 40)
    run("asyncio", main)
    spans = SPANS.get_finished_spans()
    assert len(spans) == 20
    assert {span.events[0].name for span in spans} == {PREFIX + "fault"}
    assert {span.events[-1].name for span in spans} == {PREFIX + "ended"}
    assert sum(point.value for point in points()["streams"]) == 20


def test_observing_is_recorded_too(server: Server) -> None:
    """A first rollout by `observe` shows in the metrics what the guard would have met."""
    switch.observe(Policy())
    server.reset(fault="truncate_clean", after=6)
    in_a_span(server)
    assert [name for name, _ in events()] == ["fault", "ended"]
    assert points()["faults"][0].value == 1


def test_the_hook_is_still_called(server: Server) -> None:
    """OpenTelemetry listens beside `on_event`, and a hook that fails takes nothing away from it."""
    server.reset(fault="truncate_clean", after=6)
    configure(on_event=lambda notice: 1 / 0)
    assert in_a_span(server).text == TEXT
    assert len(events()) == 3


def test_nothing_secret_is_recorded(server: Server) -> None:
    """Neither the key, the question nor the answer is in any event or attribute."""
    server.reset(fault="garbage_event", after=6, times=None)
    with tracer().start_as_current_span("ask"):
        consume(server, ask=lambda client: chat(client, user="planted-prompt"))
    told = repr(events()) + repr(points())
    assert "malformed" in told
    for word in (*TEXT.split()[:5], KEY, "planted-prompt"):
        assert word not in told


ATTEMPT = Attempt("truncated", "replay", 1, 2, 300, 0.5, "req_1", "chatcmpl-1", 200)
STORY: list[Notice] = [
    FaultSeen("a reason", 1, ATTEMPT, "h:1", "m"),
    Recovering("replay", 0.5, 2, "h:1", "m"),
    Refused(503, 2, "req_2", "h:1", "m"),
    Waiting("host", 30.0, 2, "h:1", "m"),
    Ended(
        StreamReport(
            "failed",
            (ATTEMPT,),
            ("replay",),
            {"glued_values": 2},
            (),
            1,
            2,
            0.5,
            first_chunk_seconds=0.6,
            chunk_seconds=0.1,
        ),
        "retries",
        "h:1",
        "m",
    ),
    CancelSent("resp_1", 404, "NotFoundError", "h:1", "m"),
]


def test_the_page_names_all_that_is_recorded() -> None:
    """Its two tables hold every event, instrument and attribute, with unit, and nothing else."""
    section = pages.section(pages.OBSERVABILITY, "OpenTelemetry")
    with tracer().start_as_current_span("ask"):
        record = telemetry.recorder()
        for notice in STORY:
            record(notice)
    everywhere = {PREFIX + "stream_id"}
    assert all(everywhere <= set(said) for _, said in events())
    place = set(telemetry._server_attributes(STORY[0])) | everywhere
    expected = {PREFIX + name: set(said) - place for name, said in events()}
    units = {}
    for name, found in points().items():
        expected[PREFIX + name] = set().union(*(point.attributes for point in found)) - place
    source = inspect.getsource(telemetry)
    units = dict(re.findall(r'"(openai_stream_guard\.[a-z_.]+)",\s*"([{}a-z]+)"', source))
    documented, documented_units = {}, {}
    for row in re.findall(r"^\| `(openai_stream_guard[^`]+)` \|(.+)\|$", section, re.MULTILINE):
        cells = row[1].split("|")
        documented[row[0]] = set(re.findall(r"`([a-z_.]+)`", cells[-1]))
        if len(cells) == 3:
            documented_units[row[0]] = cells[0].split(",")[1].strip().strip("`")
    assert documented == expected
    assert documented_units == units
    common = re.search(r"Each of them also has (.+?)\.\s", section, re.DOTALL)
    assert common is not None
    assert set(re.findall(r"`([a-z_.]+)`", common[1])) == place - everywhere
    assert f"Each event has `{PREFIX}stream_id`" in " ".join(section.split())


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("api.openai.com", {"server.address": "api.openai.com"}),
        ("localhost:8000", {"server.address": "localhost", "server.port": 8000}),
        ("[::1]:8000", {"server.address": "::1", "server.port": 8000}),
        ("[::1]", {"server.address": "::1"}),
    ],
)
def test_a_host_is_an_address_and_a_port(host: str, place: dict[str, Any]) -> None:
    """As the conventions want them; a default port is not made up, and no model is no attribute."""
    assert telemetry._server_attributes(Recovering("replay", 0.5, 2, host, None)) == place


def python(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program with the guard on; warnings are errors."""
    return programs.run("-W", "error", "-c", program, cwd=ROOT, OPENAI_STREAM_GUARD="1")


STREAM = """
import sys
from openai_stream_guard.testing import Server
import openai, openai_stream_guard
with Server(fault="truncate_clean") as server, openai.OpenAI(base_url=server.base_url, api_key="k") as client:
    text = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(model="m", messages=[], stream=True) if chunk.choices)
"""


def test_a_program_without_opentelemetry_does_not_load_it() -> None:
    """It is installed here, and the guard leaves it alone as long as the program does."""
    done = python(STREAM + "print(len(text) > 10, [name for name in sys.modules if name.startswith('opentelemetry')])")
    assert (done.returncode, done.stdout) == (0, "True []\n"), done.stderr


def test_an_opentelemetry_that_does_not_fit_is_told_once_and_harms_no_stream() -> None:
    """Where its API is too old or broken, streams come as before, with one warning in the log."""
    program = (
        "import opentelemetry.trace, opentelemetry.metrics\n"
        "def old(*args, **kwargs): raise TypeError('unexpected keyword')\n"
        "opentelemetry.metrics.get_meter = old\n"
    )
    done = python(program + STREAM.replace("text =", "for _ in range(3): text =") + "print(len(text) > 10)")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert done.stderr.count("not recorded by OpenTelemetry (TypeError: unexpected keyword)") == 1


def test_without_it_the_module_names_the_extra() -> None:
    """Whoever imports the module where OpenTelemetry is not installed is told what to install."""
    done = python(
        "import sys; sys.modules['opentelemetry'] = None; import openai_stream_guard.observability.opentelemetry"
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("pip install 'openai-stream-guard[otel]' brings it")


def test_the_recipe_for_prometheus_works() -> None:
    """The views rename, and a scrape has what was counted."""
    exporter = pytest.importorskip("opentelemetry.exporter.prometheus", reason="its exporter is not installed")
    section = pages.section(pages.OBSERVABILITY, "OpenTelemetry")
    recipe = section.split("```python\n")[1].split("```")[0]
    done = python(f"""
from {exporter.__name__} import PrometheusMetricReader
from opentelemetry import metrics
import openai_stream_guard
READERS = [PrometheusMetricReader()]
{recipe}
metrics.set_meter_provider(provider)
from openai_stream_guard.notices import CancelSent, Ended, StreamReport
from openai_stream_guard.observability.publish import listeners
(record,) = listeners(None)
record(Ended(StreamReport("complete", first_chunk_seconds=0.5, chunk_seconds=0.02), None, "h:1", "m", "1a2b3c4d"))
from prometheus_client import generate_latest
print(generate_latest().decode())
""")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^openai_stream_guard_streams_total\{.*outcome=\"complete\".*\} 1\.0$", done.stdout, re.MULTILINE)
    for name in ("time_to_first_chunk", "time_per_output_chunk"):
        assert re.search(rf"^gen_ai_client_operation_{name}_seconds_count\{{.*\}} 1\.0$", done.stdout, re.MULTILINE)
    assert "1a2b3c4d" not in done.stdout
