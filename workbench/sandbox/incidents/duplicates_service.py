"""Duplicates that the service or its operators make: the same event is processed more than once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.copies import copies_truth
from workbench.sandbox.incidents.crash import process_without_end
from workbench.sandbox.incidents.deadletters import Headers, Output, Record
from workbench.sandbox.incidents.loss_transactions import Transactional
from workbench.sandbox.incidents.messages import Message, sample
from workbench.sandbox.incidents.reading import read
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import Sent, send
from workbench.sandbox.incidents.service import Processor, processor, work
from workbench.sandbox.incidents.traffic import flow
from workbench.sandbox.incidents.truth import Truth

# Records alone do not tell a crash from a rewind: both only show that a range was read twice. The group's history does.
CRASH = {"duplicates-crash-before-commit": "confirmed", "duplicates-non-atomic-write": "confirmed"}
REWIND = {"duplicates-offset-rewind": "confirmed"}
REDRIVE = {"duplicates-redrive": "confirmed"}
UNCOMMITTED = {"duplicates-read-uncommitted": "confirmed"}
MISMATCH = {"content-mismatch": "confirmed"}


@incident("crash-before-commit", "duplicates", CRASH)
def crash_before_commit(scene: Scene) -> Truth:
    """The service is killed after it wrote to the sink and before it committed; its successor does it again."""
    sent = flow(scene)
    ends = topics.ends(scene.bootstrap, scene.source)
    stop = {p: scene.rng.randint(0, end // 2) for p, end in ends.items()}
    work(scene, processor(scene, {}), until=stop)
    crash = {p: scene.rng.randint(stop[p], end) for p, end in ends.items()}
    busiest = max(ends, key=lambda p: ends[p])
    crash[busiest] = max(crash[busiest], stop[busiest] + 1)
    crashed = process_without_end(scene, transaction=False, commit=False, until=crash)
    work(scene, processor(scene, {}), session_timeout_ms=crashed.session_ms)
    return _reread(scene, sent, crashed.handled, CRASH)


@incident("offset-rewind", "duplicates", REWIND)
def offset_rewind(scene: Scene) -> Truth:
    """An operator sets the group's offsets back while the service is down; it reads the range again."""
    sent = flow(scene)
    work(scene, processor(scene, {}))
    ends = topics.ends(scene.bootstrap, scene.source)
    chosen = scene.rng.sample(sorted(p for p in ends if ends[p]), 1 if scene.rng.random() < 0.3 else len(ends) // 2 + 1)
    back = {p: scene.rng.randint(ends[p] // 2, max(ends[p] - 1, 0)) for p in chosen}
    topics.commit(scene.bootstrap, scene.group, scene.source, back)
    again = work(scene, processor(scene, {}))
    return _reread(scene, sent, again.handled, REWIND)


@incident("redrive", "duplicates", REDRIVE)
def redrive(scene: Scene) -> Truth:
    """Dead letters of events that were processed after all are sent back to the source, with redrive headers."""
    return _redrive(scene, _workbench_headers)


@incident("redrive-home-made", "duplicates", REDRIVE)
def redrive_home_made(scene: Scene) -> Truth:
    """Dead letters are sent back by a script of the team's own that counts replays in a header."""
    return _redrive(scene, _script_headers)


@incident("read-uncommitted", "duplicates", UNCOMMITTED)
def read_uncommitted(scene: Scene) -> Truth:
    """A transactional service aborts and retries; the sink's readers see the aborted copies too."""
    sent = flow(scene)
    retried = [message.id for message in sample(scene.rng, [one.message for one in sent], 5, 60)]
    work(scene, processor(scene, {}), Transactional(scene.bootstrap, retry=retried))
    scene.options["isolation"] = "read_uncommitted"
    return copies_truth(scene, UNCOMMITTED, source=sent, sink=[*sent, *retried], hit=retried)


@incident("content-mismatch", "duplicates", MISMATCH)
def content_mismatch(scene: Scene) -> Truth:
    """The service writes another address than the one it read, for some of the users."""
    sent = flow(scene)
    users = sorted({str(one.message.key) for one in sent})
    unlucky = set(scene.rng.sample(users, scene.rng.randint(2, max(len(users) // 4, 2))))
    return _mismatch(scene, sent, {one.message.id for one in sent if one.message.key in unlucky})


def _mismatch(scene: Scene, sent: Sequence[Sent], broken: set[str]) -> Truth:
    def change(value: dict[str, Any]) -> dict[str, Any]:
        if value["messageId"] not in broken:
            return value
        return {**value, "data": {**value["data"], "email": value["data"]["email"].replace("@", "")}}

    work(scene, processor(scene, {}, change=change))
    scene.options["compare"] = "value->>'$.data.email'"
    return copies_truth(scene, MISMATCH, source=sent, sink=sent, ids={"content-mismatch": sorted(broken)})


def _reread(scene: Scene, sent: Sequence[Sent], again: Sequence[str], expects: dict[str, str]) -> Truth:
    return copies_truth(
        scene,
        expects,
        source=sent,
        sink=[*(one.message.id for one in sent), *again],
        hit=again,
        ledger={"reprocessed": len(again)},
    )


def _redrive(scene: Scene, mark: Callable[[Record], Headers]) -> Truth:
    """Some messages are notified and dead-lettered too, as the step after the notification failed; then sent back."""
    topics.create(scene.bootstrap, scene.dead_letters, 1)
    scene.options["dead_letters"] = [scene.dead_letters]
    sent = flow(scene)
    failing = {message.id for message in sample(scene.rng, [one.message for one in sent], 5, 30)}
    handler = processor(scene, {}, forward_headers=True)
    work(scene, lambda record: [*handler(record), *_dead_letter(handler, record, failing)])
    letters = read(scene.bootstrap, scene.dead_letters)
    again = send(scene.bootstrap, scene.source, [_sent_back(letter, mark(letter)) for letter in letters])
    work(scene, handler)
    return copies_truth(scene, REDRIVE, source=[*sent, *again], sink=[*sent, *again], hit=[*again, *again])


def _dead_letter(handler: Processor, record: Record, failing: set[str]) -> list[Output]:
    if record.id not in failing:
        return []
    return [handler.dead_letter(record, handler.scene.dead_letters, "Audit service refused the connection")]


def _sent_back(letter: Record, marks: Headers) -> Message:
    """A dead letter's payload as a fresh record of the source."""
    decoded = json.loads(letter.value)
    value = decoded.get("originalMessage", decoded)
    kept = tuple(header for header in letter.headers if not header[0].startswith("kafka_dlt-"))
    return Message(value["messageId"], value["data"]["userId"], value, (*kept, *marks))


def _workbench_headers(letter: Record) -> Headers:
    origin = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
    return (
        ("workbench-redrive-plan", b"plan-1"),
        ("workbench-redrive-origin", origin),
        ("workbench-redrive-count", b"1"),
    )


def _script_headers(letter: Record) -> Headers:
    return (("x-replay-count", b"1"), ("x-replayed-from", letter.topic.encode()))
