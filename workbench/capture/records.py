"""From the client's messages to Arrow: one pass a column, no Python object a row that lives on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

import pyarrow as pa

from workbench.capture.schema import HEADERS, RAW
from workbench.sources.headers import Headers, headers_of


def raw_batch(messages: Sequence[Any], topic: str, partitions: list[int], offsets: list[int], want: set[str]) -> Any:
    """One RecordBatch of schema ``RAW``; the columns key, value, headers, leader_epoch are null unless wanted.

    Args:
        messages: of one topic, without error events.
        topic: their topic.
        partitions: their partitions.
        offsets: their offsets.
        want: which of ``key``, ``value``, ``headers``, ``leader_epoch``, ``timestamp`` to fill.
    """
    from confluent_kafka import Message

    count = len(messages)
    times, kinds = _timestamps(messages) if "timestamp" in want else (pa.nulls(count, pa.int64()), None)
    filled = {
        "topic": pa.repeat(pa.scalar(topic, pa.string()), count),
        "partition": pa.array(partitions, pa.int32()),
        "offset": pa.array(offsets, pa.int64()),
        "timestamp_ms": times,
        "timestamp_type": kinds,
        "leader_epoch": pa.array(_leader_epochs(messages), pa.int32()) if "leader_epoch" in want else None,
        "key": pa.array(list(map(Message.key, messages)), pa.binary()) if "key" in want else None,
        "value": pa.array(list(map(Message.value, messages)), pa.binary()) if "value" in want else None,
        "headers": headers_array(headers_of(messages)) if "headers" in want else None,
    }
    given = [(field, filled.get(field.name)) for field in RAW]
    columns = [pa.nulls(count, field.type) if column is None else column for field, column in given]
    return pa.RecordBatch.from_arrays(columns, schema=RAW)


def headers_array(rows: Sequence[Headers | None]) -> Any:
    """A list column of header pairs; no headers and an empty list are the same thing."""
    lists = [row or () for row in rows]
    starts = pa.array(list(accumulate(map(len, lists), initial=0)), pa.int32())
    pairs = list(chain.from_iterable(lists))
    names, values = zip(*pairs, strict=True) if pairs else ((), ())
    flat = pa.StructArray.from_arrays(
        [pa.array(names, pa.string()), pa.array(values, pa.binary())], fields=list(HEADERS.value_type)
    )
    return pa.ListArray.from_arrays(starts, flat)


def _timestamps(messages: Sequence[Any]) -> tuple[Any, Any]:
    from confluent_kafka import Message

    kinds, times = zip(*map(Message.timestamp, messages), strict=True)
    # The client library counts 0 none, 1 create, 2 append. Nearly always all records of a batch have the same kind.
    if len(set(kinds)) == 1:
        return pa.array(times, pa.int64()), pa.repeat(pa.scalar(kinds[0] - 1, pa.int8()), len(messages))
    return pa.array(times, pa.int64()), pa.array([kind - 1 for kind in kinds], pa.int8())


def _leader_epochs(messages: Sequence[Any]) -> list[int | None]:
    from confluent_kafka import Message

    return list(map(Message.leader_epoch, messages))
