"""Dialects of frameworks with an order of their own: Spring Cloud Stream, SmallRye (Quarkus), Watermill."""

from __future__ import annotations

import re
from dataclasses import replace

from workbench.dialects import fields
from workbench.dialects.exceptions import WRAPPERS, unwrapped
from workbench.dialects.model import DeadLetter, Headers, Hop, Record, from_hops

SMALLRYE = "dead-letter-"
DELAYED_RETRY = "delayed-retry-"
_UNREADABLE = "deserialization-failure-"
_CLOUD_ONLY = ("x-exception-fqcn", "x-exception-stacktrace", "x-original-timestamp-type")
WATERMILL = ("reason_poisoned", "topic_poisoned", "handler_poisoned", "subscriber_poisoned")
_RETRY_TOPIC = re.compile(r"_retry_\d+\Z")
_DESERIALIZATION = re.compile(r"(?:Deserialization|Serialization|RecordDeserialization)Exception\Z")


def spring_cloud_stream(record: Record) -> DeadLetter | None:
    """Kafka binder of Spring Cloud Stream: text and big-endian numbers; told from home-made ones by its own names.

    Each failure appends the whole set: oldest first. What is caught is nearly always the binder's wrapper, and its message
    goes on with the cause's. No header names the group: it is the end of the default topic, ``error.<topic>.<group>``.
    """
    if not any(name in _CLOUD_ONLY for name, _ in record.headers):
        return None
    own = [pair for pair in record.headers if pair[0].startswith(("x-original-", "x-exception-"))]
    hops = [_cloud_hop(found) for found in fields.sets(own)]
    if not hops:
        return None
    *older, newest = hops
    named = _group_in_name(record.topic, newest.topic)
    newest = replace(newest, group=named, at_ms=record.timestamp_ms)
    guessed = [
        name for name in ("group", "last_failure_ms") if {"group": named}.get(name, record.timestamp_ms) is not None
    ]
    return from_hops("spring_cloud_stream", [*older, newest], guessed=(*guessed, *(["stage"] if newest.stage else [])))


def _group_in_name(topic: str | None, origin: str | None) -> str | None:
    prefix = f"error.{origin}."
    return topic[len(prefix) :] or None if topic and origin and topic.startswith(prefix) else None


def _cloud_hop(found: dict[str, bytes | None]) -> Hop:
    stack = fields.text(found.get("x-exception-stacktrace"))
    caught, written = fields.text(found.get("x-exception-fqcn")), fields.text(found.get("x-exception-message"))
    exception_class, message = unwrapped(caught, None, written, stack)
    return Hop(
        topic=fields.topic(found.get("x-original-topic")),
        partition=fields.partition(found.get("x-original-partition")),
        offset=fields.number(found.get("x-original-offset")),
        timestamp_ms=fields.number(found.get("x-original-timestamp")),
        timestamp_type=fields.timestamp_type(found.get("x-original-timestamp-type")),
        stage=_cloud_stage(caught, exception_class),
        exception_class=exception_class,
        message=message,
        stack=stack,
    )


def _cloud_stage(caught: str | None, exception_class: str | None) -> str | None:
    if any(name and _DESERIALIZATION.search(name) for name in (caught, exception_class)):
        return "deserialization"
    return "handler" if caught in WRAPPERS else None


def smallrye(record: Record) -> DeadLetter | None:
    """SmallRye Reactive Messaging (Quarkus), dead-letter-queue: text, put before the record's own headers: newest first.

    The cause, where there is one, is the exception that was thrown below a wrapper. A payload that could not be read is
    kept in a header, and the record's value is null.
    """
    sets = [found for found in fields.sets(fields.stripped(record.headers, SMALLRYE)) if "reason" in found]
    hops = [_smallrye_hop(found) for found in reversed(sets)]
    if not hops:
        return None
    return _smallrye_letter("smallrye", hops, record)


def smallrye_retry(record: Record) -> DeadLetter | None:
    """SmallRye Reactive Messaging (Quarkus), delayed-retry-topic: as above, one set an attempt, newest first.

    ``count`` says how often it was tried again. The topics are ``<topic>_retry_<ms>`` while it is retried.
    """
    own = fields.stripped(record.headers, DELAYED_RETRY)
    counted = fields.number(fields.last(own, "count"), fields.INT32_MAX)
    once = ("count", "original-timestamp", "first-processing-timestamp")
    sets = [found for found in fields.sets(p for p in own if p[0] not in once) if "reason" in found or "topic" in found]
    hops = [_smallrye_hop(found) for found in reversed(sets)]
    if not hops:
        return None
    letter = _smallrye_letter("smallrye_retry", hops, record)
    first = fields.number(fields.last(own, "first-processing-timestamp"))
    is_retry = bool(record.topic and _RETRY_TOPIC.search(record.topic))
    return replace(
        letter,
        origin_timestamp_ms=fields.number(fields.last(own, "original-timestamp")),
        attempts=None if counted is None else counted + 1,
        first_failure_ms=first,
        is_retry=is_retry,
        hops=() if is_retry else letter.hops,
        guessed=tuple(n for n in (*letter.guessed, "first_failure_ms") if n != "first_failure_ms" or first is not None),
    )


def _smallrye_letter(dialect: str, hops: list[Hop], record: Record) -> DeadLetter:
    """Failures are handed on at once: the record's own time says when the newest one was."""
    unreadable = fields.last(record.headers, _UNREADABLE + "reason") is not None
    stage = "deserialization" if unreadable else "handler"
    *older, newest = hops
    newest = replace(newest, stage=stage, at_ms=record.timestamp_ms)
    data = fields.last(record.headers, _UNREADABLE + "data") if unreadable and record.value is None else None
    guessed = ("stage",) if not unreadable else ()
    timed = ("last_failure_ms",) if record.timestamp_ms is not None else ()
    letter = from_hops(dialect, [*older, newest], payload=data, guessed=(*timed, *guessed))
    return letter if len(hops) > 1 else replace(letter, first_failure_ms=letter.last_failure_ms, guessed=_once(letter))


def _once(letter: DeadLetter) -> tuple[str, ...]:
    return (*letter.guessed, *(("first_failure_ms",) if letter.last_failure_ms is not None else ()))


def _smallrye_hop(found: dict[str, bytes | None]) -> Hop:
    thrown, reason = fields.text(found.get("exception-class-name")), fields.text(found.get("reason"))
    cause, why = fields.text(found.get("cause-class-name")), fields.text(found.get("cause"))
    exception_class, _ = unwrapped(thrown, cause, reason, None)
    message = reason if exception_class == thrown else why
    return Hop(
        topic=fields.topic(found.get("topic")),
        partition=fields.partition(found.get("partition")),
        offset=fields.number(found.get("offset")),
        exception_class=exception_class,
        # An exception without a message is written as its own name.
        message=None if message == exception_class else message,
    )


def watermill(record: Record) -> DeadLetter | None:
    """Watermill's poison queue: topic and reason as text, neither partition nor offset; a second failure replaces them.

    ``handler_poisoned`` is the router's handler. Go errors have no class.
    """
    own: Headers = [pair for pair in record.headers if pair[0] in WATERMILL]
    hops = [
        Hop(
            topic=fields.topic(found.get("topic_poisoned")),
            stage="handler",
            executing_class=fields.text(found.get("handler_poisoned")),
            message=fields.text(found.get("reason_poisoned")),
            at_ms=record.timestamp_ms,
        )
        for found in fields.sets(own)
    ]
    if not hops:
        return None
    timed = ("first_failure_ms", "last_failure_ms") if record.timestamp_ms is not None else ()
    return from_hops("watermill", hops, guessed=("stage", *timed))
