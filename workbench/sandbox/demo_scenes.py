"""The two scenes of the demo: an integration that loses messages in two ways, and one that doubles them in two ways."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from confluent_kafka import Producer

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.copies import copies_truth
from workbench.sandbox.incidents.deadletters import Output, Record
from workbench.sandbox.incidents.messages import EVENT_TYPES, Message, sample
from workbench.sandbox.incidents.reading import read
from workbench.sandbox.incidents.scene import Scene, scene
from workbench.sandbox.incidents.sending import Sender, Sent, producer, send
from workbench.sandbox.incidents.service import Processor, processor, work
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import sent_line, write_sent_log
from workbench.sandbox.ports import free_ports

IGNORED, DROPPED = "loss-producer-error-ignored", "loss-consumer-dropped"
RESENT, REDRIVEN = "duplicates-application-resend", "duplicates-redrive"

_HALF_HOUR_MS = 1_800_000

# How a topic is made: (bootstrap, topic, partitions). The mock makes topics by itself, all with four partitions.
Create = Callable[[str, str, int], None]
Planter = Callable[[Scene, Create], Truth]
MOCK_PARTITIONS = 4


def lossy(stage: Scene, create: Create) -> Truth:
    """One instance of the sender cannot reach the broker and ignores it; the service has no case for one event type.

    Some events are dead-lettered, as happens every day: these are not lost.
    """
    _open(stage, create)
    messages = _over_half_an_hour(stage.messages(600, 900))
    unlucky = {message.id for message in sample(stage.rng, messages, 20, 40)}
    sent, failed = _send_with_outage(stage, messages, unlucky)
    kind = stage.rng.choice(EVENT_TYPES)
    dropped = {one.message.id for one in sent if one.message.event_type == kind}
    stage.options["sent_log"] = write_sent_log(
        stage.folder, [sent_line(_at_create_time(one)) for one in (*sent, *failed)], stage.rng
    )
    healthy = [one.message for one in sent if one.message.id not in dropped]
    fates = dict.fromkeys((message.id for message in messages), "delivered")
    fates |= {message.id: "dead_lettered" for message in sample(stage.rng, healthy, 5, 15)}
    fates |= dict.fromkeys(dropped | unlucky, "lost")
    work(stage, processor(stage, fates))
    causes = {IGNORED: len(unlucky), DROPPED: len(dropped)}
    ids = {IGNORED: sorted(unlucky), DROPPED: sorted(dropped)}
    return stage.loss(fates, expects=dict.fromkeys(causes, "confirmed"), causes=causes, ids=ids)


def _open(stage: Scene, create: Create) -> None:
    """Makes the topics: source, sink, dead letters."""
    create(stage.bootstrap, stage.source, stage.partitions)
    create(stage.bootstrap, stage.sink, stage.sink_partitions)
    create(stage.bootstrap, stage.dead_letters, 1)
    stage.options["dead_letters"] = [stage.dead_letters]


def _over_half_an_hour(messages: Sequence[Message]) -> list[Message]:
    """The messages with create times spread over the last half hour, in their order."""
    step = _HALF_HOUR_MS // len(messages)
    start = round(time.time() * 1000) - _HALF_HOUR_MS
    return [replace(message, timestamp_ms=start + step * number) for number, message in enumerate(messages)]


def _at_create_time(one: Sent) -> Sent:
    return replace(one, at_ms=one.message.timestamp_ms or one.at_ms)


def _send_with_outage(stage: Scene, messages: Sequence[Message], unlucky: set[str]) -> tuple[list[Sent], list[Sent]]:
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    sender = Sender(producer(nobody, message_timeout_ms=1500), stage.source)
    for message in messages:
        if message.id in unlucky:
            sender.send(message)
    sent = send(stage.bootstrap, stage.source, [message for message in messages if message.id not in unlucky])
    return sent, sender.flush()


def doubled(stage: Scene, create: Create) -> Truth:
    """The sender sends some events again, and dead letters of others that had been processed are sent back."""
    _open(stage, create)
    sent = send(stage.bootstrap, stage.source, stage.messages(400, 600))
    chosen = sample(stage.rng, [one.message for one in sent], 40, 80)
    failing = {message.id for message in chosen[: len(chosen) // 2]}
    handler = processor(stage, {}, forward_headers=True)
    work(stage, lambda record: [*handler(record), *_dead_letter(handler, record, failing)])
    time.sleep(0.05)  # the copies get a later CreateTime
    resent = send(stage.bootstrap, stage.source, chosen[len(chosen) // 2 :])
    letters = read(stage.bootstrap, stage.dead_letters)
    redriven = send(stage.bootstrap, stage.source, [_sent_back(letter) for letter in letters])
    work(stage, handler)
    everything = [*sent, *resent, *redriven]
    return copies_truth(
        stage,
        dict.fromkeys((RESENT, REDRIVEN), "confirmed"),
        source=everything,
        sink=everything,
        causes={RESENT: 2 * len(resent), REDRIVEN: 2 * len(redriven)},
        ids={RESENT: [one.message.id for one in resent], REDRIVEN: [one.message.id for one in redriven]},
    )


def _dead_letter(handler: Processor, record: Record, failing: set[str]) -> list[Output]:
    if record.id not in failing:
        return []
    return [handler.dead_letter(record, handler.scene.dead_letters, "Audit service refused the connection")]


def _sent_back(letter: Record) -> Message:
    """A dead letter's payload as a fresh record of the source, marked by the script that sent it."""
    decoded = json.loads(letter.value)
    value = decoded.get("originalMessage", decoded)
    kept = tuple(header for header in letter.headers if not header[0].startswith("kafka_dlt-"))
    return Message(value["messageId"], value["data"]["userId"], value, (*kept, ("replay_count", b"1")))


SCENES: dict[str, Planter] = {"loss": lossy, "duplicates": doubled}


def plant_scene(problem: str, bootstrap: str, seed: int, folder: Path, *, on_mock: bool = False) -> Truth:
    """Plants the demo's scene for a problem, on fresh topics.

    Args:
        problem: ``loss`` or ``duplicates``.
        bootstrap: the sandbox's broker.
        seed: of all choices but the suffix of the names.
        folder: for the sent log.
        on_mock: the broker is librdkafka's mock, which cannot be told to make topics.
    """
    stage = scene(bootstrap, f"demo-{problem}", problem, seed, folder)
    if not on_mock:
        return SCENES[problem](stage, topics.create)
    stage.partitions = stage.sink_partitions = MOCK_PARTITIONS
    truth = SCENES[problem](stage, _asked_for)
    # The mock is read by the client library, which shows no batches: a restarted producer cannot be told from a resend.
    findings = {code: "suspected" if code == RESENT else state for code, state in truth.findings.items()}
    return replace(truth, findings=findings)


def _asked_for(bootstrap: str, topic: str, _partitions: int) -> None:
    """The mock makes a topic when it is asked for."""
    Producer(topics.client_settings(bootstrap)).list_topics(topic, timeout=topics.TIMEOUT_SECONDS)
