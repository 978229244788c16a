"""Legitimate oddities that must not be called duplicates."""

from __future__ import annotations

from dataclasses import replace

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.copies import copies_truth
from workbench.sandbox.incidents.duplicates_source import through_lossy_proxy
from workbench.sandbox.incidents.loss_transactions import Transactional
from workbench.sandbox.incidents.messages import Message, sample
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene, fates_of
from workbench.sandbox.incidents.sending import in_transaction, send, transactional
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.traffic import flow, mishaps
from workbench.sandbox.incidents.truth import Truth


@incident("clean-idempotent-retry", "duplicates")
def idempotent_retry(scene: Scene) -> Truth:
    """An idempotent producer loses the broker's answer and sends the batch again; the broker stores it once."""
    sent, batch = through_lossy_proxy(scene, idempotence=True)
    work(scene, processor(scene, {}))
    return copies_truth(scene, {}, source=[*sent, *batch], sink=[*sent, *batch])


@incident("clean-transactions-copies", "duplicates")
def transactions_copies(scene: Scene) -> Truth:
    """Sender and service abort transactions and retry them; committed readers see one copy."""
    scene.open()
    client = transactional(scene.bootstrap)
    messages = scene.messages()
    in_transaction(client, scene.source, messages[: len(messages) // 3], commit=False)
    sent = in_transaction(client, scene.source, messages, commit=True)
    again = {message.id for message in sample(scene.rng, messages, 5, 40)}
    work(scene, processor(scene, {}), Transactional(scene.bootstrap, retry=again))
    return copies_truth(scene, {}, source=sent, sink=sent)


@incident("clean-fan-out-copies", "duplicates")
def fan_out_copies(scene: Scene) -> Truth:
    """Each event makes a notification in two sinks: one copy in each place."""
    second = f"{scene.sink}.archive"
    topics.create(scene.bootstrap, second, scene.rng.randint(1, 4))
    sent = flow(scene)
    work(scene, processor(scene, {}, sinks=(scene.sink, second)))
    scene.options["sink"] = [scene.sink, second]
    return copies_truth(scene, {}, source=sent, sink=sent, more_sinks=[sent])


@incident("clean-dead-letters-copies", "duplicates")
def dead_letters_copies(scene: Scene) -> Truth:
    """Copies in the retry and dead-letter topics are no second delivery."""
    scene.open()
    messages = scene.messages()
    sent = send(scene.bootstrap, scene.source, messages)
    fates = fates_of(messages) | mishaps(scene, messages, always=True)
    work(scene, processor(scene, fates))
    return copies_truth(scene, {}, source=sent, sink=[i for i, fate in fates.items() if fate == "delivered"])


@incident("business-duplicates", "duplicates")
def business_duplicates(scene: Scene) -> Truth:
    """Users press the button twice: two events of different ids for one request. Worth a note, and no more."""
    scene.open()
    messages = scene.messages()
    pressed = sample(scene.rng, messages, 5, 40)
    twice = [_same_request(first, second) for first, second in zip(pressed, scene.writer.write(40), strict=False)]
    sent = send(scene.bootstrap, scene.source, [*messages, *twice])
    work(scene, processor(scene, {}))
    scene.options["business_key"] = "value->>'$.data.requestId'"
    return copies_truth(
        scene,
        {},
        source=sent,
        sink=sent,
        ids={"duplicates-business": sorted(message.id for message in (*pressed, *twice))},
        notes=("duplicates-business",),
    )


def _same_request(first: Message, second: Message) -> Message:
    return replace(second, key=first.key, value={**second.value, "data": first.value["data"]})
