"""Offsets by time: where in each partition a moment lies."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from confluent_kafka import IsolationLevel

from workbench.sources import topics
from workbench.sources.admin import Admin
from workbench.sources.answer import Answer, answer
from workbench.sources.mapping import reason

OFFSETS_AT_SCHEMA = pa.schema([("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64())])


def offsets_at(admin: Admin, names: Sequence[str], at_ms: int) -> Answer:
    """The first offset whose timestamp is at or after a moment.

    Args:
        admin: the cluster's admin client.
        names: topics.
        at_ms: epoch milliseconds.

    Returns:
        topic, partition int32, offset int64 (null: no record is that young). Failures by ``topic/partition``.

    Reads: Metadata, ListOffsets (for a timestamp).
    """
    found, failures = topics.describe(admin, names)
    places = sorted((name, part.id) for name, topic in found.items() for part in topic.partitions)
    if not admin.has_controller:  # librdkafka's mock: its answers about times are wrong
        return answer(OFFSETS_AT_SCHEMA, [], {**failures, **dict.fromkeys(found, "offsets by time are not offered")})
    spec = topics.client.OffsetSpec.for_timestamp(at_ms)
    results, errors = topics.list_offsets(admin, places, spec, IsolationLevel.READ_UNCOMMITTED)
    rows = [
        (*place, results[place].offset if results[place].offset >= 0 else None) for place in places if place in results
    ]
    why = {f"{name}/{part}": reason(error, "Describe", f"topic {name}") for (name, part), error in errors.items()}
    return answer(OFFSETS_AT_SCHEMA, rows, {**failures, **why})
