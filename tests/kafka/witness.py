"""An independent witness: reads what lies on the broker with another client than the planters do."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

READ_SECONDS = 30


@dataclass(frozen=True)
class Seen:
    """One record; ``visible`` to readers of committed records."""

    topic: str
    partition: int
    offset: int
    id: str | None
    key: bytes | None
    timestamp_ms: int
    headers: dict[str, bytes]
    value: Any
    visible: bool = True


@dataclass
class Topic:
    """A topic with all its records.

    Attributes:
        starts, stable, ends: partition -> log start offset, last stable offset, high watermark.
        records: all of them, those of aborted and open transactions too.
    """

    name: str
    starts: dict[int, int]
    stable: dict[int, int]
    ends: dict[int, int]
    records: list[Seen] = field(default_factory=list)

    @property
    def visible(self) -> list[Seen]:
        return [record for record in self.records if record.visible]

    @property
    def aborted(self) -> list[Seen]:
        return [
            record for record in self.records if not record.visible and record.offset < self.stable[record.partition]
        ]

    @property
    def hidden(self) -> list[Seen]:
        return [record for record in self.records if record.offset >= self.stable[record.partition]]

    @cached_property
    def ids(self) -> set[str]:
        return {record.id for record in self.visible if record.id}


@cache
def look(bootstrap: str, topic: str) -> Topic:
    """Reads a topic under both isolation levels; a planted topic does not change any more, so once is enough."""
    everything, starts, ends = _read(bootstrap, topic, "read_uncommitted")
    committed, _, stable = _read(bootstrap, topic, "read_committed")
    seen = Topic(topic, starts, stable, ends)
    for spot, record in sorted(everything.items()):
        seen.records.append(_seen(record, visible=spot in committed))
    return seen


def committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """Partition -> committed offset, where there is one."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        offsets = admin.list_group_offsets([group])[group]
    finally:
        admin.close()
    return {spot.partition: found.offset for spot, found in offsets.items() if spot.topic == topic}


def sent_log(path: str) -> dict[str, list[dict[str, Any]]]:
    """Id -> its lines, names and times of any spelling made one."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for text in Path(path).read_text().splitlines():
        line = json.loads(text)
        lines.setdefault(line.get("id") or line["messageId"], []).append(line)
    return lines


def _read(bootstrap: str, topic: str, isolation: str) -> tuple[dict[tuple[int, int], Any], Any, Any]:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level=isolation,
        enable_auto_commit=False,
        allow_auto_create_topics=False,
        auto_offset_reset="earliest",
    )
    try:
        spots = [TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic))]
        starts, ends = consumer.beginning_offsets(spots), consumer.end_offsets(spots)
        consumer.assign(spots)
        consumer.seek_to_beginning()
        found = _drain(consumer, spots, ends)
        return found, {s.partition: o for s, o in starts.items()}, {s.partition: o for s, o in ends.items()}
    finally:
        consumer.close()


def _drain(consumer: KafkaConsumer, spots: list[TopicPartition], ends: Any) -> dict[tuple[int, int], Any]:
    found = {}
    deadline = time.monotonic() + READ_SECONDS
    while any(consumer.position(spot) < ends[spot] for spot in spots):
        assert time.monotonic() < deadline, f"the end of {spots[0].topic} was not reached"
        for records in consumer.poll(timeout_ms=200).values():
            found.update({(record.partition, record.offset): record for record in records})
    return found


def _seen(record: Any, *, visible: bool) -> Seen:
    value = json.loads(record.value) if record.value is not None else None
    return Seen(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        id=_id(value),
        key=record.key,
        timestamp_ms=record.timestamp,
        headers=dict(record.headers),
        value=value,
        visible=visible,
    )


def _id(value: Any) -> str | None:
    if value is None:
        return None
    message = value.get("originalMessage", value)
    return str(message["messageId"])
