"""The spans table: what is kept of a span, whoever stored it, under the old and the new OpenTelemetry names alike.

Attributes of a span may hold content (keys, SQL, texts of exceptions); only those named here are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

SPANS = pa.schema(
    [
        ("trace_id", pa.string()),
        ("span_id", pa.string()),
        ("parent_span_id", pa.string()),
        ("links", pa.list_(pa.string())),
        ("service", pa.string()),
        ("name", pa.string()),
        ("kind", pa.string()),
        ("started_us", pa.int64()),
        ("duration_us", pa.int64()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("system", pa.string()),
        ("operation", pa.string()),
        ("destination", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("message_id", pa.string()),
        ("group", pa.string()),
        ("client_id", pa.string()),
    ]
)
SPAN_EVENTS = pa.schema(
    [
        ("trace_id", pa.string()),
        ("span_id", pa.string()),
        ("at_us", pa.int64()),
        ("name", pa.string()),
        ("error", pa.string()),
    ]
)

# Column -> attribute names, the newest first; a span may carry several (OTEL_SEMCONV_STABILITY_OPT_IN=messaging/dup).
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "system": ("messaging.system",),
    "operation": ("messaging.operation.type", "messaging.operation.name", "messaging.operation"),
    "destination": ("messaging.destination.name", "messaging.destination"),
    "partition": (
        "messaging.destination.partition.id", "messaging.kafka.destination.partition", "messaging.kafka.source.partition",
        "messaging.kafka.partition",
    ),
    "offset": ("messaging.kafka.offset", "kafka.offset", "messaging.kafka.message.offset"),
    "message_id": ("messaging.message.id", "messaging.message_id", "message.id"),
    "group": (
        "messaging.consumer.group.name", "messaging.kafka.consumer.group", "messaging.consumer.group",
        "messaging.kafka.consumer_group",
    ),
    "client_id": ("messaging.client.id", "messaging.client_id", "messaging.kafka.client_id", "messaging.consumer_id"),
}  # fmt: skip
KINDS = ("unset", "internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")
LONGEST_TEXT = 256
_INT32, _INT64 = (1 << 31) - 1, (1 << 63) - 1


class SpanRow(NamedTuple):
    """One row of ``SPANS``, in its order. Null: the span does not say.

    Attributes:
        links: ``trace_id/span_id`` of the spans that it links to.
        started_us: microseconds since 1970, UTC, by the clock of the service.
        duration_us: microseconds; null where the end is missing or before the start.
        error: type of the error; never its text.
        message_id: as the service names it: an id of its own, or topic.partition.offset.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    links: list[str]
    service: str | None
    name: str | None
    kind: str
    started_us: int | None
    duration_us: int | None
    status: str
    error: str | None
    system: str | None
    operation: str | None
    destination: str | None
    partition: int | None
    offset: int | None
    message_id: str | None
    group: str | None
    client_id: str | None


class EventRow(NamedTuple):
    """One row of ``SPAN_EVENTS``: something that a span noted while it lasted."""

    trace_id: str
    span_id: str
    at_us: int | None
    name: str | None
    error: str | None


def messaging(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The messaging columns of a span, from whichever names it uses."""
    found = {
        column: next((attributes[name] for name in names if attributes.get(name) not in (None, "")), None)
        for column, names in ATTRIBUTES.items()
    }
    return {
        **{column: text(value) for column, value in found.items()},
        "partition": whole(found["partition"], _INT32),
        "offset": whole(found["offset"], _INT64),
    }


def whole(value: Any, most: int = _INT64) -> int | None:
    """A number out of a trace: from 0 to ``most``, else null. Texts of digits count: JSON has no 64-bit numbers."""
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        return None
    if isinstance(value, str):
        digits = value.strip()
        value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else -1
    if isinstance(value, float):
        value = int(value) if value.is_integer() else -1
    return value if 0 <= value <= most else None


def text(value: Any) -> str | None:
    """A text out of a trace, cut; numbers become their text, anything else is null."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    # Surrogates that stand alone are JSON, but no text that could be written.
    return str(value)[:LONGEST_TEXT].encode(errors="replace").decode()


def span_tables(spans: Sequence[SpanRow], events: Sequence[EventRow]) -> tuple[pa.Table, pa.Table]:
    """(table of ``SPANS``, table of ``SPAN_EVENTS``), each span once, in the order of their times."""
    from workbench.tables import table_of

    once = {(row.trace_id, row.span_id, row.kind): row for row in spans}
    ordered = sorted(once.values(), key=lambda row: (row.started_us is None, row.started_us or 0, row.span_id))
    noted = sorted(set(events), key=lambda row: (row.at_us is None, row.at_us or 0, row.span_id, row.name or ""))
    return table_of(SPANS, ordered), table_of(SPAN_EVENTS, noted)
