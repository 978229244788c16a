"""Senders: what producers of an integration do, right or wrong, and what they were told about each message."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as Delivery

from workbench.errors import SandboxError
from workbench.sandbox.incidents.messages import Message
from workbench.sandbox.incidents.topics import client_settings

FLUSH_SECONDS = 30.0


@dataclass(frozen=True)
class Sent:
    """What became of one send.

    Attributes:
        message: what was sent.
        topic: where to.
        partition: the partitioner's choice; None where it was not made.
        offset: acknowledged offset; None without an acknowledgement.
        at_ms: when it was sent, epoch milliseconds.
        error: why it was not acknowledged.
    """

    message: Message
    topic: str
    partition: int | None
    offset: int | None
    at_ms: int
    error: str | None = None


def producer(bootstrap: str, **settings: Any) -> Producer:
    """A producer as it should be: idempotent, acknowledged by all replicas; settings with underscores for dots."""
    given = {name.replace("_", "."): value for name, value in settings.items()}
    return Producer(client_settings(bootstrap, **{"enable.idempotence": True, "linger.ms": 5, **given}))


class Sender:
    """Sends with one producer and keeps what it was told."""

    def __init__(self, client: Producer, topic: str) -> None:
        self.client = client
        self.topic = topic
        self.sent: list[Sent] = []

    def send(self, message: Message, partition: int | None = None) -> None:
        """Sends one message; its outcome is known after ``flush``."""
        at_ms = round(time.time() * 1000)

        def told(error: KafkaError | None, delivery: Delivery) -> None:
            offset = None if error else delivery.offset()
            reason = error.str() if error else None
            self.sent.append(Sent(message, self.topic, _known(delivery.partition()), offset, at_ms, reason))

        produce(self.client, self.topic, message, partition, told)

    def flush(self) -> list[Sent]:
        """Waits for the outcome of everything; returns all outcomes, in the order in which they came."""
        self.client.flush(FLUSH_SECONDS)
        return self.sent


def produce(client: Producer, topic: str, message: Message, partition: int | None = None, told: Any = None) -> None:
    """Hands one message to a producer."""
    extra: dict[str, Any] = {}
    if partition is not None:
        extra["partition"] = partition
    if message.timestamp_ms is not None:
        extra["timestamp"] = message.timestamp_ms
    key = None if message.key is None else message.key.encode()
    client.produce(topic, message.body(), key, headers=list(message.headers), on_delivery=told, **extra)
    client.poll(0)


def send(
    bootstrap: str, topic: str, messages: Iterable[Message], *, partition: int | None = None, **settings: Any
) -> list[Sent]:
    """Sends messages in order and insists that each is acknowledged.

    Returns:
        One ``Sent`` for each message, in the order of the messages.

    Raises:
        SandboxError: one was not acknowledged.
    """
    sender = Sender(producer(bootstrap, **settings), topic)
    ordered = list(messages)
    for message in ordered:
        sender.send(message, partition)
    told = {sent.message.id: sent for sent in sender.flush()}
    lost = [message.id for message in ordered if message.id not in told or told[message.id].error]
    if lost:
        raise SandboxError(f"{len(lost)} messages to {topic} were not acknowledged.", hint="Read the broker's log.")
    return [told[message.id] for message in ordered]


def transactional(bootstrap: str, **settings: Any) -> Producer:
    """A transactional producer, ready to begin."""
    client = producer(bootstrap, transactional_id=f"sandbox-{uuid.uuid4().hex[:12]}", **settings)
    client.init_transactions(FLUSH_SECONDS)
    return client


def in_transaction(
    client: Producer, topic: str, messages: Sequence[Message], *, commit: bool, partition: int | None = None
) -> list[Sent]:
    """Sends messages in one transaction and ends it; aborted ones are in the log all the same.

    Returns:
        One ``Sent`` for each message; their offsets were acknowledged before the end of the transaction.
    """
    client.begin_transaction()
    sender = Sender(client, topic)
    for message in messages:
        sender.send(message, partition)
    sent = list(sender.flush())
    if commit:
        client.commit_transaction(FLUSH_SECONDS)
    else:
        client.abort_transaction(FLUSH_SECONDS)
    return sent


def _known(partition: int | None) -> int | None:
    return None if partition is None or partition < 0 else partition
