"""Dialects of other frameworks, as read in their sources: Spring Cloud Stream, SmallRye (Quarkus), Watermill."""

from __future__ import annotations

from workbench.dialects import fields
from workbench.dialects.exceptions import unwrapped
from workbench.dialects.model import DeadLetter, Hop, Record, from_hops

SMALLRYE = "dead-letter-"
_CLOUD_ONLY = ("x-exception-fqcn", "x-exception-stacktrace", "x-original-timestamp-type")
WATERMILL = ("reason_poisoned", "topic_poisoned", "handler_poisoned", "subscriber_poisoned")


def spring_cloud_stream(record: Record) -> DeadLetter | None:
    """Kafka binder of Spring Cloud Stream: text and big-endian numbers; told from home-made ones by its own names."""
    if not any(name in _CLOUD_ONLY for name, _ in record.headers):
        return None
    own = [pair for pair in record.headers if pair[0].startswith(("x-original-", "x-exception-"))]
    hops = [_cloud_hop(found) for found in fields.sets(own)]
    return from_hops("spring_cloud_stream", hops) if hops else None


def _cloud_hop(found: dict[str, bytes | None]) -> Hop:
    stack = fields.text(found.get("x-exception-stacktrace"))
    exception_class, message = unwrapped(
        fields.text(found.get("x-exception-fqcn")), None, fields.text(found.get("x-exception-message")), stack
    )
    return Hop(
        topic=fields.topic(found.get("x-original-topic")),
        partition=fields.partition(found.get("x-original-partition")),
        offset=fields.number(found.get("x-original-offset")),
        timestamp_ms=fields.number(found.get("x-original-timestamp")),
        timestamp_type=fields.timestamp_type(found.get("x-original-timestamp-type")),
        exception_class=exception_class,
        message=message,
        stack=stack,
    )


def smallrye(record: Record) -> DeadLetter | None:
    """SmallRye Reactive Messaging (Quarkus): text; the cause, where there is one, is the exception that was thrown."""
    hops = [
        _smallrye_hop(found) for found in fields.sets(fields.stripped(record.headers, SMALLRYE)) if "reason" in found
    ]
    return from_hops("smallrye", hops) if hops else None


def _smallrye_hop(found: dict[str, bytes | None]) -> Hop:
    thrown, reason = fields.text(found.get("exception-class-name")), fields.text(found.get("reason"))
    cause, why = fields.text(found.get("cause-class-name")), fields.text(found.get("cause"))
    exception_class, _ = unwrapped(thrown, cause, reason, None)
    return Hop(
        topic=fields.topic(found.get("topic")),
        partition=fields.partition(found.get("partition")),
        offset=fields.number(found.get("offset")),
        exception_class=exception_class,
        message=reason if exception_class == thrown else why,
    )


def watermill(record: Record) -> DeadLetter | None:
    """Watermill's poison queue: topic and reason as text, neither partition nor offset."""
    own = [pair for pair in record.headers if pair[0] in WATERMILL]
    hops = [
        Hop(
            topic=fields.topic(found.get("topic_poisoned")),
            stage=fields.text(found.get("handler_poisoned")),
            message=fields.text(found.get("reason_poisoned")),
        )
        for found in fields.sets(own)
    ]
    return from_hops("watermill", hops) if hops else None
