"""Retention that goes by old times of records: only where they were young by their writing."""

from __future__ import annotations

import pytest

from tests.unit.builder import NOW_MS, World
from tests.unit.test_loss_rules import HOUR_MS, diagnose, found, overtaken, state_of, without

CODE, RETENTION, DELETED = "loss-timestamp-retention", "loss-retention-overtook", "loss-records-deleted"
DAY_MS = 24 * HOUR_MS


def imported(written_ms: int, stamp_ms: int | None, retention_ms: int = DAY_MS) -> World:
    """The group committed 20, the log starts at 50; ten of the messages between are in the sent log."""
    world = overtaken(retention_ms)
    world.sent = [
        {
            "message_id": f"x{n}",
            "partition": 0,
            "offset": 20 + n,
            "at_ms": written_ms,
            "timestamp_ms": stamp_ms,
            "acked": True,
        }
        for n in range(10)
    ]
    return world


@pytest.mark.parametrize(
    ("written_ago_ms", "stamped_ago_ms", "code", "state"),
    [
        (DAY_MS - 1, DAY_MS, CODE, "confirmed"),
        (DAY_MS, DAY_MS, RETENTION, "confirmed"),  # old by its writing too
        (DAY_MS - 1, DAY_MS - 1, DELETED, "suspected"),  # nothing makes it old
    ],
)
def test_what_removed_a_record_goes_by_both_of_its_times(
    written_ago_ms: int, stamped_ago_ms: int, code: str, state: str
) -> None:
    report = diagnose(imported(NOW_MS - written_ago_ms, NOW_MS - stamped_ago_ms))
    assert [(item.code, item.state, item.count) for item in report.findings] == [(code, state, 10)]
    assert report.causes[code] == report.ledger["lost"] == 10


def test_with_one_time_a_message_those_before_it_say_when_it_was_written() -> None:
    world = imported(NOW_MS - 9 * DAY_MS, None)
    before = {"message_id": "kept", "partition": 0, "offset": 19, "at_ms": NOW_MS - HOUR_MS, "timestamp_ms": 1}
    world.sent = [before, *(world.sent or [])]
    report = diagnose(world)
    assert state_of(report, CODE) == "confirmed"
    assert report.causes[CODE] == 10


def test_it_is_undecided_where_the_records_own_times_are_not_known() -> None:
    assert state_of(diagnose(imported(NOW_MS - HOUR_MS, None)), CODE) == "undecided"
    assert state_of(without(imported(NOW_MS - HOUR_MS, 1), "committed"), CODE) == "undecided"


def test_records_kept_with_times_out_of_order_make_it_suspected() -> None:
    world = overtaken(DAY_MS, first_age_ms=DAY_MS)
    assert state_of(diagnose(world), RETENTION) == "confirmed"
    for age_ms in (0, DAY_MS):  # the second was older than retention allows when it was written
        world.put("in", f"later{age_ms}", timestamp_ms=NOW_MS - age_ms)
    report = diagnose(world)
    assert (state_of(report, RETENTION), state_of(report, CODE)) == ("suspected", "suspected")


def test_a_topic_that_stamps_records_itself_goes_by_their_writing() -> None:
    world = imported(NOW_MS - HOUR_MS, 1)
    world.config("in", message_timestamp_type="LogAppendTime")
    report = diagnose(world)
    assert state_of(report, CODE) == "ruled_out"
    assert found(report, RETENTION) is None
    assert state_of(report, DELETED) == "suspected"
