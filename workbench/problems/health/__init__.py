"""How healthy are the integrations? All checks of each, the risks of their cluster, and what Prometheus says, worst first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import NotFound, SourceError, UsageError
from workbench.evidence import Evidence
from workbench.problems import attribution, standing
from workbench.problems.examination import Examination, verdict_of
from workbench.problems.health.parts import collect_parts, judged
from workbench.problems.health.risks import (
    brokers,
    dead_letter_missing,
    offline_partition,
    retention_tight,
    unclean_election,
    under_replicated,
    weak_acknowledgement,
)
from workbench.problems.parts import parts_of
from workbench.problems.rules import Case, Rule
from workbench.report import VERDICT_ORDER, Note, Report, Undecided, worst

if TYPE_CHECKING:
    from workbench.problems.draft import Draft, Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

PROBLEM = "health"

RULES: tuple[Rule, ...] = (
    offline_partition,
    under_replicated,
    unclean_election,
    weak_acknowledgement,
    dead_letter_missing,
    retention_tight,
)


def collect(
    sources: Sources, scope: Scope | Mapping[str, Scope], *, work_dir: Path, progress: Progress | None = None
) -> Evidence:
    """Reads what every check of the integrations needs, and the state and settings of their topics.

    Args:
        sources: where to read.
        scope: one, or name of an integration -> its scope.
        work_dir: an empty private folder for the captures; must outlive the evidence unless that is saved.
        progress: called with what is being done.

    Returns:
        Evidence with tables ``topics``, ``configs``, ``signals`` (where Prometheus is configured), and those of each part under
        ``pN_`` (``facts["parts"]`` says which part that is). A part that could not be collected has its reason there.

    Raises:
        UsageError: there is no integration.
        SourceError: the cluster cannot be reached.

    Reads: what the checks read; Metadata, DescribeConfigs; Prometheus' query API.
    """
    from workbench.problems.draft import Draft, silent
    from workbench.problems.health.signals import read_signals
    from workbench.problems.scope import Scope

    scopes = {"": scope} if isinstance(scope, Scope) else dict(scope)
    if not scopes or not all(one.source for one in scopes.values()):
        raise UsageError("Health needs an integration.", hint="Name one of workbench.toml, or give --source TOPIC.")
    shown = any(one.show_ids for one in scopes.values())
    draft = Draft(facts={**Scope().facts(), "show_ids": shown, "integrations": list(scopes)})
    draft.facts["collected_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    say = progress or silent
    say("asking the cluster")
    _read_cluster(sources, scopes, draft)
    read_signals(sources, draft)
    collect_parts(sources, _without_absent(scopes, draft), draft, work_dir, say)
    return Evidence(draft.tables, draft.facts, draft.missing)


def _read_cluster(sources: Sources, scopes: Mapping[str, Scope], draft: Draft) -> None:
    info = sources.cluster.info()
    draft.facts |= {"cluster_id": info["cluster_id"], "brokers": len(info["brokers"])}
    names = sorted({topic for scope in scopes.values() for topic in scope.topics()})
    wanted = {topic for scope in scopes.values() for topic in scope.dead_letters}
    absent = [name for name in names if not _is_there(sources, name)]
    draft.facts["absent_dead_letters"] = [name for name in absent if name in wanted]
    present = [name for name in names if name not in absent]
    draft.take("topics", sources.cluster.topics(present))
    draft.take("configs", sources.cluster.topic_configs(present))


def _without_absent(scopes: Mapping[str, Scope], draft: Draft) -> dict[str, Scope]:
    """The scopes without dead-letter topics that do not exist: that is a finding of its own, and no check needs them."""
    absent = draft.facts["absent_dead_letters"]
    return {
        name: replace(scope, dead_letters=tuple(topic for topic in scope.dead_letters if topic not in absent))
        for name, scope in scopes.items()
    }


def _is_there(sources: Sources, topic: str) -> bool:
    try:
        sources.cluster.require_topics([topic])
    except NotFound:
        return False
    except SourceError:
        return True  # denied: it may be there
    return True


def diagnose(evidence: Evidence) -> Report:
    """The health report of some evidence; reads nothing else, not even the clock."""
    return examine(evidence).report


def examine(evidence: Evidence) -> Examination:
    """``diagnose``; the rows of the parts' ledgers are in the parts' own examinations, not here."""
    con = evidence.connect(memory_limit=standing.MEMORY_LIMIT)
    reports = sorted((judged(part) for part in parts_of(evidence)), key=_rank)
    collected_ms = standing.epoch_ms(evidence.facts["collected_at"])
    case = Case(con, evidence, _ledger(reports), 0, {"collected_ms": collected_ms})
    return Examination(_report(case, reports), con, standing.NO_ROWS, evidence)


def _rank(report: Report) -> tuple[int, str, str]:
    return -VERDICT_ORDER.index(report.verdict), report.facts["integration"], report.problem


def _ledger(reports: list[Report]) -> dict[str, int | None]:
    """How many checks ended in each verdict."""
    verdicts = [report.verdict for report in reports]
    return {"checks": len(reports), **{verdict: verdicts.count(verdict) for verdict in reversed(VERDICT_ORDER)}}


def _report(case: Case, reports: list[Report]) -> Report:
    rulings = {item: item.rule_on(case) for item in RULES}
    settled = attribution.Attribution({}, {}, {}, 0, 0, 0)
    findings = [found for item in rulings if (found := attribution.finding_of(item, rulings[item], settled))]
    findings.sort(key=lambda found: (-found.severity, found.code))
    ruled_out, undecided = attribution.outcome_lists(rulings, findings)
    own = verdict_of([found.severity.word for found in findings], undecided)
    return Report(
        problem=PROBLEM,
        verdict=worst([own, *(report.verdict for report in reports)]),
        ledger=case.ledger,
        findings=tuple(findings),
        ruled_out=ruled_out,
        undecided=(*_absent_signals(case), *undecided),
        notes=_notes(case),
        facts={name: value for name, value in case.facts.items() if name not in _OF_THE_PARTS},
        sections={"reports": [report.to_dict() for report in reports], "signals": _signals(case)},
    )


# Facts of a check that say nothing of all of them together; the parts have their own.
_OF_THE_PARTS = frozenset({"parts", "source", "sinks", "retry_topics", "dead_letters", "group"})


def _signals(case: Case) -> list[dict[str, Any]]:
    return case.rows("SELECT * FROM signals ORDER BY signal, subject NULLS FIRST") if case.has("signals") else []


def _absent_signals(case: Case) -> tuple[Undecided, ...]:
    why = case.evidence.missing.get("signals")
    return (Undecided("signals", f"Prometheus did not answer: {why}"),) if why else ()


def _notes(case: Case) -> tuple[Note, ...]:
    if brokers(case) == 1:
        return (Note("single-broker", "The cluster has one broker: there is no second copy of anything."),)
    return ()
