"""Frameworks of which no real record is at hand, as their sources write them; and envelopes of many shapes."""

from __future__ import annotations

import json

import pytest

from workbench.dialects import decode

WRAPPER = "org.springframework.messaging.MessageHandlingException"
CLOUD = [
    ("x-original-topic", b"orders"),
    ("x-original-partition", (1).to_bytes(4, "big")),
    ("x-original-offset", (9).to_bytes(8, "big")),
    ("x-original-timestamp", (1795400001001).to_bytes(8, "big")),
    ("x-original-timestamp-type", b"CreateTime"),
    ("x-exception-fqcn", WRAPPER.encode()),
    ("x-exception-message", b"error occurred in message handler [x]; nicht m\xc3\xb6glich"),
    (
        "x-exception-stacktrace",
        f"{WRAPPER}: error occurred in message handler [x], failedMessage=GenericMessage [payload={{}}]\n"
        "\tat org.springframework.integration.X.y(X.java:1)\n"
        "Caused by: com.acme.Refused: nicht möglich\n\tat com.acme.Orders.on(Orders.java:7)\n\t... 30 more\n".encode(),
    ),
]
SMALLRYE = [
    ("dead-letter-exception-class-name", b"io.smallrye.reactive.messaging.ProcessingException"),
    ("dead-letter-reason", b"SRMSG00103: Exception thrown when calling the method Orders#on"),
    ("dead-letter-cause-class-name", b"com.acme.Refused"),
    ("dead-letter-cause", b"no"),
    ("dead-letter-topic", b"orders"),
    ("dead-letter-partition", b"3"),
    ("dead-letter-offset", b"41"),
]


def test_spring_cloud_stream_names_the_users_exception_and_the_group_of_its_topic():
    letter = decode(CLOUD, b"{}", "error.orders.billing", timestamp_ms=1795400005000)
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == ("orders", 1, 9)
    assert (letter.origin_timestamp_ms, letter.origin_timestamp_type) == (1795400001001, "create")
    assert (letter.exception_class, letter.message) == ("com.acme.Refused", "nicht möglich")
    assert (letter.group, letter.stage, letter.last_failure_ms) == ("billing", "handler", 1795400005000)
    assert {"group", "stage", "last_failure_ms"} <= set(letter.guessed)


def test_spring_cloud_stream_appends_second_failures():
    second = [(name, b"error.orders.billing" if name == "x-original-topic" else raw) for name, raw in CLOUD]
    letter = decode([*CLOUD, *second], b"{}", "error.error.orders.billing.again")
    assert [hop.topic for hop in letter.hops] == ["orders", "error.orders.billing"]
    assert letter.origin_topic == "orders"


def test_smallrye_puts_newer_failures_before_older_ones():
    newer = [
        ("dead-letter-exception-class-name", b"java.lang.IllegalStateException"),
        ("dead-letter-reason", b"java.lang.IllegalStateException"),
        ("dead-letter-topic", b"dead-letter-topic-orders"),
        ("dead-letter-partition", b"0"),
        ("dead-letter-offset", b"7"),
    ]
    letter = decode([*newer, ("message-id", b"1"), *SMALLRYE], b"{}")
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == ("orders", 3, 41)
    assert (letter.exception_class, letter.message) == ("java.lang.IllegalStateException", None)
    assert [hop.exception_class for hop in letter.hops] == ["com.acme.Refused", "java.lang.IllegalStateException"]
    assert letter.hops[0].message == "no"


def test_smallrye_keeps_an_unreadable_payload_in_a_header():
    extra = [("deserialization-failure-reason", b"bad"), ("deserialization-failure-data", b"\x00\xff")]
    letter = decode([*SMALLRYE, *extra], None)
    assert (letter.stage, letter.payload) == ("deserialization", b"\x00\xff")


def test_smallrye_delayed_retries_know_their_first_topic():
    def attempt(topic: bytes, offset: bytes) -> list[tuple[str, bytes]]:
        return [
            ("delayed-retry-exception-class-name", b"com.acme.Refused"), ("delayed-retry-reason", b"no"),
            ("delayed-retry-topic", topic), ("delayed-retry-partition", b"1"), ("delayed-retry-offset", offset),
        ]  # fmt: skip

    times = [("delayed-retry-original-timestamp", b"1795400001001"), ("delayed-retry-count", b"1")]
    headers = [*attempt(b"orders_retry_10000", b"2"), *times, *attempt(b"orders", b"9")]
    letter = decode(headers, b"x", "orders_dlq")
    assert (letter.origin_topic, letter.origin_offset, letter.origin_timestamp_ms) == ("orders", 9, 1795400001001)
    assert (letter.attempts, len(letter.hops), letter.is_retry) == (2, 2, False)
    assert decode(headers, b"x", "orders_retry_20000").is_retry


def test_watermill_names_the_handler_and_no_class():
    headers = [
        ("reason_poisoned", b"dial tcp: connection refused"), ("topic_poisoned", b"orders"),
        ("handler_poisoned", b"billing"), ("subscriber_poisoned", b"kafka.Subscriber"),
    ]  # fmt: skip
    letter = decode(headers, b"x")
    assert (letter.origin_topic, letter.executing_class, letter.exception_class) == ("orders", "billing", None)
    assert letter.message == "dial tcp: connection refused"


DOTNET = (
    "System.InvalidOperationException: no\r\n ---> System.IO.IOException: disk full\r\n   at Shop.Disk.Write()\r\n"
    "   --- End of inner exception stack trace ---\r\n   at Shop.Orders.Handle(Order order) in C:\\x.cs:line 4\r\n"
)
PLAIN = {
    "karafka": (
        [("source_topic", b"orders"), ("source_partition", b"1"), ("source_offset", b"4"), ("source_attempts", b"3")],
        {"origin_topic": "orders", "origin_partition": 1, "origin_offset": 4, "attempts": 3},
    ),
    "laravel_kafka": (
        [("kafka_throwable_message", b"no"), ("kafka_throwable_code", b"42"), ("kafka_throwable_class_name", b"App\\Bad")],
        {"exception_class": "App\\Bad", "message": "no", "code": "42"},
    ),
    "silverback": (
        [("x-source-topic", b"orders"), ("x-source-offset", b"7"), ("x-source-consumer-group-id", b"g"),
         ("x-failed-attempts", b"3"), ("x-failure-reason", b"no")],
        {"origin_topic": "orders", "origin_offset": 7, "group": "g", "attempts": 3, "message": "no"},
    ),
    "nservicebus": (
        [("NServiceBus.FailedQ", b"orders"), ("NServiceBus.ExceptionInfo.ExceptionType", b"System.TimeoutException"),
         ("NServiceBus.ExceptionInfo.Message", b"late"), ("NServiceBus.TimeOfFailure", b"2026-11-25 10:00:00:123456 Z")],
        {"origin_topic": "orders", "exception_class": "System.TimeoutException", "last_failure_ms": 1795600800123},
    ),
    "masstransit": (
        [("MT-Fault-ExceptionType", b"Shop.Bad"), ("MT-Fault-RetryCount", b"2"),
         ("MT-Fault-InputAddress", b"loopback://localhost/orders?temporary=true")],
        {"origin_topic": "orders", "exception_class": "Shop.Bad", "attempts": 3},
    ),
    "rebus": (
        [("rbs2-error-details", DOTNET.encode()), ("rbs2-source-queue", b"orders")],
        {"exception_class": "System.InvalidOperationException", "message": "no", "origin_topic": "orders"},
    ),
    "redpanda_connect": ([("fallback_error", b"no"), ("kafka_topic", b"orders")], {"message": "no"}),
    "knative": (
        [("ce_knativeerrorcode", b"503"), ("ce_knativeerrordata", b"bm9wZQ=="), ("ce_id", b"1")],
        {"code": "503", "message": "nope"},
    ),
    "symfony_messenger": (
        [("X-Message-Stamp-Symfony\\Component\\Messenger\\Stamp\\ErrorDetailsStamp",
          b'[{"exceptionClass":"App\\\\Bad","exceptionMessage":"no","exceptionCode":0}]'),
         ("X-Message-Stamp-Symfony\\Component\\Messenger\\Stamp\\RedeliveryStamp", b'[{"retryCount":3}]')],
        {"exception_class": "App\\Bad", "message": "no", "attempts": 4, "code": None},
    ),
}  # fmt: skip


@pytest.mark.parametrize("dialect", PLAIN)
def test_frameworks_with_plain_headers(dialect):
    headers, expected = PLAIN[dialect]
    letter = decode(headers, b"x")
    assert letter.dialect == dialect
    assert {name: getattr(letter, name) for name in expected} == expected


def test_dotnet_chains_are_read():
    letter = decode(PLAIN["rebus"][0], b"x")
    assert [cause.exception_class for cause in letter.causes] == [
        "System.InvalidOperationException",
        "System.IO.IOException",
    ]


def test_aws_lambda_keeps_one_record_in_base64():
    record = {"topic": "orders", "partition": 0, "offset": 100, "timestamp": 1749116692330, "timestampType": "CREATE_TIME",
              "value": "eyJhIjoxfQ==", "key": "dA==", "headers": []}  # fmt: skip
    value = {
        "requestContext": {"functionArn": "arn:f", "condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "responseContext": {"functionError": "Unhandled"}, "timestamp": "2026-11-25T10:00:00Z",
        "KafkaBatchInfo": {"batchSize": 1}, "payload": {"records": {"orders-0": [record]}},
    }  # fmt: skip
    letter = decode([], json.dumps(value).encode())
    assert (letter.dialect, letter.payload, letter.attempts) == ("aws_lambda", b'{"a":1}', 3)
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == ("orders", 0, 100)


def test_ksqldb_says_at_which_stage():
    error = {"errorMessage": "bad", "cause": ["no JSON"], "topic": "orders", "recordB64": "eyJ4"}
    letter = decode([], json.dumps({"time": 1795400001001, "message": {"deserializationError": error}}).encode())
    assert (letter.stage, letter.payload, letter.message) == ("deserialization", b'{"x', "bad: no JSON")


ENVELOPES = [
    ({"payload": {"id": 1}, "reason": "bad", "exception": "a.B: no", "failedAt": "2026-11-25T10:00:00Z", "retryCount": 3},
     {"exception_class": "a.B", "attempts": 3, "last_failure_ms": 1795600800000, "payload": b'{"id": 1}'}),
    ({"originalTopic": "orders", "originalPartition": 2, "originalOffset": 77, "originalValue": '{"id":1}', "errorMessage": "x"},
     {"origin_topic": "orders", "origin_partition": 2, "origin_offset": 77, "payload": b'{"id":1}', "message": "x"}),
    ({"topic": "orders", "partition": 0, "offset": 5, "value": "eyJ4IjoxfQ==", "error": "late", "encoding": "base64"},
     {"origin_topic": "orders", "origin_offset": 5, "payload": b'{"x":1}', "message": "late"}),
    ({"specversion": "1.0", "id": "7", "data": {"originalMessage": {"id": 5}, "error": {"type": "ValueError", "message": "bad"}}},
     {"exception_class": "ValueError", "message": "bad", "payload": b'{"id": 5}'}),
    ({"record": {"topic": "orders", "partition": 1, "offset": 9, "value": '{"a":1}'},
      "exception": {"className": "com.acme.X", "message": "m",
                    "stackTrace": [{"className": "com.acme.H", "methodName": "on", "fileName": "H.java", "lineNumber": 3}]}},
     {"origin_topic": "orders", "origin_offset": 9, "payload": b'{"a":1}', "exception_class": "com.acme.X",
      "stack": "\tat com.acme.H.on(H.java:3)"}),
    ({"meta": {"source": {"topic": "orders", "partition": 1, "offset": 2}}, "error": {"code": "E42", "message": "no"}, "body": 4},
     {"origin_topic": "orders", "origin_partition": 1, "code": "E42", "message": "no", "payload": b"4"}),
    ({"event": {"id": 1}, "error_type": "KeyError", "error_message": "x", "stack_trace": "-", "num_retries": 2},
     {"exception_class": "KeyError", "message": "x", "attempts": 2, "payload": b'{"id": 1}'}),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), ENVELOPES)
def test_envelopes_of_many_shapes_are_guessed(value, expected):
    letter = decode([], json.dumps(value).encode())
    assert letter.dialect == "envelope"
    assert {name: getattr(letter, name) for name in expected} == expected
    assert set(expected) <= set(letter.guessed)


@pytest.mark.parametrize(
    "value",
    [
        {"type": "refund", "reason": "customer asked", "data": {"a": 1}},
        {"orderId": 1, "message": "hi", "error": None},
        {"id": 1, "status": "failed", "amount": 3, "failureReason": "card declined"},
    ],
)
def test_business_events_are_no_envelopes(value):
    assert decode([], json.dumps(value).encode()) is None


def test_an_error_header_may_hold_json():
    letter = decode([("error", b'{"class":"a.B","message":"x","code":"E1"}'), ("orig_topic", b"t")], b"x")
    assert (letter.exception_class, letter.message, letter.code) == ("a.B", "x", "E1")


def test_codes_and_times_of_home_made_headers():
    headers = [("X-Error-Code", b"E_TIMEOUT"), ("X-Failed-At", b"2026-11-25T10:00:00Z"), ("x-dlq-reason", b"no")]
    letter = decode(headers, b"x")
    assert (letter.code, letter.last_failure_ms, letter.message) == ("E_TIMEOUT", 1795600800000, "no")
