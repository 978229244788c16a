"""What stands around dead letters: who reads them, and how their topics are set up beside the topics they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.errors import SourceError
from workbench.tables import table_of

if TYPE_CHECKING:
    from workbench.sources import Sources

OWN_GROUPS = "workbench-"  # the project's own redrives drain nothing
MOST_ORIGINS = 50

# How far each group has read a dead-letter topic.
DRAINS = pa.schema(
    [("group", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("committed_offset", pa.int64())]
)
# One row a topic: a dead-letter topic, or one that dead letters come from. retention_ms -1 is for ever; null is unknown.
HOMES = pa.schema(
    [
        ("topic", pa.string()), ("role", pa.string()), ("partitions", pa.int32()), ("replication", pa.int32()),
        ("retention_ms", pa.int64()), ("cleanup_policy", pa.string()), ("max_message_bytes", pa.int64()),
    ]
)  # fmt: skip


def read_drains(sources: Sources, topics: Sequence[str]) -> tuple[pa.Table | None, str | None]:
    """(rows of ``DRAINS``, why they are not complete).

    Reads: ListGroups, OffsetFetch for each group.
    """
    try:
        reading = sources.cluster.groups_reading(topics)
        names = sorted({row["group"] for row in reading.rows() if not row["group"].startswith(OWN_GROUPS)})
        found = sources.cluster.committed(names, topics) if names else None
    except SourceError as error:
        return None, str(error).rstrip(".")
    rows = [[row[name] for name in DRAINS.names] for row in found.rows()] if found else []
    failures = {**reading.failures, **(found.failures if found else {})}
    why = "; ".join(sorted(set(map(str, failures.values())))[:3]) if failures else None
    return table_of(DRAINS, rows) if rows or not why else None, why


def read_homes(
    sources: Sources, dead_letters: Sequence[str], origins: Iterable[str]
) -> tuple[pa.Table, dict[str, str]]:
    """(rows of ``HOMES`` for topics that exist, topic -> why nothing is known of it).

    Reads: Metadata, DescribeConfigs.
    """
    roles = dict.fromkeys(list(dict.fromkeys(origins))[:MOST_ORIGINS], "origin") | dict.fromkeys(
        dead_letters, "dead_letters"
    )
    described = sources.cluster.topics(list(roles))
    known: dict[str, list[dict[str, Any]]] = {}
    for row in described.rows():
        known.setdefault(row["topic"], []).append(row)
    settings = sources.cluster.topic_configs(list(known)) if known else None
    values = {(row["topic"], row["name"]): row["value"] for row in settings.rows()} if settings else {}
    rows = [
        [
            topic,
            roles.get(topic, "origin"),
            len(partitions),
            min((len(row["replicas"] or []) for row in partitions), default=0) or None,
            _whole(values.get((topic, "retention.ms"))),
            values.get((topic, "cleanup.policy")),
            _whole(values.get((topic, "max.message.bytes"))),
        ]
        for topic, partitions in sorted(known.items())
    ]
    why = {**described.failures, **(settings.failures if settings else {})}
    return table_of(HOMES, rows), {str(topic): str(reason) for topic, reason in why.items()}


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
