"""What is in the dead-letter queue, why, and what may be done with it?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError
from workbench.evidence import Evidence
from workbench.problems import attribution, standing
from workbench.problems.dlq import failures, queue
from workbench.problems.dlq.dispositions import LEDGER, create_dead, ledger
from workbench.problems.dlq.groups import groups
from workbench.problems.dlq.rules import context_missing, redrive_loop
from workbench.problems.examination import Examination, verdict_of
from workbench.problems.macros import define_macros
from workbench.problems.places import create_places
from workbench.problems.rules import Case, Rule, Ruling
from workbench.report import Note, Report

if TYPE_CHECKING:
    from workbench.problems.draft import Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

PROBLEM = "dlq"

RULES: tuple[Rule, ...] = (
    failures.poison_payload,
    failures.dependency_outage,
    failures.code_regression,
    failures.retry_budget,
    failures.validation_rejects,
    failures.single_key,
    failures.delivery_count,
    redrive_loop,
    queue.not_drained,
    queue.short_retention,
    queue.under_provisioned,
    queue.oversize_headers,
    context_missing,
)


def collect(sources: Sources, scope: Scope, *, work_dir: Path, progress: Progress | None = None) -> Evidence:
    """Reads what the dead-letter ledger and its rules need.

    Args:
        sources: where to read.
        scope: ``dead_letters``, or those whose names look like it; ``sinks`` tell what was processed anyway.
        work_dir: an empty private folder for the capture; must outlive the evidence unless that is saved.
        progress: called with what is being done.

    Returns:
        Evidence with tables ``records`` (dead letters and sinks), ``letters`` (each dead letter in the normal form),
        ``drains`` (how far groups have read the dead letters), ``homes`` (how their topics and those they come from are set
        up), ``offsets``, ``scan``, ``topics``, ``configs``.

    Raises:
        UsageError: no dead-letter topic is named, and none looks like one.
        SourceError: the cluster cannot be reached, or a topic does not exist.

    Reads:
        Metadata, DescribeConfigs, ListOffsets, Fetch, ListGroups, OffsetFetch.
    """
    from dataclasses import replace

    from workbench.problems.collecting import collect_evidence
    from workbench.problems.dlq.letters import read_letters
    from workbench.problems.draft import silent

    progress = progress or silent
    named = scope.dead_letters or _candidates(sources)
    narrowed = replace(scope, source="", retry_topics=(), dead_letters=named, group=None)
    topics = (*named, *scope.sink_topics())
    want = {"aborted", "event", "key"}  # where letters come from `letters` says, decoded once
    found = collect_evidence(sources, narrowed, topics=topics, want=want, work_dir=work_dir, progress=progress)
    scan = found.table("scan")
    if scan is None:
        return found
    progress("decoding the dead letters")
    rows = [row for row in scan.to_pylist() if row["topic"] in named]
    letters = read_letters(
        sources.cluster.client_settings(),
        rows,
        work_dir / "letters.parquet",
        dialects=scope.dialects,
        include_texts=scope.include_values,
    )
    around, missing = _around(sources, named, letters, scope.source)
    facts = {**found.facts, "origin": scope.source}
    return replace(
        found, tables={**found.tables, "letters": letters, **around}, missing={**found.missing, **missing}, facts=facts
    )


def _around(
    sources: Sources, named: tuple[str, ...], letters: Any, source: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """The tables ``drains`` and ``homes``, and why they may not be there."""
    from workbench.evidence import connect_duckdb
    from workbench.problems.dlq.surroundings import MOST_ORIGINS, read_drains, read_homes

    with connect_duckdb(list(letters.files)) as con:
        query = f"SELECT origin_topic FROM {letters.scan_sql()} WHERE origin_topic IS NOT NULL GROUP BY ALL ORDER BY count(*) DESC"
        origins = [row[0] for row in con.execute(f"{query} LIMIT {MOST_ORIGINS}").fetchall()]
    drains, why = read_drains(sources, named)
    homes, whys = read_homes(sources, named, [source, *origins] if source else origins)
    tables = {"homes": homes} | ({"drains": drains} if drains is not None else {})
    missing = {"drains": why} if why else {}
    gone = [topic for topic in whys if topic not in named]
    return tables, missing | {f"topic {topic}": whys[topic] for topic in gone[:5]}


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
    create_dead(con, evidence)
    counts = ledger(con)
    case = Case(con, evidence, counts, int(counts["dead_letters"] or 0))
    # Without dead letters nothing needs a cause; what may go wrong with the queue is asked all the same.
    rulings = {item: item.rule_on(case) if case.entries or item.kind == "risk" else Ruling() for item in RULES}
    return Examination(_report(case, rulings), con, _ROWS, evidence)


_ROWS = (
    'SELECT message_id, disposition, fingerprint AS cause, NULL::VARCHAR AS candidates, topic, partition, "offset",'
    ' make_timestamptz(at_ms * 1000) AS "at" FROM dead ORDER BY topic, partition, "offset"'
)


def _report(case: Case, rulings: dict[Rule, Ruling]) -> Report:
    nothing = attribution.Attribution({}, {}, {}, 0, 0, 0)
    findings = [found for item in rulings if (found := attribution.finding_of(item, rulings[item], nothing))]
    findings.sort(key=lambda found: (-found.severity, found.state, -found.count, found.code))
    ruled_out, undecided = attribution.outcome_lists(rulings, findings)
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
