"""Loss by the group's offsets: skipped, reset to the end, begun too late, committed too early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import Consumer, Message, TopicPartition

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.crash import process_without_end
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene, fates_of
from workbench.sandbox.incidents.sending import Sent, send
from workbench.sandbox.incidents.service import (
    Plain,
    Work,
    consumer,
    follow,
    processor,
    record_of,
    run,
    work,
)
from workbench.sandbox.incidents.traffic import flow
from workbench.sandbox.incidents.truth import Truth

SKIPPED = "loss-offset-skipped-forward"
RESET = "loss-offset-reset-latest"
ADDED = "loss-new-partition-skipped"
EARLY = "loss-commit-before-processing"
# How long a reader may not know of a new partition.
REFRESH_MS = 1_500


@incident("offset-skipped-forward", "loss", {SKIPPED: "confirmed"})
def offset_skipped_forward(scene: Scene) -> Truth:
    """An operator sets the group's offsets forward while the service is down; what lies between is never read."""
    sent = flow(scene)
    ends = topics.ends(scene.bootstrap, scene.source)
    low, high = ({part: int(end * share) for part, end in ends.items()} for share in (0.3, 0.7))
    handler = processor(scene, {})
    work(scene, handler, until=low)
    topics.commit(scene.bootstrap, scene.group, scene.source, high)
    work(scene, handler)
    skipped = [one for one in sent if low[one.partition or 0] <= (one.offset or 0) < high[one.partition or 0]]
    return _truth(scene, sent, skipped, SKIPPED)


@incident("offset-skipped-by-member", "loss", {SKIPPED: "confirmed"})
def offset_skipped_by_member(scene: Scene) -> Truth:
    """A service that commits after every so many messages seeks forward in a partition, and goes on from there."""
    sent = flow(scene, 300, 500)
    ends = topics.ends(scene.bootstrap, scene.source)
    part = max(ends, key=lambda at: ends[at])
    low, high = ends[part] // 3, ends[part] // 3 + scene.rng.randint(25, 40)
    _Seeking(scene, part, low, high, each=scene.rng.randint(8, 15)).go()
    skipped = [one for one in sent if one.partition == part and low <= (one.offset or 0) < high]
    return _truth(scene, sent, skipped, SKIPPED)


@dataclass
class _Seeking:
    """A service that reads to the end, commits after ``each`` messages, and at ``low`` of a partition goes on at ``high``."""

    scene: Scene
    partition: int
    low: int
    high: int
    each: int
    places: dict[int, int] = field(default_factory=dict)

    def go(self) -> None:
        client, outlet, handler = consumer(self.scene), Plain(self.scene.bootstrap), processor(self.scene, {})
        ends, handled = topics.ends(self.scene.bootstrap, self.scene.source), 0
        client.subscribe([self.scene.source])
        try:
            while any(self.places.get(part, 0) < end for part, end in ends.items()):
                message = client.poll(0.2)
                if message is None or message.error() or self._leaps(client, message):
                    continue
                record = record_of(message)
                outlet.write(handler(record))
                self.places[record.partition] = record.offset + 1
                handled += 1
                if handled % self.each == 0:
                    self._commit(client)
            self._commit(client)
        finally:
            client.close()

    def _leaps(self, client: Consumer, message: Message) -> bool:
        """Whether it goes past the message; those behind ``low`` had been fetched before it sought."""
        if message.partition() != self.partition or not self.low <= (message.offset() or 0) < self.high:
            return False
        if message.offset() == self.low:
            client.seek(TopicPartition(self.scene.source, self.partition, self.high))
        return True

    def _commit(self, client: Consumer) -> None:
        spots = [TopicPartition(self.scene.source, part, at) for part, at in self.places.items()]
        client.commit(offsets=spots, asynchronous=False)


@incident("offset-reset-latest", "loss", {RESET: "confirmed"})
def offset_reset_latest(scene: Scene) -> Truth:
    """A new group begins with auto.offset.reset=latest: what was there before it came is never read."""
    before = flow(scene)
    handler, outlet = processor(scene, {}), Plain(scene.bootstrap)
    client = consumer(scene, auto_offset_reset="latest")
    try:
        run(client, scene, handler, outlet, until=None, commit=True)  # there is nothing behind the end
        after = [one for part in range(scene.partitions) for one in _some(scene, part)]
        follow(client, scene, handler, outlet, lambda done: len(done.handled) >= len(after))
    finally:
        client.close()
    return _truth(scene, [*before, *after], before, RESET)


@incident("new-partition-skipped", "loss", {ADDED: "confirmed"})
def new_partition_skipped(scene: Scene) -> Truth:
    """A partition is added; the service, which begins new partitions at their end, notices it only after a while."""
    scene.open()
    handler, outlet = processor(scene, {}), Plain(scene.bootstrap)
    client = consumer(scene, auto_offset_reset="latest", topic_metadata_refresh_interval_ms=REFRESH_MS)
    try:
        run(client, scene, handler, outlet, until=None, commit=True)
        healthy = [one for part in range(scene.partitions) for one in _some(scene, part)]
        follow(client, scene, handler, outlet, lambda done: len(done.handled) >= len(healthy))
        added, scene.partitions = scene.partitions, scene.partitions + 1
        topics.add_partition(scene.bootstrap, scene.source, scene.partitions)
        unseen = _some(scene, added)
        follow(client, scene, handler, outlet, lambda _: added in _assigned(client))
        follow(client, scene, handler, outlet, _polls(10))  # it has found the end by now
        after = _some(scene, added)
        follow(client, scene, handler, outlet, lambda done: len(done.handled) >= len(after))
    finally:
        client.close()
    return _truth(scene, [*healthy, *unseen, *after], unseen, ADDED)


@incident("commit-before-processing", "loss", {EARLY: "confirmed"})
def commit_before_processing(scene: Scene) -> Truth:
    """The service commits what it has polled and is killed while it still works on it; its successor goes on behind it."""
    return _early(scene, late=False)


@incident("commit-before-processing-late", "loss", {EARLY: "confirmed"})
def commit_before_processing_late(scene: Scene) -> Truth:
    """The same, but nobody starts the service again until the group has long been empty."""
    return _early(scene, late=True)


def _early(scene: Scene, *, late: bool) -> Truth:
    sent = flow(scene)
    ends = topics.ends(scene.bootstrap, scene.source)
    stop = {part: end - end // 4 for part, end in ends.items()}
    begun = {part: at - min(at, scene.rng.randint(1, 20)) for part, at in stop.items()}
    unfinished = [one for one in sent if begun[one.partition or 0] <= (one.offset or 0) < stop[one.partition or 0]]
    ids = [one.message.id for one in unfinished]
    crashed = process_without_end(scene, transaction=False, commit=True, until=stop, unfinished=ids)
    if late:
        topics.wait_until(lambda: not topics.members(scene.bootstrap, scene.group), "the dead member's session ends")
    work(scene, processor(scene, {}), session_timeout_ms=crashed.session_ms)
    return _truth(scene, sent, unfinished, EARLY)


def _some(scene: Scene, partition: int) -> list[Sent]:
    """A few fresh messages in one partition."""
    return send(scene.bootstrap, scene.source, scene.writer.write(scene.rng.randint(5, 40)), partition=partition)


def _assigned(client: Consumer) -> set[int]:
    return {place.partition for place in client.assignment()}


def _polls(count: int) -> Callable[[Work], bool]:
    """Enough after so many polls."""
    left = iter(range(count))
    return lambda _work: next(left, None) is None


def _truth(scene: Scene, sent: list[Sent], lost: list[Sent], code: str) -> Truth:
    fates = fates_of([one.message for one in sent], lost=[one.message for one in lost])
    return scene.loss(fates, expects={code: "confirmed"}, cause=code)
