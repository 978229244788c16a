"""Dialects of Spring for Apache Kafka: dead-letter topics, plain republish, and the retry topics of @RetryableTopic."""

from __future__ import annotations

import re
from dataclasses import replace

from workbench.dialects import fields
from workbench.dialects.exceptions import WRAPPERS, unwrapped
from workbench.dialects.model import DeadLetter, Headers, Hop, Record, from_hops
from workbench.dialects.topics import looks_like_dead_letter_topic

DLT = "kafka_dlt-"
PLAIN = "kafka_"
RETRY = "retry_topic-"
# springDeserializerException* hold Java-serialised objects: their bytes are never looked at.
SERIALISED = "springDeserializerException"
_ORIGINAL = "original-"
_THROWN = re.compile(r"(?:Listener method '.*?' threw exception|Listener failed)(?:; |\Z)", re.DOTALL)
_THROWN_AT = re.compile(r"Exception thrown at (\d{4}-\d\d-\d\dT[\d:.]{8,20}Z)")
_RETRY_TOPIC = re.compile(r"retry", re.IGNORECASE)
_DESERIALIZATION = "org.springframework.kafka.support.serializer.DeserializationException"


def spring_kafka(record: Record) -> DeadLetter | None:
    """Dead-letter topics and retry topics of Spring for Apache Kafka.

    Each failure appends the ``original-*`` set (oldest first), but only the newest exception is kept. Whether the
    record is still being retried shows in the topic's name alone. The attempts header names the attempt to come.
    """
    own = _own(record.headers)
    originals = [_origin_hop(found) for found in fields.sets(own["original"])]
    thrown = [_thrown_hop(found) for found in fields.sets(own["exception"])]
    if not originals and not thrown:
        return None
    hops = _with_times(_aligned(originals, thrown), record.timestamp_ms)
    tried = [fields.binary(raw, fields.INT32_MAX) for name, raw in own["retry"] if name == "attempts"]
    if not tried:
        return from_hops("spring_kafka", hops, guessed=_times_guessed(hops))
    return _retried(hops, tried[-1], record.topic)


def _own(headers: Headers) -> dict[str, list[tuple[str, bytes | None]]]:
    """Spring's headers by kind, prefixes off: ``kafka_dlt-`` and ``kafka_`` carry the same names."""
    own: dict[str, list[tuple[str, bytes | None]]] = {"original": [], "exception": [], "retry": []}
    for name, raw in headers:
        if name.startswith(RETRY):
            own["retry"].append((name[len(RETRY) :], raw))
            continue
        short = name.removeprefix(DLT) if name.startswith(DLT) else name.removeprefix(PLAIN)
        if short == name:
            continue
        if short.startswith(_ORIGINAL):
            own["original"].append((short[len(_ORIGINAL) :], raw))
        elif short.startswith(("exception-", "key-exception-")):
            own["exception"].append((short, raw))
    return own


def _origin_hop(found: dict[str, bytes | None]) -> Hop:
    return Hop(
        topic=fields.topic(found.get("topic")),
        partition=fields.partition(found.get("partition")),
        offset=fields.number(found.get("offset")),
        timestamp_ms=fields.number(found.get("timestamp")),
        timestamp_type=fields.timestamp_type(found.get("timestamp-type")),
        group=fields.text(found.get("consumer-group")),
    )


def _thrown_hop(found: dict[str, bytes | None]) -> Hop:
    """The exception of one failure; a failed key has headers of its own, and then ``exception-fqcn`` is missing."""
    texts = {name: fields.text(raw) for name, raw in found.items()}
    of = "exception-" if "exception-fqcn" in texts or "key-exception-fqcn" not in texts else "key-exception-"
    stack = texts.get(of + "stacktrace")
    caught, cause = texts.get(of + "fqcn"), texts.get("exception-cause-fqcn")
    message = texts.get(of + "message")
    exception_class, inner = unwrapped(caught, cause, message, stack)
    thrown_at = _THROWN_AT.search(stack or "")
    return Hop(
        stage=_stage(caught, exception_class),
        exception_class=exception_class,
        message=_message(message, inner, caught),
        stack=stack,
        at_ms=fields.iso_ms(thrown_at[1]) if thrown_at else None,
    )


def _message(written: str | None, inner: str | None, caught: str | None) -> str | None:
    """The user's message: the header has it after Spring's own words, and is truer than a parsed stack."""
    if caught not in WRAPPERS or written is None:
        return inner or None
    prefix = _THROWN.match(written)
    return (written[prefix.end() :] or None) if prefix else (inner or None)


def _stage(caught: str | None, exception_class: str | None) -> str | None:
    if _DESERIALIZATION in (caught, exception_class):
        return "deserialization"
    return "handler" if caught in WRAPPERS else None


def _aligned(originals: list[Hop], thrown: list[Hop]) -> list[Hop]:
    """Put exceptions to the hops they belong to, counted from the newest: older ones were stripped by Spring."""
    hops = originals or [Hop() for _ in thrown]
    bare = len(hops) - len(thrown)
    whys = [None] * max(bare, 0) + thrown[max(-bare, 0) :]
    return [_with_exception(hop, why) for hop, why in zip(hops, whys, strict=True)]


def _with_exception(hop: Hop, why: Hop | None) -> Hop:
    if why is None:
        return hop
    return replace(
        why,
        topic=hop.topic,
        partition=hop.partition,
        offset=hop.offset,
        timestamp_ms=hop.timestamp_ms,
        timestamp_type=hop.timestamp_type,
        group=hop.group,
    )


def _with_times(hops: list[Hop], timestamp_ms: int | None) -> list[Hop]:
    """A record is published right after it failed: the next hop's record time says when."""
    published = [hop.timestamp_ms for hop in hops[1:]] + [timestamp_ms]
    return [
        hop if hop.at_ms is not None or at is None else replace(hop, at_ms=at)
        for hop, at in zip(hops, published, strict=True)
    ]


def _times_guessed(hops: list[Hop]) -> tuple[str, ...]:
    times = {"first_failure_ms": hops[0], "last_failure_ms": hops[-1]}
    return tuple(
        name for name, hop in times.items() if hop.at_ms is not None and not _THROWN_AT.search(hop.stack or "")
    )


def _retried(hops: list[Hop], coming: int | None, topic: str | None) -> DeadLetter:
    """A record of @RetryableTopic: one hop in the dead-letter topic, none while it is still being retried."""
    is_retry = bool(topic and _RETRY_TOPIC.search(topic) and not looks_like_dead_letter_topic(topic))
    attempts = coming - 1 if coming else None
    letter = from_hops("spring_kafka_retry" if is_retry else "spring_kafka", hops, attempts=attempts)
    return replace(
        letter,
        is_retry=is_retry,
        hops=() if is_retry else letter.hops,
        # Only the newest failure is on record; it is also the first one when there was no other.
        first_failure_ms=letter.last_failure_ms if attempts == 1 else None,
        guessed=(() if topic else ("is_retry",)) + tuple(n for n in _times_guessed(hops) if n != "first_failure_ms"),
    )
