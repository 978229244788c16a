"""Sending: idempotent, acknowledged by all replicas, and never silently failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from workbench.integration.clients import observed
from workbench.integration.failures import SendError
from workbench.integration.metrics import Metrics
from workbench.integration.records import Outgoing, Receipt
from workbench.integration.sentlog import SentLog
from workbench.integration.tracing import NO_TRACING, SendSpan, Tracing

# Not to be weakened: without them a send that was confirmed can be lost or doubled.
_REQUIRED = {"enable.idempotence": True, "acks": "all"}
_BY_DEFAULT = {
    "linger.ms": 5,
    "compression.type": "lz4",
    # What Java clients do by default: the same key goes to the same partition whatever the language.
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 262_144,
}
_IN_DOUBT = (KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT)  # noqa: SLF001


class Pending:
    """A message that was handed over; its outcome comes while the producer is polled.

    Attributes:
        message: what was handed over.
        handed_at: when that was, in seconds since 1970; 0 where nobody asks.
        error: why it was given up; None until then.
    """

    __slots__ = ("_delivery", "_producer", "_span", "error", "handed_at", "message")

    def __init__(self, producer: MessageProducer, message: Outgoing, span: SendSpan | None, handed_at: float) -> None:
        self._producer = producer
        self._span = span
        self._delivery: Any = None
        self.message = message
        self.handed_at = handed_at
        self.error: SendError | None = None

    @property
    def receipt(self) -> Receipt | None:
        """Where the message is; None until it is acknowledged. Made when it is asked for: few are."""
        told = self._delivery
        return None if told is None else Receipt(told.topic(), told.partition(), told.offset(), told.timestamp()[1])

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._delivery is not None or self.error is not None

    def told(self, error: KafkaError | None, delivery: Any) -> None:
        """The delivery report."""
        if error is None:
            self._delivery = delivery
        else:
            self.error = _send_error(self.message, error)
        self._producer.settled(self, self._span)

    def result(self, timeout: float | None = None) -> Receipt:
        """Waits for the outcome.

        Args:
            timeout: seconds; None waits for the producer's own decision (``message.timeout.ms``).

        Raises:
            SendError: it was given up, or no outcome came in time (``in_doubt``).
        """
        self._producer.wait(lambda: self.done, timeout)
        if self.error is not None:
            raise self.error
        if (receipt := self.receipt) is None:
            raise SendError(
                f"No answer about a message to {self.message.topic} within {timeout} s.",
                topic=self.message.topic,
                message_id=self.message.message_id,
                reason="_TIMED_OUT",
                in_doubt=True,
            )
        return receipt


class MessageProducer:
    """Sends messages; each ends in a receipt or in an exception.

    A failure that nobody asked for (``submit`` without ``result``) is raised by the next ``flush`` or by the end of the
    ``with`` block. Messages wait in a bounded buffer: when it is full, ``submit`` waits for room, then raises.

    Args:
        settings: librdkafka's; idempotence and ``acks=all`` cannot be turned off.
        metrics: where sends are counted.
        tracing: makes a span for each send and puts its context into the headers.
        sent_log: a file (JSON Lines, appended) that says what became of each message, for ``--sent-log``.
        buffer_seconds: how long to wait for room in the buffer.
        client: label in the metrics.

    Raises:
        KafkaException: a setting does not fit.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
        sent_log: Path | None = None,
        buffer_seconds: float = 30.0,
        client: str = "producer",
    ) -> None:
        self.metrics = metrics or Metrics()
        self._tracing = tracing or NO_TRACING
        self._log = SentLog(sent_log) if sent_log else None
        self._buffer_seconds = buffer_seconds
        self._failed: list[SendError] = []
        self._sent: dict[str, int] = {}
        # Looked up now: instrumentation replaces the class.
        self.client = confluent_kafka.Producer(observed({**_BY_DEFAULT, **settings, **_REQUIRED}, client, self.metrics))
        # An instrumented client writes the context of its own span, a child of ours, into the headers.
        self._plain = type(self.client) is confluent_kafka.cimpl.Producer

    def send(self, message: Outgoing, *, timeout: float | None = None) -> Receipt:
        """Sends a message and waits until all replicas have it.

        Raises:
            SendError: it was given up.
        """
        pending = self.submit(message)
        try:
            return pending.result(timeout)
        finally:
            if pending.error in self._failed:
                self._failed.remove(pending.error)  # raised here, so not again

    def submit(self, message: Outgoing) -> Pending:
        """Hands a message over; waits only where the buffer is full.

        Raises:
            SendError: there was no room in time, or the client refused it (too large, unknown topic).
        """
        headers = message.all_headers()
        span = self._tracing.sending(message, headers, inject_context=self._plain) if self._tracing.on else None
        pending = Pending(self, message, span, time.time() if self._log else 0.0)
        try:
            if span is None:
                self._produce(message, headers, pending)
            else:
                with self._tracing.current(span):
                    self._produce(message, headers, pending)
        except (KafkaException, BufferError) as error:
            reason = error.args[0] if isinstance(error.args[0], KafkaError) else KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001
            pending.error = _send_error(message, reason)
            self.settled(pending, span, raised=True)
            raise pending.error from None
        self.client.poll(0)
        return pending

    def _produce(self, message: Outgoing, headers: list[Any], pending: Pending) -> None:
        """Hands a message to the client, waiting for room where the buffer is full."""
        deadline = 0.0
        at = message.timestamp_ms or 0  # the client's word for "now"
        while True:
            try:
                # The instrumentation of OpenTelemetry reads these by name.
                self.client.produce(
                    message.topic, message.value, message.key, headers=headers, on_delivery=pending.told, timestamp=at
                )
            except BufferError:
                deadline = deadline or time.monotonic() + self._buffer_seconds
                if time.monotonic() >= deadline:
                    raise
                self.client.poll(0.05)
            else:
                return

    def send_all(self, messages: Iterable[Outgoing]) -> list[Receipt]:
        """Sends messages together; waits for all of them.

        Returns:
            One receipt for each, in their order.

        Raises:
            SendError: the first that was given up; the others went their way.
        """
        pending = [self.submit(message) for message in messages]
        self.client.flush()
        return self.take(pending)

    def take(self, pending: Sequence[Pending]) -> list[Receipt]:
        """The outcomes of messages that were handed over, waiting for those that are not known yet.

        Raises:
            SendError: the first that was given up.
        """
        self.wait(lambda: all(one.done for one in pending), None)
        failed = [one.error for one in pending if one.error is not None]
        for error in failed:
            self._failed.remove(error)
        if failed:
            raise failed[0]
        return [receipt for one in pending if (receipt := one.receipt) is not None]

    def drop_failures(self) -> list[SendError]:
        """Takes the failures of a transaction that was aborted; nobody else will hear of them."""
        self.client.poll(0)
        failed, self._failed = self._failed, []
        return failed

    def flush(self, timeout: float | None = None) -> None:
        """Waits until nothing is outstanding.

        Raises:
            SendError: a message that nobody waited for was given up, or the time was too short.
        """
        left = self.client.flush(-1 if timeout is None else timeout)
        self._count()
        if left:
            raise SendError(
                f"{left} messages are still without an answer after {timeout} s.",
                topic="",
                message_id=None,
                reason="_TIMED_OUT",
                in_doubt=True,
            )
        if self._failed:
            failed, self._failed = self._failed, []
            more = f" {len(failed) - 1} more failed too." if len(failed) > 1 else ""
            raise SendError(
                f"{failed[0]}{more}",
                topic=failed[0].topic,
                message_id=failed[0].message_id,
                reason=failed[0].reason,
                in_doubt=failed[0].in_doubt,
                hint=failed[0].hint,
            )

    def poll(self) -> None:
        """Lets the client deliver what it has to say; needed now and then where nothing is sent."""
        self.client.poll(0)
        self._count()

    def wait(self, enough: Callable[[], bool], timeout: float | None) -> None:
        """Polls until a condition holds or the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not enough() and (deadline is None or time.monotonic() < deadline):
            self.client.poll(0.01)
        self._count()

    def settled(self, pending: Pending, span: SendSpan | None, *, raised: bool = False) -> None:
        """Keeps what became of a message; called by its delivery report."""
        if pending.error is None:
            topic = pending.message.topic
            self._sent[topic] = self._sent.get(topic, 0) + 1
        else:
            self.metrics.send_failures.labels(pending.error.topic, pending.error.reason).inc()
            if not raised:
                self._failed.append(pending.error)
        if span is not None:
            span.end(pending.receipt, pending.error)
        if self._log is not None:
            self._log.write(pending.message, pending.receipt, pending.error, pending.handed_at)

    def _count(self) -> None:
        counted, self._sent = self._sent, {}
        for topic, number in counted.items():
            self.metrics.sent.labels(topic).inc(number)

    def close(self) -> None:
        """Sends what is left and ends.

        Raises:
            SendError: a message that nobody waited for was given up.
        """
        try:
            self.flush()
        finally:
            if self._log is not None:
                self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.close()
        except SendError:
            if error is None:
                raise
            error.add_note("Other messages of this producer were not acknowledged either.")


def _send_error(message: Outgoing, error: KafkaError) -> SendError:
    """The error of one message, with what to do."""
    code = error.code()
    hints = {
        KafkaError._QUEUE_FULL: "The broker does not keep up or is away; send more slowly, or give the buffer more room.",  # noqa: SLF001
        KafkaError.MSG_SIZE_TOO_LARGE: "Raise message.max.bytes here and at the topic, or send less.",
        KafkaError.UNKNOWN_TOPIC_OR_PART: "Make the topic first.",
        KafkaError._UNKNOWN_TOPIC: "Make the topic first.",  # noqa: SLF001
        KafkaError.TOPIC_AUTHORIZATION_FAILED: "Ask for the right Write on the topic.",
    }
    return SendError(
        f"A message to {message.topic} was not acknowledged: {error.str()}.",
        topic=message.topic,
        message_id=message.message_id,
        reason=error.name(),
        in_doubt=code in _IN_DOUBT,
        hint=hints.get(code, ""),
    )
