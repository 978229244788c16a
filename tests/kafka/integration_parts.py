"""A small service on topics of its own, for the tests of the reference integration."""

from __future__ import annotations

import faulthandler
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from workbench.integration.consumer import MessageConsumer
from workbench.integration.deadletters import DeadLetterHandler
from workbench.integration.metrics import Metrics
from workbench.integration.outlets import AtLeastOnce, ExactlyOnce, Outlet
from workbench.integration.producer import MessageProducer
from workbench.integration.records import Outgoing, Record
from workbench.integration.retries import RetryHandler
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.reading import read

SECONDS = 120.0
QUICK = RetryHandler(attempts=3, first_wait_seconds=0.01, longest_wait_seconds=0.05)
Fault = Callable[[Record], None]


def until(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> None:
    """Waits for a condition; the machine may be slow, a hang is a failure."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            faulthandler.dump_traceback(all_threads=True)
            pytest.fail(f"{what} did not happen within {seconds} s")
        time.sleep(0.05)


@dataclass
class Service:
    """Copies each record of a source to a sink, unless a fault says otherwise.

    Attributes:
        mode: ``once`` (transactions) or ``least``.
        protocol: of the group: ``classic`` or ``consumer`` (KIP-848).
        fault: called with each record before its output; raises what is to go wrong.
    """

    bootstrap: str
    name: str
    mode: str = "least"
    protocol: str = "classic"
    fault: Fault = field(default=lambda _: None)
    partitions: int = 3
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source, self.sink, self.dead_letters = f"{self.name}", f"{self.name}-out", f"{self.name}.dlq"
        self.group = f"{self.name}-group"
        self.metrics = Metrics()

    def open(self) -> Service:
        """Makes the topics."""
        for topic, partitions in ((self.source, self.partitions), (self.sink, 2), (self.dead_letters, 1)):
            topics.create(self.bootstrap, topic, partitions)
        return self

    def send(self, numbers: Iterable[int]) -> list[str]:
        """Sends one message for each number; returns their ids."""
        messages = [
            Outgoing(self.source, json.dumps({"messageId": f"m-{n}"}).encode(), b"k%d" % (n % 7), f"m-{n}")
            for n in numbers
        ]
        with MessageProducer({"bootstrap.servers": self.bootstrap}) as producer:
            producer.send_all(messages)
        return [message.message_id or "" for message in messages]

    def handle(self, record: Record) -> list[Outgoing]:
        """The handler."""
        self.fault(record)
        self.seen.append(record.message_id or "")
        return [Outgoing(self.sink, record.value, record.key, record.message_id)]

    def outlet(self) -> Outlet:
        """Where outputs go."""
        settings = {"bootstrap.servers": self.bootstrap}
        if self.mode == "once":
            return ExactlyOnce(settings, f"{self.name}-0", metrics=self.metrics)
        return AtLeastOnce(MessageProducer(settings, metrics=self.metrics))

    def consumer(
        self, outlet: Outlet | None = None, settings: dict[str, Any] | None = None, **more: Any
    ) -> MessageConsumer:
        """A member of the group."""
        given = {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.group,
            "group.protocol": self.protocol,
            **({"session.timeout.ms": 10_000} if self.protocol == "classic" else {}),
            **(settings or {}),
        }
        options = {"retry": QUICK, "dead_letters": DeadLetterHandler(self.dead_letters, group=self.group), **more}
        return MessageConsumer(
            given, [self.source], self.handle, outlet or self.outlet(), metrics=self.metrics, **options
        )

    def delivered(self) -> Counter[str]:
        """How often each id is at the sink, as read_committed readers see it."""
        return Counter(record.id for record in read(self.bootstrap, self.sink, committed=True))

    def committed(self) -> int:
        """Sum of the group's committed offsets."""
        client = Consumer(topics.client_settings(self.bootstrap, **{"group.id": self.group}))
        try:
            spots = client.committed([TopicPartition(self.source, number) for number in range(self.partitions)], 60)
        finally:
            client.close()
        return sum(max(spot.offset, 0) for spot in spots)

    def letters(self) -> list[dict[str, Any]]:
        """The envelopes in the dead-letter topic."""
        return [json.loads(record.value) for record in read(self.bootstrap, self.dead_letters, committed=True)]

    def count(self, result: str = "success") -> float:
        """How many records ended so, and were committed."""
        return self.metrics.value("messages_processed_total", topic=self.source, result=result) or 0


def delete_topic(bootstrap: str, topic: str) -> None:
    """Deletes a topic and waits until it is gone."""
    client = topics.admin(bootstrap)
    client.delete_topics([topic])[topic].result(60)
    topics.wait_until(lambda: topic not in client.list_topics(timeout=20).topics, f"end of {topic}")


@contextmanager
def running(consumer: MessageConsumer) -> Iterator[Running]:
    """Runs a consumer in a thread; it is stopped in order at the end."""
    going = Running(consumer)
    going.thread.start()
    try:
        yield going
    finally:
        consumer.stop()
        going.thread.join(SECONDS)
        assert not going.thread.is_alive()


class Running:
    """A consumer in a thread, and how it ended."""

    def __init__(self, consumer: MessageConsumer) -> None:
        self.consumer = consumer
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.consumer.run()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error

    def ended(self) -> BaseException | None:
        """Waits for its own end; returns the error."""
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        return self.error
