"""Loss before the log: the sender was told, or could have known, that an event was not taken, and went on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from confluent_kafka import KafkaException

from workbench.errors import SandboxError
from workbench.sandbox.incidents.messages import Message, sample
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import Sender, Sent, producer, send
from workbench.sandbox.incidents.service import work
from workbench.sandbox.incidents.traffic import service
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import log_line, sent_line, write_sent_log, write_service_log
from workbench.sandbox.ports import free_ports

HOUR_MS = 3_600_000

IGNORED = {"loss-producer-error-ignored": "confirmed"}
FULL = {"loss-producer-queue-full": "confirmed"}
OVERSIZE = {"loss-oversize-record": "confirmed"}
REJECTED = {"loss-rejected-timestamp": "confirmed"}


@incident("producer-error-ignored", "loss", IGNORED)
def producer_error_ignored(scene: Scene) -> Truth:
    """One instance of the sender cannot reach the broker; its sent log has the errors, which nobody handles."""
    sent, failed = _send_with_outage(scene)
    lines = [sent_line(one) for one in _interleaved(scene, sent, failed)]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    return _finish(scene, sent, failed, IGNORED)


@incident("producer-error-ignored-silent", "loss", IGNORED)
def producer_error_ignored_silent(scene: Scene) -> Truth:
    """An instance cannot reach the broker; the sent log only shows that there was no acknowledgement."""
    sent, failed = _send_with_outage(scene)
    lines = [sent_line(one, errors=False) for one in _interleaved(scene, sent, failed)]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    return _finish(scene, sent, failed, IGNORED)


@incident("producer-error-ignored-logged", "loss", IGNORED)
def producer_error_ignored_logged(scene: Scene) -> Truth:
    """The sent log lists what was handed to the client; only the service's log has the delivery errors."""
    sent, failed = _send_with_outage(scene)
    lines = [_handed_over(one) for one in _interleaved(scene, sent, failed)]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    errors = [log_line("error", "delivery failed", error=one.error, id=one.message.id) for one in failed]
    scene.options["service_log"] = write_service_log(scene.folder, [log_line("info", "service started"), *errors])
    return _finish(scene, sent, failed, IGNORED)


@incident("producer-queue-full", "loss", FULL)
def producer_queue_full(scene: Scene) -> Truth:
    """Bursts overflow the producer's queue; the sender swallows the BufferError and goes on."""
    scene.open()
    limit = scene.rng.randint(10, 30)
    scene.options["producer_config"] = {"queue.buffering.max.messages": str(limit), "linger.ms": "50"}
    client = producer(scene.bootstrap, queue_buffering_max_messages=limit, linger_ms=50)
    sender = Sender(client, scene.source)
    failed: list[Sent] = []
    messages = scene.messages(150, 400)
    size = scene.rng.randint(limit + 10, limit * 3)
    for start in range(0, len(messages), size):
        failed += _burst(sender, messages[start : start + size])
        sender.flush()
    lines = [sent_line(one) for one in sorted([*sender.sent, *failed], key=lambda one: one.at_ms)]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    return _finish(scene, sender.sent, failed, FULL)


@incident("oversize-record", "loss", OVERSIZE)
def oversize_record(scene: Scene) -> Truth:
    """A record above the topic's limit takes the small neighbours of its batch with it, unseen."""
    sent, failed = _send_oversize(scene)
    lines = [sent_line(one, errors=False) for one in _by_time(sent, failed)]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    return _finish(scene, sent, failed, OVERSIZE)


@incident("oversize-record-logged", "loss", OVERSIZE)
def oversize_record_logged(scene: Scene) -> Truth:
    """A record above the limit takes its neighbours with it; the service's log has the broker's errors."""
    sent, failed = _send_oversize(scene)
    lines = [sent_line(one, errors=False) for one in _by_time(sent, failed)]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    errors = [log_line("error", "delivery failed", error=one.error, id=one.message.id) for one in failed]
    scene.options["service_log"] = write_service_log(scene.folder, errors)
    return _finish(scene, sent, failed, OVERSIZE)


@incident("rejected-timestamp", "loss", REJECTED)
def rejected_timestamp(scene: Scene) -> Truth:
    """An import sends records of a time that the topic does not take; their batches are refused, unseen."""
    sent, failed = _send_off_limits(scene)
    lines = [sent_line(one, errors=False) for one in _by_time(sent, failed)]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    return _finish(scene, sent, failed, REJECTED)


@incident("rejected-timestamp-logged", "loss", REJECTED)
def rejected_timestamp_logged(scene: Scene) -> Truth:
    """Records of a time that the topic does not take are refused; the sent log has no times but the broker's errors."""
    sent, failed = _send_off_limits(scene)
    lines = [{k: v for k, v in sent_line(one).items() if k != "record_timestamp"} for one in _by_time(sent, failed)]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    return _finish(scene, sent, failed, REJECTED)


def _send_with_outage(scene: Scene) -> tuple[list[Sent], list[Sent]]:
    """Some of the messages go to an instance whose broker does not listen."""
    scene.open()
    messages = scene.messages()
    unlucky = {message.id for message in sample(scene.rng, messages, 5, 40)}
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    sender = Sender(producer(nobody, message_timeout_ms=1200), scene.source)
    for message in messages:
        if message.id in unlucky:
            sender.send(message)
    sent = send(scene.bootstrap, scene.source, [message for message in messages if message.id not in unlucky])
    return sent, sender.flush()


def _burst(sender: Sender, messages: Sequence[Message]) -> list[Sent]:
    failed = []
    for message in messages:
        try:
            sender.send(message)
        except (BufferError, KafkaException) as error:
            at_ms = round(time.time() * 1000)
            failed.append(Sent(message, sender.topic, None, None, at_ms, str(error)))
    return failed


def _send_oversize(scene: Scene) -> tuple[list[Sent], list[Sent]]:
    """Each large record shares a batch, and its fate, with the small records around it."""
    limit = scene.rng.choice((10_000, 20_000))
    scene.open({"max.message.bytes": str(limit)})
    messages = scene.messages(100, 250)
    # The limit is of batches, as compressed: healthy instances send small ones.
    sent = send(scene.bootstrap, scene.source, messages, batch_num_messages=8)
    failed: list[Sent] = []
    for _ in range(scene.rng.randint(1, 3)):
        time.sleep(0.05)
        failed += _one_batch(scene, scene.writer.write(1, padding=limit + scene.rng.randint(1, limit))[0])
        time.sleep(0.05)
        sent += send(scene.bootstrap, scene.source, scene.messages(20, 40), batch_num_messages=8)
    return sent, failed


def _send_off_limits(scene: Scene) -> tuple[list[Sent], list[Sent]]:
    """Each record of a wrong time shares a batch, and its fate, with records of now around it."""
    hours = scene.rng.choice((1, 24, 7 * 24))
    scene.open({"message.timestamp.before.max.ms": str(hours * HOUR_MS)})
    sent = send(scene.bootstrap, scene.source, scene.messages(100, 250))
    failed: list[Sent] = []
    for _ in range(scene.rng.randint(1, 3)):
        time.sleep(0.05)
        off_ms = HOUR_MS * (
            -hours - scene.rng.randint(1, 500) if scene.rng.random() < 0.7 else scene.rng.randint(2, 50)
        )
        (wrong,) = scene.writer.write(1)
        failed += _one_batch(scene, replace(wrong, timestamp_ms=round(time.time() * 1000) + off_ms))
        time.sleep(0.05)
        sent += send(scene.bootstrap, scene.source, scene.messages(20, 40))
    return sent, failed


def _one_batch(scene: Scene, wrong: Message) -> list[Sent]:
    """Sends a record between others to one partition, as one batch, which the broker refuses."""
    around = scene.writer.write(scene.rng.randint(2, 8))
    around.insert(scene.rng.randint(1, len(around)), wrong)
    # The client waits long enough for the batch to be whole, and a sticky key keeps it in one partition.
    sender = Sender(producer(scene.bootstrap, linger_ms=300), scene.source)
    for message in around:
        sender.send(message.with_key(around[0].key or ""))
    outcome = sender.flush()
    if any(one.error is None for one in outcome):
        raise SandboxError("A batch that the broker has to refuse was taken.", hint="Read the broker's log.")
    return outcome


def _finish(scene: Scene, sent: Sequence[Sent], failed: Sequence[Sent], expects: dict[str, str]) -> Truth:
    messages = [one.message for one in (*sent, *failed)]
    handler, fates = service(scene, messages, [one.message.id for one in failed])
    work(scene, handler)
    (cause,) = expects
    return scene.loss(fates, expects=expects, cause=cause)


def _interleaved(scene: Scene, sent: Sequence[Sent], failed: Sequence[Sent]) -> list[Sent]:
    """Lines of two instances in one file, as a log collector merges them."""
    return scene.rng.sample([*sent, *failed], len(sent) + len(failed))


def _by_time(sent: Sequence[Sent], failed: Sequence[Sent]) -> list[Sent]:
    return sorted([*sent, *failed], key=lambda one: one.at_ms)


def _handed_over(one: Sent) -> dict[str, Any]:
    line = sent_line(one, errors=False)
    return {name: line[name] for name in ("id", "topic", "at")}
