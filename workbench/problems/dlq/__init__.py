"""What is in the dead-letter queue, why, and what may be done with it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError
from workbench.evidence import Evidence
from workbench.problems import attribution, standing
from workbench.problems.dlq.dispositions import LEDGER, create_dead, groups, ledger
from workbench.problems.dlq.rules import context_missing, redrive_loop
from workbench.problems.examination import Examination, verdict_of
from workbench.problems.macros import define_macros
from workbench.problems.places import create_places
from workbench.problems.rules import Case, Rule, Ruling
from workbench.report import Note, Report

if TYPE_CHECKING:
    from workbench.problems.collecting import Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

PROBLEM = "dlq"

RULES: tuple[Rule, ...] = (context_missing, redrive_loop)

_PAYLOADS = "needs payloads that failed beside payloads that passed"
_HISTORY = "needs the history of dead letters, deployments or dependencies"

# Causes and risks of the catalogue that no rule decides yet, and what each needs.
LATER = {
    "dlq-poison-payload": _PAYLOADS,
    "dlq-dependency-outage": _HISTORY,
    "dlq-code-regression": _HISTORY,
    "dlq-retry-budget": _HISTORY,
    "dlq-not-drained": "needs the history of the groups that read the dead letters",
    "dlq-short-retention": "needs the settings of the source beside those of the dead letters",
    "dlq-under-provisioned": "needs the settings of the source beside those of the dead letters",
    "dlq-oversize-headers": "needs the size limit of the dead-letter topic",
    "dlq-validation-rejects": _PAYLOADS,
    "dlq-single-key": "needs the keys of the traffic beside those of the dead letters",
    "dlq-delivery-count": "needs the state of share groups",
}


def collect(sources: Sources, scope: Scope, *, work_dir: Path, progress: Progress | None = None) -> Evidence:
    """Reads what the dead-letter ledger and its rules need.

    Args:
        sources: where to read.
        scope: ``dead_letters``, or those whose names look like it; ``sinks`` tell what was processed anyway.
        work_dir: an empty private folder for the capture; must outlive the evidence unless that is saved.
        progress: called with what is being done.

    Returns:
        Evidence with tables ``records`` (dead letters and sinks), ``letters`` (each dead letter in the normal form),
        ``offsets``, ``scan``, ``topics``, ``configs``.

    Raises:
        UsageError: no dead-letter topic is named, and none looks like one.
        SourceError: the cluster cannot be reached, or a topic does not exist.

    Reads:
        Metadata, DescribeConfigs, ListOffsets, Fetch.
    """
    from dataclasses import replace

    from workbench.problems.collecting import collect_evidence, silent
    from workbench.problems.dlq.letters import read_letters

    progress = progress or silent
    named = scope.dead_letters or _candidates(sources)
    narrowed = replace(scope, source="", retry_topics=(), dead_letters=named, group=None)
    topics = (*named, *scope.sinks)
    found = collect_evidence(
        sources, narrowed, topics=topics, want={"aborted", "event", "origin"}, work_dir=work_dir, progress=progress
    )
    scan = found.table("scan")
    if scan is None:
        return found
    progress("decoding the dead letters")
    rows = [row for row in scan.to_pylist() if row["topic"] in named]
    letters = read_letters(sources.cluster.client_settings(), rows, work_dir / "letters.parquet")
    return replace(found, tables={**found.tables, "letters": letters})


def _candidates(sources: Sources) -> tuple[str, ...]:
    from workbench.dialects import looks_like_dead_letter_topic

    names = {row["topic"] for row in sources.cluster.topics().rows()}
    found = tuple(sorted(name for name in names if looks_like_dead_letter_topic(name)))
    if not found:
        raise UsageError("No topic looks like a dead-letter topic.", hint="Name it with --dead-letters TOPIC.")
    return found


def diagnose(evidence: Evidence) -> Report:
    """The dead-letter report of some evidence; reads nothing else, not even the clock."""
    return examine(evidence).report


def examine(evidence: Evidence) -> Examination:
    """``diagnose`` with the ledger's rows at hand."""
    con = evidence.connect(memory_limit=standing.MEMORY_LIMIT)
    if "records" not in evidence.tables or "letters" not in evidence.tables:
        return Examination(standing.nothing_read(PROBLEM, LEDGER, evidence), con, standing.NO_ROWS, evidence)
    create_places(con, evidence)
    define_macros(con, evidence)
    create_dead(con)
    counts = ledger(con)
    case = Case(con, evidence, counts, int(counts["dead_letters"] or 0))
    rulings = {item: item.rule_on(case) if case.entries else Ruling() for item in RULES}
    return Examination(_report(case, rulings), con, _ROWS, evidence)


_ROWS = (
    'SELECT message_id, disposition, fingerprint AS cause, NULL::VARCHAR AS candidates, topic, partition, "offset",'
    ' make_timestamptz(at_ms * 1000) AS "at" FROM dead ORDER BY topic, partition, "offset"'
)


def _report(case: Case, rulings: dict[Rule, Ruling]) -> Report:
    nothing = attribution.Attribution({}, {}, {}, 0, 0, 0)
    findings = [found for item in rulings if (found := attribution.finding_of(item, rulings[item], nothing))]
    findings.sort(key=lambda found: (-found.severity, found.state, -found.count, found.code))
    ruled_out, undecided = attribution.outcome_lists(rulings, findings, LATER, open_entries=case.entries > 0)
    doubts = (*standing.doubts(case), *undecided)
    return Report(
        problem=PROBLEM,
        verdict=verdict_of([found.severity.word for found in findings], doubts),
        ledger=case.ledger,
        findings=tuple(findings),
        ruled_out=ruled_out,
        undecided=doubts,
        notes=tuple(_notes(case)),
        facts=standing.facts(case),
        sections={"groups": groups(case.con)},
    )


def _notes(case: Case) -> list[Note]:
    out = list(standing.notes(case))
    if case.entries and not case.facts["sinks"]:
        out.append(Note("no-sink", "No sink was named: whether a message was processed anyway is not known (--sink)."))
    guessed: list[dict[str, Any]] = case.rows("SELECT count(*) AS n FROM letters WHERE len(guessed) > 0")
    if guessed[0]["n"]:
        out.append(
            Note("guessed", f"{guessed[0]['n']:,} dead letters are of no known framework: some fields are guessed.")
        )
    return out
