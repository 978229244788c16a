"""Duplicates that a group makes: too slow for its poll interval, rebalanced in its work, commits that fail, two groups."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from confluent_kafka import Consumer, KafkaException, TopicPartition

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.copies import copies_truth
from workbench.sandbox.incidents.deadletters import Output, Record
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import Sent
from workbench.sandbox.incidents.service import Plain, consumer, processor, record_of, run, together, work
from workbench.sandbox.incidents.topics import client_settings
from workbench.sandbox.incidents.traffic import flow
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import log_line, write_service_log

NON_ATOMIC = {"duplicates-non-atomic-write": "confirmed"}
EVICTED = {"duplicates-poll-interval-exceeded": "confirmed", **NON_ATOMIC}
REBALANCED = {"duplicates-rebalance": "confirmed", **NON_ATOMIC}
FAILED = {"duplicates-commit-failed": "confirmed", **NON_ATOMIC}
SECOND = {"duplicates-second-group": "confirmed"}
POLL_MS = 6_000  # the shortest that the client takes beside its session timeout


@incident("poll-interval-exceeded", "duplicates", EVICTED)
def poll_interval_exceeded(scene: Scene) -> Truth:
    """One batch takes longer than max.poll.interval.ms: the service is put out, comes back and does it again."""
    sent = flow(scene)
    ends = topics.ends(scene.bootstrap, scene.source)
    begun = {part: end // 2 for part, end in ends.items()}
    handler, outlet = processor(scene, {}), Plain(scene.bootstrap)
    client = consumer(scene, max_poll_interval_ms=POLL_MS, session_timeout_ms=POLL_MS, client_id="notifier-1")
    try:
        run(client, scene, handler, outlet, until=begun, commit=True)
        slow = _take(client, ends, lambda record: record.offset >= begun[record.partition])
        time.sleep((POLL_MS + 2_000) / 1000)
        outlet.write([output for record in slow for output in handler(record)])
        _polls_again(client)
    finally:
        client.close()
    work(scene, handler, client_id="notifier-1")
    return _again(scene, sent, [record.id for record in slow], EVICTED)


@incident("rebalance", "duplicates", REBALANCED)
def rebalance(scene: Scene) -> Truth:
    """A second instance joins while the first one has written what it has not committed yet."""
    scene.partitions = max(scene.partitions, 2)
    sent = flow(scene)
    ends = topics.ends(scene.bootstrap, scene.source)
    begun = {part: end // 2 for part, end in ends.items()}
    handler, outlet = processor(scene, {}), Plain(scene.bootstrap)
    first, second = (consumer(scene, client_id=f"notifier-{n}") for n in (1, 2))
    try:
        run(first, scene, handler, outlet, until=begun, commit=True)
        uncommitted = _take(first, ends, lambda record: record.offset >= begun[record.partition])
        outlet.write([output for record in uncommitted for output in handler(record)])
        second.subscribe([scene.source])
        together(scene, [(first, handler), (second, handler)], lambda handled: handled >= len(uncommitted), outlet)
    finally:
        for client in (first, second):
            client.close()
    return _again(scene, sent, [record.id for record in uncommitted], REBALANCED)


@incident("commit-failed", "duplicates", FAILED)
def commit_failed(scene: Scene) -> Truth:
    """Commits are refused while the service works on, and only logged; after a restart it begins where they failed."""
    sent = flow(scene)
    ends = topics.ends(scene.bootstrap, scene.source)
    begun = {part: end // 3 for part, end in ends.items()}
    work(scene, processor(scene, {}), until=begun)
    refused = _Refused(scene)
    again = work(scene, processor(scene, {}), refused, commit=False)
    work(scene, processor(scene, {}))
    scene.options["service_log"] = write_service_log(scene.folder, refused.lines)
    return _again(scene, sent, again.handled, FAILED)


@incident("second-group", "duplicates", SECOND)
def second_group(scene: Scene) -> Truth:
    """The service is deployed a second time under another group id: both write the same sink."""
    sent = flow(scene)
    work(scene, processor(scene, {}))
    other = replace(scene, group=f"{scene.group}-blue")
    again = work(other, processor(scene, {}))
    return _again(scene, sent, again.handled, SECOND)


class _Refused:
    """Writes as a service does, with a commit after each batch that the coordinator refuses: of a member it does not know."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.plain = scene, Plain(scene.bootstrap)
        self.lines = [log_line("info", "service started", group=scene.group)]
        settings = {"group.id": scene.group, "enable.auto.commit": False}
        self.stranger = Consumer(client_settings(scene.bootstrap, **settings))

    def write(self, outputs: Iterable[Output]) -> None:
        """Writes and flushes, then fails to commit."""
        self.plain.write(outputs)
        try:
            spots = [TopicPartition(self.scene.source, part, 1) for part in range(self.scene.partitions)]
            self.stranger.commit(offsets=spots, asynchronous=False)
        except KafkaException as error:
            self.lines.append(log_line("error", "offset commit failed", error=error.args[0].str()))


def _take(client: Consumer, ends: dict[int, int], wanted: Callable[[Record], bool]) -> list[Record]:
    """Polls what is left of the source, without committing it."""
    taken: list[Record] = []
    _rewound(client)

    def position(part: int) -> int:
        return max((one.offset + 1 for one in taken if one.partition == part), default=0)

    topics.wait_until(
        lambda: _poll(client, taken, wanted) and all(position(part) >= end or not end for part, end in ends.items()),
        "the rest of the source is read",
    )
    return taken


def _poll(client: Consumer, taken: list[Record], wanted: Callable[[Record], bool]) -> bool:
    records = [record_of(message) for message in client.consume(500, 0.1) if not message.error()]
    taken += [record for record in records if wanted(record)]
    return True


def _rewound(client: Consumer) -> None:
    """Sets a member's position to what it has committed: it may have polled more than it worked on."""
    for place in client.committed(client.assignment(), timeout=topics.TIMEOUT_SECONDS):
        client.seek(place)


def _polls_again(client: Consumer) -> None:
    """The member notices that it was put out, and joins again."""
    topics.wait_until(lambda: bool(client.consume(1, 0.2)) and bool(client.assignment()), "the member is back")


def _again(scene: Scene, sent: Sequence[Sent], again: Sequence[str], expects: dict[str, str]) -> Truth:
    return copies_truth(
        scene,
        expects,
        source=sent,
        sink=[*(one.message.id for one in sent), *again],
        hit=again,
        ledger={"reprocessed": len(again)},
    )
