"""Where a group stood at past moments, as exporters told Prometheus: committed offset and log end of each partition."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from workbench.sources.prometheus.client import Prometheus
from workbench.sources.prometheus.facts import history

MOST_MOMENTS = 240  # of a window: finer is more than a trend needs, and each moment is a row for each partition

Moment = tuple[str, int, int]


class Standing(NamedTuple):
    """One partition at one moment.

    Attributes:
        topic: where.
        partition: where.
        at_ms: the moment of the query; what is told may be as old as the exporter's refresh and the scrape interval.
        committed_offset: None: no exporter tells it.
        log_end_offset: None: no exporter tells it.
    """

    topic: str
    partition: int
    at_ms: int
    committed_offset: int | None
    log_end_offset: int | None


def standing(prometheus: Prometheus, group: str, since_ms: int, until_ms: int) -> tuple[list[Standing], dict[str, str]]:
    """A group's standing over a window, by partition and moment, and why there may be less than asked for (by fact).

    Where an exporter tells lag and log end but no committed offset (kminion), that is their difference.

    Raises:
        SourceUnavailable, AccessDenied: the server cannot be asked at all.

    Reads: ``/api/v1/label/__name__/values``, ``/api/v1/query_range``.
    """
    since, until = (datetime.fromtimestamp(at / 1000, UTC) for at in (since_ms, until_ms))
    step = max(15.0, (until_ms - since_ms) / 1000 / MOST_MOMENTS)
    answer = history(prometheus, (), group, since=since, until=until, step_seconds=step)
    facts: dict[str, dict[Moment, int]] = {}
    for row in answer.rows():
        place = (row["topic"], row["partition"], row["at_ms"])
        facts.setdefault(row["fact"], {})[place] = round(row["value"])
    return _joined(facts), dict(answer.failures)


def _joined(facts: Mapping[str, Mapping[Moment, int]]) -> list[Standing]:
    """Rows of the partitions that the group is known on; other groups' partitions have a log end only."""
    ends, made, lag = (facts.get(name, {}) for name in ("log_end_offset", "committed_offset", "lag"))
    rows = []
    for place in sorted({*made, *lag}):
        committed, end = made.get(place), ends.get(place)
        if committed is None and end is not None and place in lag:
            committed = end - lag[place]
        if end is None and committed is not None and place in lag:
            end = committed + lag[place]
        if committed is not None or end is not None:
            rows.append(Standing(*place, committed, end))
    return rows
