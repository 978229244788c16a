"""Dead letters and retries in the forms that services write: the JSON envelope and Spring Kafka's headers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from workbench.sandbox.incidents.messages import iso

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class Record:
    """A record that a service read."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: Headers
    id: str


@dataclass(frozen=True)
class Output:
    """A record that a service writes; ``id`` is the message it is a copy of."""

    topic: str
    id: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


def id_header(record: Record) -> Headers:
    """The record's header with the message id, if it has one."""
    return tuple(header for header in record.headers if header[0] == "message-id")


Form = Callable[[Record, str, str], Output]


def envelope(record: Record, topic: str, error: str) -> Output:
    """This project's JSON envelope: the message is inside, nothing else names its origin."""
    # Where services carry the id in a header they do so everywhere: a reader of headers finds it here too.
    now = iso(datetime.now(UTC))
    value = {
        "originalMessage": json.loads(record.value),
        "error": {"message": error, "stack": f"Error: {error}\n    at handle (consumer.js:42:11)", "timestamp": now},
        "metadata": {"attempts": 3, "firstFailure": now, "lastFailure": now},
    }
    return Output(topic, record.id, None, json.dumps(value).encode(), id_header(record))


def spring(record: Record, topic: str, error: str) -> Output:
    """Spring Kafka's DeadLetterPublishingRecoverer: the same payload, its origin in binary headers."""
    headers = (
        ("kafka_dlt-original-topic", record.topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", record.partition)),
        ("kafka_dlt-original-offset", struct.pack(">q", record.offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", record.timestamp_ms)),
        ("kafka_dlt-original-timestamp-type", b"CreateTime"),
        ("kafka_dlt-original-consumer-group", b"user-processor"),
        ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
        ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
        ("kafka_dlt-exception-message", f"Listener failed; {error}".encode()),
        ("kafka_dlt-exception-stacktrace", f"java.lang.IllegalStateException: {error}\n\tat app.Users.on".encode()),
    )
    return Output(topic, record.id, record.key, record.value, (*record.headers, *headers))


def spring_retry(record: Record, topic: str, error: str) -> Output:
    """Spring Kafka's retry topic: the same payload, waiting for its next attempt."""
    headers = (
        ("kafka_original-topic", record.topic.encode()),
        ("kafka_original-partition", struct.pack(">i", record.partition)),
        ("kafka_original-offset", struct.pack(">q", record.offset)),
        ("kafka_original-timestamp", struct.pack(">q", record.timestamp_ms)),
        ("kafka_original-timestamp-type", b"CreateTime"),
        ("retry_topic-attempts", struct.pack(">i", 2)),
        ("retry_topic-backoff-timestamp", struct.pack(">q", record.timestamp_ms + 60_000)[2:]),
        ("retry_topic-original-timestamp", struct.pack(">q", record.timestamp_ms)[2:]),
        ("kafka_exception-message", f"Listener failed; {error}".encode()),
    )
    return Output(topic, record.id, record.key, record.value, (*record.headers, *headers))


def plain_retry(record: Record, topic: str, error: str) -> Output:
    """A home-made retry: the same record with a count of attempts."""
    headers = (("x-retry-count", b"1"), ("x-original-topic", record.topic.encode()), ("x-error", error.encode()))
    return Output(topic, record.id, record.key, record.value, (*record.headers, *headers))
