"""A damaged batch in the log: found by the scan's checksums, and what lies behind it is not called lost."""

from __future__ import annotations

import pytest

from tests.unit.builder import World
from tests.unit.test_loss_rules import diagnose, ids, state_of, without

CODE = "loss-corrupt-record"
WIRE = "unreadable from offset 20 on: the checksum (CRC-32C) does not fit"
CLIENT = "unreadable from offset 20 on: MessageSet at offset 20 (7489 bytes) failed CRC32C check"


def cut(why: str, topic: str = "in") -> World:
    """The scan of a topic ended at offset 20 of 30."""
    world = World()
    world.flow(ids(30))
    world.commit()
    world.records = [r for r in world.records if r["topic"] != topic or r["offset"] < 20]
    world.scan[(topic, 0)] = {"next_offset": 20, "error": why, "truncated": True}
    return world


@pytest.mark.parametrize("why", [WIRE, CLIENT, "unreadable from offset 20 on: lz4 cannot decompress it"])
@pytest.mark.parametrize("topic", ["in", "out"])
def test_a_damaged_batch_is_found_wherever_it_is(why: str, topic: str) -> None:
    report = diagnose(cut(why, topic))
    assert (state_of(report, CODE), report.verdict) == ("confirmed", "critical")
    (found,) = [item for item in report.findings if item.code == CODE]
    assert (found.count, found.count_is_upper_bound, found.subject) == (10, True, {"topic": topic, "partition": 0})
    assert report.ledger["lost"] == 0


def stepped_over(topic: str = "in") -> World:
    """Offsets 20 to 24 of 30 are damaged."""
    world = World()
    world.flow(ids(30))
    world.commit()
    world.records = [r for r in world.records if r["topic"] != topic or not 20 <= r["offset"] < 25]
    world.scan[(topic, 0)] = {"error": "offsets 20 to 24 are damaged: the checksum (CRC-32C) does not fit"}
    return world


@pytest.mark.parametrize("topic", ["in", "out"])
def test_what_lies_behind_a_damaged_batch_is_in_the_ledger(topic: str) -> None:
    report = diagnose(stepped_over(topic))
    (found,) = [item for item in report.findings if item.code == CODE]
    assert (found.count, found.count_is_upper_bound, found.state) == (5, True, "confirmed")
    assert "offset 20 is damaged" in found.summary
    assert report.ledger["lost"] == 0
    assert report.ledger["delivered"] == 25
    assert report.ledger["unverifiable"] == (5 if topic == "out" else 0)
    assert report.facts["offsets"][topic]["damaged"] == 5


def test_only_what_was_acknowledged_in_the_damaged_batch_is_unverifiable() -> None:
    world = stepped_over()
    world.records = [r for r in world.records if r["topic"] == "in" or not 18 <= r["offset"] < 27]
    world.sent = [{"message_id": f"m{n}", "partition": 0, "offset": n, "acked": True} for n in range(30)]
    report = diagnose(world)
    assert (report.ledger["unverifiable"], report.ledger["lost"]) == (5, 4)


def test_a_scan_that_ended_for_another_reason_is_no_damage() -> None:
    report = diagnose(cut("topic in: access was denied"))
    assert (state_of(report, CODE), report.verdict) == ("ruled_out", "undecided")


def test_what_was_acknowledged_where_nothing_was_read_is_unverifiable() -> None:
    world = cut(WIRE)
    world.records = [r for r in world.records if r["topic"] == "in" or r["offset"] < 20]
    world.sent = [{"message_id": f"m{n}", "partition": 0, "offset": n, "acked": True} for n in range(30)]
    report = diagnose(world)
    assert (report.ledger["unverifiable"], report.ledger["lost"]) == (10, 0)
    assert state_of(report, CODE) == "confirmed"


def test_where_nothing_was_read_it_is_not_ruled_out() -> None:
    report = without(cut(WIRE), "records")
    assert CODE not in report.ruled_out
    assert report.verdict == "undecided"
