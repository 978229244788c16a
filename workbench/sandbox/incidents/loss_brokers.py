"""Loss by brokers that fail: what a leader had taken is not on those that lead after it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from workbench.errors import SandboxError
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.failing_brokers import (
    PARKED_FETCH_SECONDS,
    bring_back,
    cluster_of,
    followers,
    led_by,
    paused,
    send_on,
    wait_for_other_leader,
    warm_sender,
)
from workbench.sandbox.incidents.living import owe
from workbench.sandbox.incidents.loss_log import ids_in
from workbench.sandbox.incidents.reading import read
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import Sent, send
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import sent_line, write_sent_log

FAILOVER = {"loss-leader-failover": "confirmed"}
MIN_ISR = {"loss-min-isr-too-low": "confirmed"}
UNCLEAN = {"loss-unclean-election": "confirmed"}
ACKS_ZERO = {"loss-acks-zero": "confirmed"}


@incident("leader-failover", "loss", FAILOVER, nodes=3)
def leader_failover(scene: Scene) -> Truth:
    """A leader dies with messages that it alone had acknowledged (acks=1); others take their offsets."""
    cluster, sent, victim, partition = _begin(scene)
    scene.options["producer_config"] = {"acks": "1"}
    sender = warm_sender(scene, partition, acks=1)
    sent += sender.sent
    with paused(cluster, followers(cluster, victim)):
        time.sleep(2 * PARKED_FETCH_SECONDS)
        acknowledged = send_on(sender, scene.writer.write(scene.rng.randint(10, 40)), partition)
        cluster.kill(victim)
    if any(one.offset is None for one in acknowledged):
        raise SandboxError("The leader did not acknowledge what it alone had.", hint="Plant it again.")
    return _end(scene, victim, [*sent, *acknowledged], partition, FAILOVER)


@incident("acks-zero", "loss", ACKS_ZERO, nodes=3)
def acks_zero(scene: Scene) -> Truth:
    """A producer that asks for no acknowledgement (acks=0) goes on sending to a leader that is dying."""
    cluster, sent, victim, partition = _begin(scene)
    scene.options["producer_config"] = {"acks": "0"}
    sender = warm_sender(scene, partition, acks=0)
    sent += sender.sent
    with paused(cluster, [victim]):
        unheard = send_on(sender, scene.writer.write(scene.rng.randint(10, 40)), partition)
        time.sleep(0.5)  # what is written to the connection has left the client
        cluster.kill(victim)
    return _end(scene, victim, [*sent, *unheard], partition, ACKS_ZERO)


@incident("unclean-election", "loss", UNCLEAN, nodes=3)
def unclean_election(scene: Scene) -> Truth:
    """The last replica in sync dies, and one that has long been away leads without what was acknowledged and read since."""
    sent = _elect_uncleanly(scene, epochs=False)
    work(scene, processor(scene, {}))
    scene.options["sent_log"] = write_sent_log(scene.folder, [sent_line(one) for one in sent], scene.rng)
    at_sink = ids_in(scene, scene.sink)
    fates = {one.message.id: "delivered" if one.message.id in at_sink else "lost" for one in sent}
    return scene.loss(fates, expects=UNCLEAN, cause="loss-unclean-election")


@incident("unclean-election-blind", "loss", UNCLEAN, nodes=3)
def unclean_election_blind(scene: Scene) -> Truth:
    """A replica leads without what the group has read; no producer kept a log, only the group's commits say so."""
    sent = _elect_uncleanly(scene, epochs=True)
    stood, at_sink, kept = topics.committed(scene.bootstrap, scene.group), ids_in(scene, scene.sink), {}
    for record in read(scene.bootstrap, scene.source):
        behind = "lost" if record.offset < stood.get(record.partition, 0) else "waiting"
        kept[record.id] = "delivered" if record.id in at_sink else behind
    cut = sorted({one.message.id for one in sent} - set(kept))
    facts = {"unmatched_at_sink": len(at_sink - set(kept))}
    lost = [message_id for message_id, fate in kept.items() if fate == "lost"]
    (code,) = UNCLEAN
    return scene.loss(kept, expects=UNCLEAN, cause=code, ids={code: sorted([*cut, *lost])}, facts=facts)


@incident("min-isr-too-low", "loss", MIN_ISR, nodes=3)
def min_isr_too_low(scene: Scene) -> Truth:
    """All replicas but the leader are away, and acks=all is still answered, since one in sync is enough for the topic."""
    cluster = cluster_of(scene)
    scene.partitions = 1
    scene.open({"min.insync.replicas": "1"})
    scene.options["producer_config"] = {"acks": scene.rng.choice(("all", "-1"))}
    sent = send(scene.bootstrap, scene.source, scene.messages(60, 150))
    work(scene, processor(scene, {}))
    away = followers(cluster, topics.leaders(scene.bootstrap, scene.source)[0])
    owe(lambda: bring_back(scene, *away))
    for node in away:
        cluster.stop_node(node)
    later = send(scene.bootstrap, scene.source, scene.writer.write(20))
    work(scene, processor(scene, {}))
    return scene.loss({one.message.id: "delivered" for one in (*sent, *later)}, expects=MIN_ISR)


def _elect_uncleanly(scene: Scene, *, epochs: bool) -> list[Sent]:
    """Two replicas: one stops, more is written and read, the other dies, the first comes back and leads; then both are up."""
    cluster = cluster_of(scene)
    config = {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}
    topics.create(scene.bootstrap, scene.source, scene.partitions, config, replicas=2)
    topics.create(scene.bootstrap, scene.sink, scene.sink_partitions)
    sent = send(scene.bootstrap, scene.source, scene.messages(60, 150))
    work(scene, processor(scene, {}), epochs=epochs)
    partition = scene.rng.randrange(scene.partitions)
    last, away = topics.replicas(scene.bootstrap, scene.source)[partition]
    cluster.stop_node(away)
    topics.wait_until(lambda: topics.leaders(scene.bootstrap, scene.source)[partition] == last, f"{last} leads")
    sent += _write_some(scene, partition)
    work(scene, processor(scene, {}), epochs=epochs)
    sent += _write_some(scene, partition)  # this the group does not read
    cluster.kill(last)
    cluster.restart(away)
    wait_for_other_leader(scene, last)
    sent += _write_some(scene, partition)
    bring_back(scene, last)
    return sent


def _write_some(scene: Scene, partition: int) -> list[Sent]:
    return send(scene.bootstrap, scene.source, scene.writer.write(scene.rng.randint(10, 50)), partition=partition)


def _begin(scene: Scene) -> tuple[Any, list[Sent], int, int]:
    """(the brokers, what was sent and delivered before, the broker that will die, a partition that it leads)."""
    cluster = cluster_of(scene)
    scene.open({"min.insync.replicas": "1"})
    sent = send(scene.bootstrap, scene.source, scene.messages(60, 150))
    work(scene, processor(scene, {}))
    victim = scene.rng.choice(sorted(set(topics.leaders(scene.bootstrap, scene.source).values())))
    return cluster, sent, victim, scene.rng.choice(led_by(scene, victim))


def _end(scene: Scene, victim: int, sent: Sequence[Sent], partition: int, expects: dict[str, str]) -> Truth:
    """Others lead, more is sent, the dead broker comes back, and the group reads on; what is not in the log is lost."""
    wait_for_other_leader(scene, victim)
    settings: dict[str, Any] = {"enable_idempotence": False, "acks": int(scene.options["producer_config"]["acks"])}
    later = send(scene.bootstrap, scene.source, scene.writer.write(scene.rng.randint(5, 60)), partition=partition)
    later += send(scene.bootstrap, scene.source, scene.messages(50, 100), **settings)
    bring_back(scene, victim)
    work(scene, processor(scene, {}))
    every = [*sent, *later]
    gone = {one.message.id for one in every} - ids_in(scene, scene.source)
    if not gone:
        raise SandboxError("Nothing was lost: the others had it all.", hint="Plant it again.")
    lines = [_believed(one, scene) for one in every]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    fates = {one.message.id: "lost" if one.message.id in gone else "delivered" for one in every}
    (code,) = expects
    return scene.loss(fates, expects=expects, cause=code)


def _believed(one: Sent, scene: Scene) -> dict[str, Any]:
    """Without acknowledgements a producer knows only that it has sent."""
    line = sent_line(one)
    known = ("id", "topic", "partition", "size_bytes", "at")
    return {name: line[name] for name in known} if scene.options["producer_config"]["acks"] == "0" else line
