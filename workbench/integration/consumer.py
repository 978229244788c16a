"""Receiving: each record is processed, its outputs are acknowledged, and only then is it committed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from workbench.errors import UsageError
from workbench.integration.clients import LOG, observed
from workbench.integration.deadletters import DeadLetterHandler
from workbench.integration.errands import Errands
from workbench.integration.failures import PermanentError
from workbench.integration.metrics import Metrics
from workbench.integration.outlets import Outlet
from workbench.integration.records import Place, Record
from workbench.integration.retries import RetryHandler
from workbench.integration.tracing import NO_TRACING, Tracing
from workbench.integration.worker import Handler, Worker

_POLL_SECONDS = 0.2
_METADATA_SECONDS = 30.0
_REQUIRED = {"enable.auto.commit": False, "enable.auto.offset.store": False}
_COOPERATIVE = "cooperative-sticky"
_BY_DEFAULT = {
    "auto.offset.reset": "earliest",  # a new group begins with what is there, and loses nothing
    "isolation.level": "read_committed",
    "partition.assignment.strategy": _COOPERATIVE,
    "check.crcs": True,
}
# With the protocol of KIP-848 these belong to the broker.
_CLASSIC_ONLY = ("partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms")
# Nothing more comes of reading on.
_FINAL = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_ASSIGNOR,
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - with ``auto.offset.reset=error`` somebody is to decide
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - the client's public spelling
    }
)


class MessageConsumer:
    """A member of a group that gives each record to a handler.

    A thread of its own processes, so that the group hears of this member however long a record takes: partitions are
    paused meanwhile. ``stop`` lets the record at hand end, commits and leaves the group.

    Args:
        settings: librdkafka's, with ``group.id``; ``group.protocol=consumer`` takes the protocol of KIP-848.
        topics: what to read.
        handler: outputs for a record; an error is tried again or dead-lettered by its category.
        outlet: where outputs go: ``AtLeastOnce`` or ``ExactlyOnce``. It is closed at the end.
        retry: how transient errors are tried again.
        dead_letters: what becomes of what fails for good; None ends the consumer with the error, uncommitted.
        metrics: where results, lag and connections are shown.
        tracing: makes a span for each record.
        batch_size: records that are handed over at a time.
        stretch_seconds: outputs and positions are written at least so often.
        patience_seconds: how long a batch may take before partitions are paused.
        client: label in the metrics.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        topics: Sequence[str],
        handler: Handler,
        outlet: Outlet,
        *,
        retry: RetryHandler | None = None,
        dead_letters: DeadLetterHandler | None = None,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
        batch_size: int = 500,
        stretch_seconds: float = 2.0,
        patience_seconds: float = 1.0,
        client: str = "consumer",
    ) -> None:
        self.topics = list(topics)
        self.metrics = metrics or Metrics()
        self.group = str(settings["group.id"])
        self._settings = observed(_complete(settings), client, self.metrics, group=self.group)
        self._outlet = outlet
        self._dead_letters = dead_letters
        self._batch_size = batch_size
        self._patience_seconds = patience_seconds
        self._backlog: list[Record] = []
        self._busy: Future[int] | None = None
        self._failure: BaseException | None = None
        self._paused = False
        self._held: set[Place] = set()
        self._revoked: set[Place] = set()
        self._stopping = threading.Event()
        self._client: Any = None
        self._errands: Errands
        self.assigned = threading.Event()
        self._worker = Worker(
            handler,
            outlet,
            retry=retry or RetryHandler(),
            dead_letters=dead_letters,
            metrics=self.metrics,
            tracing=tracing or NO_TRACING,
            stretch_seconds=stretch_seconds,
        )

    def run(self) -> None:
        """Reads until ``stop`` is called, or until something fails that nothing else can be done about.

        Raises:
            PermanentError: a topic does not exist.
            Exception: a record failed for good without a dead-letter topic, or an output was given up. The offset of
                that record is not committed.
        """
        self._client = confluent_kafka.Consumer(self._settings)
        self._errands = self._worker.consumer = Errands(self._client)
        try:
            self._require_topics()
            self._worker.show_zeros(self.topics)
            self._client.subscribe(
                self.topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
            with ThreadPoolExecutor(1, thread_name_prefix="worker") as pool:
                self._loop(pool)
        finally:
            self._end()

    def stop(self) -> None:
        """Ends ``run`` in order; may be called from any thread and from a signal handler."""
        self._stopping.set()
        self._worker.halt.set()

    def _loop(self, pool: ThreadPoolExecutor) -> None:
        try:
            while not self._stopping.is_set() and self._failure is None:
                self._outlet.poll()
                self._take(max(self._batch_size - len(self._backlog), 1), 0 if self._backlog else _POLL_SECONDS)
                if self._backlog and not self._stopping.is_set():
                    self._work(pool)
        finally:
            self._worker.halt.set()
            self._settle()
        if self._failure is not None:
            raise self._failure

    def _work(self, pool: ThreadPoolExecutor) -> None:
        """Hands a batch over and waits for it; the group hears of this member meanwhile."""
        busy = self._busy = pool.submit(self._worker.process, self._backlog[: self._batch_size])
        if not self._errands.serve(busy, self._patience_seconds):
            self._pause()
            while not self._errands.serve(busy, 0.1):
                # Paused partitions give nothing; one that was assigned just now may.
                self._take(1, 0.05)
            self._resume()
        self._settle()
        if busy.exception() is None and busy.result() == 0:
            self._stopping.wait(0.1)  # interrupted by a rebalance: it goes on when that is over

    def _settle(self) -> None:
        """Waits for the worker and drops what it is done with."""
        busy, self._busy = self._busy, None
        if busy is None:
            return
        self._errands.serve(busy, None)
        try:
            del self._backlog[: busy.result()]
        except BaseException as error:  # noqa: BLE001 - raised in ``_loop``; we may be inside a callback of the client
            self._failure = error

    def _take(self, most: int, seconds: float) -> None:
        """Adds the records that are there to the backlog; waits for the first one only."""
        messages = self._client.consume(1, seconds)
        if messages and most > 1:
            self._revoked.clear()
            more = self._client.consume(most - 1, 0)
            # The second call may have served a rebalance; then the first message belongs to somebody else.
            messages = [one for one in messages if (one.topic(), one.partition()) not in self._revoked] + more
        self._backlog.extend([Record.of(message) for message in messages if self._is_record(message)])

    def _is_record(self, message: Any) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.fatal() or error.code() in _FINAL:
            raise KafkaException(error)
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's public spelling
            LOG.warning("reading: %s", error.str())
        return False

    def _require_topics(self) -> None:
        """Looks for the topics without making any."""
        there = self._client.list_topics(timeout=_METADATA_SECONDS).topics
        letters = [self._dead_letters.topic] if self._dead_letters else []
        for kind, names in (("topic", self.topics), ("dead-letter topic", letters)):
            for name in names:
                if name not in there:
                    raise PermanentError(f"The {kind} {name} does not exist.", hint="Make it, then start again.")

    def _pause(self) -> None:
        self._paused = True
        self._client.pause([TopicPartition(*place) for place in self._held])
        self._show_assignment()

    def _resume(self) -> None:
        self._paused = False
        self._client.resume([TopicPartition(*place) for place in self._held])
        self._show_assignment()

    def _on_assign(self, _: Any, partitions: list[TopicPartition]) -> None:
        self._client.incremental_assign(partitions)
        self._held |= {(spot.topic, spot.partition) for spot in partitions}
        if self._paused:
            self._client.pause(partitions)
        self.metrics.rebalances.labels(self.group).inc()
        self._show_assignment()
        self.assigned.set()

    def _on_revoke(self, _: Any, partitions: list[TopicPartition]) -> None:
        self._let_go(partitions, lost=False)

    def _on_lost(self, _: Any, partitions: list[TopicPartition]) -> None:
        LOG.warning("%d partitions were lost: the group gave them to others", len(partitions))
        self._let_go(partitions, lost=True)

    def _let_go(self, partitions: list[TopicPartition], *, lost: bool) -> None:
        """Ends work on partitions before somebody else begins with it: what is done is committed, the rest is theirs."""
        gone = {(spot.topic, spot.partition) for spot in partitions}
        self._revoked |= gone
        self._held -= gone
        self._worker.halt.set()
        self._settle()
        try:
            self._outlet.release(gone, self._errands, lost=lost)
        except KafkaException as error:
            LOG.warning("what was done is not committed, and comes again: %s", error.args[0].str())
        self._backlog = [record for record in self._backlog if record.place not in gone]
        self._worker.forget(gone)
        if self._paused:
            # The client remembers a pause of partitions it no longer has, and would never fetch them once they are back.
            self._client.resume(partitions)
        self._client.incremental_unassign(partitions)
        if not self._stopping.is_set():
            self._worker.halt.clear()
        self._show_assignment()

    def _show_assignment(self) -> None:
        held = Counter(topic for topic, _ in self._held)
        for topic in {*self.topics, *held}:
            self.metrics.assigned.labels(self.group, topic).set(held[topic])
            self.metrics.paused.labels(self.group, topic).set(held[topic] if self._paused else 0)

    def _end(self) -> None:
        """Leaves the group, and sends what is left."""
        self._client.close()
        self._outlet.close()


def _complete(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with what this consumer insists on and what it takes by default.

    Raises:
        UsageError: they ask for what it cannot do safely.
    """
    whole = {**_BY_DEFAULT, **settings, **_REQUIRED}
    if whole.get("group.protocol") == "consumer":
        return {name: value for name, value in whole.items() if name not in _CLASSIC_ONLY}
    if whole["partition.assignment.strategy"] != _COOPERATIVE:
        raise UsageError(
            f"partition.assignment.strategy is {whole['partition.assignment.strategy']}, not {_COOPERATIVE}.",
            hint="Leave it out: while others join and leave, only partitions that move are interrupted.",
        )
    return whole
