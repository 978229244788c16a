"""What a leader had and those after it had not: told apart by acks, settings, and what somebody had read."""

from __future__ import annotations

import pytest

from tests.unit.builder import NOW_MS, World
from tests.unit.test_loss_rules import HOUR_MS, diagnose, found, ids, state_of, without

FAILOVER, UNCLEAN, ACKS_ZERO = "loss-leader-failover", "loss-unclean-election", "loss-acks-zero"
FIRST_MS = NOW_MS - HOUR_MS  # of the record at offset 0; one a millisecond
CHANGE = 10


def replaced(acks: str | None = "1", unclean: str | None = "false", **row: object) -> World:
    """Twenty messages, all delivered; a second leader began at offset 10, and offset 12 was acknowledged for another one."""
    world = World(producer_config={} if acks is None else {"acks": acks})
    world.flow(ids(20))
    world.commit()
    world.epoch_ends(CHANGE, 20)
    told = [
        {"message_id": f"m{n}", "partition": 0, "offset": n, "at_ms": FIRST_MS + n, "acked": True} for n in range(20)
    ]
    gone = {"message_id": "x", "partition": 0, "offset": 12, "at_ms": FIRST_MS + CHANGE, "acked": True, **row}
    world.sent = [*told, gone]
    if unclean is not None:
        world.config("in", unclean_leader_election_enable=unclean)
    return world


@pytest.mark.parametrize(
    ("acks", "unclean", "expected"),
    [
        ("1", "false", {FAILOVER: "confirmed"}),
        (None, "false", {FAILOVER: "confirmed"}),
        ("all", "false", {FAILOVER: "suspected"}),
        ("1", "true", {FAILOVER: "suspected", UNCLEAN: "suspected"}),
        ("1", None, {FAILOVER: "suspected", UNCLEAN: "suspected"}),
        ("-1", "true", {UNCLEAN: "confirmed"}),
        ("all", None, {UNCLEAN: "suspected"}),
    ],
)
def test_acks_and_settings_say_which_leader_lost_it(
    acks: str | None, unclean: str | None, expected: dict[str, str]
) -> None:
    report = diagnose(replaced(acks, unclean))
    assert {item.code: item.state for item in report.findings} == expected
    assert report.ledger["lost"] == 1


@pytest.mark.parametrize(
    "row",
    [
        {"offset": CHANGE - 1},  # the later leader has all that lies below its beginning
        {"at_ms": FIRST_MS + CHANGE + 2_001},  # sent when the later leader had begun
        {"at_ms": FIRST_MS - 2_001},  # sent before the topic was there
        {"acked": False},
    ],
)
def test_only_what_was_acknowledged_above_the_change_and_before_it(row: dict[str, object]) -> None:
    report = diagnose(replaced(**row))
    assert (found(report, FAILOVER), found(report, UNCLEAN)) == (None, None)


def test_one_replica_or_one_leader_rules_a_failover_out() -> None:
    world = replaced()
    world.epochs = []
    assert state_of(diagnose(world), FAILOVER) == "ruled_out"


def test_compaction_leaves_nothing_at_an_offset_a_later_leader_leaves_another_message() -> None:
    for offset, expected in ((12, "confirmed"), (30, "ruled_out")):
        world = replaced(offset=offset)
        world.config("in", cleanup_policy="compact")
        assert state_of(diagnose(world), FAILOVER) == expected


def test_a_commit_above_the_end_of_its_epoch_proves_an_unclean_election() -> None:
    for offset, epoch, expected in (
        (CHANGE + 1, 0, "confirmed"),
        (CHANGE, 0, "ruled_out"),
        (CHANGE + 1, 1, "ruled_out"),
    ):
        world = replaced("1", "false")
        world.sent = None
        world.committed_at(NOW_MS, offset, epoch=epoch)
        report = diagnose(world)
        assert state_of(report, UNCLEAN) == expected
        if expected == "confirmed":
            finding = found(report, UNCLEAN)
            assert finding
            assert (finding.count, finding.count_is_upper_bound, report.verdict) == (1, True, "critical")


def test_a_message_that_was_read_before_it_was_cut_off_proves_it_for_its_neighbours() -> None:
    world = replaced("1", "true")
    world.put("out", "read")
    world.sent = [
        *(world.sent or []),
        {**(world.sent or [])[-1], "message_id": "read", "offset": 11, "at_ms": FIRST_MS},
    ]
    report = diagnose(world)
    assert [(item.code, item.state, item.count) for item in report.findings] == [(UNCLEAN, "confirmed", 1)]


def test_what_is_written_below_the_commit_after_the_cut_is_never_read() -> None:
    world = World()
    world.flow(ids(20), lost=ids(12)[10:])
    world.epoch_ends(CHANGE, 20)
    world.commit()
    world.committed_at(FIRST_MS + 5, 12, epoch=0)
    report = diagnose(world)
    assert report.causes[UNCLEAN] == 2
    assert state_of(report, UNCLEAN) == "confirmed"


def unheard(acks: str | None, at_ms: int, **row: object) -> World:
    world = replaced(acks)
    world.sent = [*(world.sent or [])[:-1], {"message_id": "x", "partition": 0, "at_ms": at_ms, **row}]
    return world


def test_acks_zero_is_confirmed_between_two_leaders_and_suspected_elsewhere() -> None:
    between = FIRST_MS + CHANGE
    for at_ms, expected in ((between + 2_000, "confirmed"), (between + 2_001, "suspected")):
        assert state_of(diagnose(unheard("0", at_ms)), ACKS_ZERO) == expected
    assert state_of(diagnose(unheard("all", between)), ACKS_ZERO) == "ruled_out"
    assert state_of(diagnose(unheard("0", between, error="timed out")), ACKS_ZERO) == "ruled_out"


def test_they_are_undecided_without_what_decides_them() -> None:
    assert state_of(diagnose(unheard(None, FIRST_MS)), ACKS_ZERO) == "undecided"
    for code in (FAILOVER, UNCLEAN):
        assert state_of(without(replaced(), "epochs"), code) == "undecided"
    assert state_of(without(replaced(), "sent_log"), FAILOVER) == "ruled_out"  # nothing is known to be missing then
