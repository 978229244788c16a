"""Where a consumer puts its outputs and how it commits: at least once, or exactly once in transactions."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from workbench.errors import WorkbenchError
from workbench.integration.clients import LOG
from workbench.integration.deadletters import History
from workbench.integration.errands import Errands
from workbench.integration.failures import Category, SendError, category_of
from workbench.integration.metrics import Metrics
from workbench.integration.producer import MessageProducer
from workbench.integration.records import Outgoing, Place
from workbench.integration.tracing import Tracing

# Where a partition stands: next offset, and the history of the message there if it failed before.
Positions = Mapping[Place, tuple[int, History]]

COMMIT_SECONDS = 300.0
_STOPPING_SECONDS = 10.0
# Somebody else has the partitions now, or a rebalance is under way: what is not committed comes again to its new owner.
_NOT_OURS = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)


class Fenced(WorkbenchError):
    """Another process uses the same transactional id or group instance; this one must end."""


class GivenUp(Exception):
    """The work was interrupted before it was committed; it comes again."""


class Outlet(Protocol):
    """Where outputs go."""

    def write(
        self, outputs: Sequence[Outgoing], positions: Positions, consumer: Errands, halt: threading.Event
    ) -> None:
        """Writes outputs, all acknowledged, and then commits positions.

        Raises:
            SendError: an output was given up; nothing was committed.
            Fenced: another process took over.
            GivenUp: it was to stop before the commit.
        """

    def release(self, places: Collection[Place], consumer: Errands, *, lost: bool) -> None:
        """Lets go of partitions; those that were not lost may still be committed."""

    def poll(self) -> None:
        """Called now and then while nothing is written."""

    def close(self) -> None:
        """Ends in order."""


class AtLeastOnce:
    """Writes with an idempotent producer, then commits: what was written before a crash is written again after it.

    Args:
        producer: what it writes with; it is closed with the consumer.
    """

    def __init__(self, producer: MessageProducer) -> None:
        self.producer = producer
        self._owed: dict[Place, tuple[int, History]] = {}

    def write(
        self, outputs: Sequence[Outgoing], positions: Positions, consumer: Errands, halt: threading.Event
    ) -> None:
        """As ``Outlet.write``."""
        if outputs:
            self.producer.send_all(outputs)
        self._owed.update(positions)
        if self._owed and _commit(consumer, offsets_of(self._owed), halt):
            self._owed.clear()

    def release(self, places: Collection[Place], consumer: Errands, *, lost: bool) -> None:
        """As ``Outlet.release``."""
        owed = {place: self._owed.pop(place) for place in places if place in self._owed}
        if owed and not lost:
            halted = threading.Event()
            halted.set()
            _commit(consumer, offsets_of(owed), halted)

    def poll(self) -> None:
        """As ``Outlet.poll``."""
        self.producer.poll()

    def close(self) -> None:
        """As ``Outlet.close``."""
        self.producer.close()


def offsets_of(positions: Positions) -> list[TopicPartition]:
    """Positions as the client takes them."""
    return [
        TopicPartition(topic, partition, offset, history.to_metadata())
        for (topic, partition), (offset, history) in positions.items()
    ]


def _commit(consumer: Errands, offsets: list[TopicPartition], halt: threading.Event) -> bool:
    """Commits, however long the coordinator is away.

    Returns:
        Whether it was done; not while a rebalance is under way. What stays ours is committed next time, what goes to
        others comes to them again.
    """
    deadline = time.monotonic() + COMMIT_SECONDS
    while True:
        try:
            answered = consumer.commit(offsets)
        except KafkaException as error:
            if error.args[0].code() in _NOT_OURS:
                LOG.warning("offsets are not committed yet: %s", error.args[0].str())
                return False
            if category_of(error) is not Category.TRANSIENT or time.monotonic() > deadline:
                raise
            if halt.is_set():
                deadline = min(deadline, time.monotonic() + _STOPPING_SECONDS)
            time.sleep(0.2)
        else:
            _insist(answered)
            return True


def _insist(answered: Sequence[TopicPartition]) -> None:
    for spot in answered:
        if spot.error is not None:
            raise KafkaException(spot.error)


class ExactlyOnce:
    """Writes outputs and positions in one transaction: readers with read_committed see each output once.

    Args:
        settings: librdkafka's, of the producer.
        transactional_id: the same for each start of one instance, different for instances that run side by side; a
            process that comes back with it ends at once what its predecessor left open.
        metrics: where sends are counted.
        tracing: makes a span for each send.
        timeout_seconds: after this the broker ends the transaction of a process that died.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        transactional_id: str,
        *,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
        timeout_seconds: float = 60.0,
    ) -> None:
        given = {
            **settings,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": round(timeout_seconds * 1000),
        }
        self.producer = MessageProducer(given, metrics=metrics, tracing=tracing)
        self._client = self.producer.client
        self._timeout_seconds = timeout_seconds
        _resumed(lambda: self._client.init_transactions(timeout_seconds), time.monotonic() + COMMIT_SECONDS)

    def write(
        self, outputs: Sequence[Outgoing], positions: Positions, consumer: Errands, halt: threading.Event
    ) -> None:
        """As ``Outlet.write``; a transaction that had to be aborted is tried again as a whole."""
        deadline = time.monotonic() + COMMIT_SECONDS
        while True:
            try:
                self._transaction(outputs, positions, consumer, deadline)
            except (KafkaException, SendError) as error:
                self._abort(error, deadline)
                if isinstance(error, KafkaException) and error.args[0].code() in _NOT_OURS:
                    raise GivenUp from error
                if not _may_pass(error) or time.monotonic() > deadline:
                    raise
                if halt.is_set():
                    raise GivenUp from error
                time.sleep(0.2)
            else:
                return

    def _transaction(
        self, outputs: Sequence[Outgoing], positions: Positions, consumer: Errands, deadline: float
    ) -> None:
        self._client.begin_transaction()
        pending = [self.producer.submit(output) for output in outputs]
        member = consumer.member()
        _resumed(
            lambda: self._client.send_offsets_to_transaction(offsets_of(positions), member, self._timeout_seconds),
            deadline,
        )
        _resumed(lambda: self._client.commit_transaction(self._timeout_seconds), deadline)
        self.producer.take(pending)

    def _abort(self, error: Exception, deadline: float) -> None:
        """Ends the transaction without effect.

        Raises:
            Fenced: nobody here may do that any more.
            SendError: an output has no place, now or later.
        """
        if isinstance(error, KafkaException) and error.args[0].fatal():
            raise Fenced(
                f"The transaction cannot go on: {error.args[0].str()}.",
                hint="Another process uses the same transactional id, or the broker forgot this producer. Start anew.",
            ) from error
        _resumed(lambda: self._client.abort_transaction(self._timeout_seconds), deadline)
        for failed in self.producer.drop_failures():
            if not _may_pass(failed):
                raise failed from error  # what went wrong; the transaction only says that something did

    def release(self, places: Collection[Place], consumer: Errands, *, lost: bool) -> None:
        """As ``Outlet.release``; positions go with their transaction or not at all."""

    def poll(self) -> None:
        """As ``Outlet.poll``."""
        self.producer.poll()

    def close(self) -> None:
        """As ``Outlet.close``; a transaction is never left open, since none outlives ``write``."""
        self.producer.close()


def _may_pass(error: Exception) -> bool:
    """Whether a second transaction may succeed: it was aborted for a reason of the moment."""
    if isinstance(error, SendError):
        return error.in_doubt or error.reason in {"_PURGE_QUEUE", "_PURGE_INFLIGHT", "_QUEUE_FULL"}
    return bool(error.args[0].txn_requires_abort()) or category_of(error) is Category.TRANSIENT


def _resumed(operation: Callable[[], Any], deadline: float) -> None:
    """Calls again what timed out: the client goes on where it was; only a call that ends says how it ended."""
    while True:
        try:
            operation()
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > deadline:
                raise
        else:
            return


def instance_id(group: str, number: int | None = None) -> str:
    """A transactional id for an instance of a group; without a number it is one that no other process has."""
    return f"{group}-{uuid.uuid4().hex[:12] if number is None else number}"
