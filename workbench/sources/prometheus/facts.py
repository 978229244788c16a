"""Questions about a cluster, asked in the words of whatever exporter a Prometheus scrapes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from workbench.errors import SourceError
from workbench.sources.answer import Answer, answer
from workbench.sources.prometheus.client import Prometheus, step_for
from workbench.sources.prometheus.names import Fact, Metric, known

OVER_TIME: tuple[Fact, ...] = ("log_end_offset", "log_start_offset", "committed_offset", "lag", "lag_seconds")
_OF_GROUP = ("committed_offset", "lag", "lag_seconds")
_BEFORE_ANY = -1  # exporters write it for "no commit" and "not known"

HISTORY = pa.schema(
    [("at_ms", pa.int64()), ("topic", pa.string()), ("partition", pa.int32()), ("group", pa.string()),
     ("fact", pa.string()), ("value", pa.float64()), ("exporter", pa.string())]
)  # fmt: skip
REPLICATION = pa.schema(
    [("fact", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("value", pa.int64()),
     ("exporter", pa.string())]
)  # fmt: skip
ERRORS = pa.schema(
    [("name", pa.string()), ("topic", pa.string()), ("kind", pa.string()), ("per_second", pa.float64()),
     ("count", pa.float64()), ("exporter", pa.string())]
)  # fmt: skip


def history(
    prometheus: Prometheus,
    topics: Sequence[str],
    group: str | None,
    *,
    since: datetime,
    until: datetime,
    step_seconds: float | None = None,
    facts: Sequence[Fact] = OVER_TIME,
) -> Answer:
    """Log ends, log starts, committed offsets and lag over time, from the first exporter that has each of them.

    Args:
        prometheus: the server.
        topics: empty means all.
        group: whose offsets and lag; None leaves these out.
        since: begin of the window.
        until: its end.
        step_seconds: between samples; see ``Prometheus.query_range``.
        facts: which of them.

    Returns:
        at_ms int64, topic, partition int32, group (null: a fact of the log), fact (``log_end_offset``,
        ``log_start_offset``, ``committed_offset``, ``lag`` in records, ``lag_seconds``), value float64 (what is not known
        has no row), exporter. Failures by fact: no exporter has it, or it could not be asked.

    Raises:
        SourceUnavailable, AccessDenied: the server cannot be asked at all.

    Reads: ``/api/v1/label/__name__/values``, ``/api/v1/query_range`` for each fact.
    """
    rows: list[tuple[Any, ...]] = []
    failures: dict[str, str] = {}
    for fact in facts if group is not None else [fact for fact in facts if fact not in _OF_GROUP]:
        found, why = _fact_over_time(prometheus, fact, topics, group, (since, until, step_seconds))
        rows += found
        if why:
            failures[fact] = why
    return answer(HISTORY, rows, failures)


def _fact_over_time(
    prometheus: Prometheus,
    fact: Fact,
    topics: Sequence[str],
    group: str | None,
    window: tuple[datetime, datetime, float | None],
) -> tuple[list[tuple[Any, ...]], str]:
    """Rows of one fact from the first exporter that has any, and why there is none."""
    why = _nobody(fact)
    for metric in known(prometheus.names(), fact):
        of_group = group if fact in _OF_GROUP else None
        query = (
            f"max by ({', '.join(metric.labels.values())}) ({metric.selector(topics, of_group, prometheus.matchers)})"
        )
        try:
            table = prometheus.query_range(query, *window)
        except SourceError as error:
            why = str(error)
            continue
        rows = [
            (at_ms, topic, partition, of_group, fact, value * metric.unit, metric.exporter)
            for at_ms, labels, value in _samples(table)
            if (topic := labels.get(metric.labels["topic"])) is not None
            and (partition := _partition(labels.get(metric.labels["partition"]))) is not None
            and value > _BEFORE_ANY
        ]
        if rows:
            return rows, ""
        why = f"{metric.exporter} has no {fact} of them in this time"
    return [], why


def replication(prometheus: Prometheus, topics: Sequence[str] = (), at: datetime | None = None) -> Answer:
    """Under-replicated and offline partitions at a moment.

    Returns:
        fact (``under_replicated``: of one partition, 0 or more replicas missing; ``under_replicated_partitions`` and
        ``offline_partitions``: counts of the whole cluster), topic and partition int32 (null: the cluster), value int64,
        exporter. Failures by fact: no exporter has it, or it could not be asked.

    Raises:
        SourceUnavailable, AccessDenied: the server cannot be asked at all.

    Reads: ``/api/v1/label/__name__/values``, ``/api/v1/query``.
    """
    rows: list[tuple[Any, ...]] = []
    failures: dict[str, str] = {}
    facts: tuple[Fact, ...] = ("under_replicated", "under_replicated_partitions", "offline_partitions")
    for fact in facts:
        metrics = known(prometheus.names(), fact)
        found = [row for metric in metrics[:1] for row in _replication_of(prometheus, metric, topics, at, failures)]
        if not found and fact not in failures:
            failures[fact] = _nobody(fact)
        rows += found
    return answer(REPLICATION, rows, failures)


def _replication_of(
    prometheus: Prometheus, metric: Metric, topics: Sequence[str], at: datetime | None, failures: dict[str, str]
) -> Iterable[tuple[Any, ...]]:
    # Each broker counts the partitions that it leads; of the controllers only the active one counts, the others say 0.
    total = f"sum({metric.selector(more=prometheus.matchers)})"
    by = f"max by ({', '.join(metric.labels.values())}) ({metric.selector(topics, more=prometheus.matchers)})"
    try:
        table = prometheus.query(by if metric.labels else total, at)
    except SourceError as error:
        failures[metric.fact] = str(error)
        return
    for _, labels, value in _samples(table):
        topic = labels.get(metric.labels.get("topic", ""))
        partition = _partition(labels.get(metric.labels.get("partition", "")))
        yield metric.fact, topic, partition, int(value), metric.exporter


def errors(prometheus: Prometheus, since: datetime, until: datetime) -> Answer:
    """Errors that services, clients and brokers counted in a window; each row one series' sum by topic and kind.

    Returns:
        name of the counter, topic (null: it has none), kind (category, exception or error code; null: none), per_second
        float64, count float64 (estimated at the window's ends, as Prometheus' ``increase`` does), exporter. Series that
        did not grow are left out. Failures by counter's name; ``errors`` where no exporter counts any.

    Raises:
        SourceUnavailable, AccessDenied: the server cannot be asked at all.

    Reads: ``/api/v1/label/__name__/values``, ``/api/v1/query``.
    """
    seconds = max(1, round((until - since).total_seconds()))
    failures: dict[str, str] = {}
    rows: list[tuple[Any, ...]] = []
    metrics = known(prometheus.names(), "errors")
    for metric in metrics:
        by = ", ".join(metric.labels.values())
        try:
            grown = f"increase({metric.selector(more=prometheus.matchers)}[{seconds}s])"
            table = prometheus.query(f"sum by ({by}) ({grown}) > 0", until)
        except SourceError as error:
            failures[metric.name] = str(error)
            continue
        for _, labels, value in _samples(table):
            topic, kind = (labels.get(metric.labels.get(column, "")) for column in ("topic", "kind"))
            rows.append((metric.name, topic, kind, value / seconds, value, metric.exporter))
    if not metrics:
        failures["errors"] = _nobody("errors")
    return answer(ERRORS, rows, failures)


def _samples(table: pa.Table) -> Iterable[tuple[int, Mapping[str, str], float]]:
    """(time, labels, value) of the samples that have a value; labels are decoded once a series."""
    decoded: dict[str, Mapping[str, str]] = {}
    columns = (table[name].to_pylist() for name in ("at_ms", "labels", "value"))
    for at_ms, text, value in zip(*columns, strict=True):
        if value is not None:
            yield at_ms, decoded.setdefault(text, json.loads(text)) if text not in decoded else decoded[text], value


def _partition(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 10 else None


def _nobody(fact: str) -> str:
    return f"no exporter that Prometheus scrapes tells {fact}"


__all__ = ["ERRORS", "HISTORY", "OVER_TIME", "REPLICATION", "errors", "history", "replication", "step_for"]
