"""Brokers that fail at the wrong moment: paused, killed and brought back while messages are under way."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from workbench.errors import SandboxError
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.messages import Message
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import Sender, Sent, producer
from workbench.sandbox.kafka import Kafka

# A follower's fetch waits at the leader for this long (replica.fetch.wait.max.ms): it must be answered, with nothing, first.
PARKED_FETCH_SECONDS = 0.5


def cluster_of(scene: Scene) -> Kafka:
    """The brokers as processes.

    Raises:
        SandboxError: they are not ours to stop.
    """
    if scene.cluster is None:
        raise SandboxError(f"Incident {scene.incident} stops brokers of its own.", hint="Plant it in the sandbox.")
    return scene.cluster


@contextmanager
def paused(cluster: Kafka, nodes: Iterable[int]) -> Iterator[None]:
    """Holds brokers still: they take no data and answer nothing, and nobody has noticed yet."""
    processes = [cluster.processes[node] for node in nodes]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            if process.is_running():
                process.resume()


def followers(cluster: Kafka, leader: int) -> list[int]:
    """The other brokers."""
    return [plan.node_id for plan in cluster.nodes if plan.is_broker and plan.node_id != leader]


def warm_sender(scene: Scene, partition: int, **settings: str | int | bool) -> Sender:
    """A sender that has its connection to a partition's leader, by one message that counts."""
    sender = Sender(producer(scene.bootstrap, enable_idempotence=False, linger_ms=0, **settings), scene.source)
    sender.send(scene.writer.write(1)[0], partition)
    sender.flush()
    return sender


def send_on(sender: Sender, messages: Iterable[Message], partition: int) -> list[Sent]:
    """Sends further messages to one partition; what the sender was told of them."""
    before = len(sender.sent)
    for message in messages:
        sender.send(message, partition)
    return sender.flush()[before:]


def led_by(scene: Scene, node: int) -> list[int]:
    """Partitions of the source that a broker leads."""
    return sorted(part for part, leader in topics.leaders(scene.bootstrap, scene.source).items() if leader == node)


def wait_for_other_leader(scene: Scene, node: int) -> None:
    """Waits until the source is led by others altogether."""

    def moved() -> bool:
        return all(leader not in (-1, node) for leader in topics.leaders(scene.bootstrap, scene.source).values())

    topics.wait_until(moved, f"other brokers lead {scene.source}", 60)


def bring_back(scene: Scene, *nodes: int) -> None:
    """Restarts brokers, and waits until every replica of every topic is in sync again."""
    cluster = cluster_of(scene)
    cluster.restart(*nodes)
    topics.wait_until(lambda: topics.all_in_sync(scene.bootstrap), "all replicas are in sync", 90)
    time.sleep(0.5)  # leaders tell the controller, clients learn of it a moment later
