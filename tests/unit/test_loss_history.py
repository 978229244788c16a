"""Loss rules that the group's history decides: fires, stays silent just inside, undecided without it."""

from __future__ import annotations

from tests.unit.builder import NOW_MS, World
from tests.unit.test_loss_rules import diagnose, ids, state_of, without
from workbench.sources.commits.records import Generation, Member

SKIPPED, RESET = "loss-offset-skipped-forward", "loss-offset-reset-latest"
ADDED, EARLY = "loss-new-partition-skipped", "loss-commit-before-processing"
DROPPED = "loss-consumer-dropped"
SENT_MS = NOW_MS - 3_600_000  # record n of a partition was sent n ms later
LATER_MS = SENT_MS + 60_000
MEMBER = Member("a", "a", "/host", session_timeout_ms=10_000, assignment=(("in", (0,)),))


def flow(lost: range, count: int = 60) -> World:
    """Messages of which an unbroken run is lost, all committed past."""
    world = World()
    world.flow(ids(count), lost=[f"m{n}" for n in lost])
    world.commit()
    return world


def skipped(low: int = 20, high: int = 40, *, lost: range = range(20, 40), members: bool = True) -> World:
    world = flow(lost)
    if members:
        world.generation(LATER_MS, "a")
        world.committed_at(LATER_MS + 1, low)
    world.generation(LATER_MS + 2)
    world.committed_at(LATER_MS + 3, high)
    world.generation(LATER_MS + 4, "b")
    world.committed_at(LATER_MS + 5, 60)
    return world


def test_an_offset_set_forward_while_nobody_was_there() -> None:
    report = diagnose(skipped())
    assert state_of(report, SKIPPED) == "confirmed"
    assert report.causes[SKIPPED] == 20


def test_only_what_lies_in_the_jump_is_skipped() -> None:
    report = diagnose(skipped(lost=range(18, 42)))
    assert (report.causes[SKIPPED], report.causes[DROPPED]) == (20, 4)


def test_what_was_never_read_was_not_dropped_by_its_reader() -> None:
    world = skipped()
    for record in world.records:
        record["event_type"] = (
            "user.deleted" if record["message_id"] in {f"m{n}" for n in range(20, 40)} else "user.created"
        )
    report = diagnose(world)
    assert (report.causes[SKIPPED], report.causes["undetermined"]) == (20, 0)
    assert state_of(without(world, "commit_history"), "loss-consumer-dropped") == "confirmed"


def test_what_was_sent_again_and_arrived_leaves_the_rest_skipped() -> None:
    world = skipped()
    for number in (25, 26):
        world.put("in", f"m{number}")
        world.put("out", f"m{number}")
    world.commit()
    report = diagnose(world)
    assert (report.ledger["lost"], report.causes[SKIPPED]) == (18, 18)


def test_a_jump_over_what_was_delivered_is_no_skip() -> None:
    assert state_of(diagnose(skipped(10, 40)), SKIPPED) == "ruled_out"


def leapt(*commits: int, lost: range = range(20, 40)) -> World:
    """A member that lives all the time commits at these offsets; a run between delivered messages is lost."""
    world = flow(lost)
    world.generation(LATER_MS, "a")
    for number, offset in enumerate(commits, 1):
        world.committed_at(LATER_MS + number, offset)
    return world


def test_a_member_that_commits_after_so_many_messages_leapt() -> None:
    report = diagnose(leapt(5, 10, 15, 20, 45, 50, 55, 60))
    assert (state_of(report, SKIPPED), report.causes[SKIPPED]) == ("confirmed", 20)
    assert state_of(report, DROPPED) == "ruled_out"


def test_a_commit_of_another_size_may_pass_what_was_dropped() -> None:
    report = diagnose(leapt(5, 10, 15, 20, 44, 50, 55, 60))
    assert (state_of(report, SKIPPED), state_of(report, DROPPED)) == ("suspected", "suspected")
    assert report.causes["undetermined"] == 20


def test_few_commits_make_no_habit() -> None:
    assert state_of(diagnose(leapt(10, 20, 50, 60)), SKIPPED) == "suspected"


def test_a_member_that_committed_on_its_way_did_not_leap() -> None:
    report = diagnose(leapt(5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60))
    assert (state_of(report, SKIPPED), state_of(report, DROPPED)) == ("ruled_out", "suspected")
    assert report.causes[DROPPED] == 20


def test_what_nobody_read_up_to_its_end_is_no_leap() -> None:
    assert state_of(diagnose(leapt(5, 10, 15, 20, 60, lost=range(40, 60))), SKIPPED) == "ruled_out"


def test_a_group_that_never_had_members_may_only_assign() -> None:
    world = flow(range(40))
    world.committed_at(LATER_MS, 40)
    world.committed_at(LATER_MS + 1, 60)
    assert state_of(diagnose(world), SKIPPED) == "suspected"


def test_history_rules_are_undecided_without_the_history() -> None:
    report = without(skipped(), "commit_history")
    assert {state_of(report, code) for code in (SKIPPED, RESET, ADDED, EARLY)} == {"undecided"}


def begun(joined_ms: int, *, lost: range = range(30), delivered_from: int = 30) -> World:
    world = flow(lost)
    world.generation(joined_ms, "a")
    world.committed_at(LATER_MS, delivered_from + 5)
    world.committed_at(LATER_MS + 1, 60)
    return world


def test_a_group_that_began_at_the_end() -> None:
    report = diagnose(begun(SENT_MS + 30))
    assert state_of(report, RESET) == "confirmed"
    assert report.causes[RESET] == 30


def test_a_reader_that_delivered_something_from_before_did_not_begin_at_the_end() -> None:
    assert state_of(diagnose(begun(LATER_MS - 1)), RESET) == "ruled_out"


def test_a_reader_that_begins_at_the_beginning_was_not_reset() -> None:
    world = begun(SENT_MS + 30)
    world.facts["consumer_config"] = {"auto.offset.reset": "earliest"}
    assert state_of(diagnose(world), RESET) == "ruled_out"


def test_a_history_that_begins_too_late_leaves_it_suspected() -> None:
    world = begun(SENT_MS + 30)
    world.facts["history_since"] = "2023-11-14T22:13:20.000+00:00"
    assert state_of(diagnose(world), RESET) == "suspected"


def test_a_first_commit_below_what_was_there_is_no_beginning_at_the_end() -> None:
    world = flow(range(35))
    world.generation(SENT_MS + 45, "a")
    world.committed_at(LATER_MS, 35)
    world.committed_at(LATER_MS + 1, 60)
    assert state_of(diagnose(world), RESET) == "suspected"  # 35 to 45 were there, too, unless clocks differ
    world = flow(range(35))
    world.generation(SENT_MS + 40_000, "a")
    world.committed_at(SENT_MS + 40_001, 35)
    world.committed_at(SENT_MS + 40_002, 60)
    assert state_of(diagnose(world), RESET) == "ruled_out"


def test_an_offset_that_was_removed_in_between_is_a_reset_too() -> None:
    world = flow(range(20, 40))
    world.generation(SENT_MS, "a")
    world.committed_at(SENT_MS + 20, 20)
    world.generation(SENT_MS + 21)
    world.committed_at(SENT_MS + 22, None)
    world.generation(SENT_MS + 40, "b")
    world.committed_at(LATER_MS, 60)
    report = diagnose(world)
    assert (state_of(report, RESET), report.causes[RESET]) == ("confirmed", 20)


def added(assigned_ms: int) -> World:
    world = World()
    world.flow(ids(60))
    world.flow(ids(60, "n"), lost=[f"n{n}" for n in range(30)], partition=1)
    for partition in (0, 1):
        world.commit(partition=partition)
    world.generation(SENT_MS - 10, "a")
    world.committed_at(SENT_MS + 5, 5)
    world.generation(assigned_ms, "a", partitions=(0, 1))
    world.committed_at(LATER_MS, 35, partition=1)
    return world


def test_a_partition_that_was_added_and_begun_at_its_end() -> None:
    report = diagnose(added(SENT_MS + 30))
    assert (state_of(report, ADDED), report.causes[ADDED]) == ("confirmed", 30)


def test_an_added_partition_of_which_old_messages_arrived_was_not_skipped() -> None:
    assert state_of(diagnose(added(LATER_MS - 1)), ADDED) == "ruled_out"


def crashed(*generations: tuple[str, ...], committed: int = 40) -> World:
    world = flow(range(30, 40))
    for number, members in enumerate(generations):
        world.generation(LATER_MS + 10 * number, *members)
        if not number:
            world.committed_at(LATER_MS + 1, committed)
    world.committed_at(LATER_MS + 100, 60)
    return world


def test_a_run_right_below_the_commit_of_a_member_that_vanished() -> None:
    report = diagnose(crashed(("a",), ("b",)))
    assert (state_of(report, EARLY), report.causes[EARLY]) == ("confirmed", 10)


def test_a_member_that_left_in_order_did_not_crash() -> None:
    assert state_of(diagnose(crashed(("a",), (), ("b",))), EARLY) == "ruled_out"


def test_delivered_messages_between_the_run_and_the_commit_speak_against_it() -> None:
    assert state_of(diagnose(crashed(("a",), ("b",), committed=45)), EARLY) == "ruled_out"


def alone(silent_ms: int, *, waiting: bool = True) -> World:
    """The only member committed, went, and so much later the group was empty; ten messages below its commit are lost."""
    world = flow(range(30, 40))
    world.group_event(LATER_MS, Generation("g", 1, "range", LATER_MS, (MEMBER,)))
    world.committed_at(LATER_MS + 100, 40)
    world.generation(LATER_MS + 100 + silent_ms)
    world.generation(LATER_MS + 90_000, "b")
    world.committed_at(LATER_MS + 90_100, 60)
    if not waiting:
        for record in world.records:
            record["timestamp_ms"] += 90_000 if record["offset"] >= 40 else 0
    return world


def test_the_only_member_that_was_gone_one_session_after_its_last_commit_died() -> None:
    report = diagnose(alone(10_000))
    assert (state_of(report, EARLY), report.causes[EARLY]) == ("confirmed", 10)


def test_the_only_member_that_was_gone_at_once_left_in_order() -> None:
    assert state_of(diagnose(alone(1_000)), EARLY) == "ruled_out"


def test_a_longer_silence_is_suspected_while_something_waited() -> None:
    assert state_of(diagnose(alone(30_000)), EARLY) == "suspected"
    assert state_of(diagnose(alone(30_000, waiting=False)), EARLY) == "ruled_out"
