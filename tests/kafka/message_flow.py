"""A small real integration for one message's life: three messages with known ends, and the spans a service would send."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, TopicPartition
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer

from tests.kafka.capture_topics import create, produce

ENDS = ("delivered", "dead_lettered", "lost")


class FileExporter(SpanExporter):
    """Spans as OTLP JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Appends a line."""
        with self.path.open("a") as file:
            file.write(json.dumps(MessageToDict(encode_spans(spans))) + "\n")
        return SpanExportResult.SUCCESS


@dataclass(frozen=True)
class Flow:
    """What was planted.

    Attributes:
        bootstrap: the broker.
        source, sink, dead_letters, group: names.
        ids: end -> message id.
        traces: end -> trace id.
        file: the spans as OTLP JSON lines.
        jaeger: the address of a Jaeger that has the same spans.
    """

    bootstrap: str
    source: str
    sink: str
    dead_letters: str
    group: str
    ids: dict[str, str]
    traces: dict[str, str]
    file: Path
    jaeger: str

    def options(self, **more: Any) -> dict[str, Any]:
        """Options of a check."""
        return {
            "source": self.source, "sink": self.sink, "dead_letters": self.dead_letters, "group": self.group,
            "expected_latency": "1s", **more,
        }  # fmt: skip


def plant(bootstrap: str, addresses: dict[str, str], word: str, folder: Path) -> Flow:
    """Sends three messages, lets a group read them, and ends each in its way."""
    flow = Flow(
        bootstrap, f"orders-{word}", f"bills-{word}", f"orders-{word}.dlq", f"billing-{word}",
        {end: f'{end}-"{word}\'; ü' for end in ENDS}, {}, folder / "spans.jsonl", addresses["jaeger"],
    )  # fmt: skip
    for topic in (flow.source, flow.sink, flow.dead_letters):
        create(bootstrap, topic, 1)
    with _tracing(f"{addresses['otlp_http']}/v1/traces", flow.file) as tracer:
        for end in ENDS:
            _send(flow, end, tracer)
        _read(flow, tracer)
    time.sleep(1.2)  # until what is missing counts as missing
    return flow


@contextmanager
def _tracing(address: str, file: Path) -> Iterator[Tracer]:
    provider = TracerProvider(resource=Resource.create({"service.name": "billing"}))
    for exporter in (OTLPSpanExporter(address), FileExporter(file)):
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    try:
        yield provider.get_tracer("test")
    finally:
        provider.shutdown()


def _send(flow: Flow, end: str, tracer: Tracer) -> None:
    with tracer.start_as_current_span(f"send {end}", kind=SpanKind.PRODUCER) as span:
        flow.traces[end] = f"{span.get_span_context().trace_id:032x}"
        span.set_attribute("messaging.destination.name", flow.source)
        carrier: dict[str, str] = {}
        inject(carrier)
        record = {
            "value": json.dumps({"messageId": flow.ids[end]}).encode(),
            "key": end,
            "headers": list(carrier.items()),
        }
        produce(flow.bootstrap, flow.source, [record])


def _read(flow: Flow, tracer: Tracer) -> None:
    settings = {"bootstrap.servers": flow.bootstrap, "group.id": flow.group, "client.id": "consumer-2",
                "auto.offset.reset": "earliest", "enable.auto.commit": False}  # fmt: skip
    consumer = Consumer(settings)
    consumer.subscribe([flow.source])
    try:
        read = 0
        while read < len(ENDS):
            message = consumer.poll(1.0)
            if message is not None and message.error() is None:
                _handle(flow, message, ENDS[read], tracer)
                read += 1
        consumer.commit(offsets=[TopicPartition(flow.source, 0, read)], asynchronous=False)
    finally:
        consumer.close()


def _handle(flow: Flow, message: Message, end: str, tracer: Tracer) -> None:
    carrier = {name: (value or b"").decode() for name, value in message.headers() or ()}
    attributes = {
        "messaging.destination": flow.source, "messaging.kafka.partition": message.partition() or 0,
        "messaging.kafka.message.offset": message.offset() or 0, "messaging.kafka.consumer.group": flow.group,
        "messaging.client_id": "consumer-2",
    }  # fmt: skip
    with tracer.start_as_current_span(
        "process orders", context=extract(carrier), kind=SpanKind.CONSUMER, attributes=attributes
    ) as span:
        if end == "delivered":
            produce(flow.bootstrap, flow.sink, [{"value": message.value()}])
        elif end == "dead_lettered":
            span.record_exception(TimeoutError("the bank is closed"))
            span.set_status(Status(StatusCode.ERROR))
            produce(flow.bootstrap, flow.dead_letters, [{"value": b"\xff not JSON", "headers": _spring(flow, message)}])


def _spring(flow: Flow, message: Message) -> list[tuple[str, bytes]]:
    """Spring Kafka's headers; the record's own, with its trace, are dropped."""
    return [
        ("kafka_dlt-original-topic", flow.source.encode()),
        ("kafka_dlt-original-partition", (message.partition() or 0).to_bytes(4, "big")),
        ("kafka_dlt-original-offset", (message.offset() or 0).to_bytes(8, "big")),
        ("kafka_dlt-exception-fqcn", b"java.net.SocketTimeoutException"),
    ]
