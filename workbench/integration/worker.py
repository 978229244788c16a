"""The processing half of a consumer: handler, retries, dead letters; it runs beside the thread that polls."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from confluent_kafka import KafkaException, TopicPartition

from workbench.errors import WorkbenchError
from workbench.integration.breaker import BreakerOpen
from workbench.integration.clients import LOG
from workbench.integration.deadletters import DeadLetterHandler, History
from workbench.integration.errands import Errands
from workbench.integration.failures import Category, category_of
from workbench.integration.metrics import Metrics
from workbench.integration.outlets import GivenUp, Outlet
from workbench.integration.records import Outgoing, Place, Record
from workbench.integration.retries import RetryHandler
from workbench.integration.tracing import ProcessSpan, Tracing

# Outputs for one record; None says that it was looked at and is none of this service's business (``skipped``).
Handler = Callable[[Record], Iterable[Outgoing] | None]
_METADATA_SECONDS = 10.0
_NONE = History()


@dataclass
class _Done:
    """What a stretch of records came to; it counts when it is committed."""

    outputs: list[Outgoing] = field(default_factory=list)
    positions: dict[Place, tuple[int, History]] = field(default_factory=dict)
    results: list[tuple[Record, str, float]] = field(default_factory=list)
    letters: Counter[tuple[str, str]] = field(default_factory=Counter)


class Worker:
    """Processes batches of records in order.

    Args:
        handler: what is done with a record.
        outlet: where outputs go, and how positions are committed.
        retry: how what fails for a moment is tried again.
        dead_letters: what becomes of what fails for good; None stops the consumer with the error.
        metrics: where results are counted.
        tracing: makes a span for each record.
        stretch_seconds: outputs and positions are written at least so often.

    Attributes:
        halt: set where the present record is the last one for now; waits of retries end.
        consumer: whose positions are committed.
    """

    def __init__(
        self,
        handler: Handler,
        outlet: Outlet,
        *,
        retry: RetryHandler,
        dead_letters: DeadLetterHandler | None,
        metrics: Metrics,
        tracing: Tracing,
        stretch_seconds: float,
    ) -> None:
        self.handler = handler
        self.retry = retry
        self.metrics = metrics
        self.outlet = outlet
        self._dead_letters = dead_letters
        self._tracing = tracing
        self._stretch_seconds = stretch_seconds
        self._histories: dict[Place, tuple[int, History]] = {}
        self._begun: set[Place] = set()
        self._done = _Done()
        self._finished = self._safe = 0
        self.halt = threading.Event()
        self.consumer: Errands | None = None

    def process(self, batch: Sequence[Record]) -> int:
        """Processes records until the batch is done, its time is up, or ``halt`` is set.

        Returns:
            How many are done for good, from the first on: written, acknowledged and committed.

        Raises:
            Exception: what cannot be dead-lettered, or an output that could not be written. What was done before is
                committed.
        """
        self._finished = self._safe = 0
        until = time.monotonic() + self._stretch_seconds
        try:
            for record in batch:
                if self.halt.is_set() or time.monotonic() > until:
                    break
                self._one(record)
                self._finished += 1
            self._write()
        except GivenUp:
            self._write_rest()
        except BaseException:
            self._write_rest()
            raise
        return self._safe

    def forget(self, places: Collection[Place]) -> None:
        """Partitions that are ours no longer."""
        for place in places:
            self._begun.discard(place)
            self._histories.pop(place, None)

    @property
    def _errands(self) -> Errands:
        if self.consumer is None:
            raise RuntimeError("a worker processes for a consumer that runs")
        return self.consumer

    def _write(self) -> None:
        """Writes and commits what is done so far, and counts it."""
        done, self._done = self._done, _Done()
        if not done.positions:
            return
        self.outlet.write(done.outputs, done.positions, self._errands, self.halt)
        self._safe = self._finished
        self._count(done)

    def _write_rest(self) -> None:
        """The same after a failure, which is what the caller hears of."""
        try:
            self._write()
        except Exception as error:  # noqa: BLE001 - what it left undone comes again; the first failure says why
            LOG.warning("what was done before the failure is not committed, and comes again: %s", error)

    def _one(self, record: Record) -> None:
        """One record to its result."""
        began = time.perf_counter()
        if self._tracing.on:
            with self._tracing.processing(record) as span:
                result = self._handled(record, span)
        else:
            result = self._handled(record, None)
        place = record.topic, record.partition
        self._done.positions[place] = record.offset + 1, _NONE
        self._done.results.append((record, result, time.perf_counter() - began))
        self._begun.add(place)

    def _handled(self, record: Record, span: ProcessSpan | None) -> str:
        attempts, result = 1, "success"
        try:
            outputs = _listed(self.handler(record))
        except Exception as error:  # noqa: BLE001 - every error of a handler has a category, and a place to go
            outputs, attempts, result = self._troubled(record, span, error)
        if outputs:
            self._done.outputs += [span.origin_of(one) for one in outputs] if span else outputs
        elif outputs is None:
            result = "skipped"
        if span is not None:
            span.ended(result, attempts)
        return result

    def _troubled(
        self, record: Record, span: ProcessSpan | None, error: Exception
    ) -> tuple[list[Outgoing] | None, int, str]:
        """What becomes of a record whose first attempt failed: what is to be written for it, its attempts, its result.

        Raises:
            GivenUp: it comes again later; its history is committed.
        """
        trouble = _Trouble(self._history(record))
        try:
            outputs = self.retry.call(
                lambda: self._again(record),
                halt=self.halt,
                on_failure=lambda failure: self._failed(record, span, trouble, failure),
                first=error,
            )
        except GivenUp:
            if trouble.broken is not None:
                raise trouble.broken from None
            raise
        except Exception as last:
            if self.halt.is_set() and category_of(last) is Category.TRANSIENT:
                raise GivenUp from last
            if self._dead_letters is None:
                raise
            LOG.error("given up: dead-lettered", extra=_where(record, last))
            self._done.letters[record.topic, category_of(last)] += 1
            letter = self._dead_letters.letter(record, last, trouble.history)
            return [letter], trouble.history.attempts, "dead_lettered"
        return outputs, trouble.history.attempts + 1, "success"

    def _again(self, record: Record) -> list[Outgoing] | None:
        self.metrics.retries.labels(record.topic).inc()
        return _listed(self.handler(record))

    def _failed(self, record: Record, span: ProcessSpan | None, trouble: _Trouble, error: Exception) -> None:
        """Counts a failed attempt; before a wait, what is done so far and the failure itself are committed."""
        category = category_of(error)
        LOG.warning("attempt failed", extra=_where(record, error))
        if not isinstance(error, BreakerOpen):
            trouble.history = trouble.history.failed()
            self.metrics.failures.labels(record.topic, category).inc()
            if span is not None:
                span.failed(error, category)
        if category is not Category.TRANSIENT:
            return
        self._histories[record.place] = record.offset, trouble.history
        self._done.positions[record.place] = record.offset, trouble.history
        try:
            self._write()
        except GivenUp:
            raise
        except Exception as broken:
            # Not the record's failure: it must not end in its dead letter.
            trouble.broken = broken
            raise GivenUp from broken

    def _history(self, record: Record) -> History:
        """How the record failed before: in this process, else under an earlier owner of its partition."""
        offset, history = self._histories.get(record.place, (-1, _NONE))
        if offset == record.offset:
            return history
        return _NONE if record.place in self._begun else self._committed_history(record)

    def _committed_history(self, record: Record) -> History:
        try:
            (spot,) = self._errands.committed([TopicPartition(*record.place)], _METADATA_SECONDS)
        except KafkaException as error:
            LOG.warning("the history of a failing message is not known: %s", error.args[0].str())
            return _NONE
        return History.from_metadata(spot.metadata) if spot.offset == record.offset else _NONE

    def _count(self, done: _Done) -> None:
        """Counts what is committed; once for a stretch, since labels cost more than numbers."""
        now = time.time() * 1000
        for (topic, result), number in Counter((record.topic, result) for record, result, _ in done.results).items():
            self.metrics.processed.labels(topic, result).inc(number)
        topics = {record.topic for record, _, _ in done.results}
        durations = {topic: self.metrics.duration.labels(topic).observe for topic in topics}
        latencies = {topic: self.metrics.latency.labels(topic).observe for topic in topics}
        for record, _, seconds in done.results:
            durations[record.topic](seconds)
            if record.timestamp_ms >= 0:
                latencies[record.topic](max(now - record.timestamp_ms, 0.0) / 1000)
        for (topic, category), number in done.letters.items():
            self.metrics.dead_lettered.labels(topic, category).inc(number)

    def show_zeros(self, topics: Iterable[str]) -> None:
        """Shows the series of topics before anything is counted: a rate needs a first value."""
        for topic in topics:
            for result in ("success", "dead_lettered", "skipped"):
                self.metrics.processed.labels(topic, result)
            for category in Category:
                self.metrics.failures.labels(topic, category)
                self.metrics.dead_lettered.labels(topic, category)
            self.metrics.duration.labels(topic)
            self.metrics.latency.labels(topic)


def _where(record: Record, error: Exception) -> dict[str, object]:
    """What the service log says of a record; an error of ours holds no content, of others only the class is kept."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return {
        "error": f"{kind}: {error}" if isinstance(error, WorkbenchError) else kind,
        "message_id": record.message_id,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
    }


@dataclass
class _Trouble:
    """A record that fails: its history, and the error of a write that got between its attempts."""

    history: History
    broken: Exception | None = None


def _listed(outputs: Iterable[Outgoing] | None) -> list[Outgoing] | None:
    """Outputs that are all there: a generator may fail half-way, and then none of them counts."""
    return None if outputs is None else list(outputs)
