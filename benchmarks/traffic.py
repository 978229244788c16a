"""A topic full of records, fast: 200 B of JSON each, one header, six partitions, lz4, a known number of copies."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

PARTITIONS = 6
HEADERS: list[tuple[str, str | bytes | None]] = [("content-type", b"application/json")]
PRODUCER = {
    "log_level": 2,  # a broker that has just started makes the client ask twice, and say so
    "acks": "all",
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 50,
    "batch.size": 1_000_000,
    "batch.num.messages": 10_000,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 200_000,
}
# A stretch of records goes to one partition, so that batches fill; the stretches go round.
STRETCH = 500


@dataclass(frozen=True)
class Traffic:
    """What was written.

    Attributes:
        topic: its name.
        records: records in the topic, copies included.
        copies: records whose id an earlier record has: each of another message.
    """

    topic: str
    records: int
    copies: int


def write(bootstrap: str, topic: str, records: int, copies: int = 1000, seed: int = 7) -> Traffic:
    """Create the topic and write the records; returns when the broker has acknowledged all of them."""
    _create(bootstrap, topic)
    producer = Producer({"bootstrap.servers": bootstrap, **PRODUCER})
    gc.disable()  # a million live messages make each collection slow, and none of them is garbage
    try:
        for count, value in enumerate(values(records, copies, seed)):
            _send(producer, topic, value, count // STRETCH % PARTITIONS)
            if count % 2000 == 0:
                producer.poll(0)
        producer.flush()
    finally:
        gc.enable()
    return Traffic(topic, records, copies)


def values(records: int, copies: int, seed: int) -> Iterator[bytes]:
    """JSON values with unique ids, the last ``copies`` of them once more; deterministic for a seed."""
    bits = random.Random(seed).getrandbits
    again: list[bytes] = []
    every = max((records - copies) // max(copies, 1), 1)
    for number in range(records - copies):
        value = (
            b'{"messageId":"%08x-%04x-4%03x-a%03x-%012x","eventType":"order.created","userId":"user-%06d","amount":%d.%02d,'
            b'"currency":"EUR","createdAt":"2026-03-01T10:%02d:%02d.%03dZ","note":"%016x"}'
            % (
                *(bits(32), bits(16), bits(12), bits(12), bits(48), bits(20) % 1_000_000, number % 900, number % 100),
                *(number // 60_000 % 60, number // 1000 % 60, number % 1000, bits(64)),
            )
        )
        if number % every == 0 and len(again) < copies:
            again.append(value)
        yield value
    yield from again


def _create(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(topic, num_partitions=PARTITIONS, replication_factor=1)])
    made[topic].result(30)


def _send(producer: Producer, topic: str, value: bytes, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, value, partition=partition, headers=HEADERS)
            return
        except BufferError:
            producer.poll(0.05)
