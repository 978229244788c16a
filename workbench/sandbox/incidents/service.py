"""The service between source and sink: a real consumer in a group, a real producer, manual commits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from workbench.errors import SandboxError
from workbench.sandbox.incidents.deadletters import (
    Form,
    Output,
    Record,
    envelope,
    id_header,
    plain_retry,
    spring,
    spring_retry,
)
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import FLUSH_SECONDS, producer
from workbench.sandbox.incidents.topics import client_settings

WORK_SECONDS = 60.0
Handler = Callable[[Record], Iterable[Output]]
Offsets = Mapping[int, int]


class Outlet(Protocol):
    """Where a service puts its outputs."""

    def write(self, outputs: Iterable[Output]) -> None:
        """Writes the outputs of one poll; when it returns, they are in the log."""


@dataclass
class Work:
    """What a service did.

    Attributes:
        handled: ids in the order in which they were handled.
        positions: partition of the source -> offset after the last one handled.
    """

    handled: list[str] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)


class Plain:
    """Writes with one idempotent producer, and remembers where each copy went."""

    def __init__(self, bootstrap: str, **settings: Any) -> None:
        self.client: Producer = producer(bootstrap, **settings)
        self.written: list[tuple[str, str, int, int]] = []

    def write(self, outputs: Iterable[Output]) -> None:
        """Writes and flushes."""
        for output in outputs:
            put(self.client, output, self.written)
        self.client.flush(FLUSH_SECONDS)


def put(client: Producer, output: Output, written: list[tuple[str, str, int, int]]) -> None:
    """Hands an output to a producer; ``written`` gets (id, topic, partition, offset) when it is acknowledged."""

    def told(error: KafkaError | None, delivery: Any) -> None:
        if error is None:
            written.append((output.id, delivery.topic(), delivery.partition(), delivery.offset()))

    client.produce(output.topic, output.value, output.key, headers=list(output.headers), on_delivery=told)
    client.poll(0)


@dataclass
class Processor:
    """The handler: one notification for each user event, with the same message id.

    Attributes:
        scene: names of the topics.
        fates: id -> what happens to it; ``delivered`` unless named. ``dead_lettered`` and ``retrying`` go there,
            any other word means that nothing is written. Records without an id are skipped.
        dead_letter, retry: forms of such records.
        sinks: where notifications go.
        forward_headers: copy the record's headers to the notification.
        once: skip ids that were handled before, as an idempotent service does.
        change: last change to a notification's value.
    """

    scene: Scene
    fates: Mapping[str, str] = field(default_factory=dict)
    dead_letter: Form = envelope
    retry: Form = plain_retry
    sinks: tuple[str, ...] = ()
    forward_headers: bool = False
    once: bool = False
    change: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda value: value)
    _seen: set[str] = field(default_factory=set)

    def __call__(self, record: Record) -> list[Output]:
        """Outputs for one record."""
        if not record.id or (self.once and record.id in self._seen):
            return []
        self._seen.add(record.id)
        fate = self.fates.get(record.id, "delivered")
        if fate == "dead_lettered":
            return [self.dead_letter(record, self.scene.dead_letters, "Invalid email format")]
        if fate == "retrying":
            return [self.retry(record, self.scene.retry, "Mail server timed out")]
        if fate != "delivered":
            return []
        return [self._notification(record, sink) for sink in self.sinks or (self.scene.sink,)]

    def _notification(self, record: Record, sink: str) -> Output:
        event = json.loads(record.value)
        value = {
            "messageId": record.id,
            "timestamp": event["timestamp"],
            "source": "notification-service",
            "eventType": "notification.sent",
            "version": "1.0",
            "data": {**event["data"], "channel": "mail"},
        }
        kept = record.headers if self.forward_headers else id_header(record)
        return Output(sink, record.id, record.key, json.dumps(self.change(value)).encode(), kept)


def processor(scene: Scene, fates: Mapping[str, str], **more: Any) -> Processor:
    """A handler whose dead letters and retries have one of the known forms."""
    dead_letter, retry = scene.rng.choice(((envelope, plain_retry), (spring, spring_retry)))
    return Processor(scene, fates, dead_letter, retry, **more)


def work(
    scene: Scene,
    handler: Handler,
    outlet: Outlet | None = None,
    *,
    until: Offsets | None = None,
    commit: bool = True,
    positions: Callable[[], Offsets] | None = None,
    epochs: bool = False,
    **settings: Any,
) -> Work:
    """Lets the service run until the source is read, then stops it in order.

    Args:
        scene: names of the topics and the group.
        handler: outputs for each record.
        outlet: where they go; by default an idempotent producer.
        until: partition -> offset at which it stops; by default the end, or what a reader may see of it.
        commit: whether it commits what it handled, after it was written.
        positions: what it commits instead.
        epochs: whether its commits name the leader epoch of what was read, as those of a client's own positions do.
        **settings: of the consumer, with underscores for dots.

    Raises:
        SandboxError: it did not get there in time.
    """
    client = consumer(scene, **settings)
    try:
        outlet = outlet or Plain(scene.bootstrap)
        return run(client, scene, handler, outlet, until=until, commit=commit, positions=positions, epochs=epochs)
    finally:
        client.close()


def run(
    client: Consumer,
    scene: Scene,
    handler: Handler,
    outlet: Outlet,
    *,
    until: Offsets | None,
    commit: bool,
    positions: Callable[[], Offsets] | None = None,
    epochs: bool = False,
) -> Work:
    """As ``work``, with a member that stays in the group afterwards."""
    return _Run(client, scene, handler, outlet, until, commit, positions, epochs).go()


def together(
    scene: Scene,
    members: Sequence[tuple[Consumer, Handler]],
    enough: Callable[[int], bool],
    outlet: Outlet | None = None,
) -> None:
    """Lets members of one group take turns, until they have handled enough between them.

    Raises:
        SandboxError: they did not get there in time.
    """
    outlet = outlet or Plain(scene.bootstrap)
    runs = [_Run(client, scene, handler, outlet, None, commit=True) for client, handler in members]
    deadline = time.monotonic() + WORK_SECONDS
    while not enough(sum(len(one.work.handled) for one in runs)):
        if time.monotonic() > deadline:
            raise SandboxError(f"Group {scene.group} did not get through {scene.source}.")
        for one in runs:
            one.poll()


def follow(client: Consumer, scene: Scene, handler: Handler, outlet: Outlet, enough: Callable[[Work], bool]) -> Work:
    """Lets a member that has joined go on, until it has done enough.

    Raises:
        SandboxError: it did not get there in time.
    """
    going = _Run(client, scene, handler, outlet, None, commit=True)
    deadline = time.monotonic() + WORK_SECONDS
    while not enough(going.work):
        if time.monotonic() > deadline:
            raise SandboxError(f"Group {scene.group} did not follow {scene.source}.")
        going.poll()
    return going.work


def consumer(scene: Scene, **settings: Any) -> Consumer:
    """A member of the scene's group."""
    given = {name.replace("_", "."): value for name, value in settings.items()}
    return Consumer(
        client_settings(
            scene.bootstrap,
            **{
                "group.id": scene.group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                **given,
            },
        )
    )


def record_of(message: Any) -> Record:
    """A client's message as a record; every value here is JSON with an id."""
    value = message.value() or b"null"
    decoded = json.loads(value)
    return Record(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        value=value,
        headers=tuple(message.headers() or ()),
        id=str(decoded.get("messageId", "")) if isinstance(decoded, dict) else "",
    )


@dataclass
class _Run:
    client: Consumer
    scene: Scene
    handler: Handler
    outlet: Outlet
    until: Offsets | None
    commit: bool
    positions: Callable[[], Offsets] | None = None
    with_epochs: bool = False
    epochs: dict[int, int] = field(default_factory=dict)
    work: Work = field(default_factory=Work)
    done: set[int] = field(default_factory=set)

    def go(self) -> Work:
        deadline = time.monotonic() + WORK_SECONDS
        self.client.subscribe([self.scene.source])
        while len(self.done) < self.scene.partitions:
            if time.monotonic() > deadline:
                raise SandboxError(f"Group {self.scene.group} did not get through {self.scene.source}.")
            self.poll()
        self._commit({} if self.until is None or self.positions else dict(self.until))
        return self.work

    def poll(self) -> None:
        """Handles what one poll gives."""
        self._handle(self.client.consume(500, 0.1))

    def _handle(self, polled: list[Any]) -> None:
        outputs: list[Output] = []
        for message in polled:
            if message.error():
                self._at_end(message)
            elif self._is_beyond(message):
                self.done.add(message.partition())
            else:
                record = record_of(message)
                outputs += self.handler(record)
                self.work.handled.append(record.id)
                self.work.positions[record.partition] = record.offset + 1
                if self.with_epochs and message.leader_epoch() is not None:
                    self.epochs[record.partition] = message.leader_epoch()
        self.outlet.write(outputs)
        self._commit(self.positions() if self.positions else self.work.positions)

    def _at_end(self, message: Any) -> None:
        if message.error().code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public spelling
            raise SandboxError(f"Reading {self.scene.source} failed: {message.error().str()}.")
        self.done.add(message.partition())

    def _is_beyond(self, message: Any) -> bool:
        return self.until is not None and bool(message.offset() >= self.until.get(message.partition(), 0))

    def _commit(self, positions: Offsets) -> None:
        source, known = self.scene.source, self.epochs
        spots = [TopicPartition(source, part, offset, "", known.get(part, -1)) for part, offset in positions.items()]
        if spots and self.commit:
            self.client.commit(offsets=spots, asynchronous=False)
