"""The record at an offset: when it was written, for many places at once; nothing is committed, joined or created."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, TopicPartition

from workbench.sources.admin import silent_logger
from workbench.sources.answer import Answer, answer

Start = tuple[str, int, int, int]  # topic, partition, first offset to look at, the one behind the last
Found = tuple[int | None, int | None, str | None, str | None]  # first offset, timestamp, its type, error

HEADS_SCHEMA = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("first_offset", pa.int64()),
     ("timestamp_ms", pa.int64()), ("timestamp_type", pa.string()), ("error", pa.string())]
)  # fmt: skip
_TYPES = {TIMESTAMP_CREATE_TIME: "CreateTime", TIMESTAMP_LOG_APPEND_TIME: "LogAppendTime"}
_SETTINGS = {
    "enable.partition.eof": "true",
    "auto.offset.reset": "error",
    # One record of each place is wanted: whatever is fetched ahead is thrown away.
    "fetch.message.max.bytes": "16384",
    "queued.min.messages": "1",
    "queued.max.messages.kbytes": "4096",
    "fetch.wait.max.ms": "50",
}


def heads(settings: Mapping[str, Any], starts: Iterable[Start], isolation: str, seconds: float) -> Answer:
    """The table of ``Cluster.heads``.

    Places that are asked at several offsets are read in rounds, each place once a round.
    """
    pending = sorted(set(starts))
    found: dict[tuple[str, int, int], Found] = {}
    stop = time.monotonic() + seconds
    wanted = {**settings, **_SETTINGS, "isolation.level": isolation, "error_cb": lambda _: None}
    consumer = Consumer(wanted, logger=silent_logger())
    try:
        while pending and time.monotonic() < stop:
            now: dict[tuple[str, int], Start] = {}
            for start in pending:
                now.setdefault(start[:2], start)
            found |= _round(consumer, now, stop)
            pending = [start for start in pending if start is not now[start[:2]]]
    finally:
        consumer.close()
    late: Found = (None, None, None, f"not read within {seconds:.0f} s")
    rows = [(*start[:3], *found.get(start[:3], late)) for start in sorted(set(starts))]
    return answer(HEADS_SCHEMA, rows)


def _round(consumer: Consumer, now: Mapping[tuple[str, int], Start], stop: float) -> dict[tuple[str, int, int], Found]:
    waiting = dict(now)
    out: dict[tuple[str, int, int], Found] = {}
    consumer.assign([TopicPartition(*start[:3]) for start in waiting.values()])
    while waiting and time.monotonic() < stop:
        for message in consumer.consume(500, timeout=0.1):
            place = (message.topic() or "", message.partition() if message.partition() is not None else -1)
            if place in waiting:
                start = waiting.pop(place)
                out[start[:3]] = _of(message, start[3])
                consumer.pause([TopicPartition(*place)])
    consumer.unassign()
    return out


def _of(message: Any, end: int) -> Found:
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
        return None, None, None, str(error.name())
    if error is not None or message.offset() >= end:
        return None, None, None, None  # markers, aborted or compacted records only
    kind, at_ms = message.timestamp()
    return message.offset(), at_ms if kind in _TYPES else None, _TYPES.get(kind), None
