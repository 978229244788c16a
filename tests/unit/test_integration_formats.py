"""Formats of the wire: what is read, what is refused and named, and that no content gets into an error."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from workbench.integration.formats import (
    DeadLetter,
    ErrorBody,
    ErrorReply,
    Event,
    InvalidMessage,
    Notification,
    UserCreated,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVENT = {
    "messageId": "5f1c7a52-7f6c-4d53-9a34-6f5d0f2a9f11",
    "timestamp": "2024-01-15T10:30:00Z",
    "source": "user-service",
    "eventType": "user.created",
    "version": "1.0",
    "data": {"userId": "12345", "email": "user@example.com", "metadata": {"source": "web-app", "userAgent": "M/5"}},
}


def refused(change: dict) -> InvalidMessage:
    wire = {key: value for key, value in {**EVENT, **change}.items() if value is not ...}
    with pytest.raises(InvalidMessage) as caught:
        Event.from_wire(json.dumps(wire))
    return caught.value


def test_an_event_is_camel_case_on_the_wire_and_snake_case_here():
    event = Event.from_wire(json.dumps(EVENT))
    assert (event.message_id, event.event_type) == (EVENT["messageId"], "user.created")
    assert event.timestamp == datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
    assert event.typed_data() == UserCreated.model_validate(EVENT["data"])
    assert json.loads(event.to_wire()) == {**EVENT, "timestamp": "2024-01-15T10:30:00.000Z"}


def test_a_new_event_has_an_id_of_its_own_and_comes_back_equal():
    event = Event.new("user-service", "user.created", {"userId": "1", "email": "a@b.c"})
    assert Event.from_wire(event.to_wire()) == event
    assert event.message_id != Event.new("user-service", "user.created", {}).message_id


@pytest.mark.parametrize(
    ("change", "field", "value", "expected"),
    [
        ({"messageId": ...}, "messageId", "missing", "a value"),
        ({"messageId": 5}, "messageId", "a number", "a valid string"),
        ({"messageId": ..., "message_id": "x"}, "messageId", "missing", "a value"),
        ({"timestamp": 1705314600}, "timestamp", "a number", "a valid datetime"),
        ({"timestamp": "2024-01-15T10:30:00"}, "timestamp", "a text of 19 characters", "have timezone info"),
        ({"version": "one"}, "version", "a text of 3 characters", "major.minor, as in 1.0"),
        ({"data": []}, "data", "a list of 0", "an object"),
        ({"data": {"userId": "1", "email": "hush"}}, "data.email", "a text of 4 characters", "a valid e-mail address"),
        ({"data": {"userId": "1", "email": None}}, "data.email", "null", "a valid string"),
        (
            {"eventType": "x", "data": {"n": [float("nan")]}},
            "data",
            "an object of 1 members",
            "numbers that JSON can hold",
        ),
    ],
)
def test_a_wrong_member_is_named_and_its_value_redacted(change, field, value, expected):
    error = refused(change)
    assert (error.code, *error.details[0].model_dump().values()) == ("VALIDATION_ERROR", field, value, expected)
    assert "hush" not in str(error)
    reply = json.loads(error.reply("m-1", now=NOW).to_wire())
    assert (reply["messageId"], reply["status"], reply["retryable"]) == ("m-1", "error", False)
    assert reply["error"]["details"] == {"field": field, "value": value, "expected": expected}


def test_another_major_version_is_an_error_of_its_own_and_a_later_minor_one_is_read():
    error = refused({"version": "2.0"})
    assert (error.code, error.details[0].expected) == ("UNSUPPORTED_VERSION", "1.x")
    later = {**EVENT, "version": "1.7", "added": True, "data": {**EVENT["data"], "added": True}}
    assert Event.from_wire(json.dumps(later)).data["added"] is True


def test_data_of_an_unknown_type_is_left_alone():
    assert Event.from_wire(json.dumps({**EVENT, "eventType": "user.left", "data": {}})).typed_data() is None


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"null", b"[1]", b"\xff\xfe", b"[" * 50_000, b'{"a": "\\ud800"}', b'{"a": NaN}']
)
def test_what_is_no_json_object_is_refused(raw: bytes):
    with pytest.raises(InvalidMessage):
        Event.from_wire(raw)


@settings(max_examples=50)
@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_any_json_is_an_event_or_a_named_error(document):
    with pytest.raises(InvalidMessage) as caught:
        Event.from_wire(json.dumps(document))
    assert caught.value.details


def test_a_validation_error_is_never_retryable_and_retry_after_needs_retryable():
    body = ErrorBody(code="VALIDATION_ERROR", message="wrong")
    with pytest.raises(ValidationError, match="same way each time"):
        ErrorReply(timestamp=NOW, error=body, retryable=True)
    with pytest.raises(ValidationError, match="no retryAfter"):
        ErrorReply(timestamp=NOW, error=body, retry_after=30)
    busy = ErrorReply(timestamp=NOW, error=ErrorBody(code="BUSY", message="later"), retryable=True, retry_after=30)
    assert json.loads(busy.to_wire())["retryAfter"] == 30


def test_times_are_utc_with_milliseconds_or_microseconds():
    base = {"message_id": "m", "id": "1", "email": "a@b.c"}
    east = datetime(2026, 1, 31, 13, tzinfo=timezone(timedelta(hours=1)))
    for moment, text in [(east, "12:00:00.000Z"), (NOW.replace(microsecond=1500), "12:00:00.001500Z")]:
        wire = json.loads(Notification(**base, created_at=moment).to_wire())
        assert wire == {
            "messageId": "m",
            "id": "1",
            "email": "a@b.c",
            "createdAt": f"2026-01-31T{text}",
            "source": "unknown",
        }


def test_a_dead_letter_reads_as_the_envelope_dialect():
    from workbench.dialects import decode

    history = {
        "attempts": 3,
        "first_failure": NOW,
        "last_failure": NOW + timedelta(seconds=5),
        "original_topic": "user.events",
    }
    failure = {"message": "down", "timestamp": NOW, "code": "TIMEOUT"}
    letter = DeadLetter(original_message='{"a":1}', error=failure, metadata={**history, "original_offset": 7})
    read = decode((), letter.to_wire())
    assert (read.payload, read.attempts, read.message) == (b'{"a":1}', 3, "down")
    assert (read.origin_topic, read.origin_offset) == ("user.events", 7)
    packed = DeadLetter(original_message=None, original_message_base64="AP8=", error=failure, metadata=history)
    assert decode((), packed.to_wire()).payload == b"\x00\xff"
    empty = DeadLetter(original_message=None, error=failure, metadata=history)
    assert decode((), empty.to_wire()).dialect == "json_envelope"
