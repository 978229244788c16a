"""Traces: one span for each send and one for each processing, joined through the headers of the record (OpenTelemetry).

Names and attributes are those of the semantic conventions for messaging (``send <topic>``, ``process <topic>``), and
those of the integration pattern: ``message.id``, ``message.type``, ``integration.pattern``, ``message.result``,
``processing.duration_seconds``. Values of messages are never attributes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.integration.records import MESSAGE_TYPE, Headers, Outgoing, Receipt, Record

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from workbench.integration.failures import SendError

PATTERN = "event-stream"
_CARRIED = ("traceparent", "tracestate")


class Tracing:
    """Makes spans with a provider.

    Args:
        provider: of OpenTelemetry's SDK; None makes no spans at all.
        pattern: the attribute ``integration.pattern``.
        group: of the consumer whose processing is traced.
    """

    def __init__(self, provider: TracerProvider | None, *, pattern: str = PATTERN, group: str = "") -> None:
        self.provider = provider
        self.on = provider is not None
        self._pattern = pattern
        self._group = group
        self._tracer: Any = provider.get_tracer("workbench.integration") if provider else None

    def sending(
        self, message: Outgoing, headers: list[tuple[str, bytes | None]], *, inject_context: bool = True
    ) -> SendSpan:
        """Begins the span ``send <topic>``, child of the message's context, and puts its own context into the headers.

        Args:
            message: what is sent.
            headers: of the record; changed in place.
            inject_context: False where somebody else adds the context.
        """
        from opentelemetry.propagate import extract, inject
        from opentelemetry.trace import SpanKind, set_span_in_context

        attributes = {
            **self._attributes("send", message.topic),
            "messaging.message.body.size": len(message.value or b""),
            **_known({"message.id": message.message_id, "message.type": _type_of(message.headers, None)}),
        }
        carried = _carrier(message.headers)
        parent = extract(carried) if carried else None  # without one: whatever span is current
        span = self._tracer.start_span(
            f"send {message.topic}", context=parent, kind=SpanKind.PRODUCER, attributes=attributes
        )
        carrier: dict[str, str] = {}
        if inject_context:
            inject(carrier, context=set_span_in_context(span))
        headers[:] = [pair for pair in headers if pair[0] not in _CARRIED]
        headers += [(name, value.encode()) for name, value in carrier.items()]
        return SendSpan(span)

    def current(self, span: SendSpan | None) -> AbstractContextManager[Any]:
        """Makes a send's span the current one: instrumentation of the client becomes its child."""
        if span is None:
            return nullcontext()
        from opentelemetry.trace import use_span

        return use_span(span.span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    @contextmanager
    def processing(self, record: Record) -> Iterator[ProcessSpan]:
        """The span ``process <topic>`` around the block, child of the send and linked to it."""
        from opentelemetry.propagate import extract
        from opentelemetry.trace import Link, SpanKind, get_current_span

        parent = extract(_carrier(record.headers))
        sent = get_current_span(parent).get_span_context()
        attributes = {
            **self._attributes("process", record.topic),
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.message.body.size": len(record.value or b""),
            **_known(
                {
                    "messaging.consumer.group.name": self._group or None,
                    "message.id": record.message_id,
                    "message.type": _type_of(record.headers, record.value),
                }
            ),
        }
        with self._tracer.start_as_current_span(
            f"process {record.topic}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            links=[Link(sent)] if sent.is_valid else [],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield ProcessSpan(span)

    def _attributes(self, operation: str, topic: str) -> dict[str, Any]:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": topic,
            "integration.pattern": self._pattern,
        }

    def shutdown(self) -> None:
        """Exports what is left."""
        if self.provider is not None:
            self.provider.shutdown()


NO_TRACING = Tracing(None)


class SendSpan:
    """The span of one send."""

    __slots__ = ("span",)

    def __init__(self, span: Span) -> None:
        self.span = span

    def end(self, receipt: Receipt | None, error: SendError | None) -> None:
        """Ends it with where the message is, or why it is nowhere."""
        if receipt is not None:
            self.span.set_attribute("messaging.destination.partition.id", str(receipt.partition))
            self.span.set_attribute("messaging.kafka.offset", receipt.offset)
        if error is not None:
            _failed(self.span, error, error.reason)
        self.span.end()


class ProcessSpan:
    """The span of one processing; it ends with its block."""

    __slots__ = ("_began", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self._began = time.perf_counter()

    def origin_of(self, output: Outgoing) -> Outgoing:
        """The output with this processing as its context: outputs are sent together, when the span has long ended."""
        from opentelemetry.propagate import inject
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        inject(carrier, context=set_span_in_context(self.span))
        kept = tuple(pair for pair in output.headers if pair[0] not in _CARRIED)
        return output._replace(headers=(*kept, *((name, value.encode()) for name, value in carrier.items())))

    def failed(self, error: Exception, category: str) -> None:
        """One attempt failed."""
        _failed(self.span, error, f"{type(error).__module__}.{type(error).__qualname__}")
        self.span.set_attribute("error.category", category)

    def ended(self, result: str, attempts: int) -> None:
        """How the message ended; a success after failures is a success."""
        from opentelemetry.trace import StatusCode

        self.span.set_attribute("message.result", result)
        self.span.set_attribute("message.processed", result in {"success", "skipped"})
        self.span.set_attribute("message.attempts", attempts)
        self.span.set_attribute("processing.duration_seconds", time.perf_counter() - self._began)
        if result in {"success", "skipped"}:
            self.span.set_status(StatusCode.OK)


def _failed(span: Span, error: Exception, kind: str) -> None:
    from opentelemetry.trace import StatusCode

    span.record_exception(error)
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR, type(error).__name__)


def _known(attributes: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if value is not None}


def _carrier(headers: Headers) -> dict[str, str]:
    """The context that a record carries; the last value of a name counts, for the last who touched it wrote it."""
    return {name: value.decode("ascii", "replace") for name, value in headers if name in _CARRIED and value is not None}


def _type_of(headers: Headers, value: bytes | None) -> str | None:
    """The message's type: its header, else ``eventType`` of a JSON value; None where neither says."""
    found = next((raw for name, raw in reversed(headers) if name == MESSAGE_TYPE), None)
    if found is not None:
        return found.decode("utf-8", "replace")[:256]
    if not value or b'"eventType"' not in value:
        return None
    try:
        decoded = json.loads(value)
    except (ValueError, RecursionError):
        return None
    named = decoded.get("eventType") if isinstance(decoded, dict) else None
    return named[:256] if isinstance(named, str) else None


def to_otlp_http(service: str, endpoint: str | None = None, **more: Any) -> Tracing:
    """Tracing to a trace store over OTLP/HTTP.

    Args:
        service: ``service.name``.
        endpoint: address with its path, ``http://127.0.0.1:4318/v1/traces``; None is OTEL_EXPORTER_OTLP_ENDPOINT's.
        **more: of ``Tracing``.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return Tracing(_provider(service, OTLPSpanExporter(endpoint=endpoint)), **more)


def to_otlp_file(service: str, path: Path, **more: Any) -> Tracing:
    """Tracing to a file of OTLP JSON, one ExportTraceServiceRequest a line.

    Args:
        service: ``service.name``.
        path: the file; appended to.
        **more: of ``Tracing``.
    """
    from workbench.integration.otlp_file import OtlpFileExporter

    return Tracing(_provider(service, OtlpFileExporter(path)), **more)


def _provider(service: str, exporter: Any) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=True)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500, max_queue_size=65_536))
    return provider
