"""Health: a cluster in a bad state, or settings that will lose messages one day; nothing has to be wrong with them yet."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.messages import Message
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import send
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.truth import Truth

DOWN = {
    "health-offline-partition": "confirmed",
    "health-under-replicated": "confirmed",
    "health-weak-acknowledgement": "confirmed",
}
WEAK = {"health-unclean-election": "confirmed", "health-weak-acknowledgement": "confirmed"}
KEPT_MS = 3_600_000


@incident("health-broker-down", "health", DOWN, nodes=2)
def broker_down(scene: Scene) -> Truth:
    """A broker is killed: the source goes on with one replica less, partitions of the sink are without a leader."""
    topics.create(scene.bootstrap, scene.source, scene.partitions, {"min.insync.replicas": "2"}, replicas=2)
    topics.create(scene.bootstrap, scene.sink, 4, replicas=1)
    _pass_on(scene)
    gone = next(node for node in (1, 2) if node != topics.coordinator(scene.bootstrap, scene.group))
    if scene.cluster is not None:  # the registry refuses to plant this without
        scene.cluster.kill(gone)
    topics.wait_until(
        lambda: any(leader < 0 for leader in topics.leaders(scene.bootstrap, scene.sink).values()), "a leader is gone"
    )
    return _truth(scene, DOWN)


@incident("health-weak-settings", "health", WEAK, nodes=3)
def weak_settings(scene: Scene) -> Truth:
    """Three replicas, but one of them is enough to acknowledge, and one that is behind may become leader."""
    weak = {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}
    topics.create(scene.bootstrap, scene.source, scene.partitions, weak, replicas=3)
    topics.create(scene.bootstrap, scene.sink, scene.sink_partitions, {"min.insync.replicas": "2"}, replicas=3)
    _pass_on(scene)
    return _truth(scene, WEAK)


@incident("clean-health-replicated", "health", nodes=3)
def replicated(scene: Scene) -> Truth:
    """Three replicas of which two must acknowledge, nothing waits, and the dead-letter topic is there and empty."""
    safe = {"min.insync.replicas": "2"}
    for topic, partitions in (
        (scene.source, scene.partitions),
        (scene.sink, 2),
        (scene.dead_letters, scene.partitions),
    ):
        topics.create(scene.bootstrap, topic, partitions, safe, replicas=3)
    _pass_on(scene)
    scene.options["dead_letters"] = [scene.dead_letters]
    return _truth(scene, {})


@incident("health-dead-letter-missing", "health", {"health-dead-letter-missing": "confirmed"})
def dead_letter_missing(scene: Scene) -> Truth:
    """The integration names a dead-letter topic that nobody has made."""
    scene.open()
    _pass_on(scene)
    scene.options["dead_letters"] = [scene.dead_letters]
    return _truth(scene, {"health-dead-letter-missing": "confirmed"})


@incident("health-retention-tight", "health", {"health-retention-tight": "confirmed"})
def retention_tight(scene: Scene) -> Truth:
    """The group has stood still for more than half of the time that its topic keeps records."""
    scene.open({"retention.ms": str(KEPT_MS)})
    _pass_on(scene)
    waited_ms = round(KEPT_MS * scene.rng.uniform(0.55, 0.8))
    send(scene.bootstrap, scene.source, _aged(scene.writer.write(30), round(time.time() * 1000) - waited_ms))
    return _truth(scene, {"health-retention-tight": "confirmed"})


@incident("clean-health", "health")
def clean(scene: Scene) -> Truth:
    """One broker, a group that has read everything, dead letters that do not come: nothing to say but notes."""
    scene.open()
    topics.create(scene.bootstrap, scene.dead_letters, scene.partitions)
    _pass_on(scene)
    scene.options["dead_letters"] = [scene.dead_letters]
    return _truth(scene, {})


def _pass_on(scene: Scene) -> None:
    """Messages go through the integration, all of them."""
    send(scene.bootstrap, scene.source, scene.writer.write(scene.rng.randint(60, 120)))
    work(scene, processor(scene, {}))


def _aged(messages: list[Message], at_ms: int) -> list[Message]:
    return [replace(message, timestamp_ms=at_ms) for message in messages]


def _truth(scene: Scene, expects: Mapping[str, str]) -> Truth:
    absent = "health-dead-letter-missing" in expects
    checks = 3 + (bool(scene.options.get("dead_letters")) and not absent)
    return scene.truth(expects=expects, ledger={"checks": checks})
