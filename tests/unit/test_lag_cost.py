"""What judging all groups costs: as much for each, however many there are."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from tests.unit.builder import COMMITTED, NOW, NOW_MS, OFFSETS
from workbench.evidence import Evidence
from workbench.problems import lag
from workbench.problems.scope import Scope
from workbench.report import Report
from workbench.sources.groups import GROUPS_SCHEMA, MEMBERS_SCHEMA
from workbench.sources.heads import HEADS_SCHEMA
from workbench.sources.times import OFFSETS_AT_SCHEMA
from workbench.tables import table_of

PARTITIONS = range(4)


def fleet(groups: int) -> Evidence:
    """Groups with a topic each, of which every other one lags on all its partitions."""
    names = [f"g{number}" for number in range(groups)]
    places = [(f"g{number}", f"t{number}", part, number % 2 == 0) for number in range(groups) for part in PARTITIONS]
    tables = {
        "groups": table_of(GROUPS_SCHEMA, [(name, "Stable", "classic", "range", 1, 1) for name in names]),
        "members": table_of(MEMBERS_SCHEMA, [(g, "m", "c", "/h", None, topic, part) for g, topic, part, _ in places]),
        "committed": table_of(
            COMMITTED, [(g, topic, part, 50 if behind else 100, None, "") for g, topic, part, behind in places]
        ),
        "offsets": table_of(OFFSETS, [(topic, part, 0, 100, 100, NOW_MS, 1, None) for _, topic, part, _ in places]),
        "cutoffs": table_of(OFFSETS_AT_SCHEMA, [(topic, part, 100) for _, topic, part, _ in places]),
        "heads": table_of(
            HEADS_SCHEMA,
            [(t, part, 50, 50, NOW_MS - 60_000, "CreateTime", None) for _, t, part, behind in places if behind],
        ),
    }
    facts = {
        "collected_at": NOW.isoformat(),
        "groups": names,
        "group_failures": {},
        "deleted_topics": [],
        "truncated": False,
    }
    return Evidence(tables, {**Scope(group=None, expected_latency_seconds=5.0).facts(), **facts})


def judged(evidence: Evidence) -> tuple[tuple[Report, ...], int]:
    """The reports, and how many instructions of the problem's own code they took: a count, not a time."""
    steps = 0

    def trace(frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal steps
        if "problems/lag" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return lag.diagnose_all(evidence), steps
    finally:
        sys.settrace(before)


def test_twice_the_groups_take_twice_the_work() -> None:
    few, of_few = judged(fleet(20))
    many, of_many = judged(fleet(80))
    assert (len(few), len(many)) == (20, 80)
    assert of_many < 4.2 * of_few


def test_each_group_is_told_its_own_part_alone() -> None:
    found = {report.facts["group"]: report for report in lag.diagnose_all(fleet(4))}
    assert [found[f"g{number}"].ledger["offsets_behind"] for number in range(4)] == [200, 0, 200, 0]
    assert [found[f"g{number}"].verdict for number in range(4)] == ["undecided", "ok", "undecided", "ok"]
    told = {group: {note.code for note in report.notes} for group, report in found.items()}
    assert ("timestamps" in told["g0"], "timestamps" in told["g1"]) == (True, False)
