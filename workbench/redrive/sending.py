"""Sends rows of a plan, a transaction at a time: the copies and the mark that counts them are committed together.

Whatever goes wrong in between is answered in one way: a new producer of the same transactional id, which ends what the
last one left open, and then the mark, which says how far the plan really is.
"""

from __future__ import annotations

import gc
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.errors import RedriveError, SourceError
from workbench.redrive import progress
from workbench.redrive.outgoing import Record, own_headers
from workbench.redrive.plan import Plan, Row
from workbench.redrive.stepping import sleep
from workbench.redrive.targets import PROGRESS_TOPIC

if TYPE_CHECKING:
    from workbench.sources import Cluster

TRANSACTION_SECONDS = 60
ROWS_A_TRANSACTION = 5_000
BYTES_A_TRANSACTION = 64 << 20
ROWS_A_POLL = 200  # delivery reports are taken so often: each look costs more than a record
FAILURES = 5  # in a row, then the brokers are left alone
_PERMANENT = frozenset({"denied", "missing", "login"})

Prepare = Callable[[Sequence[Row]], list[Record]]
Told = Callable[[int, str, int, int], None]  # row number, target, partition, offset


class _Unsent(Exception):
    """A transaction did not go through; nothing of it is visible to read_committed readers, or all of it is."""


class Fenced(RedriveError):
    """Another producer has this plan's transactional id now."""


def producer_settings(kafka: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """Settings of a producer for a profile; what belongs to its consumers, or loads code, is left out."""
    from workbench.sources.admin import NOT_FOR_READING, silent_logger

    kept = {key: value for key, value in kafka.items() if key not in NOT_FOR_READING}
    # librdkafka 2.16 forgets brokers that are away for some seconds, and an open transaction then waits for ever.
    own = {"client.id": "workbench-redrive", "acks": "all", "enable.idempotence": True, "linger.ms": 5,
           "compression.type": "lz4", "message.max.bytes": 1_000_000_000,
           "metadata.recovery.strategy": "none"}  # fmt: skip
    return {**kept, **own, **more, "logger": silent_logger(), "error_cb": lambda _: None}


@dataclass
class Sender:
    """Sends a plan's rows in order, each exactly once for read_committed readers.

    Attributes:
        cluster: where to.
        plan: what.
        prepare: makes the records of rows.
        told: called for each acknowledged copy, before its transaction is committed; null where nobody listens.
        rate: copies a second at most; null is no limit.
        done: rows that are committed.
    """

    cluster: Cluster
    plan: Plan
    prepare: Prepare
    told: Told | None
    rate: float | None = None
    done: int = 0
    _producer: Any = None
    _failed: list[Any] = field(default_factory=list)
    _waiting: dict[tuple[str, int], deque[int]] = field(default_factory=dict)
    _free_at: float = 0.0

    def __post_init__(self) -> None:
        import pybreaker

        logging.getLogger("stamina").setLevel(logging.CRITICAL)
        self._breaker = pybreaker.CircuitBreaker(fail_max=FAILURES, reset_timeout=60)

    def open(self) -> int:
        """Takes over the plan: fences every other run, ends what was open, and reads how far it is.

        Returns:
            Rows that are done.

        Raises:
            SourceError, RedriveError: it cannot be taken over; nothing was sent.
        """
        self._patiently(self._take_over)
        return self.done

    def send(self, end: int, stopped: Callable[[], bool]) -> None:
        """Sends rows until ``end`` of them are done, or until ``stopped`` says so between two transactions.

        Raises:
            Fenced: another run took over.
            RedriveError: the brokers fail again and again, or refuse a record; what is done stays done.
        """
        size = ROWS_A_TRANSACTION if self.rate is None else max(1, min(ROWS_A_TRANSACTION, int(self.rate)))
        while self.done < end and not stopped():
            until = min(self.done + size, end)
            self._pace(until - self.done, stopped)
            if stopped():
                return
            with _uncollected():
                self._patiently(partial(self._advance, until))

    def close(self) -> None:
        """Lets go of the producer; an open transaction is ended by whoever comes next."""
        self._producer = None

    def _pace(self, count: int, stopped: Callable[[], bool]) -> None:
        if self.rate is not None:
            sleep(self._free_at - time.monotonic(), stopped)
            self._free_at = time.monotonic() + count / self.rate

    def _patiently(self, work: Callable[[], None]) -> None:
        import pybreaker
        import stamina

        try:
            for attempt in stamina.retry_context(
                on=_Unsent, attempts=FAILURES + 1, timeout=None, wait_initial=0.5, wait_max=15
            ):
                with attempt:
                    self._breaker.call(work)
        except (pybreaker.CircuitBreakerError, _Unsent) as error:
            why = error.__cause__ or error
            raise RedriveError(
                f"The brokers failed {FAILURES} times in a row ({why}); {self.done:,} of {len(self.plan.rows):,} are sent.",
                hint="Nothing is half sent. Run the same command again when they are well: it goes on.",
            ) from None

    def _take_over(self) -> None:
        from confluent_kafka import KafkaException, Producer

        more = {"transactional.id": self.plan.transactional_id, "transaction.timeout.ms": TRANSACTION_SECONDS * 1000,
                "delivery.report.only.error": self.told is None}  # fmt: skip
        self._producer = None
        producer = Producer(producer_settings(self.cluster.profile.kafka, **more))
        try:
            producer.init_transactions(TRANSACTION_SECONDS)
            mark = progress.read_mark(self.cluster, self.plan)
        except KafkaException as error:
            raise self._failure(error) from error
        except SourceError as error:
            if error.retriable:
                raise _Unsent(str(error)) from error
            raise
        self.done = mark.done if mark else 0
        self._producer = producer

    def _advance(self, end: int) -> None:
        """One transaction, up to a row; where the last try went through after all, nothing is left to do."""
        from confluent_kafka import KafkaException

        if self._producer is None:
            self._take_over()
        if self.done >= end:
            return
        try:
            reached = self._transact(end)
        except KafkaException as error:
            self._producer = None
            raise self._failure(self._failed[0] if self._failed else error) from error
        except BaseException:
            self._producer = None
            raise
        self.done = reached

    def _transact(self, end: int) -> int:
        rows = self.plan.rows[self.done : end]
        records = self.prepare(rows)
        self._failed.clear()
        self._waiting.clear()
        self._producer.begin_transaction()
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        sent = size = 0
        for row, record in zip(rows, records, strict=True):
            self._produce(self.done + sent, row, record, now.encode())
            sent += 1
            if sent % ROWS_A_POLL == 0:
                self._producer.poll(0)
            size += len(record.value or b"")
            if size > BYTES_A_TRANSACTION:
                break
        mark = progress.Mark(self.plan.hash, self.done + sent, len(self.plan.rows), now)
        self._producer.produce(PROGRESS_TOPIC, mark.to_json(), self.plan.id, partition=0, on_delivery=self._noted)
        self._producer.commit_transaction(TRANSACTION_SECONDS)
        return mark.done

    def _produce(self, number: int, row: Row, record: Record, now: bytes) -> None:
        if self.told is not None:
            self._waiting.setdefault((row.target, row.target_partition), deque()).append(number)
        headers = [*record.headers, *own_headers(self.plan, row, now)]
        while True:
            try:
                self._producer.produce(
                    row.target, record.value, record.key, row.target_partition, self._noted, headers=headers
                )
                return
            except BufferError:
                self._producer.poll(0.1)

    def _noted(self, error: Any, message: Any) -> None:
        """A delivery report; those of one partition come in the order of sending."""
        if error is not None:
            self._failed.append(error)
        elif self.told is not None and (waiting := self._waiting.get((message.topic(), message.partition()))):
            self.told(waiting.popleft(), message.topic(), message.partition(), message.offset())

    def _failure(self, error: Any) -> Exception:
        """What a client's error means here."""
        from confluent_kafka import KafkaError

        from workbench.sources.mapping import as_source_error, fault_of

        fault = fault_of(error)
        if fault.code in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH):  # noqa: SLF001
            return Fenced(
                f"This run was fenced: another run of plan {self.plan.id} took over, or its transaction timed out."
                f" {self.done:,} of {len(self.plan.rows):,} were sent by then.",
                hint="Nothing was sent twice. Where no other run goes on, run the same command again.",
            )
        if fault.kind in _PERMANENT:
            name = f"transactional id {self.plan.transactional_id}" if fault.code == 53 else "a topic of the plan"
            return as_source_error(error, "Write", name, self.cluster.bootstrap)
        if fault.code == KafkaError.MSG_SIZE_TOO_LARGE:
            return RedriveError(f"A copy is larger than its target takes; {self.done:,} were sent.", hint="Plan again.")
        return _Unsent(fault.text)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector: the records of a transaction hold no circles, and it would walk all of them often."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
