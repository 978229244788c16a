"""``MessageTracer``: what happened to one message, told by the services themselves as OpenTelemetry spans and events.

A trace of a message is a span that lives from ``start_trace`` to ``end_trace``; what happens in between are its events. Spans leave
through the provider's exporters and are searched there (``workbench message --trace``), so that nothing grows in the service: only
open traces are held, at most ``most_open`` of them.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

Value = str | bool | int | float

MESSAGE_ID = "messaging.message.id"
MOST_OPEN = 10_000
MOST_EVENTS = 128  # what OpenTelemetry's SDK keeps of a span by default


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """Something that happened to a message.

    Attributes:
        name: what.
        at: when, UTC.
        seconds: since the trace was started.
        attributes: as they were given.
    """

    name: str
    at: datetime
    seconds: float
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class MessageTrace:
    """An open trace.

    Attributes:
        message_id: of the message.
        trace_id: 32 hex digits; ``workbench message --trace`` takes it.
        started_at: UTC.
        events: oldest first, at most the newest ``MOST_EVENTS``.
        headers: what a producer adds to its records so that the trace goes on downstream (``traceparent``).
    """

    message_id: str
    trace_id: str
    started_at: datetime
    events: tuple[TraceEvent, ...]
    headers: Mapping[str, str]


class _Open:
    """A trace while it is open; times by the monotonic clock, so that a stepped wall clock makes no negative duration."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.started_at, self.began = datetime.now(UTC), time.monotonic()
        self.events: list[TraceEvent] = []

    def note(self, name: str, attributes: Mapping[str, Value]) -> TraceEvent:
        """Adds an event to the span and to what ``get_trace`` shows."""
        event = TraceEvent(name, datetime.now(UTC), time.monotonic() - self.began, dict(attributes))
        self.span.add_event(name, attributes=dict(attributes), timestamp=round(event.at.timestamp() * 1e9))
        self.events = [*self.events[-(MOST_EVENTS - 1) :], event]
        return event


class MessageTracer:
    """Traces of messages, backed by OpenTelemetry; safe to use from several threads.

    Args:
        service: name of the instrumentation: that of the service.
        provider: of the service; the global one by default. Without any, spans go nowhere and ids are zeros.
        most_open: open traces that are held; the one that was opened first is ended, and marked so, where there are more.
    """

    def __init__(self, service: str, provider: TracerProvider | None = None, *, most_open: int = MOST_OPEN) -> None:
        self._tracer = trace.get_tracer(service, tracer_provider=provider)
        self._most_open = most_open
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._lock = threading.Lock()

    def start_trace(
        self, message_id: str, headers: Mapping[str, str] | None = None, **attributes: Value
    ) -> MessageTrace:
        """Starts the trace of a message; one that is open for it is ended first.

        Args:
            message_id: of the message.
            headers: of the record that was read: the trace that they name goes on.
            **attributes: further attributes of the span.
        """
        self.end_trace(message_id)
        span = self._tracer.start_span(
            "message.trace",
            context=propagate.extract(dict(headers or {})),
            kind=SpanKind.INTERNAL,
            attributes={MESSAGE_ID: message_id, **attributes},
        )
        with self._lock:
            self._open[message_id] = _Open(span)
            crowded = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - self._most_open)]
        for one in crowded:
            one.span.set_attribute("messaging.trace.crowded_out", True)
            one.span.end()
        return self._shown(message_id, self._open.get(message_id) or _Open(span))

    def add_event(self, message_id: str, name: str, **attributes: Value) -> TraceEvent | None:
        """Adds an event to a message's open trace; None where there is none: a missing trace never fails the service."""
        with self._lock:
            found = self._open.get(message_id)
            return None if found is None else found.note(name, attributes)

    def get_trace(self, message_id: str) -> MessageTrace | None:
        """A message's open trace; None where there is none (ended ones are where the exporter sent them)."""
        with self._lock:
            found = self._open.get(message_id)
            return None if found is None else self._shown(message_id, found)

    def end_trace(self, message_id: str, error: BaseException | None = None) -> None:
        """Ends a message's trace, if one is open, and lets it be exported.

        Args:
            message_id: of the message.
            error: why it failed; recorded as the span's exception.
        """
        with self._lock:
            found = self._open.pop(message_id, None)
        if found is None:
            return
        if error is not None:
            found.span.record_exception(error)
            found.span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        found.span.end()

    @staticmethod
    def _shown(message_id: str, found: _Open) -> MessageTrace:
        carrier: dict[str, str] = {}
        propagate.inject(carrier, context=trace.set_span_in_context(found.span))
        trace_id: Any = found.span.get_span_context().trace_id
        return MessageTrace(message_id, f"{trace_id:032x}", found.started_at, tuple(found.events), carrier)
