"""Dead letters keep the message, its origin and its whole history, and the workbench's own dialects read them."""

from __future__ import annotations

import json

import pytest

from workbench.dialects import decode, original_headers
from workbench.integration.deadletters import ATTEMPTS, FIRST_FAILURE, DeadLetterHandler, History
from workbench.integration.failures import PermanentError
from workbench.integration.records import Outgoing, Record

VALUE = b'{ "messageId": "m-1",  "text": "spaces stay" }'
HEADERS = (("message-id", b"m-1"), ("content-type", b"text/x"), ("trace", None))


def record(value: bytes | None = VALUE, headers=HEADERS) -> Record:
    return Record("user.events", 3, 42, 1_700_000_000_000, b"user-1", value, headers)


def thrown() -> PermanentError:
    try:
        raise PermanentError("The address is refused.")
    except PermanentError as error:
        return error


def letter(from_record: Record, history: History, **more) -> Outgoing:
    return DeadLetterHandler("user.events.dlq", group="user-processor", **more).letter(from_record, thrown(), history)


def test_the_dialects_of_the_workbench_read_it():
    written = letter(record(), History(3, 1_700_000_005_000))
    read = decode(written.all_headers(), written.value, "user.events.dlq")
    assert (read.origin_topic, read.origin_partition, read.origin_offset, read.group) == (
        "user.events",
        3,
        42,
        "user-processor",
    )
    assert (read.attempts, read.first_failure_ms) == (3, 1_700_000_005_000)
    assert read.payload == VALUE
    assert read.message == "The address is refused."
    assert "PermanentError" in read.stack
    assert written.key == b"user-1"
    assert dict(written.all_headers())["message-id"] == b"m-1"
    assert dict(written.all_headers())["content-type"] == b"application/json"


def test_the_stack_can_be_kept_back():
    assert b"Traceback" not in letter(record(), History().failed(), with_stack=False).value


@pytest.mark.parametrize("value", [b"\xff\xfe", None, b""])
def test_any_value_can_be_buried(value):
    envelope = json.loads(letter(record(value), History().failed()).value)
    assert envelope.get("originalMessage") == ("" if value == b"" else None)
    assert ("originalMessageBase64" in envelope) == (value == b"\xff\xfe")


def test_the_history_goes_on_after_a_redrive():
    """A redrive takes the origin off and leaves the counts."""
    first = letter(record(), History(3, 1_700_000_005_000))
    redriven = record(headers=tuple(original_headers(tuple(first.all_headers()))))
    again = letter(redriven, History(2, 1_700_000_900_000))
    envelope = json.loads(again.value)["metadata"]
    assert envelope["attempts"] == 5
    assert envelope["firstFailure"] == "2023-11-14T22:13:25.000Z"
    assert [name for name, _ in again.all_headers()].count(ATTEMPTS) == 1


def test_the_history_survives_as_metadata_of_a_commit():
    history = History().failed().failed()
    assert History.from_metadata(history.to_metadata()) == history
    assert history.attempts == 2
    assert History().to_metadata() == ""


@pytest.mark.parametrize(
    "text", [None, "", "somebody else's", "attempts=1", "attempts=-1;first=2", "attempts=1;first=2x"]
)
def test_foreign_metadata_is_no_history(text):
    assert History.from_metadata(text) == History()


def test_hostile_headers_are_no_history():
    hostile = ((ATTEMPTS, b"9" * 400), (FIRST_FAILURE, b"1"))
    assert History.from_headers(record(headers=hostile)) == History()
    assert History.from_headers(record(headers=((ATTEMPTS, None), (FIRST_FAILURE, b"x")))) == History()
