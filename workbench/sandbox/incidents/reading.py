"""Reads a whole topic of the sandbox: what the planters wait with and the tests compare the truth with."""

from __future__ import annotations

import time
import uuid

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from workbench.errors import SandboxError
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.deadletters import Record
from workbench.sandbox.incidents.service import record_of

READ_SECONDS = 30.0


def read(bootstrap: str, topic: str, *, committed: bool = False) -> list[Record]:
    """All records of a topic, up to the end that it has now.

    Args:
        bootstrap: the broker.
        topic: its name.
        committed: leave out aborted records and what is at or above the last stable offset.

    Raises:
        SandboxError: the end was not reached in time.
    """
    ends = topics.ends(bootstrap, topic, committed=committed)
    level = "read_committed" if committed else "read_uncommitted"
    client = Consumer(topics.client_settings(bootstrap, **_SETTINGS, **{"isolation.level": level}))
    try:
        client.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in ends])
        return _drain(client, topic, ends)
    finally:
        client.close()


_SETTINGS = {
    "group.id": f"sandbox-reader-{uuid.uuid4().hex[:8]}",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 50,
    "auto.offset.reset": "earliest",
}


def _drain(client: Consumer, topic: str, ends: dict[int, int]) -> list[Record]:
    records: list[Record] = []
    open_partitions = set(ends)
    deadline = time.monotonic() + READ_SECONDS
    while open_partitions:
        if time.monotonic() > deadline:
            raise SandboxError(f"The end of {topic} was not reached.", hint="Read the broker's log.")
        for message in client.consume(500, 0.1):
            if message.error():
                open_partitions.discard(message.partition())
            else:
                records.append(record_of(message))
    return sorted(records, key=lambda record: (record.partition, record.offset))
