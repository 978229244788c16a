"""Whatever bytes a record carries, dialects answer, and with values that can be stored."""

from __future__ import annotations

from dataclasses import asdict

from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.dialects import decode, looks_like_dead_letter_topic, original_headers, redrive_of

NAMES = st.sampled_from(
    [
        *(f"__connect.errors.{n}" for n in ("topic", "partition", "offset", "task.id", "stage", "connector.name")),
        *(f"__connect.errors.exception.{n}" for n in ("class.name", "message", "stacktrace")),
        *(f"__streams.errors.{n}" for n in ("topic", "partition", "offset", "exception", "message", "stacktrace")),
        *(f"__dlq.errors.{n}" for n in ("topic", "partition", "offset", "delivery.count")),
        *(f"kafka_dlt-original-{n}" for n in ("topic", "partition", "offset", "timestamp", "timestamp-type")),
        *(f"kafka_{n}" for n in ("original-topic", "exception-fqcn", "exception-message", "exception-stacktrace")),
        *(f"kafka_dlt-{n}" for n in ("exception-cause-fqcn", "key-exception-fqcn", "key-exception-stacktrace")),
        *(f"retry_topic-{n}" for n in ("attempts", "original-timestamp", "backoff-timestamp")),
        *("springDeserializerExceptionValue", "x-original-topic", "x-original-partition", "x-exception-fqcn"),
        *("x-exception-stacktrace", "dead-letter-reason", "dead-letter-offset", "reason_poisoned", "topic_poisoned"),
        *("error", "exception", "stacktrace", "dlq-failed-at", "originalOffset", "x-original-timestamp", "attempts"),
        *("replay_count", "x-redrive-origin-offset", "workbench-redrive-origin", "workbench-redrive-count"),
    ]
) | st.text(max_size=40)
TELLING = st.sampled_from(
    [
        b"org.springframework.kafka.listener.ListenerExecutionFailedException",
        b"Listener failed; ",
        b"Listener method '",
        b"Exception thrown at 2026-99-99T99:99:99.999999999999Z",
        b"Caused by: \nCaused by: a.B: c\n\tat x\n",
        b"Traceback (most recent call last):\n",
        b"Traceback (most recent call last):Traceback (most recent call last):\n\n\n  \n",
        b"9" * 19,
        b"9" * 20,
        b"+0001-01-01T00:00:00+23:59",
        b"a/b/c",
        b"<script>alert(1)</script>\x1b[31m\x00",
    ]
)
BYTES = (
    st.none() | TELLING | st.binary(max_size=20) | st.binary(min_size=4, max_size=4) | st.binary(min_size=8, max_size=8)
)
HEADERS = st.lists(st.tuples(NAMES, BYTES), max_size=25)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.dictionaries(
    st.sampled_from(
        [
            "message",
            "stack",
            "timestamp",
            "attempts",
            "firstFailure",
            "lastFailure",
            "topic",
            "partition",
            "offset",
            "name",
        ]
    ),
    JSON,
    max_size=8,
)


def assert_storable(letter):
    for name, value in _flat(asdict(letter)):
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, int):
            assert 0 <= value < 2**63, name
            assert "partition" not in name or value < 2**31, name


def _flat(fields, within=""):
    for name, value in fields.items():
        if name == "hops":
            for hop in value:
                yield from _flat(hop, "hop ")
        else:
            yield within + name, value


@settings(max_examples=600)
@given(HEADERS, st.none() | st.binary(max_size=50), st.none() | st.text(max_size=30), st.none() | st.integers(0, 2**62))
def test_no_headers_raise(headers, value, topic, timestamp_ms):
    letter = decode(headers, value, topic, timestamp_ms=timestamp_ms)
    if letter is not None:
        assert_storable(letter)
        assert letter.causes is not None
        assert letter.reason is None or letter.reason.encode() is not None
    redrive = redrive_of(headers)
    assert redrive is None or redrive.replay_count is None or 0 <= redrive.replay_count < 2**31
    assert len(original_headers(headers)) <= len(headers)
    assert looks_like_dead_letter_topic(topic or "") in {True, False}


@settings(max_examples=400)
@given(JSON, PARTS, PARTS)
def test_no_envelope_raises(original, error, metadata):
    import json

    value = json.dumps({"originalMessage": original, "error": error, "metadata": metadata}).encode()
    letter = decode([], value)
    assert letter is not None
    assert_storable(letter)
    if original is None or isinstance(original, str):
        assert letter.payload == (None if original is None else original.encode("utf-8", "replace"))
    else:
        assert letter.payload == json.dumps(original).encode()


@given(st.binary(max_size=80))
def test_no_broken_envelope_raises(rest):
    letter = decode([], b'{"originalMessage": ' + rest)
    assert letter is None or letter.dialect == "json_envelope"


def test_large_stacks_are_read_in_one_pass():
    """500 kB of lines that nearly look like frames or heads: linear, so this ends at once."""
    stack = b"a.B: c\n" + b" " * 250_000 + b"x\n" + b"Caused by: \n" * 20_000
    letter = decode(
        [("x-exception-stacktrace", stack), ("x-exception-fqcn", b"java.util.concurrent.ExecutionException")], b""
    )
    assert letter.exception_class == "a.B"
