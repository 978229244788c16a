"""Lag: the ledger balances, nulls say why, and the rule on members fires, stays silent, is undecided."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.builder import COMMITTED, NOW, NOW_MS, OFFSETS
from workbench.evidence import Evidence
from workbench.problems import lag
from workbench.problems.scope import Scope
from workbench.sources.groups import GROUPS_SCHEMA, MEMBERS_SCHEMA
from workbench.sources.heads import HEADS_SCHEMA
from workbench.sources.times import OFFSETS_AT_SCHEMA
from workbench.tables import table_of

LATENCY = 300.0
PARTS = ("readable", "control", "aborted", "compacted", "expired", "hidden")


def evidence(
    *, at=50, start=0, end=100, stable=None, head=50, head_ms=NOW_MS - 600_000, cutoff=90, state="Empty", members=0,
    kind="classic", without=(), groups=("g",), error=None, isolation="read_committed", **facts,
):  # fmt: skip
    """One partition of topic ``in``, the same for each group; ``at=None`` is a group without a commit."""
    rows = {
        "groups": (GROUPS_SCHEMA, [(g, state, kind, "range", 1, members) for g in groups]),
        "members": (MEMBERS_SCHEMA, [(g, "m", "c", "/h", None, "in", 0) for g in groups if members]),
        "committed": (COMMITTED, [(g, "in", 0, at, None, "") for g in groups if at is not None]),
        "offsets": (OFFSETS, [("in", 0, start, end, end if stable is None else stable, None, None, error)]),
        "cutoffs": (OFFSETS_AT_SCHEMA, [("in", 0, cutoff)]),
        "heads": (HEADS_SCHEMA, [("in", 0, at, head, head_ms, "CreateTime", None)] if at is not None else []),
    }
    tables = {name: table_of(schema, found) for name, (schema, found) in rows.items() if name not in without}
    scope = Scope(group=groups[0], expected_latency_seconds=LATENCY, isolation=isolation).facts()
    more = {"collected_at": NOW.isoformat(), "groups": list(groups), "group_failures": {}, "deleted_topics": []}
    return Evidence(tables, {**scope, **more, **facts}, dict.fromkeys(without, "Describe denied"))


def reasons(report):
    return " ".join(item.reason for item in report.undecided)


def test_a_group_without_members_that_lags_is_named():
    report = lag.diagnose(evidence())
    assert (report.verdict, report.causes) == ("warning", {"lag-no-members": 1, "undetermined": 0})
    found = report.findings[0]
    assert (found.code, found.state, found.subject["group"]) == ("lag-no-members", "suspected", "g")
    assert report.facts["partitions"][0]["time_lag_seconds"] == 600.0


def test_just_inside_the_expected_latency_nothing_lags():
    report = lag.diagnose(evidence(head_ms=NOW_MS - int(LATENCY * 1000)))
    assert (report.verdict, report.findings) == ("ok", ())
    assert report.ledger["offsets_behind"] == 50


def test_a_group_with_members_is_not_without_and_its_lag_stays_open():
    report = lag.diagnose(evidence(state="Stable", members=1))
    assert "lag-no-members" in report.ruled_out
    assert report.verdict == "undecided"
    assert report.causes == {"undetermined": 1}


def test_without_the_groups_the_rule_is_undecided():
    report = lag.diagnose(evidence(without=("groups",)))
    assert report.verdict == "undecided"
    assert "Describe denied" in next(item.reason for item in report.undecided if item.code == "lag-no-members")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"head_ms": 0}, "before 2000"),
        (
            {
                "at": None,
                "state": "Stable",
                "members": 1,
                "source": "in",
                "group_failures": {"in": "Describe denied on topic in"},
            },
            "Describe denied",
        ),
        ({"head_ms": 4_102_444_800_000}, "in the future"),
        ({"at": 120}, "truncated or made anew"),
        ({"start": 60}, "removed before"),
        ({"head": None, "stable": 50, "cutoff": 70}, "hidden by an open transaction"),
        ({"end": None, "error": "no leader"}, "no leader"),
        ({"at": None}, "neither commits nor members"),
        ({"at": None, "kind": "share"}, "not supported"),
    ],
)
def test_what_is_not_known_is_said_and_never_ok(changes, why):
    report = lag.diagnose(evidence(**changes))
    assert why in reasons(report)
    assert report.verdict in ("undecided", "warning")


@pytest.mark.parametrize(
    "changes",
    [
        {"at": 100},
        {"head": None},
        {"head": None, "stable": 95, "cutoff": 90},
        {"at": None, "state": "Stable", "members": 1},
        {"head_ms": NOW_MS + 1000},
    ],
    ids=["caught-up", "only-markers", "young-transaction", "just-starting", "clock-skew"],
)
def test_what_is_fine_is_ok_or_info(changes):
    report = lag.diagnose(evidence(**changes))
    assert (report.verdict in ("ok", "info"), report.findings) == (True, ())


def test_commits_on_deleted_topics_are_left_out_with_a_note():
    report = lag.diagnose(evidence(deleted_topics=["in"]))
    assert "deleted-topic" in {note.code for note in report.notes}
    assert report.findings == ()


def test_all_groups_come_worst_first_and_say_what_each_alone_would():
    both = evidence(groups=("b", "a"))
    reports = lag.diagnose_all(both)
    assert [report.facts["group"] for report in reports] == ["a", "b"]
    alone = lag.diagnose(evidence(groups=("a",)))
    assert (reports[0].ledger, reports[0].findings) == (alone.ledger, alone.findings)


def test_a_saved_case_leads_to_the_same_report(tmp_path):
    case = evidence()
    assert lag.diagnose(Evidence.load(case.save(tmp_path / "kept"))) == lag.diagnose(case)


offsets = st.integers(0, 60)


@settings(deadline=None, max_examples=25)
@given(
    at=offsets,
    start=offsets,
    end=offsets,
    stable=offsets,
    isolation=st.sampled_from(["read_committed", "read_uncommitted"]),
)
def test_the_ledger_balances_and_is_never_negative(at, start, end, stable, isolation):
    start, stable = min(start, end), min(stable, end)
    seen = evidence(at=at, start=start, end=end, stable=stable, isolation=isolation)
    counts = lag.diagnose(seen).ledger
    assert all(count is None or count >= 0 for count in counts.values())
    if counts["offsets_behind"] is None:
        assert at > end
        return
    known = sum(counts[name] or 0 for name in PARTS)
    if any(counts[name] is None for name in PARTS):
        assert known < counts["offsets_behind"]
    else:
        assert known == counts["offsets_behind"]
