"""Loss rules about what became of a group: fires, stays silent just inside, undecided without the history."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.unit.builder import NOW_MS, World
from tests.unit.test_loss_history import LATER_MS, SENT_MS, flow
from tests.unit.test_loss_rules import diagnose, found, ids, state_of, without
from workbench.sources.commits.records import Commit, Generation, GroupRemoved, Member

EXPIRED, RECREATED, RESET = "loss-offsets-expired", "loss-topic-recreated", "loss-offset-reset-latest"
SHARED, PASSED, DROPPED = "loss-shared-group", "loss-commit-past-unprocessed", "loss-consumer-dropped"
LEFT_MS = SENT_MS + 30
MINUTE_MS = 60_000


def forgotten(away_ms: int, minutes: str | None = "1") -> World:
    """The group read 30 messages and left; its offset was removed so much later, and it began behind the other 30."""
    world = flow(range(30, 60))
    world.flow(ids(5, "n"), timestamp_ms=LEFT_MS + away_ms + 9_000)
    world.commit()
    world.generation(SENT_MS - 10, "a")
    world.committed_at(LEFT_MS - 1, 30)
    world.generation(LEFT_MS)
    world.committed_at(LEFT_MS + away_ms, None)
    world.group_event(LEFT_MS + away_ms, GroupRemoved("g"))
    world.generation(LEFT_MS + away_ms + 5_000, "b")
    world.committed_at(LEFT_MS + away_ms + 10_000, 65)
    if minutes is not None:
        world.broker(offsets_retention_minutes=minutes)
    return world


def test_offsets_that_went_after_their_retention_expired() -> None:
    report = diagnose(forgotten(MINUTE_MS))
    assert (state_of(report, EXPIRED), report.causes[EXPIRED]) == ("confirmed", 30)
    assert state_of(report, RESET) == "ruled_out"


def test_offsets_that_went_sooner_were_deleted() -> None:
    report = diagnose(forgotten(2 * MINUTE_MS - 1, "2"))
    assert (state_of(report, EXPIRED), state_of(report, RESET)) == ("ruled_out", "confirmed")


def test_without_the_brokers_word_it_may_be_either() -> None:
    report = diagnose(forgotten(MINUTE_MS, None))
    assert (state_of(report, EXPIRED), state_of(report, RESET)) == ("suspected", "suspected")
    assert report.causes["undetermined"] == 30


def recreated(now_id: str = "new") -> World:
    """Ten messages of the former topic were read and ten were not; the group began the new one behind five."""
    world = World()
    for number in range(20):
        if number < 10:
            world.put("out", f"old{number}")
    world.flow(ids(5), lost=ids(5), timestamp_ms=LATER_MS)
    world.flow(ids(10, "n"), timestamp_ms=LATER_MS + 20)
    world.commit(15)
    world.sent = [
        {"message_id": f"old{n}", "partition": 0, "offset": n, "at_ms": SENT_MS + n, "acked": True} for n in range(20)
    ]
    member = Member("a", "a", "/h", assignment=(("in", (0,)),))
    world.group_event(SENT_MS, Generation("g", 1, "range", SENT_MS, (member,)))
    world.group_event(SENT_MS + 50, Commit("g", "in", 0, 10, -1, "", SENT_MS, "old"))
    world.group_event(SENT_MS + 60, Commit("g", "in", 0))
    world.group_event(SENT_MS + 70, Generation("g", 2, None, SENT_MS, ()))
    world.generation(LATER_MS + 1, "b")
    world.group_event(LATER_MS + 50, Commit("g", "in", 0, 15, -1, "", LATER_MS, now_id))
    world.topic_ids = {"in": now_id}
    world.broker(offsets_retention_minutes="10080")
    return world


def test_what_the_former_topic_held_went_with_it() -> None:
    report = diagnose(recreated())
    assert (state_of(report, RECREATED), report.causes[RECREATED]) == ("confirmed", 15)
    assert state_of(report, RESET) == "ruled_out"


def test_commits_of_one_topic_id_alone_are_no_new_topic() -> None:
    assert state_of(diagnose(recreated("old")), RECREATED) == "ruled_out"


def unlogged() -> World:
    world = recreated()
    world.sent = None
    world.records = [row for row in world.records if row["topic"] == "out" or row["offset"] >= 5]
    return world


def test_without_a_sent_log_nobody_knows_what_the_former_topic_held() -> None:
    report = diagnose(unlogged())
    assert (state_of(report, RECREATED), report.ledger["lost"]) == ("suspected", 0)
    finding = found(report, RECREATED)
    assert finding is not None
    assert "partition 0: 10" in finding.summary


def test_without_the_history_messages_that_only_the_sink_has_leave_it_undecided() -> None:
    assert state_of(without(unlogged(), "commit_history"), RECREATED) == "undecided"
    world = World()
    world.flow(ids(5))
    world.commit()
    assert state_of(diagnose(world), RECREATED) == "ruled_out"


def test_a_sent_log_of_which_all_arrived_says_that_nothing_went_with_the_topic() -> None:
    world = unlogged()
    world.sent = [
        {"message_id": f"old{n}", "partition": 0, "offset": n, "at_ms": SENT_MS + n, "acked": True} for n in range(10)
    ]
    assert state_of(diagnose(world), RECREATED) == "ruled_out"


def test_a_topic_made_again_before_the_window_is_not_looked_at() -> None:
    world = unlogged()
    world.facts["since"] = datetime.fromtimestamp((SENT_MS + 100) / 1000, UTC).isoformat()
    assert state_of(diagnose(world), RECREATED) == "ruled_out"


def shared(strange: str = "report-1", arrived: int = 0) -> World:
    """Two members with a partition each; of the second one's only so many messages arrive."""
    world = World()
    for number in range(20):
        for partition, name in ((0, "a"), (1, "b")):
            world.put("in", f"{name}{number}", partition, timestamp_ms=LATER_MS)
            if partition == 0 or number < arrived:
                world.put("out", f"{name}{number}", timestamp_ms=LATER_MS)
    world.commit(20)
    world.commit(20, partition=1)
    seats = [
        Member("m-1", "mailer-1", "/h", assignment=(("in", (0,)),)),
        Member("m-2", strange, "/i", assignment=(("in", (1,)),)),
    ]
    world.group_event(SENT_MS, Generation("g", 1, "range", SENT_MS, tuple(seats)))
    world.committed_at(LATER_MS + 1, 20)
    world.committed_at(LATER_MS + 1, 20, partition=1)
    return world


def test_a_stranger_in_the_group_keeps_what_it_reads() -> None:
    report = diagnose(shared())
    assert (state_of(report, SHARED), report.causes[SHARED]) == ("confirmed", 20)


def test_another_instance_of_the_same_program_is_only_suspected() -> None:
    assert state_of(diagnose(shared("mailer-2")), SHARED) == "suspected"


def test_a_member_of_whom_something_arrives_is_no_stranger() -> None:
    assert state_of(diagnose(shared(arrived=1)), SHARED) == "ruled_out"


def side_by_side(*, ordered: bool = False, log: bool = True) -> World:
    """Workers wrote neighbours in another order; 27 and 28 were begun and never ended, below the commit of 30."""
    world = World()
    for number in range(40):
        world.put("in", f"m{number}")
        if number not in (27, 28):
            at_ms = LATER_MS + 10 * (number if ordered else number ^ 1)
            world.put("out", f"m{number}", timestamp_ms=at_ms)
    world.commit()
    world.generation(LATER_MS, "a")
    world.committed_at(LATER_MS + 400, 30)
    world.generation(LATER_MS + 500)
    world.generation(LATER_MS + 600, "b")
    world.committed_at(LATER_MS + 900, 40)
    if log:
        where = [{"partition": 0, "offset": number, "level": "info"} for number in range(40)]
        world.service = [{**row, "event": "received"} for row in where]
        world.service += [{**row, "event": "processed"} for row in where if row["offset"] not in (27, 28)]
    return world


def test_begun_and_never_ended_among_workers_side_by_side() -> None:
    report = diagnose(side_by_side())
    assert (state_of(report, PASSED), report.causes[PASSED]) == ("confirmed", 2)


def test_without_a_log_workers_and_a_dropping_handler_look_alike() -> None:
    report = diagnose(side_by_side(log=False))
    assert (state_of(report, PASSED), state_of(report, DROPPED)) == ("suspected", "suspected")
    assert report.causes["undetermined"] == 2


def test_a_partition_handled_in_order_has_no_such_holes() -> None:
    assert state_of(diagnose(side_by_side(ordered=True, log=False)), PASSED) == "ruled_out"


def test_all_of_them_are_undecided_without_the_history() -> None:
    report = without(shared(), "commit_history")
    assert {state_of(report, code) for code in (EXPIRED, RECREATED, SHARED, PASSED)} == {"undecided"}
    assert NOW_MS > LATER_MS
