"""What Prometheus says of the integration's service and of the brokers, beside what Kafka itself says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.errors import SourceError
from workbench.sources.prometheus.facts import errors, replication
from workbench.tables import table_of

if TYPE_CHECKING:
    from workbench.problems.draft import Draft
    from workbench.sources import Prometheus, Sources

WINDOW = timedelta(hours=1)

SIGNALS = pa.schema(
    [
        ("signal", pa.string()),
        ("subject", pa.string()),
        ("value", pa.float64()),
        ("unit", pa.string()),
        ("exporter", pa.string()),
    ]
)
_LATENCY = "histogram_quantile(0.95, sum by (le) (rate(message_processing_duration_seconds_bucket{%s}[1h])))"


def read_signals(sources: Sources, draft: Draft) -> None:
    """Adds ``signals``, or why there are none; nothing where the profile names no Prometheus.

    Columns: signal (``p95_processing``, ``errors``, ``under_replicated_partitions``, ``offline_partitions``), subject (topic
    or kind of error; null: all of it), value float64 (null: Prometheus has no number), unit, exporter (null: not told).
    """
    prometheus = sources.prometheus
    if prometheus is None:
        return
    now, rows = datetime.now(UTC), []
    try:
        rows = [*_latency(prometheus, now), *_errors(prometheus, now), *_replication(prometheus)]
    except SourceError as error:
        draft.missing["signals"] = str(error).rstrip(".")
        return
    draft.tables["signals"] = table_of(SIGNALS, rows)


def _latency(prometheus: Prometheus, now: datetime) -> list[tuple[Any, ...]]:
    if "message_processing_duration_seconds_bucket" not in prometheus.names():
        return []
    found = prometheus.query(_LATENCY % prometheus.matchers, now).to_pylist()
    return [("p95_processing", None, row["value"], "s", None) for row in found]


def _errors(prometheus: Prometheus, now: datetime) -> list[tuple[Any, ...]]:
    rows = errors(prometheus, now - WINDOW, now).rows()
    return [("errors", _subject(row), row["per_second"], "1/s", row["exporter"]) for row in rows]


def _subject(row: Mapping[str, Any]) -> str:
    return ", ".join(part for part in (row["topic"], row["kind"]) if part) or str(row["name"])


def _replication(prometheus: Prometheus) -> list[tuple[Any, ...]]:
    wanted = ("under_replicated_partitions", "offline_partitions")
    found = replication(prometheus).rows()
    return [(r["fact"], None, float(r["value"]), "partitions", r["exporter"]) for r in found if r["fact"] in wanted]
