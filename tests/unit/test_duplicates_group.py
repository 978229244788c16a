"""Duplicates that a group makes, told apart by its history: fires, stays silent just inside, undecided without it."""

from __future__ import annotations

import pyarrow as pa

from tests.unit.builder import NOW_MS, World
from workbench.problems import duplicates
from workbench.report import Report
from workbench.sources.commits.records import Assigned, Generation, Joined, Member
from workbench.sources.commits.tables import COMMITS

POLL, REBALANCE = "duplicates-poll-interval-exceeded", "duplicates-rebalance"
FAILED, SECOND, CRASH = "duplicates-commit-failed", "duplicates-second-group", "duplicates-crash-before-commit"
CONTEXT = "duplicates-non-atomic-write"
FIRST_MS = NOW_MS - 1_800_000
SESSION_MS, POLL_MS = 45_000, 300_000


def reread(written_ms: int = FIRST_MS + 1_000, again_ms: int = FIRST_MS + 900_000, step_ms: int = 0) -> World:
    """Thirty messages; the last ten are written to the sink at one time and again at another."""
    world = World()
    for number in range(30):
        world.put("in", f"m{number}", timestamp_ms=FIRST_MS)
        world.put("out", f"m{number}", timestamp_ms=FIRST_MS if number < 20 else written_ms + step_ms * (number - 20))
    for number in range(20, 30):
        world.put("out", f"m{number}", timestamp_ms=again_ms)
    world.commit()
    world.batch(world.records[1], is_transactional=False)
    return world


def seats(world: World, at_ms: int, *names: str) -> None:
    """A generation whose members hold the partition one after the other, the last one last."""
    made = tuple(
        Member(
            name,
            name.split("#")[0],
            "/h",
            [*name.split("@"), None][1],
            SESSION_MS,
            POLL_MS,
            (("in", (0,)),) if n == 0 else (),
        )
        for n, name in enumerate(names)
    )
    world.group_event(
        at_ms, Generation("g", len(world.history.generations) if world.history else 0, "range", at_ms, made)
    )


def found(world: World) -> tuple[dict[str, str], Report]:
    evidence = world.evidence()
    evidence.tables["other_commits"] = pa.Table.from_pylist([], COMMITS)
    report = duplicates.diagnose(evidence)
    return {item.code: item.state for item in report.findings}, report


def evicted(after_ms: int, *, back: bool = True) -> World:
    world = reread()
    seats(world, FIRST_MS - 100, "a")
    world.committed_at(FIRST_MS, 20)
    seats(world, FIRST_MS + after_ms)
    seats(world, FIRST_MS + 800_000, "a#2" if back else "b")
    world.committed_at(FIRST_MS + 900_100, 30)
    return world


def test_gone_one_poll_interval_after_the_last_commit_and_back() -> None:
    codes, report = found(evicted(POLL_MS))
    assert codes == {POLL: "confirmed", CONTEXT: "confirmed"}
    assert report.causes[POLL] == 10
    assert report.verdict == "warning"


def test_gone_sooner_or_for_good_is_no_eviction() -> None:
    for world in (evicted(POLL_MS // 2), evicted(POLL_MS, back=False)):
        assert found(world)[0] == {CRASH: "suspected", CONTEXT: "confirmed"}


def joined() -> World:
    world = reread()
    seats(world, FIRST_MS - 100, "a")
    world.committed_at(FIRST_MS, 20)
    seats(world, FIRST_MS + 2_000, "b", "a")
    world.committed_at(FIRST_MS + 900_100, 30)
    return world


def test_a_member_that_joins_takes_work_that_was_not_committed() -> None:
    codes, report = found(joined())
    assert (codes, report.causes[REBALANCE]) == ({REBALANCE: "confirmed", CONTEXT: "confirmed"}, 10)


def left(after_ms: int) -> World:
    world = reread()
    seats(world, FIRST_MS - 100, "a", "b")
    world.committed_at(FIRST_MS, 20)
    seats(world, FIRST_MS + 1_000 + after_ms, "b")
    world.committed_at(FIRST_MS + 900_100, 30)
    return world


def test_a_member_that_leaves_in_order_is_a_rebalance_one_that_times_out_a_crash() -> None:
    assert found(left(3_000))[0] == {REBALANCE: "confirmed", CONTEXT: "confirmed"}
    assert found(left(SESSION_MS))[0] == {CRASH: "confirmed", CONTEXT: "confirmed"}


def emptied(after_ms: int) -> World:
    """The only member is gone some time after it wrote; another one comes much later."""
    world = reread()
    seats(world, FIRST_MS - 100, "a")
    world.committed_at(FIRST_MS, 20)
    seats(world, FIRST_MS + 1_000 + after_ms)
    seats(world, FIRST_MS + 800_000, "b")
    world.committed_at(FIRST_MS + 900_100, 30)
    return world


def test_a_group_that_empties_one_session_timeout_after_its_last_write_was_killed() -> None:
    assert found(emptied(SESSION_MS - 2_000))[0] == {CRASH: "confirmed", CONTEXT: "confirmed"}
    for after_ms in (3_000, SESSION_MS // 2, SESSION_MS + 10_000):
        assert found(emptied(after_ms))[0] == {CRASH: "suspected", CONTEXT: "confirmed"}


def test_a_change_between_the_two_writings_counts_before_one_that_may_be_off_by_the_clocks() -> None:
    world = reread()
    seats(world, FIRST_MS - 100, "a")
    world.committed_at(FIRST_MS, 20)
    seats(world, FIRST_MS + 100)
    seats(world, FIRST_MS + 200, "b")
    seats(world, FIRST_MS + 1_000 + SESSION_MS, "c")
    world.committed_at(FIRST_MS + 900_100, 30)
    assert found(world)[0] == {CRASH: "confirmed", CONTEXT: "confirmed"}


def replaced(instance: str) -> World:
    """A static member is gone at once after its last write, another one has its place."""
    world = reread()
    seats(world, FIRST_MS - 100, "a@one")
    world.committed_at(FIRST_MS, 20)
    seats(world, FIRST_MS + 1_500, f"b@{instance}")
    world.committed_at(FIRST_MS + 900_100, 30)
    return world


def test_a_static_member_whose_next_process_took_its_place_ended_before_its_commit() -> None:
    assert found(replaced("one"))[0] == {CRASH: "confirmed", CONTEXT: "confirmed"}
    assert found(replaced("two"))[0] == {REBALANCE: "confirmed", CONTEXT: "confirmed"}


def succeeded(*, gives_back: bool) -> World:
    """KIP-848: another member joins at once; the first one gives its partition back, or is silent until it is removed."""
    world = reread()
    first, second = (Member(name, name, "/h", None, None, POLL_MS) for name in "ab")
    held, nothing = (("in", (0,)),), (("in", ()),)
    world.group_event(FIRST_MS - 200, Joined("g", first))
    world.group_event(FIRST_MS - 100, Assigned("g", "a", held))
    world.committed_at(FIRST_MS, 20)
    world.group_event(FIRST_MS + 1_500, Joined("g", second))
    world.group_event(FIRST_MS + 1_600, Assigned("g", "b", nothing))
    if gives_back:
        world.group_event(FIRST_MS + 2_000, Assigned("g", "a", nothing))
        world.group_event(FIRST_MS + 2_100, Assigned("g", "b", held))
    world.group_event(FIRST_MS + 1_000 + SESSION_MS, Joined("g", first, left=True))
    world.group_event(FIRST_MS + 1_100 + SESSION_MS, Assigned("g", "b", held))
    world.committed_at(FIRST_MS + 900_100, 30)
    world.broker(group_consumer_session_timeout_ms=str(SESSION_MS))
    return world


def test_a_dead_member_of_a_kip_848_group_gave_nothing_back_to_the_one_that_joined() -> None:
    assert found(succeeded(gives_back=False))[0] == {CRASH: "confirmed", CONTEXT: "confirmed"}
    assert found(succeeded(gives_back=True))[0] == {REBALANCE: "confirmed", CONTEXT: "confirmed"}


def stopped(step_ms: int, error: str | None = None) -> World:
    """Commits every 200 ms, then none while ten messages are written; then the group is left and begins again."""
    world = reread(step_ms=step_ms)
    seats(world, FIRST_MS - 2_000, "a")
    for number in range(1, 6):
        world.committed_at(FIRST_MS - 1_000 + 200 * number, 4 * number)
    seats(world, FIRST_MS + 1_000 + 10 * step_ms)
    seats(world, FIRST_MS + 100_000, "b")
    world.committed_at(FIRST_MS + 900_100, 30)
    if error:
        world.service = [{"at_ms": FIRST_MS + 1_100, "level": "error", "event": "commit failed", "error": error}]
    return world


def test_a_long_time_of_writing_without_commits_means_they_failed() -> None:
    assert found(stopped(400))[0] == {FAILED: "confirmed", CONTEXT: "confirmed"}


def test_a_short_one_may_be_a_crash_unless_the_log_says_otherwise() -> None:
    assert found(stopped(20))[0] == {CRASH: "suspected", CONTEXT: "confirmed"}
    assert found(stopped(20, "ILLEGAL_GENERATION"))[0] == {FAILED: "confirmed", CONTEXT: "confirmed"}


def test_failed_commits_are_undecided_without_the_log_that_would_hold_them() -> None:
    world = stopped(20)
    assert FAILED in {item.code for item in found(world)[1].undecided}
    world.service = [{"at_ms": FIRST_MS + 1_100, "level": "info", "event": "started"}]
    assert FAILED in found(world)[1].ruled_out


def twice(other_ms: int) -> Report:
    """One passage of the group itself, and one of another group that committed at some time."""
    world = reread()
    seats(world, FIRST_MS - 100, "a")
    world.committed_at(FIRST_MS + 500, 20)
    world.committed_at(FIRST_MS + 1_500, 30)
    evidence = world.evidence()
    row = {"log_offset": 1, "at_ms": other_ms, "group": "blue", "topic": "in", "partition": 0, "committed_offset": 30}
    rows = [{**row, "log_offset": 0, "at_ms": FIRST_MS + 890_000, "committed_offset": 20}, row]
    evidence.tables["other_commits"] = pa.Table.from_pylist([{**one, "removed": False} for one in rows], COMMITS)
    return duplicates.diagnose(evidence)


def test_another_group_s_passage_at_the_time_of_the_copy() -> None:
    report = twice(FIRST_MS + 900_500)
    assert {item.code: item.state for item in report.findings} == {SECOND: "confirmed"}
    assert (report.causes[SECOND], report.findings[0].count) == (10, 10)


def test_another_group_at_another_time_explains_nothing() -> None:
    report = twice(FIRST_MS + 895_000)
    assert {item.code: item.state for item in report.findings} == {CRASH: "suspected"}
    assert SECOND in report.ruled_out


def test_undecided_without_the_history() -> None:
    report = duplicates.diagnose(reread().evidence())
    assert {POLL, REBALANCE, FAILED, SECOND, CONTEXT} <= {item.code for item in report.undecided}
