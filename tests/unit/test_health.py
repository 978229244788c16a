"""Health: each risk fires, stays silent just inside, and is undecided without its evidence; parts, changes and exports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa
import pytest

from tests.unit.builder import CONFIGS, NOW, NOW_MS, World
from workbench import notebook
from workbench.config import Config
from workbench.errors import UsageError
from workbench.evidence import Evidence
from workbench.problems import checking, health
from workbench.problems.health.parts import problems_of
from workbench.problems.health.scopes import scopes_from
from workbench.problems.parts import Part
from workbench.problems.scope import Scope
from workbench.report import Report
from workbench.services.exports import junit_xml, metrics_text
from workbench.sources.heads import HEADS_SCHEMA
from workbench.sources.topics import PARTITIONS_SCHEMA

HOUR_MS = 3_600_000


def fit(**changes: Any) -> dict[str, Any]:
    """A partition with three replicas in sync."""
    row = {"topic": "in", "partition": 0, "leader": 1, "leader_epoch": 0, "replicas": [1, 2, 3], "isr": [1, 2, 3]}
    return {**row, "topic_id": None, **changes}


def world(lost: int = 0) -> World:
    made = World()
    made.flow([f"m{n}" for n in range(20)], lost=[f"m{n}" for n in range(lost)])
    made.commit()
    return made


def part(number: int, problem: str, evidence: Evidence, integration: str = "demo", error: str | None = None) -> Part:
    return Part(f"p{number}", integration, problem, evidence, error)


def evidence(
    *parts: Part, rows: list[dict[str, Any]] | None = None, settings: dict[str, str] | None = None, **facts: Any
) -> Evidence:
    """Health evidence of a cluster of three brokers with safe settings, but for what is given."""
    safe = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false", "retention.ms": str(10 * HOUR_MS)}
    values = {**safe, "cleanup.policy": "delete", **(settings or {})}
    tables: dict[str, Any] = {
        "topics": pa.Table.from_pylist(rows or [fit()], PARTITIONS_SCHEMA),
        "configs": pa.Table.from_pylist(
            [{"topic": "in", "name": name, "value": value, "is_default": False} for name, value in values.items()],
            CONFIGS,
        ),
    }
    for one in parts:
        tables |= {f"{one.key}_{name}": table for name, table in one.evidence.tables.items()}
    known = {**Scope().facts(), "collected_at": NOW.isoformat(), "brokers": 3, "absent_dead_letters": [], **facts}
    return Evidence(tables, {**known, "parts": [one.to_fact() for one in parts]})


def states(found: Evidence) -> dict[str, str]:
    return {item.code: item.state for item in health.diagnose(found).findings}


def behind(age_ms: int) -> Evidence:
    row = {"topic": "in", "partition": 0, "offset": 5, "first_offset": 5, "timestamp_ms": NOW_MS - age_ms}
    heads = pa.Table.from_pylist([{"timestamp_type": "CreateTime", "error": None, **row}], HEADS_SCHEMA)
    lagging = Evidence({"heads": heads}, {"group": "g"})
    return replace(evidence(), tables={**evidence().tables, "p0_heads": heads}, facts={
        **evidence().facts, "parts": [part(0, "lag", lagging, error="not asked").to_fact()]})  # fmt: skip


def test_a_fit_cluster_has_no_finding() -> None:
    report = health.diagnose(evidence())
    assert (report.verdict, report.findings, report.undecided) == ("ok", (), ())


@pytest.mark.parametrize(
    ("code", "bad", "just_inside"),
    [
        ("health-offline-partition", {"rows": [fit(leader=None, isr=[])]}, {"rows": [fit(leader=3)]}),
        ("health-under-replicated", {"rows": [fit(isr=[1, 2])]}, {"rows": [fit(isr=[3, 1, 2])]}),
        (
            "health-unclean-election",
            {"settings": {"unclean.leader.election.enable": "true"}},
            {"settings": {"unclean.leader.election.enable": "false"}},
        ),
        (
            "health-weak-acknowledgement",
            {"settings": {"min.insync.replicas": "1"}},
            {"settings": {"min.insync.replicas": "2"}},
        ),
        ("health-dead-letter-missing", {"absent_dead_letters": ["gone"]}, {"absent_dead_letters": []}),
    ],
)
def test_a_risk_fires_and_is_silent_just_inside(code: str, bad: dict[str, Any], just_inside: dict[str, Any]) -> None:
    assert states(evidence(**bad)) == {code: "confirmed"}
    report = health.diagnose(evidence(**just_inside))
    assert report.findings == ()
    assert code in report.ruled_out


def test_one_replica_is_weak_among_several_brokers_only() -> None:
    alone = [fit(replicas=[1], isr=[1])]
    assert states(evidence(rows=alone)) == {"health-weak-acknowledgement": "confirmed"}
    report = health.diagnose(evidence(rows=alone, brokers=1, settings={"min.insync.replicas": "1"}))
    assert (report.findings, [note.code for note in report.notes]) == ((), ["single-broker"])


def test_a_broker_that_is_down_still_counts() -> None:
    rows = [fit(replicas=[1, 2], isr=[1]), fit(partition=1, replicas=[2], isr=[], leader=None)]
    assert "health-weak-acknowledgement" in states(evidence(rows=rows, brokers=1))


def test_a_producer_that_does_not_wait_is_weak() -> None:
    told = world()
    for acks, weak in (("1", True), ("all", False), ("-1", False)):
        told.facts["producer_config"] = {"acks": acks}
        found = states(evidence(part(0, "duplicates", told.evidence())))
        assert found == ({"health-weak-acknowledgement": "confirmed"} if weak else {})


def test_half_of_the_retention_time_is_too_much() -> None:
    assert states(behind(5 * HOUR_MS)) == {"health-retention-tight": "confirmed"}
    assert states(behind(5 * HOUR_MS - 1_000)) == {}


@pytest.mark.parametrize("table", ["topics", "configs"])
def test_risks_are_undecided_without_their_table(table: str) -> None:
    whole = evidence()
    tables = {name: rows for name, rows in whole.tables.items() if name != table}
    report = health.diagnose(replace(whole, tables=tables, missing={table: "Describe denied"}))
    needing = {item.code for item in health.RULES if table in item.needs}
    assert {item.code for item in report.undecided} == needing
    assert report.verdict == "undecided"


def mixed() -> Evidence:
    return evidence(
        part(0, "loss", world(lost=3).evidence()),
        part(1, "duplicates", world().evidence()),
        part(2, "loss", Evidence(facts=Scope(source="other").facts()), "broken", "topic other does not exist"),
        integrations=["demo", "broken"],
    )


def test_the_worst_check_comes_first_and_a_failed_one_is_undecided() -> None:
    report = health.diagnose(mixed())
    parts = report.sections["reports"]
    assert [(one["problem"], one["verdict"]) for one in parts] == [
        ("loss", "warning"), ("loss", "undecided"), ("duplicates", "ok")]  # fmt: skip
    assert parts[1]["undecided"] == [{"code": "ledger", "reason": "topic other does not exist"}]
    assert report.verdict == "warning"
    assert report.ledger == {"checks": 3, "critical": 0, "warning": 1, "undecided": 1, "info": 0, "ok": 1}


def test_a_part_says_what_the_check_alone_says() -> None:
    alone = checking.examine("loss", world(lost=3).evidence()).report.to_dict()
    nested = health.diagnose(mixed()).sections["reports"][0]
    assert nested == {**alone, "facts": {**alone["facts"], "integration": "demo"}}


def test_saved_evidence_gives_the_same_report(tmp_path: Path) -> None:
    examination = health.examine(mixed())
    checking.save(examination, tmp_path / "kept")
    loaded = checking.evidence_in(tmp_path / "kept")
    assert health.diagnose(loaded) == examination.report
    with pytest.raises(UsageError, match="takes no options"):
        checking.rejudged(loaded, {"isolation": "read_uncommitted"})


def test_changes_name_what_came_and_what_went(tmp_path: Path) -> None:
    before, now = health.diagnose(evidence(rows=[fit(leader=None, isr=[])])), health.diagnose(mixed())
    before.write(tmp_path / "report.json")
    rows = {(row["check"], row["what"]): (row["before"], row["now"]) for row in notebook.changes(now, str(tmp_path))}
    assert rows["all", "verdict"] == ("critical", "warning")
    assert rows["health", "health-offline-partition"] == ("confirmed, 1", None)
    assert rows["demo loss", "verdict"] == (None, "warning")
    assert notebook.changes(now, "") == []
    now.write(tmp_path / "report.json")
    assert notebook.changes(now, str(tmp_path / "report.json")) == []


def test_what_is_no_health_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("[1]")
    for path in (tmp_path, tmp_path / "absent.json"):
        with pytest.raises(UsageError, match="is no health report"):
            notebook.changes(Report("health", "ok", {}, sections={"reports": []}), str(path))


def test_junit_has_a_suite_a_check_and_a_case_a_rule() -> None:
    report = health.diagnose(mixed()).to_dict()
    suites = {suite.get("name"): suite for suite in ET.fromstring(junit_xml(report))}
    assert set(suites) == {"health", "loss.demo", "loss.broken", "duplicates.demo"}
    assert (suites["loss.demo"].get("failures"), suites["loss.broken"].get("errors")) == ("1", "1")
    assert suites["duplicates.demo"].get("failures") == suites["duplicates.demo"].get("errors") == "0"
    assert len(suites["health"]) == len(health.RULES)


def test_hostile_text_stays_text_in_the_exports() -> None:
    report = json.loads(json.dumps(health.diagnose(mixed()).to_dict()))
    said = 'a\x00b\x1b[31m</failure><x y="'
    report["reports"][0]["findings"][0]["summary"] = said
    report["reports"][0]["facts"]["integration"] = 'de"mo\n'
    failure = ET.fromstring(junit_xml(report)).find(".//failure")
    assert failure is not None
    assert failure.get("message") == said.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    assert 'integration="de\\"mo\\n"' in metrics_text(report)


def test_metrics_say_the_verdicts_and_the_ledgers() -> None:
    lines = metrics_text(health.diagnose(mixed()).to_dict()).splitlines()
    assert 'workbench_verdict{integration="",problem="health"} 3.0' in lines
    assert 'workbench_ledger_entries{disposition="lost",integration="demo",problem="loss"} 3.0' in lines
    at = next(line for line in lines if line.startswith('workbench_collected_timestamp_seconds{integration="",'))
    assert float(at.split()[-1]) == NOW_MS / 1000


def test_which_checks_a_scope_has_enough_for() -> None:
    assert problems_of(Scope(source="a")) == ("duplicates",)
    whole = Scope(source="a", sinks=("b",), group="g", dead_letters=("d",))
    assert problems_of(whole) == ("loss", "duplicates", "lag", "dlq")


def test_the_integrations_of_a_profile() -> None:
    flows = {
        "one": {"profile": "p", "source": "a"},
        "two": {"profile": "p", "source": "b"},
        "three": {"profile": "q", "source": "c"},
    }
    config = Config(integrations=flows)
    assert {name: scope.source for name, scope in scopes_from(config, "p").items()} == {"one": "a", "two": "b"}
    assert list(scopes_from(config, "p", config.integration("three"))) == ["three"]
    assert list(scopes_from(config, "p", source="x")) == [""]
    with pytest.raises(UsageError, match="no integration of profile 'r'"):
        scopes_from(config, "r")
