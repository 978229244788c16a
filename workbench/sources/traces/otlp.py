"""OTLP as JSON: what the OpenTelemetry file exporter writes, and what Jaeger v3 and Tempo answer.

By the standard ids are hex; Tempo writes them in base64, as Protobuf's JSON has bytes. Numbers of 64 bits are texts, kinds
are numbers or names. Whatever does not fit is left out and counted, never an error.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from workbench.sources.traces.spans import KINDS, STATUSES, EventRow, SpanRow, messaging, text, whole

_HEX = re.compile(r"[0-9A-Fa-f]+")
TRACE_BYTES, SPAN_BYTES = 16, 8
# Version 0.x of the protocol called scopes instrumentation libraries.
_SCOPES = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans")


def rows_of(document: Any, skipped: Counter[str]) -> tuple[list[SpanRow], list[EventRow]]:
    """The spans of a document that holds ``resourceSpans`` (or Tempo's ``batches``).

    Args:
        document: parsed JSON.
        skipped: why parts were left out -> how many; added to.
    """
    spans: list[SpanRow] = []
    events: list[EventRow] = []
    for resource in _dicts(_either(document, "resourceSpans", "resource_spans", "batches"), skipped):
        service = text(attributes_of(_either(resource, "resource") or {}).get("service.name"))
        for scope in _dicts(_either(resource, *_SCOPES), skipped):
            for raw in _dicts(scope.get("spans"), skipped):
                row = _span(raw, service)
                if row is None:
                    skipped["span without ids"] += 1
                else:
                    spans.append(row)
                    events += _events(raw, row)
    return spans, events


def id_text(value: Any, size: int) -> str | None:
    """An id as lower-case hex digits, from hex (short ones filled up) or base64; null for anything else and for zeros."""
    if not isinstance(value, str) or not value:
        return None
    digits = (
        value.lower().zfill(2 * size) if _HEX.fullmatch(value) and len(value) <= 2 * size else _unpacked(value, size)
    )
    return digits if digits and digits.strip("0") else None


def _unpacked(value: str, size: int) -> str | None:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == size else None


def attributes_of(holder: Any) -> dict[str, Any]:
    """Attributes as plain values; lists and maps of values are not kept."""
    out: dict[str, Any] = {}
    pairs = holder.get("attributes") if isinstance(holder, Mapping) else None
    for pair in pairs if isinstance(pairs, list) else ():
        if isinstance(pair, Mapping) and isinstance(pair.get("key"), str) and isinstance(pair.get("value"), Mapping):
            out[pair["key"]] = _plain(pair["value"])
    return out


def error_type(attributes: Mapping[str, Any]) -> str | None:
    """The type of an error as attributes name it."""
    return text(attributes.get("error.type") or attributes.get("exception.type"))


def _plain(value: Mapping[str, Any]) -> Any:
    for name in ("stringValue", "intValue", "boolValue", "doubleValue", "string_value", "int_value"):
        if name in value:
            found = value[name]
            return whole(found) if name in ("intValue", "int_value") and whole(found) is not None else found
    return None


def _either(holder: Any, *names: str) -> Any:
    return next((holder[name] for name in names if name in holder), None) if isinstance(holder, Mapping) else None


def _dicts(value: Any, skipped: Counter[str]) -> Iterator[Mapping[str, Any]]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, Mapping):
            yield item
        else:
            skipped["not an object"] += 1


def _span(raw: Mapping[str, Any], service: str | None) -> SpanRow | None:
    trace_id, span_id = (
        id_text(_either(raw, *names), size)
        for names, size in ((("traceId", "trace_id"), TRACE_BYTES), (("spanId", "span_id"), SPAN_BYTES))
    )
    if trace_id is None or span_id is None:
        return None
    attributes = attributes_of(raw)
    start, end = (
        _micros(raw, "startTimeUnixNano", "start_time_unix_nano"),
        _micros(raw, "endTimeUnixNano", "end_time_unix_nano"),
    )
    status = _name(_either(raw.get("status"), "code"), STATUSES, "STATUS_CODE_")
    return SpanRow(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=id_text(_either(raw, "parentSpanId", "parent_span_id"), SPAN_BYTES),
        links=list(_links(raw)),
        service=service,
        name=text(raw.get("name")),
        kind=_name(raw.get("kind"), KINDS, "SPAN_KIND_"),
        started_us=start,
        duration_us=end - start if start is not None and end is not None and end >= start else None,
        status=status,
        error=error_type(attributes) or _exception(raw) or ("error" if status == "error" else None),
        **messaging(attributes),
    )


def _exception(raw: Mapping[str, Any]) -> str | None:
    """The type of the last exception that the span noted."""
    kinds = [error_type(attributes_of(event)) for event in _listed(raw.get("events"))]
    return next((kind for kind in reversed(kinds) if kind), None)


def _events(raw: Mapping[str, Any], span: SpanRow) -> Iterator[EventRow]:
    for event in _listed(raw.get("events")):
        at = _micros(event, "timeUnixNano", "time_unix_nano")
        yield EventRow(span.trace_id, span.span_id, at, text(event.get("name")), error_type(attributes_of(event)))


def _links(raw: Mapping[str, Any]) -> Iterator[str]:
    for link in _listed(raw.get("links")):
        trace_id = id_text(_either(link, "traceId", "trace_id"), TRACE_BYTES)
        span_id = id_text(_either(link, "spanId", "span_id"), SPAN_BYTES)
        if trace_id:
            yield f"{trace_id}/{span_id or ''}"


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _micros(raw: Mapping[str, Any], *names: str) -> int | None:
    nanos = whole(_either(raw, *names))
    return nanos // 1000 if nanos else None


def _name(value: Any, names: tuple[str, ...], prefix: str) -> str:
    """A kind or status: a number, or its name in the protocol."""
    if isinstance(value, str) and not value.isdigit():
        plain = value.removeprefix(prefix).lower()
        return plain if plain in names else "unset"
    number = whole(value)
    return names[number] if number is not None and number < len(names) else "unset"
