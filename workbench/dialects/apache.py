"""Dialects of Apache Kafka itself: Connect, Streams (KIP-1034) and share groups (KIP-1191). All text headers."""

from __future__ import annotations

import re

from workbench.dialects import fields
from workbench.dialects.exceptions import Cause, parse_head, unwrapped
from workbench.dialects.model import DeadLetter, Hop, Record, from_hops

CONNECT = "__connect.errors."
STREAMS = "__streams.errors."
SHARE = "__dlq.errors."
# Topics that Kafka Streams makes for itself; their records are not what anybody sent.
_INTERNAL = re.compile(r"-(?:repartition|changelog|subscription-registration-topic|subscription-response-topic)\Z")
# The deepest frame tells where Streams was; order matters, since a serialiser fails below a processor.
_STREAMS_STAGES = (
    (".RecordCollectorImpl.", "production"),
    (".StreamTask.punctuate(", "punctuation"),
    (".RecordDeserializer.", "deserialization"),
    (".ProcessorNode.process(", "processing"),
)


def connect(record: Record) -> DeadLetter | None:
    """Kafka Connect sinks with context headers on.

    A second failure appends the whole set again: oldest first. The record keeps the origin's timestamp. The group is
    Connect's default name for it, since no header says it.
    """
    hops = [_connect_hop(found, record.timestamp_ms) for found in fields.sets(fields.stripped(record.headers, CONNECT))]
    return from_hops("connect", hops, guessed=("group",) if hops[-1].group else ()) if hops else None


def _connect_hop(found: dict[str, bytes | None], timestamp_ms: int | None) -> Hop:
    connector = fields.text(found.get("connector.name"))
    stack = fields.text(found.get("exception.stacktrace"))
    exception_class, message = unwrapped(
        fields.text(found.get("exception.class.name")), None, fields.text(found.get("exception.message")), stack
    )
    return Hop(
        topic=fields.topic(found.get("topic")),
        partition=fields.partition(found.get("partition")),
        offset=fields.number(found.get("offset")),
        timestamp_ms=timestamp_ms,
        group=f"connect-{connector}" if connector else None,
        connector=connector,
        task=fields.number(found.get("task.id"), fields.INT32_MAX),
        stage=fields.text(found.get("stage")),
        executing_class=fields.text(found.get("class.name")),
        exception_class=exception_class,
        message=message,
        stack=stack,
    )


def streams(record: Record) -> DeadLetter | None:
    """Kafka Streams' dead-letter topic.

    A second failure appends the whole set again: oldest first. The record keeps the origin's timestamp, but one from
    a punctuator has no origin at all. After a repartition the named topic is internal: then the true origin is not
    known, and the hop says where the processor was. The stage is read from the stack.
    """
    hops = [_streams_hop(found, record.timestamp_ms) for found in fields.sets(fields.stripped(record.headers, STREAMS))]
    if not hops:
        return None
    stage = ("stage",) if hops[-1].stage else ()
    if not (hops[0].topic and _INTERNAL.search(hops[0].topic)):
        return from_hops("streams", hops, guessed=stage)
    unknown = {"origin_topic": None, "origin_partition": None, "origin_offset": None}
    return from_hops("streams", hops, guessed=("origin_timestamp_ms", *stage), **unknown)


def _streams_hop(found: dict[str, bytes | None], timestamp_ms: int | None) -> Hop:
    origin = fields.topic(found.get("topic"))
    stack = fields.text(found.get("stacktrace"))
    # The KIP says "class: message", the framework writes the class.
    head = parse_head(fields.text(found.get("exception")) or "") or Cause("", None)
    message = fields.text(found.get("message")) or head.message
    thrown, message = unwrapped(head.exception_class or None, None, message, stack)
    return Hop(
        topic=origin,
        partition=fields.partition(found.get("partition")),
        offset=fields.number(found.get("offset")),
        timestamp_ms=timestamp_ms if origin else None,
        stage=next((stage for frame, stage in _STREAMS_STAGES if frame in (stack or "")), None),
        exception_class=thrown,
        message=message,
        stack=stack,
    )


# What the broker says, word for word, and the name of the case.
_SHARE_CODES = {
    "Offset delivery count exceeded the threshold.": "delivery-count-exceeded",
    "Offset rejected by client.": "rejected-by-client",
    "Acquisition lock timed out.": "acquisition-lock-timeout",
}


def share_group(record: Record) -> DeadLetter | None:
    """Dead letters that the broker writes for share groups; the payload is there only where copying is on."""
    hops = [_share_hop(found) for found in fields.sets(fields.stripped(record.headers, SHARE))]
    if not hops:
        return None
    counts = [fields.number(raw, fields.INT32_MAX) for name, raw in record.headers if name == SHARE + "delivery.count"]
    return from_hops("share_group", hops, attempts=counts[-1] if counts else None)


def _share_hop(found: dict[str, bytes | None]) -> Hop:
    return Hop(
        topic=fields.topic(found.get("topic")),
        partition=fields.partition(found.get("partition")),
        offset=fields.number(found.get("offset")),
        group=fields.text(found.get("group")),
        message=fields.text(found.get("message")),
        code=_SHARE_CODES.get(fields.text(found.get("message")) or ""),
    )
