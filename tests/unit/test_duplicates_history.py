"""A rewind and a crash before the commit, told apart by the group's history."""

from __future__ import annotations

from tests.unit.builder import NOW_MS, World
from workbench.problems import duplicates
from workbench.report import Report

REWIND, CRASH = "duplicates-offset-rewind", "duplicates-crash-before-commit"
AGAIN_MS = NOW_MS - 1_800_000


def reread(low: int = 10, high: int = 20) -> World:
    """Thirty messages, of which some are written to the sink again half an hour later."""
    world = World()
    for number in range(30):
        world.put("in", f"m{number}")
        world.put("out", f"m{number}")
    for number in range(low, high):
        world.put("out", f"m{number}", timestamp_ms=AGAIN_MS)
    world.commit()
    return world


def rewound(*, members: tuple[str, ...] = (), low: int = 10, high: int = 20) -> World:
    world = reread(low, high)
    world.generation(AGAIN_MS - 500, "a")
    world.committed_at(AGAIN_MS - 400, 20)
    world.generation(AGAIN_MS - 300, *members)
    world.committed_at(AGAIN_MS - 200, 10)
    world.generation(AGAIN_MS - 100, "b")
    world.committed_at(AGAIN_MS + 100, 30)
    return world


def found(world: World) -> tuple[dict[str, str], Report]:
    report = duplicates.diagnose(world.evidence())
    return {item.code: item.state for item in report.findings}, report


def test_a_commit_set_back_while_nobody_was_there_is_a_rewind() -> None:
    codes, report = found(rewound())
    assert codes == {REWIND: "confirmed"}
    assert report.causes[REWIND] == 10


def test_what_lies_outside_the_rewound_range_is_not_its_doing() -> None:
    codes, report = found(rewound(low=8))
    assert codes == {REWIND: "confirmed", CRASH: "suspected"}
    assert (report.causes[REWIND], report.causes[CRASH]) == (10, 2)


def test_a_member_that_commits_further_back_is_suspected_with_a_crash() -> None:
    codes, report = found(rewound(members=("a",)))
    assert set(codes.values()) == {"suspected"}
    assert report.causes["undetermined"] == 10


def crashed(*between: tuple[str, ...]) -> World:
    world = reread()
    world.generation(AGAIN_MS - 500, "a")
    world.committed_at(AGAIN_MS - 400, 10)
    for members in between:
        world.generation(AGAIN_MS - 50, *members)
    world.committed_at(AGAIN_MS + 100, 30)
    return world


def test_a_member_replaced_without_a_word_crashed() -> None:
    codes, report = found(crashed(("b",)))
    assert codes == {CRASH: "confirmed"}
    assert report.causes[CRASH] == 10
    assert REWIND in report.ruled_out


def test_a_group_that_was_empty_in_between_leaves_it_suspected() -> None:
    codes, report = found(crashed((), ("b",)))
    assert codes == {CRASH: "suspected"}
    assert REWIND in report.ruled_out


def test_below_the_commit_a_crash_repeats_nothing() -> None:
    world = reread(5, 8)
    world.generation(AGAIN_MS - 500, "a")
    world.committed_at(AGAIN_MS - 400, 10)
    world.generation(AGAIN_MS - 50, "b")
    assert found(world)[0] == {CRASH: "suspected"}


def test_without_the_history_the_two_cannot_be_told_apart() -> None:
    codes, report = found(reread())
    assert codes == {REWIND: "suspected", CRASH: "suspected"}
    assert report.causes["undetermined"] == 10
