"""Two clusters and what mirrors one to the other: gaps, loops, and mirrors that do well.

The mirror is a small program that does what MirrorMaker does: it copies partition, timestamp, key, value and headers, in order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, Producer, TopicPartition

from workbench.errors import SandboxError
from workbench.sandbox import kafka
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.living import owe
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene, fates_of
from workbench.sandbox.incidents.sending import FLUSH_SECONDS, Sent, send
from workbench.sandbox.incidents.truth import Truth

GAP, LOOP = "loss-mirror-gap", "duplicates-mirror-loop"
READ_SECONDS = 30.0


@dataclass
class Mirror:
    """Copies a topic of one cluster to one of the same partitions on another.

    Attributes:
        source, target: bootstrap and topic of either side.
        positions: partition -> the next offset to copy.
    """

    source: tuple[str, str]
    target: tuple[str, str]
    positions: dict[int, int] = field(default_factory=dict)

    def copy(self, until: Mapping[int, int] | None = None) -> int:
        """Copies up to some offsets, by default all that is there; returns how many records that were."""
        ends = until or topics.ends(*self.source)
        copied, client = 0, Producer({"bootstrap.servers": self.target[0], "linger.ms": 5})
        for partition, end in ends.items():
            copied += self._partition(client, partition, self.positions.get(partition, 0), end)
            self.positions[partition] = max(end, self.positions.get(partition, 0))
        if client.flush(FLUSH_SECONDS):
            raise SandboxError(f"The mirror could not write to {self.target[1]}.")
        return copied

    def _partition(self, client: Producer, partition: int, start: int, end: int) -> int:
        if start >= end:
            return 0
        reader = Consumer({"bootstrap.servers": self.source[0], "group.id": "mirror", "enable.auto.commit": False})
        reader.assign([TopicPartition(self.source[1], partition, start)])
        copied, at, deadline = 0, start, time.monotonic() + READ_SECONDS
        try:
            while at < end:
                found = reader.consume(min(500, end - at), 1.0)
                if time.monotonic() > deadline:
                    raise SandboxError(f"The mirror could not read {self.source[1]} to its end.")
                for message in found:
                    at = (message.offset() or 0) + 1
                    if at <= end:
                        client.produce(
                            self.target[1], message.value(), message.key(), partition, timestamp=message.timestamp()[1],
                            headers=message.headers() or [],
                        )  # fmt: skip
                        client.poll(0)
                        copied += 1
        finally:
            reader.close()
        return copied


def _other_cluster() -> str:
    """Starts a second cluster, which lives until the incident has been looked at; its bootstrap."""
    running = kafka.start(nodes=1)
    other = running.__enter__()
    owe(lambda: running.__exit__(None, None, None))
    return other.bootstrap


def _open(scene: Scene, name: str) -> Mirror:
    """Both topics, and the mirror between them."""
    other = _other_cluster()
    topics.create(scene.bootstrap, scene.source, scene.partitions)
    topics.create(other, name, scene.partitions)
    scene.options |= {"sink": [f"profile:{other}/{name}"], "group": None}
    return Mirror((scene.bootstrap, scene.source), (other, name))


def _sent(scene: Scene, low: int = 100, high: int = 300) -> list[Sent]:
    return send(scene.bootstrap, scene.source, scene.messages(low, high))


@incident("mirror-gap", "loss", {GAP: "confirmed"})
def mirror_gap(scene: Scene) -> Truth:
    """A mirror is started anew without its offsets, and begins at the end of the log: what came meanwhile is not mirrored."""
    mirror = _open(scene, f"east.{scene.source}")
    before = _sent(scene)
    mirror.copy()
    missed = _sent(scene, 20, 80)
    mirror.positions = topics.ends(scene.bootstrap, scene.source)
    after = _every_partition(scene)
    mirror.copy()
    fates = fates_of([one.message for one in (*before, *missed, *after)], lost=[one.message for one in missed])
    return scene.loss(fates, expects={GAP: "confirmed"}, cause=GAP)


def _every_partition(scene: Scene) -> list[Sent]:
    """Messages in each partition, so that the mirror is seen to have gone on in all of them."""
    return [
        one
        for part in range(scene.partitions)
        for one in send(scene.bootstrap, scene.source, scene.writer.write(scene.rng.randint(3, 20)), partition=part)
    ]


@incident("clean-mirror", "loss")
def clean_mirror(scene: Scene) -> Truth:
    """A mirror has brought everything to the other cluster, under another name."""
    mirror = _open(scene, f"east.{scene.source}")
    sent = _sent(scene)
    mirror.copy()
    return scene.loss(fates_of([one.message for one in sent]), expects={})


@incident("mirror-loop", "duplicates", {LOOP: "confirmed"})
def mirror_loop(scene: Scene) -> Truth:
    """Two mirrors copy the same topic to each other without marking what came from there: each record comes round again."""
    mirror = _open(scene, scene.source)
    back = Mirror(mirror.target, mirror.source)
    sent = _sent(scene)
    rounds = scene.rng.randint(2, 3)
    for _ in range(rounds):
        mirror.copy()
        back.copy()
    return _looped(scene, [one.message.id for one in sent], rounds)


def _looped(scene: Scene, ids: Sequence[str], rounds: int) -> Truth:
    copies = len(ids) * (2 * rounds - 1)  # at the source one a round, at the sink one less
    return scene.truth(
        expects={LOOP: "confirmed"},
        ledger={"records": len(ids) * (2 * rounds + 1), "messages": 2 * len(ids), "extra_copies": copies},
        causes={LOOP: copies},
        ids={LOOP: sorted(ids)},
    )


@incident("clean-mirror-copies", "duplicates")
def clean_mirror_copies(scene: Scene) -> Truth:
    """A mirror copies a topic to another cluster once, under its own name."""
    mirror = _open(scene, scene.source)
    sent = _sent(scene)
    mirror.copy()
    return scene.truth(expects={}, ledger={"records": 2 * len(sent), "messages": 2 * len(sent), "extra_copies": 0})
