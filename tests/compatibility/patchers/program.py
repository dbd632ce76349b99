"""A program with two patchers of the SDK in it: this package, and one that traces. Each run is a process.

    python program.py PATCHER ORDER CLIENT_KIND API        with a server's address in SERVER

Prints, as JSON, what each stream came to: its text, and which spans the tracer began and ended for it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SECONDS = 5.0


class Tracer:
    """A patcher that traces: on from `start` to `stop`, if it can be stopped."""

    stop: Callable[[], None] | None = None

    def __init__(self) -> None:
        self.begun = 0
        self.said: list[str] = []
        """Of each span that has ended, all it says."""

    def start(self) -> None:
        """Patch the SDK."""
        raise NotImplementedError

    def settle(self) -> None:
        """Wait for what is handed over in the background."""

    @contextmanager
    def around(self) -> Iterator[None]:
        """What a program does around its calls."""
        yield


class OpenTelemetry(Tracer):
    """Whatever brings an OpenTelemetry instrumentor."""

    module = ""

    def __init__(self) -> None:
        super().__init__()
        import importlib

        self.instrumentor = importlib.import_module(self.module).OpenAIInstrumentor()

    def start(self) -> None:
        self.instrumentor.instrument(tracer_provider=self.provider())

    def stop(self) -> None:
        self.instrumentor.uninstrument()

    def provider(self) -> Any:
        """Where spans come from, counted as they begin and end."""
        from opentelemetry.sdk.trace import TracerProvider

        provider = TracerProvider()
        provider.add_span_processor(self.processor())
        return provider

    def processor(self) -> Any:
        from opentelemetry.sdk.trace import SpanProcessor

        tracer = self

        class Count(SpanProcessor):
            def on_start(self, span: Any, parent_context: Any = None) -> None:
                tracer.begun += 1

            def on_end(self, span: Any) -> None:
                tracer.said.append(
                    plain([dict(span.attributes or {}), [dict(e.attributes or {}) for e in span.events]])
                )

        return Count()


class OpenAIV2(OpenTelemetry):
    module = "opentelemetry.instrumentation.openai_v2"

    def start(self) -> None:
        os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
        os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "span_only"
        super().start()


class GenAI(OpenAIV2):
    module = "opentelemetry.instrumentation.genai.openai"


class OpenInference(OpenTelemetry):
    module = "openinference.instrumentation.openai"


class Traceloop(OpenTelemetry):
    module = "opentelemetry.instrumentation.openai"
    stop = None  # it has one, which leaves its wrappers where they are


class Logfire(OpenTelemetry):
    def __init__(self) -> None:
        Tracer.__init__(self)
        import logfire

        self.logfire = logfire
        logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[self.processor()])

    def start(self) -> None:
        self.patched = self.logfire.instrument_openai()

    def stop(self) -> None:
        with self.patched:
            pass

    def processor(self) -> Any:
        count = super().processor()
        begin = count.on_start

        def on_start(span: Any, parent_context: Any = None) -> None:
            if (span.attributes or {}).get("logfire.span_type") != "pending_span":
                begin(span, parent_context)

        count.on_start = on_start
        return count


class Langfuse(OpenTelemetry):
    stop = None

    def __init__(self) -> None:
        Tracer.__init__(self)
        from langfuse import Langfuse as Client
        from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

        class Nowhere(SpanExporter):
            def export(self, spans: Any) -> Any:
                return SpanExportResult.SUCCESS

        nowhere = "http://127.0.0.1:9"
        self.client = Client(
            public_key="pk", secret_key="sk", base_url=nowhere, tracer_provider=self.provider(), span_exporter=Nowhere()
        )

    def start(self) -> None:
        import langfuse.openai  # noqa: F401 - it starts the guard - the import patches


class Sentry(Tracer):
    def start(self) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.openai import OpenAIIntegration
        from sentry_sdk.transport import Transport

        tracer = self

        class Kept(Transport):
            def capture_envelope(self, envelope: Any) -> None:
                for item in envelope.items:
                    if item.type == "span":
                        spans = item.payload.json["items"]
                        tracer.begun += len(spans)
                        tracer.said += [plain(span["attributes"]) for span in spans if span["end_timestamp"]]

        sentry_sdk.init(
            dsn="http://key@127.0.0.1:9/1",
            transport=Kept,
            traces_sample_rate=1.0,
            send_default_pii=True,
            default_integrations=False,
            integrations=[OpenAIIntegration()],
        )

    @contextmanager
    def around(self) -> Iterator[None]:
        import sentry_sdk

        with sentry_sdk.start_transaction(name="program"):
            yield

    def settle(self) -> None:
        import sentry_sdk

        sentry_sdk.flush(SECONDS)


class NewRelic(Tracer):
    """An agent that wraps the generators of a stream's events, and keeps what it says until its transaction ends."""

    def start(self) -> None:
        os.environ.update(
            NEW_RELIC_DEVELOPER_MODE="true",
            NEW_RELIC_LICENSE_KEY="0" * 40,
            NEW_RELIC_AI_MONITORING_ENABLED="true",
            NEW_RELIC_APP_NAME="program",
        )
        import newrelic.agent

        newrelic.agent.initialize()
        self.application = newrelic.agent.register_application(timeout=SECONDS)

    @contextmanager
    def around(self) -> Iterator[None]:
        import newrelic.agent

        with newrelic.agent.BackgroundTask(self.application, name="program") as transaction:
            yield
            told = [event for kind, event in transaction._custom_events if kind["type"] == "LlmChatCompletionMessage"]
            self.begun += len({event["completion_id"] for event in told})
            if told:
                self.said.append("\n".join(str(event.get("content")) for event in told))


TRACERS = {
    "opentelemetry-instrumentation-openai-v2": OpenAIV2,
    "opentelemetry-instrumentation-genai-openai": GenAI,
    "opentelemetry-instrumentation-openai": Traceloop,
    "openinference-instrumentation-openai": OpenInference,
    "logfire": Logfire,
    "langfuse": Langfuse,
    "sentry-sdk": Sentry,
    "newrelic": NewRelic,
}


def plain(said: Any) -> str:
    """All that a span says in one text, JSON within JSON taken out."""
    match said:
        case dict():
            return "\n".join(plain(one) for one in said.values())
        case list() | tuple():
            return "\n".join(map(plain, said))
        case str() if said[:1] in ("{", "["):
            try:
                return plain(json.loads(said))
            except ValueError:
                return said
    return str(said)


def ask(client_kind: str, api: str) -> str:
    """One stream to its end; what it said."""
    import openai

    options: dict[str, Any] = {"base_url": os.environ["SERVER"], "api_key": "none", "timeout": SECONDS}
    if client_kind == "sync":
        with openai.OpenAI(**options) as client:
            return "".join(map(text_of, begin(client, api)))

    async def body() -> str:
        async with openai.AsyncOpenAI(**options) as client:
            return "".join([text_of(item) async for item in await begin(client, api)])

    return asyncio.run(body())


def begin(client: Any, api: str) -> Any:
    if api == "chat":
        question = [{"role": "user", "content": "Which?"}]
        return client.chat.completions.create(model="gpt-5.2", messages=question, stream=True)
    return client.responses.create(model="gpt-5.2", input="Which?", stream=True, store=api == "stored responses")


def text_of(item: Any) -> str:
    if hasattr(item, "choices"):
        return "".join(choice.delta.content or "" for choice in item.choices)
    return item.delta if item.type == "response.output_text.delta" else ""


def main(name: str, order: str, client_kind: str, api: str) -> None:
    def load_guard() -> None:
        import openai_stream_guard  # noqa: F401 - it starts the guard

    if order == "guard first":
        load_guard()
    tracer = TRACERS[name]()
    tracer.start()
    if order == "guard last":
        load_guard()
    import openai_stream_guard

    def play(what: str) -> None:
        begun, ended = tracer.begun, len(tracer.said)
        with tracer.around():
            try:
                text, error = ask(client_kind, api), None
            except openai_stream_guard.OpenAIStreamParseError as raised:
                text, error = raised.partial_text, raised.fault
        tracer.settle()
        said = tracer.said[ended:]
        told = sum(bool(text) and text in one for one in said)
        row = {"what": what, "text": text, "error": error, "begun": tracer.begun - begun, "ended": len(said)}
        print(json.dumps({**row, "told": told}), flush=True)

    play("both")
    openai_stream_guard.disable()
    play("guard off")
    openai_stream_guard.enable()
    play("guard on again")
    if tracer.stop is None:
        return
    tracer.stop()
    play("tracer off")
    openai_stream_guard.disable()
    play("both off")
    openai_stream_guard.enable()
    play("tracer off, guard on again")
    tracer.start()
    play("both on again")


if __name__ == "__main__":
    main(*sys.argv[1:])
