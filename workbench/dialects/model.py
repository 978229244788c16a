"""The normal form of a dead letter: what every dialect is decoded into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from workbench.dialects.exceptions import Cause, causes_of

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Record:
    """What a dialect may look at; see ``decode`` for what the fields mean."""

    headers: Headers
    value: bytes | None = None
    topic: str | None = None
    timestamp_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Hop:
    """One failure on a record's way: where the record was read, and why it was given up there.

    Null means that the dialect does not say. Texts come from the message: hostile until escaped.

    Attributes:
        topic: topic the failing consumer read from.
        partition: its partition.
        offset: its offset.
        timestamp_ms: timestamp of the record that was read, in milliseconds since 1970, UTC.
        timestamp_type: ``create`` or ``append``.
        group: consumer group that failed.
        connector: Kafka Connect's connector.
        task: its task number.
        stage: where it failed, in the dialect's own word (``VALUE_CONVERTER``, ``handler``, ``processing``).
        executing_class: the operator that ran (converter, transformation, task), not the exception.
        exception_class: fully qualified, wrappers of the framework taken off.
        message: message of that exception, unchanged.
        stack: stack trace as text, whole.
        at_ms: when it failed, in milliseconds since 1970, UTC.
        code: the application's own word for the error, where there is one.
    """

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    timestamp_ms: int | None = None
    timestamp_type: str | None = None
    group: str | None = None
    connector: str | None = None
    task: int | None = None
    stage: str | None = None
    executing_class: str | None = None
    exception_class: str | None = None
    message: str | None = None
    stack: str | None = field(default=None, repr=False)
    at_ms: int | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter in the normal form. Origin is the true one (first hop), the failure is the newest one.

    Null means not known; a name in ``guessed`` says that the value was inferred, not written there by the framework
    in so many words. Texts come from the message: hostile until escaped.

    Attributes:
        dialect: ``connect``, ``spring_kafka``, ``spring_kafka_retry``, ``streams``, ``json_envelope``, ``headers`` ...
        origin_topic: topic of the record as it was first sent.
        origin_partition: its partition.
        origin_offset: its offset.
        origin_timestamp_ms: its timestamp, in milliseconds since 1970, UTC.
        group: consumer group of the newest failure.
        task: task number of the newest failure (Connect).
        stage: where the newest failure happened, in the dialect's own word.
        exception_class: of the newest failure, unwrapped.
        message: of the newest failure, unchanged.
        stack: of the newest failure, whole.
        attempts: how often it was tried before it was given up (or, in a retry topic, so far).
        first_failure_ms: milliseconds since 1970, UTC.
        last_failure_ms: milliseconds since 1970, UTC.
        hops: failures, oldest first; the last one is the newest.
        payload: the original value where the dialect wraps it in an envelope, else None: the record's value is it.
        guessed: names of the attributes above that were inferred.
        connector: Kafka Connect's connector.
        executing_class: operator that ran, not the exception (Connect).
        origin_timestamp_type: ``create`` or ``append``.
        is_retry: True when the record waits in a retry topic: not given up yet.
        code: the application's own word for the newest error, where there is one.
    """

    dialect: str
    origin_topic: str | None = None
    origin_partition: int | None = None
    origin_offset: int | None = None
    origin_timestamp_ms: int | None = None
    group: str | None = None
    task: int | None = None
    stage: str | None = None
    exception_class: str | None = None
    message: str | None = None
    stack: str | None = field(default=None, repr=False)
    attempts: int | None = None
    first_failure_ms: int | None = None
    last_failure_ms: int | None = None
    hops: tuple[Hop, ...] = ()
    payload: bytes | None = field(default=None, repr=False)
    guessed: tuple[str, ...] = ()
    connector: str | None = None
    executing_class: str | None = None
    origin_timestamp_type: str | None = None
    is_retry: bool = False
    code: str | None = None

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The chain of exceptions in the stack trace, outermost first, without the framework's wrappers."""
        return causes_of(self.stack)

    @property
    def reason(self) -> str | None:
        """The most telling message: that of the innermost exception that has one.

        Some frameworks put only "failed due to serialization error" into the message; why is in the stack trace.
        """
        messages = [cause.message for cause in self.causes if cause.message and cause.message.strip()]
        return messages[-1] if messages else self.message


def from_hops(dialect: str, hops: Sequence[Hop], **more: object) -> DeadLetter:
    """Build the normal form from hops, oldest first: the origin of the oldest, the failure of the newest."""
    first, last = hops[0], hops[-1]
    known: dict[str, object] = {
        "dialect": dialect,
        "origin_topic": first.topic,
        "origin_partition": first.partition,
        "origin_offset": first.offset,
        "origin_timestamp_ms": first.timestamp_ms,
        "origin_timestamp_type": first.timestamp_type,
        "group": last.group,
        "connector": last.connector,
        "task": last.task,
        "stage": last.stage,
        "executing_class": last.executing_class,
        "exception_class": last.exception_class,
        "message": last.message,
        "stack": last.stack,
        "first_failure_ms": first.at_ms,
        "last_failure_ms": last.at_ms,
        "hops": tuple(hops),
        "code": last.code,
    }
    return DeadLetter(**(known | more))  # type: ignore[arg-type]  # names come from this package only


def joined(older: DeadLetter, newer: DeadLetter) -> DeadLetter:
    """One dead letter out of two dialects on the same record: the older framework knows the true origin."""
    return replace(
        newer,
        origin_topic=older.origin_topic,
        origin_partition=older.origin_partition,
        origin_offset=older.origin_offset,
        origin_timestamp_ms=older.origin_timestamp_ms,
        origin_timestamp_type=older.origin_timestamp_type,
        first_failure_ms=older.first_failure_ms,
        hops=older.hops + newer.hops,
        payload=newer.payload if newer.payload is not None else older.payload,
        guessed=tuple(sorted({*older.guessed, *newer.guessed})),
    )
