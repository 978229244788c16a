"""What a broker refuses for the time of a record: only beyond the topic's limits, and neighbours with it."""

from __future__ import annotations

import pytest

from tests.unit.builder import NOW_MS, World
from tests.unit.test_loss_rules import HOUR_MS, diagnose, ids, state_of, without

CODE, IGNORED = "loss-rejected-timestamp", "loss-producer-error-ignored"
AT_MS = NOW_MS - HOUR_MS


def limited(*rows: dict[str, object], before_ms: int = 1_000, after_ms: int = 2_000, kind: str = "CreateTime") -> World:
    """Five delivered messages, then what the sent log says of others, on a topic with limits."""
    world = World()
    world.flow(ids(5))
    world.commit()
    told = [{"message_id": name, "at_ms": AT_MS, "acked": True} for name in ids(5)]
    world.sent = [*told, *({"message_id": f"x{n}", "at_ms": AT_MS, **row} for n, row in enumerate(rows))]
    world.config(
        "in",
        message_timestamp_type=kind,
        message_timestamp_before_max_ms=str(before_ms),
        message_timestamp_after_max_ms=str(after_ms),
    )
    return world


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"timestamp_ms": AT_MS - 1_001}, CODE),
        ({"timestamp_ms": AT_MS - 1_000}, IGNORED),
        ({"timestamp_ms": AT_MS + 2_001}, CODE),
        ({"timestamp_ms": AT_MS + 2_000}, IGNORED),
        ({"error": "Broker: Invalid timestamp"}, CODE),
        ({"error": "InvalidTimestampException: Timestamp 1 of message with offset 0 is out of range."}, CODE),
        ({"timestamp_ms": AT_MS - 1_001, "error": "Local: Message timed out"}, IGNORED),
    ],
)  # fmt: skip
def test_only_a_time_beyond_the_limits_is_the_cause(row: dict[str, object], code: str) -> None:
    report = diagnose(limited(row))
    assert [(item.code, item.state) for item in report.findings] == [(code, "confirmed")]
    assert report.causes[code] == 1


def test_neighbours_of_a_refused_record_go_with_it() -> None:
    world = limited(
        {}, {"timestamp_ms": 0}, {"acked": False, "error": "part of a batch which had one more invalid records"}
    )
    world.flow(["between"])
    world.commit()
    world.sent = [*(world.sent or []), {"message_id": "between", "at_ms": AT_MS}, {"message_id": "far", "at_ms": AT_MS}]
    report = diagnose(world)
    assert (report.causes[CODE], report.causes[IGNORED]) == (3, 1)


def test_records_of_that_kind_that_were_taken_rule_it_out() -> None:
    world = limited({"timestamp_ms": AT_MS - 5_000})
    world.put("in", "old", timestamp_ms=AT_MS - 5_000)
    world.put("out", "old")
    world.commit()
    world.sent = [*(world.sent or []), {"message_id": "old", "at_ms": AT_MS, "timestamp_ms": AT_MS - 5_000}]
    report = diagnose(world)
    assert state_of(report, CODE) == "ruled_out"
    assert state_of(report, IGNORED) == "confirmed"


def test_a_topic_that_stamps_records_itself_refuses_none() -> None:
    assert state_of(diagnose(limited({"timestamp_ms": 0}, kind="LogAppendTime")), CODE) == "ruled_out"


def test_one_time_a_message_is_only_suspected_where_it_is_out_of_line() -> None:
    report = diagnose(limited({"at_ms": AT_MS - 1_001}))
    assert [(item.code, item.state, item.candidates) for item in report.findings] == [
        (IGNORED, "suspected", 1),
        (CODE, "suspected", 1),
    ]
    assert state_of(diagnose(limited({"at_ms": AT_MS - 1_000})), CODE) == "ruled_out"


def test_it_is_undecided_without_the_topics_limits_or_a_sent_log() -> None:
    assert state_of(without(limited({"timestamp_ms": 0}), "configs"), CODE) == "undecided"
    world = World()
    world.flow(ids(30), lost=["m3"])
    world.commit()
    assert state_of(diagnose(world), CODE) == "undecided"
