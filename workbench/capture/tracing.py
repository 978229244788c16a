"""Which trace a record belongs to, by the headers of the common propagators."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Lower case: W3C trace context (also CloudEvents' extension), B3 in one header or several, Jaeger's own.
TRACE_HEADERS = frozenset({"traceparent", "ce_traceparent", "b3", "x-b3-traceid", "uber-trace-id"})
_ID = re.compile(
    rb"(?:[0-9a-f]{2}-)?([0-9a-f]{32}|[0-9a-f]{16})(?:[-:].*)?\Z|([0-9a-f]{1,32}):[0-9a-f]{1,16}:", re.IGNORECASE
)


def trace_ids_of(headers: Sequence[tuple[str, bytes | None]]) -> list[str]:
    """The traces that a record's headers name, 32 lower-case hex digits each, in their order; nothing else is believed."""
    found = [_trace_id(value) for name, value in headers if value and name.lower() in TRACE_HEADERS]
    return [one for one in dict.fromkeys(found) if one]


def _trace_id(value: bytes) -> str | None:
    match = _ID.match(value[:200])
    digits = (match[1] or match[2]).decode().lower().zfill(32) if match else ""
    return digits if digits.strip("0") else None
