"""Records that the real frameworks wrote, against the truth their planters wrote down."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.dead_letter_truth import decoded, differences, load

FOLDER = Path(__file__).parents[1] / "data" / "dead_letters"
FRAMEWORKS = ("connect", "spring_kafka", "spring_kafka_retry", "streams")
CASES = [
    pytest.param(framework, record, truth, id=f"{framework}-{record['topic']}-{record['partition']}-{record['offset']}")
    for framework in FRAMEWORKS
    for record, truth in load(FOLDER, framework)
]


@pytest.mark.parametrize(("framework", "record", "truth"), CASES)
def test_every_field_comes_out_right(framework, record, truth):
    assert differences(framework, record, truth) == []


@pytest.mark.parametrize(("record", "truth"), list(load(FOLDER, "share_group")))
def test_share_groups_of_a_real_broker(record, truth):
    """The broker keeps no header of the origin, and not its time."""
    letter = decoded(record)
    origin, failure = truth["origin"], truth["failures"][0]
    assert letter.dialect == "share_group"
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == tuple(origin.values())
    assert (letter.group, letter.attempts, letter.code) == (
        failure["group"],
        failure["deliveries"],
        "delivery-count-exceeded",
    )
    assert (letter.payload, letter.guessed) == (None, ())


def test_a_record_without_context_headers_is_not_marked():
    """Connect's default: nothing says that this is a dead letter, and nothing may be made up."""
    bare = [record for record, _ in load(FOLDER, "connect") if record["topic"] == "dlq.orders-bare-sink"]
    assert [decoded(record) for record in bare] == [None]


def test_the_real_reason_is_found_in_the_stack():
    """Connect's message for broken JSON ends in ": " and says nothing."""
    record = next(record for record, _ in load(FOLDER, "connect") if record["topic"] == "dlq.redrive-sink")
    letter = decoded(record)
    assert letter.message.endswith("error: ")
    assert letter.reason.startswith("Unexpected end-of-input")


def test_a_punctuator_has_no_origin():
    record = next(record for record, truth in load(FOLDER, "streams") if truth["origin"] is None)
    letter = decoded(record)
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset, letter.origin_timestamp_ms) == (
        None,
    ) * 4


def test_what_was_inferred_is_said():
    guessed = {framework: set() for framework in FRAMEWORKS}
    for framework in FRAMEWORKS:
        for record, _ in load(FOLDER, framework):
            letter = decoded(record)
            guessed[framework].update(letter.guessed if letter else ())
    assert guessed["connect"] == {"group"}
    assert guessed["streams"] == {"stage", "origin_timestamp_ms"}
    assert guessed["spring_kafka"] == {"first_failure_ms", "last_failure_ms"}


def test_retried_failures_keep_the_time_they_were_thrown_at():
    record, _ = next(iter(load(FOLDER, "spring_kafka_retry")))
    letter = decoded(record)
    assert letter.first_failure_ms == letter.last_failure_ms == 1795428391378
    assert letter.attempts == 1
