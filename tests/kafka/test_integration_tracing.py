"""Traces: one trace a message from send to processing, through the headers, as OTLP JSON that any store reads."""

from __future__ import annotations

import json
from collections import defaultdict

import confluent_kafka
import pytest
from google.protobuf.json_format import Parse
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.kafka.integration_parts import QUICK, Service, running, until
from workbench.integration.consumer import MessageConsumer
from workbench.integration.deadletters import DeadLetterHandler
from workbench.integration.failures import PermanentError, TransientError
from workbench.integration.outlets import AtLeastOnce
from workbench.integration.producer import MessageProducer
from workbench.integration.records import Outgoing
from workbench.integration.tracing import to_otlp_file
from workbench.sandbox.incidents.reading import read

pytestmark = pytest.mark.kafka


def spans_of(path) -> list[dict]:
    """The spans of a file of OTLP JSON lines, attributes as a mapping."""
    found = []
    for line in path.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    named = {item["key"]: next(iter(item["value"].values())) for item in span.get("attributes", ())}
                    found.append({**span, "attributes": named})
    return found


def fault(record):
    if record.message_id == "m-1":
        raise PermanentError("bad format")
    if record.message_id == "m-2" and not fault.failed:
        fault.failed = True
        raise TransientError("away")


@pytest.fixture
def traced(kafka, topic_name, tmp_path):
    """A service whose three messages were processed, and the spans of sender and service."""

    def run(count: int = 3):
        fault.failed = False
        path = tmp_path / "spans.jsonl"
        service = Service(kafka, topic_name, fault=fault).open()
        sender, tracing = to_otlp_file("user-service", path), to_otlp_file("notifier", path, group=service.group)
        headers = (("message-type", b"user.created"),)
        with MessageProducer({"bootstrap.servers": kafka}, tracing=sender) as producer:
            for number in range(count):
                value = json.dumps({"messageId": f"m-{number}"}).encode()
                producer.send(Outgoing(service.source, value, b"k", f"m-{number}", headers))
        outlet = AtLeastOnce(MessageProducer({"bootstrap.servers": kafka}, tracing=tracing))
        settings = {"bootstrap.servers": kafka, "group.id": service.group}
        letters = DeadLetterHandler(service.dead_letters)
        consumer = MessageConsumer(
            settings,
            [service.source],
            service.handle,
            outlet,
            metrics=service.metrics,
            dead_letters=letters,
            tracing=tracing,
            retry=QUICK,
        )
        with running(consumer):
            until(lambda: service.count() + service.count("dead_lettered") == count, "all endings")
        sender.shutdown()
        tracing.shutdown()
        return service, path

    return run


def test_a_message_is_one_trace(traced):
    service, path = traced()
    for line in path.read_text().splitlines():
        Parse(line, ExportTraceServiceRequest())  # any reader of OTLP JSON takes it, but for the form of its ids
    spans = spans_of(path)
    by_message = defaultdict(dict)
    for span in spans:
        by_message[span["attributes"]["message.id"]].setdefault(span["name"], span)
    sent, processed = f"send {service.source}", f"process {service.source}"
    for number in range(3):
        story = by_message[f"m-{number}"]
        assert len({span["traceId"] for span in story.values()}) == 1
        assert len(story[sent]["traceId"]) == 32
        assert story[processed]["parentSpanId"] == story[sent]["spanId"]
        assert story[processed]["links"][0]["spanId"] == story[sent]["spanId"]
    good, bad, flaky = (by_message[f"m-{number}"][processed] for number in range(3))
    assert (good["kind"], by_message["m-0"][sent]["kind"]) == (5, 4)
    assert good["attributes"] == good["attributes"] | {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": service.source,
        "messaging.consumer.group.name": service.group,
        "message.type": "user.created",
        "integration.pattern": "event-stream",
        "message.result": "success",
    }
    assert good["attributes"]["processing.duration_seconds"] >= 0
    assert good["status"]["code"] == 1
    assert (bad["status"]["code"], bad["attributes"]["message.result"]) == (2, "dead_lettered")
    assert bad["events"][0]["name"] == "exception"
    assert (flaky["status"]["code"], flaky["attributes"]["message.attempts"]) == (1, "2")
    assert f"send {service.sink}" in by_message["m-0"]
    assert f"send {service.dead_letters}" in by_message["m-1"]


def test_it_works_with_the_instrumentation_of_the_client(traced):
    """The instrumentation adds its own spans and its own context: still one traceparent, and still one trace."""
    instrumentor = ConfluentKafkaInstrumentor()
    plain = confluent_kafka.Producer, confluent_kafka.Consumer
    instrumentor.instrument()
    try:
        service, path = traced()
    finally:
        instrumentor.uninstrument()
    assert (confluent_kafka.Producer, confluent_kafka.Consumer) == plain
    for record in read(service.bootstrap, service.source):
        assert [name for name, _ in record.headers].count("traceparent") == 1
    spans = [span for span in spans_of(path) if span["attributes"]["message.id"] == "m-0"]
    assert {span["name"] for span in spans} >= {f"send {service.source}", f"process {service.source}"}
    assert len({span["traceId"] for span in spans}) == 1
