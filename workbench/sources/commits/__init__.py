"""The history of a consumer group, from ``__consumer_offsets``: what it committed, and who was in it.

Three tables, in the order of the log; ``log_offset`` is the record's offset in the group's partition of the topic, ``at_ms`` the
broker's time of it in milliseconds since 1970, UTC:

- ``commit_history``: group, topic, topic_id (null: an older broker wrote it), partition, committed_offset (null: removed),
  leader_epoch (-1: none given, as admin tools do), removed (deleted, expired, or its topic was deleted), members (of the group
  when it was written; 0: no member wrote it; null: not known), generation.
- ``generations``: group, generation (KIP-848: epoch; null: the group was removed), protocol, members, joined and left (against the
  record before; null: nothing before), removed.
- ``group_members``: group, generation, member_id, client_id, client_host, session_timeout_ms (null: the broker's own), topic and
  partitions (as assigned then; null where it is not in the record), rebalance_timeout_ms (what clients give as
  ``max.poll.interval.ms``), subscribed (topics; empty: a pattern, or not known), instance_id
  (null: a dynamic member).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa  # noqa: TC002 - docstrings and callers name its types at run time

from workbench.sources.commits.reading import MOST_RECORDS, Reading, read_group
from workbench.sources.commits.tables import COMMITS, GENERATIONS, MEMBERS, rows_of

__all__ = ["COMMITS", "GENERATIONS", "MEMBERS", "MOST_RECORDS", "History", "commit_history"]


@dataclass(frozen=True)
class History:
    """A group's history.

    Attributes:
        tables: ``commit_history``, ``generations``, ``group_members``.
        since_ms: from here on it is complete; None: from the beginning of the group's partition.
        cut: whether older records were left out, because there are too many.
        unknown: why records were not understood -> how many.
    """

    tables: Mapping[str, pa.Table]
    since_ms: int | None = None
    cut: bool = False
    unknown: Mapping[str, int] = field(default_factory=dict)


def commit_history(
    settings: Mapping[str, Any],
    group: str,
    most_records: int = MOST_RECORDS,
    names: Mapping[str, str] | None = None,
) -> History:
    """The history of one group, as far back as its partition of ``__consumer_offsets`` tells.

    Args:
        settings: librdkafka settings that reach the cluster.
        group: its name.
        most_records: at most so many records of the partition are read, the newest.
        names: topic id -> topic, for the assignments of KIP-848 groups.

    Raises:
        AccessDenied: Read on ``__consumer_offsets`` is not granted.
        NotFound: there is no such topic yet.
        SourceUnavailable: the brokers do not answer.

    Reads: Metadata, ListOffsets, Fetch.
    """
    found: Reading = read_group(settings, group, most_records)
    rows = rows_of(group, found.events, whole=found.since_ms is None, names=names)
    return History(rows.tables(), found.since_ms, found.cut, rows.unknown)
