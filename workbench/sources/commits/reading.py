"""Reads a group's partition of ``__consumer_offsets``: newest first where there is too much, and only that partition."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from workbench.errors import AccessDenied, NotFound, SourceUnavailable
from workbench.sources.commits.records import Event, decoded, group_of
from workbench.sources.mapping import as_source_error, fault_of

TOPIC = "__consumer_offsets"
MOST_RECORDS = 500_000  # about half a minute; more only shows what was long before
BATCH = 5_000
POLL_SECONDS = 0.2
REQUEST_SECONDS = 10.0
PATIENCE_SECONDS = 15.0


def partition_of(group: str, partitions: int) -> int:
    """Where a group's records are: Java's String.hashCode, over UTF-16 units."""
    units = group.encode("utf-16-be", "surrogatepass")
    value = 0
    for at in range(0, len(units), 2):
        value = (31 * value + int.from_bytes(units[at : at + 2], "big")) & 0xFFFFFFFF
    value = value - (1 << 32) if value >> 31 else value
    return (0 if value == -(1 << 31) else abs(value)) % partitions


@dataclass
class Reading:
    """What was read.

    Attributes:
        events: (log offset, broker's time in epoch ms, event) of the group, in log order.
        since_ms: from here on the history is complete as far as can be told; None where it reaches back to the log's beginning
            without a hole.
        cut: whether older records were left out.
    """

    events: list[tuple[int, int, Event]] = field(default_factory=list)
    since_ms: int | None = None
    cut: bool = False


def read_group(settings: Mapping[str, Any], group: str, most: int = MOST_RECORDS) -> Reading:
    """The group's records, as they are in the log now.

    Raises:
        AccessDenied: Read on the topic is not granted.
        NotFound: no group has ever committed anything.
        SourceUnavailable: the brokers do not answer.

    Reads: Metadata, ListOffsets, Fetch.
    """
    from confluent_kafka import Consumer, KafkaException

    own = {**settings, "isolation.level": "read_committed", "enable.partition.eof": "true", "auto.offset.reset": "error",
           "allow.auto.create.topics": "false", "enable.auto.commit": "false", "log_level": "0"}  # fmt: skip
    endpoint = str(settings.get("bootstrap.servers", ""))
    try:
        with closing(Consumer(own)) as consumer:
            return _read(consumer, group, most, endpoint)
    except KafkaException as error:
        raise as_source_error(error, operation="Read", resource=f"topic {TOPIC}", endpoint=endpoint) from error


def _read(consumer: Any, group: str, most: int, endpoint: str) -> Reading:
    from confluent_kafka import TopicPartition

    known = consumer.list_topics(TOPIC, REQUEST_SECONDS).topics.get(TOPIC)
    if known is None or known.error is not None or not known.partitions:
        _refuse(known.error if known else None, endpoint)
    place = TopicPartition(TOPIC, partition_of(group, len(known.partitions)))
    low, high = consumer.get_watermark_offsets(place, REQUEST_SECONDS)
    start = max(low, high - most)
    reading = Reading(cut=start > low)
    place.offset = start
    consumer.assign([place])
    last, last_ms = start - 1, None
    for message in _messages(consumer, high, endpoint) if high > start else ():
        offset, at = message.offset(), message.timestamp()[1]
        # One missing offset is as often the marker of a transaction as something compacted away.
        if offset - last > 2 or (offset > last + 1 and offset - 1 == start) or (reading.cut and last_ms is None):
            reading.since_ms = at
        last, last_ms = offset, at
        if group_of(message.key()) == group:
            reading.events.append((offset, at, decoded(message.key(), message.value())))
    if low > 0 and reading.since_ms is None and reading.events:
        reading.since_ms = reading.events[0][1]
    return reading


def _refuse(error: Any, endpoint: str) -> None:
    if error is not None and fault_of(error).kind == "denied":
        raise AccessDenied(
            f"Read denied on topic {TOPIC}.",
            source="cluster",
            endpoint=endpoint,
            hint="`workbench doctor --acls` prints the grant.",
        )
    raise NotFound(
        f"Topic {TOPIC} does not exist: no group has committed anything yet.", source="cluster", endpoint=endpoint
    )


def _messages(consumer: Any, end: int, endpoint: str) -> Iterator[Any]:
    """Records below ``end``, until there is no more."""
    from confluent_kafka import KafkaError, KafkaException

    moved_at = time.monotonic()
    while True:
        for message in consumer.consume(BATCH, POLL_SECONDS):
            moved_at = time.monotonic()
            error = message.error()
            if error is None:
                if message.offset() < end:
                    yield message
                if message.offset() + 1 >= end:
                    return
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's public name of a local event
                return
            elif (
                error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED
            ):  # of the group that librdkafka looks up for nothing
                raise KafkaException(error)
        if time.monotonic() - moved_at > PATIENCE_SECONDS:
            raise SourceUnavailable(
                f"Topic {TOPIC} stopped answering.", source="cluster", endpoint=endpoint, retriable=True
            )
