"""Loss by the group's offsets: skipped, reset to the end, begun too late, committed too early."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import Consumer  # noqa: TC002 - annotations are read at run time

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.crash import process_without_end
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene, fates_of
from workbench.sandbox.incidents.sending import Sent, send
from workbench.sandbox.incidents.service import Plain, Work, consumer, follow, processor, run, work
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
    sent = flow(scene)
    ends = topics.ends(scene.bootstrap, scene.source)
    stop = {part: end - end // 4 for part, end in ends.items()}
    begun = {part: at - min(at, scene.rng.randint(1, 20)) for part, at in stop.items()}
    unfinished = [one for one in sent if begun[one.partition or 0] <= (one.offset or 0) < stop[one.partition or 0]]
    ids = [one.message.id for one in unfinished]
    crashed = process_without_end(scene, transaction=False, commit=True, until=stop, unfinished=ids)
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
