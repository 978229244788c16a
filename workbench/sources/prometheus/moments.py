"""Where a group stood at past moments, as exporters told Prometheus: committed offset and log end of each partition."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from workbench.sources.prometheus.client import Prometheus
from workbench.sources.prometheus.facts import history

FINEST_SECONDS = 15.0
MOST_MOMENTS = 240  # of a window: finer is more than a trend needs, and each moment is a row for each partition

Moment = tuple[str, int, int]


class Standing(NamedTuple):
    """One partition at one moment.

    Attributes:
        topic: where.
        partition: where.
        at_ms: the moment of the query; what is told may be as old as the exporter's refresh and the scrape interval.
        committed_offset: the next offset to read.
        log_end_offset: None: no exporter tells it.
    """

    topic: str
    partition: int
    at_ms: int
    committed_offset: int
    log_end_offset: int | None


class Told(NamedTuple):
    """A figure, and which exporter says so."""

    value: int
    exporter: str


def standing(prometheus: Prometheus, group: str, since_ms: int, until_ms: int) -> tuple[list[Standing], dict[str, str]]:
    """A group's standing over a window, by partition and moment, and why there may be less than asked for (by fact).

    Where an exporter tells lag and log end but no committed offset (kminion), that is their difference.

    Raises:
        SourceUnavailable, AccessDenied: the server cannot be asked at all.

    Reads: ``/api/v1/label/__name__/values``, ``/api/v1/query_range``.
    """
    seconds = max(0.0, (until_ms - since_ms) / 1000)
    step = max(FINEST_SECONDS, seconds / MOST_MOMENTS)
    until = datetime.fromtimestamp(until_ms / 1000, UTC)
    # Moments are counted from the begin of a window: it is moved so that the last one is its end.
    ask = functools.partial(
        history, prometheus, since=until - timedelta(seconds=seconds // step * step), until=until, step_seconds=step
    )
    read = ask(topics=(), group=group, facts=("committed_offset", "lag"))
    topics = sorted({row["topic"] for row in read.rows()})
    if not topics:
        return [], dict(read.failures)
    # Only the ends of these: an exporter that watches another cluster may have ends of other topics.
    ends = ask(topics=topics, group=None, facts=("log_end_offset",))
    facts: dict[str, dict[Moment, Told]] = {}
    for row in (*read.rows(), *ends.rows()):
        place = (row["topic"], row["partition"], row["at_ms"])
        facts.setdefault(row["fact"], {})[place] = Told(round(row["value"]), row["exporter"])
    return _joined(facts), {**read.failures, **ends.failures}


def _joined(facts: Mapping[str, Mapping[Moment, Told]]) -> list[Standing]:
    """Rows of the moments at which the group's offset is told, or follows from what the same exporter says of the end.

    Two exporters look at different times: a difference of their figures would be an offset that never was.
    """
    ends, made, lag = (facts.get(name, {}) for name in ("log_end_offset", "committed_offset", "lag"))
    rows = []
    for place in sorted({*made, *lag}):
        committed, end, behind = made.get(place), ends.get(place), lag.get(place)
        if committed is None and end and behind and end.exporter == behind.exporter:
            committed = Told(end.value - behind.value, end.exporter)
        if end is None and committed and behind and committed.exporter == behind.exporter:
            end = Told(committed.value + behind.value, committed.exporter)
        if committed is not None:
            rows.append(Standing(*place, committed.value, end.value if end else None))
    return rows
