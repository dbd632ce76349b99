"""A program whose streams are counted for Prometheus, at http://127.0.0.1:9464/metrics.

    pip install "openai-stream-guard[otel]" opentelemetry-sdk opentelemetry-exporter-prometheus
    OPENAI_STREAM_GUARD=1 OPENAI_API_KEY=… python -m tests.examples.metrics

The guard sees that the program uses OpenTelemetry, and needs no setting.
"""

from __future__ import annotations

from openai import OpenAI
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

import openai_stream_guard  # noqa: F401 - importing it is all

PORT = 9464


def ask(client: OpenAI, question: str) -> str:
    """What the model says."""
    stream = client.chat.completions.create(
        model="gpt-4.1", messages=[{"role": "user", "content": question}], stream=True
    )
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def main() -> None:
    metrics.set_meter_provider(MeterProvider(metric_readers=[PrometheusMetricReader()]))
    start_http_server(PORT, addr="127.0.0.1")
    with OpenAI() as client:
        while True:
            print(ask(client, input("Ask: ")))


if __name__ == "__main__":
    main()
