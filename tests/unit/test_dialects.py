"""Dialects on made-up records: names, encodings, envelopes, redrives."""

from __future__ import annotations

import json

import pytest

from workbench.dialects import decode, is_marking, looks_like_dead_letter_topic, original_headers, redrive_of


def text_headers(**named):
    return [(name.replace("_", "-"), str(value).encode()) for name, value in named.items()]


def envelope(**changed):
    body = {
        "originalMessage": '{"messageId": "a-1"}',
        "error": {
            "message": "boom",
            "stack": "TypeError: boom\n    at f (app.js:1:2)",
            "timestamp": "2026-03-01T10:00:00Z",
        },
        "metadata": {"attempts": 3, "firstFailure": "2026-03-01T09:00:00Z", "lastFailure": "2026-03-01T10:00:00.500Z"},
    }
    return json.dumps(body | changed).encode()


def test_a_plain_record_is_no_dead_letter():
    assert decode([("message-id", b"7"), ("traceparent", b"00-1"), ("offset", b"3")], b'{"a": 1}') is None
    assert decode([], None) is None


def test_envelope_fields():
    letter = decode([], envelope())
    assert letter.dialect == "json_envelope"
    assert letter.payload == b'{"messageId": "a-1"}'
    assert (letter.exception_class, letter.message, letter.attempts) == ("TypeError", "boom", 3)
    assert (letter.first_failure_ms, letter.last_failure_ms) == (1772355600000, 1772359200500)
    assert letter.guessed == ()


def test_envelope_with_an_object_keeps_its_very_bytes():
    value = b'{"error": {"message": "x"}, "originalMessage": {"b":1e400,  "a": 12345678901234567890.10}}'
    letter = decode([], value)
    assert letter.payload == b'{"b":1e400,  "a": 12345678901234567890.10}'
    assert letter.guessed == ("payload",)


def test_envelope_of_a_tombstone_has_no_payload():
    assert decode([], envelope(originalMessage=None)).payload is None


@pytest.mark.parametrize(
    ("packed", "payload", "guessed"),
    [
        ("AP/+", b"\x00\xff\xfe", ()),
        ("", b"", ()),
        (None, None, ()),
        ("not base64!", b"not base64!", ("payload",)),
        (7, None, ()),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_envelope_with_bytes_that_are_no_text(packed, payload, guessed, alone):
    body = json.loads(envelope(originalMessage=None, originalMessageBase64=packed))
    if alone:
        del body["originalMessage"]
    letter = decode([], json.dumps(body).encode())
    assert (letter.dialect, letter.payload, letter.guessed) == ("json_envelope", payload, guessed)


@pytest.mark.parametrize(
    "value",
    [
        b'{"originalMessage": "x"}',
        b'["originalMessage"]',
        b'{"originalMessage": ' + b"[" * 100_000,
        b'{"originalMessage": 1, "error": 7, "metadata": []}',
        b'"originalMessage"',
        b'{"originalMessage":',
        b'{"originalMessage": 1' + b"1" * 10_000 + b', "error": {}}',
    ],
)
def test_what_only_resembles_an_envelope_is_none(value):
    assert decode([], value) is None


def test_envelope_takes_its_origin_from_headers_beside_it():
    headers = text_headers(x_original_topic="orders", x_original_partition=2, x_original_offset=41)
    letter = decode(headers, envelope())
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == ("orders", 2, 41)
    assert letter.dialect == "json_envelope"
    assert {"origin_topic", "origin_partition", "origin_offset"} <= set(letter.guessed)


def test_half_a_surrogate_pair_becomes_storable_text():
    letter = decode([], b'{"originalMessage": "\\ud800", "error": {"message": "\\udc00 x"}}')
    assert letter.message.encode() == b"? x"
    assert letter.payload == b"?"


@pytest.mark.parametrize(
    ("names", "number"),
    [
        (("x-original-topic", "x-original-partition", "x-original-offset"), str),
        (("original_topic", "original_partition", "original_offset"), str),
        (("originalTopic", "originalPartition", "originalOffset"), str),
        (("x-dlq-topic", "x-dlq-partition", "x-dlq-offset"), str),
        (("dlq.original.topic", "dlq.original.partition", "dlq.original.offset"), str),
        (("source-topic", "source-partition", "source-offset"), str),
        (("Dead-Letter-Source-Topic", "Dead-Letter-Source-Partition", "Dead-Letter-Source-Offset"), str),
    ],
)
def test_home_made_origins(names, number):
    headers = list(zip(names, (b"orders", number(3).encode(), number(99).encode()), strict=True))
    letter = decode(headers, b"x")
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == ("orders", 3, 99)
    assert letter.dialect == "headers"
    assert set(letter.guessed) == {"origin_topic", "origin_partition", "origin_offset"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("error", b"java.io.IOException: disk full")], ("java.io.IOException", "disk full")),
        ([("error", b"Timeout: no answer")], ("Timeout", "no answer")),
        ([("error", b"could not parse")], (None, "could not parse")),
        ([("x-dlq-error-message", b"no"), ("x-dlq-error-type", b"BadOrder")], ("BadOrder", "no")),
        ([("x-exception-message", b"no"), ("exception_class", b"BadOrder")], ("BadOrder", "no")),
        (
            [
                (
                    "stacktrace",
                    b'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\nValueError: 7\n',
                )
            ],
            ("ValueError", "7"),
        ),
    ],
)
def test_home_made_errors(headers, expected):
    letter = decode(headers, b"x")
    assert (letter.exception_class, letter.message) == expected


def test_a_python_chain_is_turned_round():
    stack = (
        'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    int("x")\nValueError: bad\n\n'
        "The above exception was the direct cause of the following exception:\n\n"
        'Traceback (most recent call last):\n  File "a.py", line 3, in f\n    f()\n'
        "orders.BadOrder: order 7\nsecond line\n"
    )
    letter = decode([("stacktrace", stack.encode())], b"x")
    assert [(cause.exception_class, cause.message) for cause in letter.causes] == [
        ("orders.BadOrder", "order 7\nsecond line"),
        ("ValueError", "bad"),
    ]


def test_wrappers_are_taken_off():
    stack = (
        "java.util.concurrent.CompletionException: com.acme.Broken: why\n\tat a.B.c(B.java:1)\n"
        "Caused by: com.acme.Broken: why\n\tat a.B.d(B.java:2)\n\t... 3 more\n"
    )
    headers = [
        ("__connect.errors.topic", b"orders"),
        ("__connect.errors.exception.class.name", b"java.util.concurrent.CompletionException"),
        ("__connect.errors.exception.message", b"com.acme.Broken: why"),
        ("__connect.errors.exception.stacktrace", stack.encode()),
    ]
    letter = decode(headers, b"x")
    assert (letter.exception_class, letter.message) == ("com.acme.Broken", "why")


def test_spring_numbers_of_all_widths():
    """Older versions wrote attempts as one byte; timestamps take their shortest form."""
    headers = [
        ("kafka_original-topic", b"orders"),
        ("kafka_original-partition", (7).to_bytes(4, "big")),
        ("kafka_original-offset", (2**40).to_bytes(8, "big")),
        ("retry_topic-attempts", b"\x02"),
        ("retry_topic-attempts", b"\x31"),
    ]
    letter = decode(headers, b"x", "orders-retry-0")
    assert (letter.origin_partition, letter.origin_offset, letter.attempts) == (7, 2**40, 0x31 - 1)
    assert letter.is_retry


@pytest.mark.parametrize(
    "raw", [b"", b"\x00", b"abc", b"\xff" * 4, b"\xff" * 8, b"-1", b"9" * 40, b"\x00" * 9, b"null", b"no value", None]
)
def test_numbers_that_do_not_fit_are_unknown(raw):
    headers = [("kafka_dlt-original-topic", b"orders"), ("kafka_dlt-original-partition", raw)]
    letter = decode(headers, b"x")
    assert (letter.origin_topic, letter.origin_partition) == ("orders", None)


@pytest.mark.parametrize("name", [b"../etc/passwd", b"a'; DROP TABLE x", b"", b"..", b"a" * 250, b"\xff"])
def test_what_cannot_be_a_topic_is_unknown(name):
    assert decode([("__connect.errors.topic", name)], b"x").origin_topic is None


def test_two_dialects_on_one_record_are_hops():
    """Sent back from Connect's dead letters, then given up by a Spring service: the first one knows the origin."""
    headers = [
        ("__connect.errors.topic", b"orders"),
        ("__connect.errors.partition", b"1"),
        ("__connect.errors.offset", b"5"),
        ("kafka_dlt-exception-fqcn", b"com.acme.Broken"),
        ("kafka_dlt-original-topic", b"orders.again"),
        ("kafka_dlt-original-partition", b"\x00\x00\x00\x00"),
        ("kafka_dlt-original-offset", b"\x00" * 8),
    ]
    letter = decode(headers, b"x")
    assert (letter.dialect, letter.origin_topic, letter.origin_offset) == ("spring_kafka", "orders", 5)
    assert [hop.topic for hop in letter.hops] == ["orders", "orders.again"]
    assert letter.exception_class == "com.acme.Broken"


def test_serialised_java_objects_are_not_looked_at():
    assert decode([("springDeserializerExceptionValue", b"\xac\xed\x00\x05sr\x00")], b"x") is None


def test_other_frameworks_from_their_sources():
    smallrye = [("dead-letter-reason", b"no"), ("dead-letter-topic", b"orders"), ("dead-letter-partition", b"1")]
    assert decode(smallrye, b"x").dialect == "smallrye"
    share = [("__dlq.errors.topic", b"orders"), ("__dlq.errors.delivery.count", b"5"), ("__dlq.errors.group", b"g")]
    assert (decode(share, b"x").attempts, decode(share, b"x").group) == (5, "g")
    poison = [("reason_poisoned", b"no"), ("topic_poisoned", b"orders")]
    assert decode(poison, b"x").origin_topic == "orders"
    cloud = [
        ("x-original-topic", b"orders"),
        ("x-original-partition", (1).to_bytes(4, "big")),
        ("x-original-offset", (9).to_bytes(8, "big")),
        ("x-exception-fqcn", b"com.acme.Broken"),
    ]
    letter = decode(cloud, b"x")
    assert (letter.dialect, letter.origin_partition, letter.origin_offset) == ("spring_cloud_stream", 1, 9)


@pytest.mark.parametrize(
    "name",
    [
        "orders-dlt",
        "orders.DLT",
        "orders.dlq",
        "dlq.sink",
        "ordersDLQ",
        "orders_dead_letter",
        "dead-letter-topic-orders",
        "orders-deadletter",
        "error.orders.billing",
        "orders-error",
        "orders.poison",
        "sk.orders-dlt-dlt",
        "OrdersDeadLetters",
    ],
)
def test_names_of_dead_letter_topics(name):
    assert looks_like_dead_letter_topic(name)


@pytest.mark.parametrize("name", ["orders", "user.events", "error-rates.daily", "adult", "orders-retry-300", "terror"])
def test_names_of_other_topics(name):
    assert not looks_like_dead_letter_topic(name)


def test_our_own_redrive():
    headers = text_headers(
        workbench_redrive_plan="abc", workbench_redrive_origin="orders/2/41", workbench_redrive_count=2
    )
    redrive = redrive_of(headers)
    assert (redrive.plan, redrive.replay_count) == ("abc", 2)
    assert (redrive.origin_topic, redrive.origin_partition, redrive.origin_offset) == ("orders", 2, 41)


@pytest.mark.parametrize(
    "name", ["replay_count", "x-replay-count", "dlq_replay_count", "x-redrive-count", "replayCount"]
)
def test_home_made_redrives(name):
    assert redrive_of([(name, b"1"), (name, b"2")]).replay_count == 2
    assert redrive_of([(name, b"0")]) is None


@pytest.mark.parametrize(
    ("headers", "count"),
    [
        ([("x-redrive", b"true")], 1),
        ([("x-redriven", b"false")], None),
        ([("x-redrive-id", b"77"), ("x-redrive-origin-topic", b"orders")], 1),
        ([("workbench-redrive-origin", b"orders/x/1")], 1),
        ([("workbench-redrive-count", b"\xff\xff")], 1),
        ([("message-id", b"1")], None),
        ([("replay_count", b"many")], None),
    ],
)
def test_marks_of_a_redrive(headers, count):
    redrive = redrive_of(headers)
    assert (redrive.replay_count if redrive else None) == count


def test_names_that_mark():
    marking = ["__connect.errors.topic", "kafka_dlt-exception-fqcn", "x-original-topic", "replay_count", "error"]
    assert all(is_marking(name) for name in [*marking, "workbench-redrive-plan"])
    assert not any(
        is_marking(name) for name in ["message-id", "traceparent", "ce_id", "content-type", "kafka_messageKey"]
    )


def test_original_headers_keep_order_and_repeats():
    headers = [("a", b"1"), ("__streams.errors.topic", b"t"), ("a", b"2"), ("b", None)]
    assert original_headers(headers) == [("a", b"1"), ("a", b"2"), ("b", None)]
