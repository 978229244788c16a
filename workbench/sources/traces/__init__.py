"""Traces: spans of a trace store or a file as one table, whoever stored them.

``connect_traces`` gives the store of a profile; ``Traces.find`` its spans. The tables are ``SPANS`` and ``SPAN_EVENTS``:

- spans: trace_id, span_id, parent_span_id (null: none), links list (``trace_id/span_id``), service, name, kind (internal, server,
  client, producer, consumer, unset), started_us and duration_us (microseconds, UTC by the service's clock; null: not known),
  status (ok, error, unset), error (its type; null: none), and what OpenTelemetry's messaging attributes say under old or new
  names: system, operation, destination, partition, offset, message_id, group, client_id (null: not said).
- span events: trace_id, span_id, at_us, name, error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.config import nearest
from workbench.errors import ConfigError
from workbench.sources.traces.model import MOST_TRACES, Found, SpanQuery, Traces
from workbench.sources.traces.spans import SPAN_EVENTS, SPANS

__all__ = ["KINDS", "MOST_TRACES", "SPANS", "SPAN_EVENTS", "Found", "SpanQuery", "Traces", "connect_traces"]

KINDS = ("jaeger", "tempo", "otlp-file")


def connect_traces(settings: Mapping[str, Any] | None) -> Traces | None:
    """The trace store of a profile's ``traces``; None where there is none. Nothing is asked yet.

    Raises:
        ConfigError: the kind is unknown, or the address is missing.
    """
    if not settings:
        return None
    kind = str(settings.get("kind") or "")
    if kind not in KINDS:
        hint = nearest(kind, KINDS) or f"Use {', '.join(KINDS)}."
        raise ConfigError(f"traces has kind {kind!r}." if kind else "traces needs a kind.", hint=hint)
    if kind == "otlp-file":
        from workbench.sources.traces.otlp_file import OtlpFile

        return OtlpFile(settings)
    from workbench.sources.http import Endpoint

    if kind == "jaeger":
        from workbench.sources.traces.jaeger import Jaeger

        return Jaeger(Endpoint("Jaeger", settings))
    from workbench.sources.traces.tempo import Tempo

    return Tempo(Endpoint("Tempo", settings))
