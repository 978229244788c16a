"""Legitimate oddities that must not be called loss."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.loss_log import AT_ONCE, COMPACTED, compact, ids_in, replaced, stop_behind, superseded
from workbench.sandbox.incidents.loss_service import Logging
from workbench.sandbox.incidents.loss_transactions import Transactional
from workbench.sandbox.incidents.messages import Message, sample, shuffled
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene, fates_of
from workbench.sandbox.incidents.sending import FLUSH_SECONDS, Sent, in_transaction, producer, send, transactional
from workbench.sandbox.incidents.service import Plain, Processor, processor, work
from workbench.sandbox.incidents.traffic import flow, mishaps
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import sent_line, write_sent_log, write_service_log

_HOUR_MS = 3_600_000


@incident("clean-out-of-order", "loss")
def out_of_order(scene: Scene) -> Truth:
    """Ids come in any order, and some events hours after they happened."""
    scene.open()
    messages = shuffled(scene.rng, scene.messages())
    now_ms = round(time.time() * 1000)
    late = {message.id for message in sample(scene.rng, messages, 5, 60)}
    dated = [_at(m, now_ms - scene.rng.randint(1, 6 * _HOUR_MS)) if m.id in late else m for m in messages]
    send(scene.bootstrap, scene.source, dated)
    work(scene, processor(scene, {}))
    return _all_well(scene, dated)


@incident("clean-compacted-source", "loss")
def compacted_source(scene: Scene) -> Truth:
    """Compaction removes superseded events that had been delivered long before."""
    scene.open(COMPACTED)
    sent = send(scene.bootstrap, scene.source, scene.messages(users=scene.rng.randint(20, 40)))
    work(scene, processor(scene, {}))
    later = compact(scene, scene.source, sent)
    work(scene, processor(scene, {}))
    gone = superseded(sent)
    kept = [one.message for one in (*sent, *later) if one.message.id not in gone]
    return _all_well(scene, kept, facts={"unmatched_at_sink": len(gone)})


@incident("clean-compacted-sink", "loss")
def compacted_sink(scene: Scene) -> Truth:
    """The sink keeps only the newest notification of each user."""
    scene.sink_partitions = scene.rng.randint(1, 2)
    scene.open(sink_config=COMPACTED)
    sent = send(scene.bootstrap, scene.source, scene.messages(users=scene.rng.randint(20, 40)))
    outlet = Plain(scene.bootstrap)
    work(scene, processor(scene, {}), outlet)
    topics.configure(scene.bootstrap, scene.sink, **AT_ONCE)
    time.sleep(1.0)  # the next records start new segments; only older ones are compacted
    fresh = [message.with_key(f"new-{number}") for number, message in enumerate(scene.writer.write(40))]
    later = send(scene.bootstrap, scene.source, fresh)
    closing = Plain(scene.bootstrap)
    work(scene, processor(scene, {}), closing)
    keys = {one.message.id: one.message.key for one in sent}
    closed = {partition for _, _, partition, _ in closing.written}
    gone = replaced(
        (i, keys[i], partition, offset) for i, _, partition, offset in outlet.written if partition in closed
    )
    topics.wait_until(lambda: not gone & ids_in(scene, scene.sink), "compaction of the sink")
    return _all_well(scene, [one.message for one in (*sent, *later)])


@incident("clean-filtered", "loss")
def filtered(scene: Scene) -> Truth:
    """The service has no use for heartbeats, and the check leaves them out by a predicate."""
    scene.open()
    messages = scene.messages()
    beats = {message.id for message in sample(scene.rng, messages, 10, 60)}
    mixed = [_typed(message, "heartbeat") if message.id in beats else message for message in messages]
    send(scene.bootstrap, scene.source, mixed)
    fates = fates_of(mixed, filtered=beats)
    work(scene, processor(scene, fates))
    scene.options["where"] = "value->>'$.eventType' <> 'heartbeat'"
    return scene.loss(fates, expects={})


@incident("clean-transactions", "loss")
def transactions(scene: Scene) -> Truth:
    """Sender and service abort transactions and retry them; what the sender gave up was never sent."""
    scene.open()
    client = transactional(scene.bootstrap)
    messages = scene.messages()
    retried, given_up = messages[: len(messages) // 3], scene.writer.write(scene.rng.randint(3, 20))
    in_transaction(client, scene.source, retried, commit=False)
    in_transaction(client, scene.source, messages, commit=True)
    in_transaction(client, scene.source, given_up, commit=False)
    again = {message.id for message in sample(scene.rng, messages, 5, 40)}
    work(scene, processor(scene, {}), Transactional(scene.bootstrap, retry=again))
    return _all_well(scene, messages)


@incident("clean-sink-keeps-less", "loss")
def sink_keeps_less(scene: Scene) -> Truth:
    """The sink's older notifications were removed, as its owner wants; nothing can be said of those events."""
    scene.open()
    sent = send(scene.bootstrap, scene.source, scene.messages())
    before = Plain(scene.bootstrap)
    work(scene, processor(scene, {}), before)
    time.sleep(0.2)
    cut = topics.ends(scene.bootstrap, scene.sink)
    later = send(scene.bootstrap, scene.source, scene.messages())
    after = Plain(scene.bootstrap)
    work(scene, processor(scene, {}), after)
    kept = {partition for _, _, partition, _ in after.written}
    topics.delete_records(scene.bootstrap, scene.sink, {p: offset for p, offset in cut.items() if p in kept and offset})
    gone = {message_id for message_id, _, partition, _ in before.written if partition in kept}
    return scene.loss(fates_of([one.message for one in (*sent, *later)], unverifiable=gone), expects={})


@incident("clean-retry-and-dead-letters", "loss")
def retry_and_dead_letters(scene: Scene) -> Truth:
    """Some events wait in the retry topic, others lie in the dead-letter topic, where they belong."""
    scene.open()
    messages = scene.messages()
    send(scene.bootstrap, scene.source, messages)
    fates = fates_of(messages) | mishaps(scene, messages, always=True)
    work(scene, processor(scene, fates))
    return scene.loss(fates, expects={})


@incident("clean-working", "loss")
def working(scene: Scene) -> Truth:
    """The group has not read everything yet, and its last events are still being worked on."""
    sent = flow(scene)
    stop = stop_behind(scene, 0.5, 0.9)
    done = {p: int(offset * 0.8) for p, offset in stop.items()}
    fates = {one.message.id: _stage(one, done, stop) for one in sent}
    work(scene, processor(scene, fates), until=stop)
    scene.options["expected_latency"] = "1h"
    return scene.loss(fates, expects={})


@incident("clean-deleted-behind", "loss")
def deleted_behind(scene: Scene) -> Truth:
    """Records are deleted from the source after the group has read them."""
    sent = flow(scene)
    work(scene, processor(scene, {}))
    cut = {p: int(end * scene.rng.uniform(0.3, 1)) for p, end in topics.ends(scene.bootstrap, scene.source).items()}
    topics.delete_records(scene.bootstrap, scene.source, {p: offset for p, offset in cut.items() if offset})
    kept = [one.message for one in sent if (one.offset or 0) >= cut[one.partition or 0]]
    return _all_well(scene, kept, facts={"unmatched_at_sink": len(sent) - len(kept)})


@incident("clean-tombstones", "loss")
def tombstones(scene: Scene) -> Truth:
    """Deleted users leave records with a key and no value: there is no event to deliver."""
    scene.open()
    messages = scene.messages()
    send(scene.bootstrap, scene.source, messages)
    gone = scene.rng.randint(3, 20)
    client = producer(scene.bootstrap)
    for message in messages[:gone]:
        client.produce(scene.source, None, (message.key or "").encode())
    client.flush(FLUSH_SECONDS)
    work(scene, processor(scene, {}))
    return _all_well(scene, messages, facts={"unidentified": gone})


@incident("clean-fan-out", "loss")
def fan_out(scene: Scene) -> Truth:
    """Each event makes a notification in two sinks."""
    second = f"{scene.sink}.archive"
    topics.create(scene.bootstrap, second, scene.rng.randint(1, 4))
    sent = flow(scene)
    work(scene, processor(scene, {}, sinks=(scene.sink, second)))
    scene.options["sink"] = [scene.sink, second]
    return _all_well(scene, [one.message for one in sent])


@incident("clean-logged-errors", "loss")
def logged_errors(scene: Scene) -> Truth:
    """Sends and handlers fail at first, as the logs show, and succeed on the next attempt."""
    scene.open()
    messages = scene.messages()
    sent = send(scene.bootstrap, scene.source, messages)
    stumbled = {message.id for message in sample(scene.rng, messages, 5, 30)}
    failed = [replace(one, offset=None, error="Local: Message timed out") for one in sent if one.message.id in stumbled]
    lines: Sequence[Mapping[str, Any]] = [sent_line(one) for one in (*failed, *sent)]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    logging = Logging(Processor(scene), stumbled)
    work(scene, logging)
    scene.options["service_log"] = write_service_log(scene.folder, logging.lines)
    return _all_well(scene, messages)


def _all_well(scene: Scene, messages: Sequence[Message], **more: Any) -> Truth:
    return scene.loss(fates_of(messages), expects={}, **more)


def _at(message: Message, timestamp_ms: int) -> Message:
    return replace(message, timestamp_ms=timestamp_ms)


def _typed(message: Message, event_type: str) -> Message:
    return replace(message, value={**message.value, "eventType": event_type})


def _stage(one: Sent, done: Mapping[int, int], stop: Mapping[int, int]) -> str:
    partition, offset = one.partition or 0, one.offset or 0
    if offset >= stop[partition]:
        return "waiting"
    return "delivered" if offset < done[partition] else "in_flight"
