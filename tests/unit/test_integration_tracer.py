"""Message traces: OpenTelemetry spans with events, bounded in the service, found again by their message."""

from __future__ import annotations

import json
import threading
from collections import Counter

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from workbench.integration.tracer import MOST_EVENTS, MessageTracer
from workbench.sources.traces.otlp import rows_of


def traced(**options: int) -> tuple[MessageTracer, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": "mailer"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return MessageTracer("mailer", provider, **options), exporter


def test_a_trace_has_its_events_until_it_ends_and_then_lies_where_spans_go():
    tracer, exporter = traced()
    begun = tracer.start_trace("m-1")
    tracer.add_event("m-1", "validated", attempt=1)
    tracer.add_event("m-1", "mailed")
    shown = tracer.get_trace("m-1")
    assert shown is not None
    assert [event.name for event in shown.events] == ["validated", "mailed"]
    assert shown.events[0].attributes == {"attempt": 1}
    assert 0 <= shown.events[0].seconds <= shown.events[1].seconds
    assert exporter.get_finished_spans() == ()
    tracer.end_trace("m-1")
    assert tracer.get_trace("m-1") is None
    (span,) = exporter.get_finished_spans()
    assert [event.name for event in span.events] == ["validated", "mailed"]
    assert f"{span.context.trace_id:032x}" == begun.trace_id


def test_the_workbench_reads_what_a_service_traced():
    tracer, exporter = traced()
    begun = tracer.start_trace("m-1")
    tracer.add_event("m-1", "validated")
    tracer.end_trace("m-1", ValueError("secret text"))
    document = json.loads(json.dumps(MessageToDict(encode_spans(exporter.get_finished_spans()))))
    spans, events = rows_of(document, Counter())
    assert (spans[0].trace_id, spans[0].message_id, spans[0].service) == (begun.trace_id, "m-1", "mailer")
    assert (spans[0].status, spans[0].error) == ("error", "ValueError")
    assert [event.name for event in events] == ["validated", "exception"]


def test_a_trace_goes_on_downstream_through_its_headers():
    tracer, exporter = traced()
    first = tracer.start_trace("m-1")
    second = tracer.start_trace("m-2", headers=first.headers)
    assert second.trace_id == first.trace_id
    tracer.end_trace("m-2")
    (span,) = exporter.get_finished_spans()
    assert span.parent is not None


def test_what_was_never_started_is_nothing_and_fails_nobody():
    tracer, _ = traced()
    assert tracer.add_event("none", "read") is None
    assert tracer.get_trace("none") is None
    tracer.end_trace("none")


def test_a_service_holds_a_bounded_number_of_traces_and_events():
    tracer, exporter = traced(most_open=2)
    for name in ("a", "b", "c"):
        tracer.start_trace(name)
    assert tracer.get_trace("a") is None
    assert [span.attributes["messaging.trace.crowded_out"] for span in exporter.get_finished_spans()] == [True]
    for number in range(3 * MOST_EVENTS):
        tracer.add_event("c", f"e{number}")
    shown = tracer.get_trace("c")
    assert shown is not None
    assert (len(shown.events), shown.events[-1].name) == (MOST_EVENTS, f"e{3 * MOST_EVENTS - 1}")


def test_starting_again_ends_the_trace_before():
    tracer, exporter = traced()
    assert tracer.start_trace("m").trace_id != tracer.start_trace("m").trace_id
    assert len(exporter.get_finished_spans()) == 1


def test_threads_lose_no_event():
    tracer, _ = traced()
    tracer.start_trace("m")
    threads = [threading.Thread(target=lambda: [tracer.add_event("m", "e") for _ in range(10)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = tracer.get_trace("m")
    assert shown is not None
    assert len(shown.events) == 80
