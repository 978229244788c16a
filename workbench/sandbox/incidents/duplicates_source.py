"""Duplicates that the senders make: the same message lies in the source more than once."""

from __future__ import annotations

import time
import zlib

from workbench.errors import SandboxError
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.copies import copies_truth
from workbench.sandbox.incidents.messages import Message, sample
from workbench.sandbox.incidents.proxy import LossyProxy
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import Sender, Sent, producer, send
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.traffic import flow
from workbench.sandbox.incidents.truth import Truth

RESEND = {"duplicates-application-resend": "confirmed"}
RETRY = {"duplicates-producer-retry": "confirmed"}
RESTART = {"duplicates-producer-restart": "confirmed"}
PARTITIONER = {"duplicates-partitioner-change": "confirmed"}


@incident("application-resend", "duplicates", RESEND)
def application_resend(scene: Scene) -> Truth:
    """The user service sends some events again; the service behind the source skips ids it has seen."""
    sent, again = _resend(scene)
    work(scene, processor(scene, {}, once=True))
    return copies_truth(scene, RESEND, source=[*sent, *again], sink=sent, hit=again)


@incident("application-resend-propagated", "duplicates", RESEND)
def application_resend_propagated(scene: Scene) -> Truth:
    """The user service sends some events again, and each copy makes a notification."""
    sent, again = _resend(scene)
    work(scene, processor(scene, {}))
    return copies_truth(scene, RESEND, source=[*sent, *again], sink=[*sent, *again], hit=[*again, *again])


@incident("producer-retry", "duplicates", RETRY)
def producer_retry(scene: Scene) -> Truth:
    """A producer without idempotence loses the broker's answer, and sends the same batch again."""
    sent, batch = through_lossy_proxy(scene, idempotence=False)
    work(scene, processor(scene, {}, once=True))
    scene.options["producer_config"] = {"enable.idempotence": "false", "acks": "all"}
    return copies_truth(scene, RETRY, source=[*sent, *batch, *batch], sink=[*sent, *batch], hit=batch)


@incident("producer-restart", "duplicates", RESTART)
def producer_restart(scene: Scene) -> Truth:
    """The user service is restarted, and begins again behind its last checkpoint under a new producer id."""
    sent = flow(scene)
    time.sleep(0.05)
    tail = [one.message for one in sent[-scene.rng.randint(5, 60) :]]
    again = send(scene.bootstrap, scene.source, [*tail, *scene.writer.write(scene.rng.randint(0, 40))])
    work(scene, processor(scene, {}, once=True))
    once = [*sent, *again[len(tail) :]]
    return copies_truth(scene, RESTART, source=[*sent, *again], sink=once, hit=again[: len(tail)])


@incident("partitioner-change", "duplicates", PARTITIONER)
def partitioner_change(scene: Scene) -> Truth:
    """While a Java sender replaces the old one, both send the same events, each with its own partitioner."""
    scene.partitions = scene.rng.randint(3, 6)
    scene.open()
    messages = scene.messages()
    sent = send(scene.bootstrap, scene.source, messages, partitioner="murmur2_random")
    moved = [one.message for one in sent if _crc32(one.message, scene.partitions) != one.partition]
    time.sleep(0.05)
    again = send(scene.bootstrap, scene.source, sample(scene.rng, moved, 10, 60), partitioner="consistent_random")
    first = {one.message.id: one.partition for one in sent}
    if any(first[one.message.id] == one.partition for one in again):
        raise SandboxError("The two partitioners agreed where they should not.")
    work(scene, processor(scene, {}, once=True))
    return copies_truth(scene, PARTITIONER, source=[*sent, *again], sink=sent, hit=again)


def _resend(scene: Scene) -> tuple[list[Sent], list[Sent]]:
    sent = flow(scene)
    time.sleep(0.05)  # the copies get a later CreateTime
    chosen = sample(scene.rng, [one.message for one in sent], 5, 60)
    return sent, send(scene.bootstrap, scene.source, chosen)


def through_lossy_proxy(scene: Scene, *, idempotence: bool) -> tuple[list[Sent], list[Sent]]:
    """Sends healthy traffic, and one batch whose acknowledgement is lost.

    Returns:
        The healthy sends, and those of the batch.
    """
    sent = flow(scene)
    partition = scene.rng.randrange(scene.partitions)
    before = topics.ends(scene.bootstrap, scene.source)[partition]
    with LossyProxy(scene.bootstrap) as proxy:
        batch = _send_batch(scene, proxy, partition, idempotence=idempotence)
        lost = proxy.lost
    stored = topics.ends(scene.bootstrap, scene.source)[partition] - before
    if lost != 1 or stored != len(batch) * (1 if idempotence else 2):
        raise SandboxError(f"A batch of {len(batch)} was stored as {stored} records, {lost} answers lost.")
    return sent, batch


def _send_batch(scene: Scene, proxy: LossyProxy, partition: int, *, idempotence: bool) -> list[Sent]:
    client = producer(
        proxy.bootstrap,
        enable_idempotence=idempotence,
        acks="all",
        max_in_flight_requests_per_connection=1,
        retry_backoff_ms=100,
        linger_ms=300,
    )
    # The connection and what is needed for the first batch are made first; then all of the batch goes out at once.
    client.list_topics(scene.source, timeout=topics.TIMEOUT_SECONDS)
    proxy.lose_next_answer()
    sender = Sender(client, scene.source)
    for message in scene.writer.write(scene.rng.randint(5, 40)):
        sender.send(message, partition)
    return list(sender.flush())


def _crc32(message: Message, partitions: int) -> int:
    return zlib.crc32((message.key or "").encode()) % partitions
