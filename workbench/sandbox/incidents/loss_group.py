"""Loss by what became of a group: its offsets expired, its topic was made again, strangers or careless workers in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.deadletters import Output, Record
from workbench.sandbox.incidents.loss_log import stop_behind
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene, fates_of
from workbench.sandbox.incidents.sending import Sent, send
from workbench.sandbox.incidents.service import Plain, consumer, follow, processor, run, together, work
from workbench.sandbox.incidents.traffic import flow
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import log_line, sent_line, write_sent_log, write_service_log

EXPIRED = "loss-offsets-expired"
RECREATED = "loss-topic-recreated"
SHARED = "loss-shared-group"
PASSED = "loss-commit-past-unprocessed"
EXPIRY = {"offsets.retention.minutes": "1"}


@incident("offsets-expired", "loss", {EXPIRED: "confirmed"}, settings=EXPIRY)
def offsets_expired(scene: Scene) -> Truth:
    """A service is down for longer than the brokers keep offsets, and begins at the end when it comes back."""
    before = flow(scene)
    handler = processor(scene, {})
    work(scene, handler)
    missed = _some(scene)
    topics.wait_until(lambda: not topics.committed(scene.bootstrap, scene.group), "offsets expire", 240)
    after = _begin_at_the_end(scene, handler)
    return _lost(scene, [*before, *missed, *after], missed, EXPIRED)


@incident("topic-recreated", "loss", {RECREATED: "confirmed"})
def topic_recreated(scene: Scene) -> Truth:
    """The topic is deleted with what the service had not read, and made again; the service begins at its end."""
    before = flow(scene)
    stop, handler = stop_behind(scene, 0.3, 0.8), processor(scene, {})
    work(scene, handler, until=stop)
    topics.delete(scene.bootstrap, scene.source)
    topics.create(scene.bootstrap, scene.source, scene.partitions)
    missed = _some(scene)
    after = _begin_at_the_end(scene, handler)
    lines = [sent_line(one) for one in (*before, *missed, *after)]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    unread = [one for one in before if (one.offset or 0) >= stop[one.partition or 0]]
    return _lost(scene, [*before, *missed, *after], [*unread, *missed], RECREATED)


@incident("topic-recreated-unlogged", "loss", {RECREATED: "suspected"})
def topic_recreated_unlogged(scene: Scene) -> Truth:
    """The topic is deleted with what the service had not read, and made again; nobody kept a log of what was sent."""
    before = flow(scene)
    stop, handler = stop_behind(scene, 0.3, 0.8), processor(scene, {})
    work(scene, handler, until=stop)
    topics.delete(scene.bootstrap, scene.source)
    topics.create(scene.bootstrap, scene.source, scene.partitions)
    after = _some(scene)
    work(scene, handler)
    read = sum((one.offset or 0) < stop[one.partition or 0] for one in before)
    fates = fates_of([one.message for one in after])
    return scene.loss(fates, expects={RECREATED: "suspected"}, facts={"unmatched_at_sink": read})


@incident("shared-group", "loss", {SHARED: "confirmed"})
def shared_group(scene: Scene) -> Truth:
    """Another program was given the service's group id: it gets some of the partitions, and does something else."""
    scene.partitions = max(scene.partitions, 2)
    scene.open()
    members = [consumer(scene, client_id=name) for name in ("notifier-1", "report-job-1")]
    try:
        for client in members:
            client.subscribe([scene.source])
        handlers: list[Callable[[Record], list[Output]]] = [processor(scene, {}), lambda _: []]
        pairs = list(zip(members, handlers, strict=True))
        together(scene, pairs, lambda _: all(client.assignment() for client in members))
        sent = send(scene.bootstrap, scene.source, scene.messages())
        together(scene, pairs, lambda handled: handled >= len(sent))
        strange = {place.partition for place in members[1].assignment()}
    finally:
        for client in members:
            client.close()
    return _lost(scene, sent, [one for one in sent if one.partition in strange], SHARED)


@incident("commit-past-unprocessed", "loss", {PASSED: "confirmed"})
def commit_past_unprocessed(scene: Scene) -> Truth:
    """Workers share partitions and commit what each has done; what the others hold when the service stops is passed over."""
    sent = flow(scene, 60, 150)
    ends = topics.ends(scene.bootstrap, scene.source)
    workers = _Workers(scene, hold=scene.rng.randint(4, 12))
    stop = {part: end * 2 // 3 for part, end in ends.items()}
    work(scene, workers, workers, until=stop, positions=lambda: workers.done)
    abandoned = workers.abandoned()
    lines = list(workers.lines)
    work(scene, workers.logged(lines))
    scene.options["service_log"] = write_service_log(scene.folder, lines)
    return _lost(scene, sent, [one for one in sent if one.message.id in abandoned], PASSED)


class _Workers:
    """Workers side by side: each takes a record, and when one has done its, it commits the highest offset done so far.

    They take turns in one thread, in an order that the scene's dice say; brokers and the log see no difference.
    """

    def __init__(self, scene: Scene, hold: int) -> None:
        self.scene, self.hold = scene, hold
        self.plain, self.handler = Plain(scene.bootstrap, linger_ms=0), processor(scene, {})
        self.held: list[Record] = []
        self.done: dict[int, int] = {}
        self.lines: list[dict[str, Any]] = []

    def __call__(self, record: Record) -> list[Output]:
        """A worker takes a record; one that is through with another one writes that."""
        self.lines.append(self._line("received", record))
        self.held.append(record)
        while len(self.held) > self.hold:
            self._finish(self.held.pop(self.scene.rng.randrange(len(self.held))))
        return []

    def write(self, outputs: Iterable[Output]) -> None:
        """Nothing is left to write: the workers do it."""

    def abandoned(self) -> set[str]:
        """Ids that workers hold below what was committed; the others that they hold are read again."""
        return {one.id for one in self.held if one.offset < self.done.get(one.partition, 0)}

    def logged(self, lines: list[dict[str, Any]]) -> Callable[[Record], list[Output]]:
        """The handler of the next start, which works in order and logs the same."""

        def handle(record: Record) -> list[Output]:
            lines.extend(self._line(event, record) for event in ("received", "processed"))
            return self.handler(record)

        return handle

    def _finish(self, record: Record) -> None:
        self.plain.write(self.handler(record))
        self.lines.append(self._line("processed", record))
        self.done[record.partition] = max(self.done.get(record.partition, 0), record.offset + 1)

    def _line(self, event: str, record: Record) -> dict[str, Any]:
        where: dict[str, Any] = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        return log_line("info", event, id=record.id, **where)


def _some(scene: Scene) -> list[Sent]:
    """A few fresh messages in each partition."""
    return [
        one
        for part in range(scene.partitions)
        for one in send(scene.bootstrap, scene.source, scene.writer.write(scene.rng.randint(5, 30)), partition=part)
    ]


def _begin_at_the_end(scene: Scene, handler: Callable[[Record], list[Output]]) -> list[Sent]:
    """The service comes back, finds no offset and begins at the end; what comes then it handles."""
    outlet = Plain(scene.bootstrap)
    client = consumer(scene, auto_offset_reset="latest")
    try:
        run(client, scene, handler, outlet, until=None, commit=True)
        after = _some(scene)
        follow(client, scene, handler, outlet, lambda done: len(done.handled) >= len(after))
    finally:
        client.close()
    return after


def _lost(scene: Scene, sent: Sequence[Sent], lost: Sequence[Sent], code: str) -> Truth:
    fates = fates_of([one.message for one in sent], lost=[one.message for one in lost])
    return scene.loss(fates, expects={code: "confirmed"}, cause=code)
