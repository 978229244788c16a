"""Home-made headers and envelopes in the shapes that people write: what is said is read, what is not said stays null."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from workbench.dialects import decode
from workbench.dialects.homemade import attribute_of
from workbench.dialects.model import DeadLetter

AT = 1_772_366_400_000  # 2026-03-01T12:00:00Z


def by_headers(**headers: Any) -> DeadLetter:
    pairs = [
        (name.replace("__", "-"), one if isinstance(one, bytes) else str(one).encode()) for name, one in headers.items()
    ]
    letter = decode(pairs, b'{"messageId": "m1"}', "orders.dlq")
    assert letter is not None
    return letter


def by_value(document: Any) -> DeadLetter:
    letter = decode([], json.dumps(document).encode(), "orders.dlq")
    assert letter is not None
    return letter


def place(letter: DeadLetter) -> tuple[Any, ...]:
    return letter.origin_topic, letter.origin_partition, letter.origin_offset


@pytest.mark.parametrize(
    "written", ["1772366400", "1772366400000", "1772366400000000", "1772366400000000000", "2026-03-01T12:00:00Z"]
)
def test_times_in_headers_are_told_by_their_size(written: str) -> None:
    assert by_headers(error="x", failed_at=written).last_failure_ms == AT


def test_the_name_of_an_exception_is_no_message() -> None:
    for name in ("BadRequestException", "java.lang.IllegalStateException", "Shop.Orders.Broken", "ValueError"):
        letter = by_headers(x__exception=name, x__exception__message="boom")
        assert (letter.exception_class, letter.message) == (name, "boom")
    assert by_headers(error="Timeout").message == "Timeout"
    assert by_headers(error="Timed out after 3 s").exception_class is None


@pytest.mark.parametrize("prefix", ["original_", "failed_", "source-", "consumed.", "messaging.kafka.source.", "real_"])
def test_where_the_record_was(prefix: str) -> None:
    letter = by_headers(**{f"{prefix}topic": "orders", f"{prefix}partition": 3, f"{prefix}offset": 77, "error": "x"})
    assert place(letter) == ("orders", 3, 77)


def test_numbers_may_be_binary_and_what_is_below_zero_is_none() -> None:
    letter = by_headers(
        original_topic="orders", original_partition=struct.pack(">i", 3), original_offset=struct.pack(">q", 77)
    )
    assert place(letter) == ("orders", 3, 77)
    assert place(by_headers(original_topic="orders", original_partition=-1, original_offset=-5)) == (
        "orders",
        None,
        None,
    )


def test_what_says_where_errors_go_or_where_a_record_was_received_is_no_origin() -> None:
    letter = by_headers(error="x", error__topic="orders.dlq", previous_topic="orders.retry")
    assert place(letter) == (None, None, None)
    healthy = [("kafka_receivedTopic", b"orders"), ("kafka_receivedPartitionId", b"3"), ("kafka_offset", b"77")]
    assert decode(healthy, b'{"messageId": "m1"}', "notifications") is None
    assert attribute_of("Failure") == attribute_of("PaymentFailure") == "message"


def test_failed_and_error_alone_say_no_place() -> None:
    letter = by_headers(error="x", failed_attempts=4, failed_at=str(AT))
    assert (place(letter), letter.attempts, letter.last_failure_ms) == ((None, None, None), 4, AT)


def test_an_envelope_with_a_section_for_the_failure() -> None:
    letter = by_value(
        {
            "original": {"topic": "orders", "partition": 3, "offset": 77, "payload": "eyJhIjoxfQ=="},
            "failure": {"reason": "boom", "exception": "java.lang.X", "stack_trace": "java.lang.X: boom\n\tat a.B.c(B.java:1)",
                        "attempts": 2, "timestamp": AT},
        }
    )  # fmt: skip
    assert place(letter) == ("orders", 3, 77)
    assert (letter.exception_class, letter.message, letter.attempts) == ("java.lang.X", "boom", 2)
    assert (letter.payload, letter.last_failure_ms) == (b'{"a":1}', AT)


@pytest.mark.parametrize("text", ["aGVsbG8gd29ybGQh", "deadbeefdeadbeef", "MTIzNDU2Nzg5MA==", "plain text"])
def test_a_text_that_is_no_document_in_base64_is_a_text(text: str) -> None:
    assert by_value({"payload": text, "error": {"message": "boom", "type": "E"}}).payload == text.encode()


def test_coordinates_with_kafka_before_them() -> None:
    letter = by_value(
        {"error_type": "ValidationError", "error_message": "bad", "original_message": {"messageId": "m1"}, "kafka_topic": "orders",
         "kafka_partition": 1, "kafka_offset": 5}
    )  # fmt: skip
    assert place(letter) == ("orders", 1, 5)
    assert json.loads(letter.payload or b"") == {"messageId": "m1"}


def test_a_cause_with_its_class() -> None:
    letter = by_value(
        {"originalMessage": {"messageId": "m1"}, "cause": {"class": "java.io.IOException", "message": "io", "stackTrace": ["a"]},
         "sourceTopic": "orders", "sourcePartition": 2, "sourceOffset": 9}
    )  # fmt: skip
    assert (letter.exception_class, letter.message, place(letter)) == ("java.io.IOException", "io", ("orders", 2, 9))


def test_an_error_of_node_and_a_list_of_errors() -> None:
    node = by_value(
        {"payload": {"messageId": "m1"}, "error": {"name": "TypeError", "message": "x", "stack": "TypeError: x\n    at f (a.js:1)"},
         "meta": {"topic": "orders", "partition": 1, "offset": "42", "attempts": 3}}
    )  # fmt: skip
    assert (node.exception_class, node.message, node.attempts, place(node)) == ("TypeError", "x", 3, ("orders", 1, 42))
    many = by_value(
        {"record": {"messageId": "m1"}, "errors": [{"code": "E1", "message": "bad"}], "originalTopic": "orders"}
    )
    assert (many.code, many.message, many.origin_topic) == ("E1", "bad", "orders")


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([], {"messageId": "m1", "eventType": "payment.failed", "data": {"reason": "declined", "error": "no funds"}}),
        ([("retry-count", b"0"), ("source", b"svc"), ("topic", b"x")], {"messageId": "m1"}),
        ([("ce_id", b"1"), ("ce_source", b"/svc")], {"messageId": "m1"}),
        ([], {"before": None, "after": {"id": 1}, "source": {"topic": "x", "partition": 0, "offset": 5}, "op": "c"}),
    ],
)
def test_events_about_failures_are_no_dead_letters(headers: list[tuple[str, bytes]], value: Any) -> None:
    assert decode(headers, json.dumps(value).encode(), "payments") is None


def test_a_reason_in_one_word_beside_a_sentence_is_the_code() -> None:
    headers = [
        ("DeadLetterReason", b"MaxDeliveryCountExceeded"),
        ("DeadLetterErrorDescription", b"Could not be consumed after 10 attempts."),
    ]
    for order in (headers, headers[::-1]):
        letter = decode(order, b"{}", "orders-dead")
        assert letter is not None
        assert (letter.code, letter.message) == ("MaxDeliveryCountExceeded", "Could not be consumed after 10 attempts.")
    alone = decode(headers[:1], b"{}", "orders-dead")
    assert alone is not None
    assert (alone.code, alone.message) == (None, "MaxDeliveryCountExceeded")


def test_the_value_of_an_exception_is_its_message() -> None:
    letter = decode(
        [("dlq.exception.type", b"ValueError"), ("dlq.exception.value", b"no such user")], b"{}", "orders-dlq"
    )
    assert letter is not None
    assert (letter.exception_class, letter.message) == ("ValueError", "no such user")
