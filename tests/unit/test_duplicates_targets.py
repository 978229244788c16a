"""Copies where the target, or the source, is a table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.unit.builder import NOW_MS, World
from tests.unit.test_duplicates_history import AGAIN_MS, CRASH, REWIND
from workbench.problems import duplicates
from workbench.report import Report
from workbench.sources.commits import rows_of

IDEMPOTENT, TWICE, ORDER = "duplicates-target-not-idempotent", "outbox-published-twice", "outbox-out-of-order"
TABLE = "sql:orders"


def into_table(*again: str, at_ms: int | None = AGAIN_MS, times: bool = True) -> World:
    """Thirty messages in a table, some of them again half an hour later."""
    world = World(sinks=[TABLE])
    world.store(TABLE)
    for number in range(30):
        world.put("in", f"m{number}")
        fields: dict[str, Any] = {"timestamp_type": None} | ({} if times else {"timestamp_ms": None})
        world.put(TABLE, f"m{number}", **fields)
    for one in again:
        world.put(TABLE, one, timestamp_ms=at_ms, timestamp_type=None)
    world.commit()
    return world


def steady(world: World) -> World:
    """The group's history: one member, commits that go forward. No other group reads the source."""
    world.other_commits = rows_of("other", [], whole=True)
    world.generation(NOW_MS - 3_700_000, "a")
    world.committed_at(NOW_MS - 3_500_000, 30)
    return world


def found(world: World) -> tuple[dict[str, str], Report]:
    report = duplicates.diagnose(world.evidence())
    return {item.code: item.state for item in report.findings}, report


def test_rows_that_one_reading_wrote_are_the_tables_fault() -> None:
    codes, report = found(steady(into_table("m3", "m4")))
    assert codes == {IDEMPOTENT: "confirmed"}
    assert report.causes[IDEMPOTENT] == 2


def test_rows_of_the_same_moment_count_too() -> None:
    world = steady(into_table())
    first = next(row for row in world.records if row["topic"] == TABLE and row["message_id"] == "m3")
    world.put(TABLE, "m3", timestamp_ms=first["timestamp_ms"], timestamp_type=None)
    assert found(world)[0] == {IDEMPOTENT: "confirmed"}


def test_rows_of_a_second_reading_are_not() -> None:
    world = into_table("m12", "m13")
    world.generation(AGAIN_MS - 500, "a")
    world.committed_at(AGAIN_MS - 400, 20)
    world.generation(AGAIN_MS - 300)
    world.committed_at(AGAIN_MS - 200, 10)
    world.generation(AGAIN_MS - 100, "b")
    world.committed_at(AGAIN_MS + 100, 30)
    assert found(world)[0] == {REWIND: "confirmed"}


def test_without_history_or_times_it_is_suspected_among_others() -> None:
    codes, report = found(into_table("m3"))
    assert codes == {IDEMPOTENT: "suspected", REWIND: "suspected", CRASH: "suspected"}
    assert report.causes["undetermined"] == 1
    codes, _ = found(steady(into_table("m3", at_ms=None, times=False)))
    assert codes[IDEMPOTENT] == "suspected"


def test_it_is_suspected_where_another_group_may_have_read_it_or_the_history_begins_later() -> None:
    world = steady(into_table("m3"))
    world.other_commits = None
    assert found(world)[0][IDEMPOTENT] == "suspected"
    world = steady(into_table("m3"))
    world.facts["history_since"] = datetime.fromtimestamp((NOW_MS - 3_000_000) / 1000, UTC).isoformat()
    assert found(world)[0][IDEMPOTENT] == "suspected"
    world.facts["history_since"] = datetime.fromtimestamp((NOW_MS - 3_700_000) / 1000, UTC).isoformat()
    assert found(world)[0] == {IDEMPOTENT: "confirmed"}


def test_what_the_source_holds_twice_is_not_the_tables_fault() -> None:
    world = steady(into_table())
    world.put("in", "m3")
    world.put(TABLE, "m3", timestamp_type=None)
    assert IDEMPOTENT not in found(world)[0]


def test_a_topic_is_no_table() -> None:
    world = World()
    world.flow([f"m{n}" for n in range(10)])
    world.put("out", "m3", timestamp_ms=AGAIN_MS)
    world.commit()
    assert IDEMPOTENT not in found(steady(world))[0]


# ---- outboxes ----


def outbox(*order: int, key: Any = b"k", **said: Any) -> World:
    """A table of rows 0, 1, 2, ... with these published in this order."""
    world = World(source=TABLE, sinks=["out"])
    world.store(TABLE, ordered=True, **said) if "ordered" not in said else world.store(TABLE, **said)
    for number in range(max(order) + 1):
        world.put(TABLE, f"m{number}", timestamp_type=None)
    for number in order:
        world.put("out", f"m{number}", key=key(number) if callable(key) else key)
    return world


def test_a_row_that_was_published_again() -> None:
    codes, report = found(outbox(0, 1, 2, 1, 2, 3))
    assert codes == {TWICE: "confirmed"}
    assert report.causes[TWICE] == 2


def test_a_redriven_copy_is_not_the_relays() -> None:
    world = outbox(0, 1, 2)
    world.put("out", "m1", key=b"k", replay_count=1)
    assert found(world)[0] == {"duplicates-redrive": "confirmed"}


def test_rows_of_a_key_behind_later_ones() -> None:
    codes, report = found(outbox(0, 2, 1, 3))
    assert codes == {ORDER: "confirmed"}
    (finding,) = report.findings
    assert (finding.count, finding.subject) == (1, {"topic": "out", "partition": 0})


def test_keys_have_an_order_each() -> None:
    assert found(outbox(0, 2, 1, 3, key=lambda number: b"even" if number % 2 == 0 else b"odd"))[0] == {}
    assert found(outbox(0, 2, 1, 3, key=None))[0] == {ORDER: "confirmed"}


def test_equal_times_are_not_judged_and_an_order_is_needed() -> None:
    world = outbox(0, 2, 1, 3, ordered=False)
    for row in world.records:
        row["timestamp_ms"] = NOW_MS - 3_600_000
    assert found(world)[0] == {}
    codes, report = found(outbox(0, 2, 1, 3, ordered=False, time=None))
    assert codes == {}
    assert ORDER in {item.code for item in report.undecided}
