"""Were messages duplicated, or processed twice? Each extra copy gets its cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.errors import SourceError
from workbench.evidence import Evidence
from workbench.problems import attribution, standing
from workbench.problems.content import content_mismatch
from workbench.problems.duplicates import ledger
from workbench.problems.duplicates.mirror import create_came_back, mirror_loop
from workbench.problems.duplicates.outbox import out_of_order, published_twice
from workbench.problems.duplicates.reprocessing import create_reread
from workbench.problems.duplicates.rules import (
    application_resend,
    commit_failed,
    crash_before_commit,
    non_atomic_write,
    offset_rewind,
    partitioner_change,
    poll_interval_exceeded,
    producer_restart,
    producer_retry,
    read_uncommitted,
    rebalance,
    redrive,
    second_group,
)
from workbench.problems.duplicates.senders import create_senders
from workbench.problems.duplicates.targets import target_not_idempotent
from workbench.problems.examination import Examination, verdict_of
from workbench.problems.hops.route import is_route
from workbench.problems.macros import define_macros
from workbench.problems.partitioners import fits
from workbench.problems.places import create_places
from workbench.problems.rules import Case, Rule, Ruling
from workbench.problems.scope import require_source
from workbench.problems.stores import create_stores
from workbench.report import Note, Report, Severity
from workbench.stores import is_store
from workbench.tables import table_of

if TYPE_CHECKING:
    from workbench.problems.attribution import Attribution
    from workbench.problems.draft import Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

PROBLEM = "duplicates"

RULES: tuple[Rule, ...] = (
    application_resend,
    producer_retry,
    producer_restart,
    offset_rewind,
    crash_before_commit,
    poll_interval_exceeded,
    rebalance,
    commit_failed,
    second_group,
    non_atomic_write,
    redrive,
    partitioner_change,
    read_uncommitted,
    mirror_loop,
    content_mismatch,
    target_not_idempotent,
    published_twice,
    out_of_order,
)
# What can be said where the source is a table.
OF_STORES = (published_twice, out_of_order, redrive, producer_retry, read_uncommitted)
# These look at all messages, whether or not anything is there twice.
ALWAYS = (content_mismatch, out_of_order)

WANT = frozenset({"aborted", "key", "origin", "value_hash"})

PLACEMENT_SCHEMA = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("fits", pa.list_(pa.string()))]
)

# Keys whose copies lie in several partitions of one topic; found by hash first, since most topics have none.
_MOVED_KEYS = """
WITH suspects AS (
    SELECT topic, hash(message_id) AS h FROM records WHERE message_id IS NOT NULL
    GROUP BY topic, h HAVING min(partition) <> max(partition))
SELECT r.topic, r.partition, r.offset, r.key FROM records r SEMI JOIN suspects s ON s.topic = r.topic AND s.h = hash(r.message_id)
WHERE r.key IS NOT NULL AND r.message_id IS NOT NULL ORDER BY r.topic, r.partition, r.offset LIMIT 100000
"""


def collect(sources: Sources, scope: Scope, *, work_dir: Path, progress: Progress | None = None) -> Evidence:
    """Reads what the duplicates ledger and its rules need.

    Args:
        sources: where to read.
        scope: which places; sinks are optional here.
        work_dir: an empty private folder for the capture; must outlive the evidence unless that is saved.
        progress: called with what is being done.

    Returns:
        Evidence with tables ``records``, ``offsets``, ``scan``, ``configs``, ``topics``, ``key_placement`` (topic,
        partition, offset, fits: the partitioner/partition-count pairs that put the record's key where it is) and, where
        they apply, ``committed``, ``groups``, ``sent_log``, ``service_log``.

    Raises:
        UsageError: an option does not fit what the topics hold.
        SourceError: the cluster cannot be reached, or a topic does not exist.

    Reads:
        Metadata, DescribeConfigs, ListOffsets, OffsetFetch, DescribeGroups, Fetch.
    """
    from workbench.problems.collecting import collect_evidence  # clients load only where something is read
    from workbench.problems.hops.collecting import collect_route

    require_source(scope)
    if scope.through:
        return collect_route(collect, PROBLEM, sources, scope, work_dir=work_dir, progress=progress)
    want = WANT | ({"business_key"} if scope.business_key else set()) | ({"compare"} if scope.compare else set())
    topics = tuple(topic for topic in scope.topics() if topic not in scope.retry_topics)
    narrowed = replace(scope, retry_topics=())
    evidence = collect_evidence(sources, narrowed, topics=topics, want=want, work_dir=work_dir, progress=progress)
    if "records" not in evidence.tables:
        return evidence
    found = {"key_placement": _key_placement(evidence), **_other_groups(sources, scope)}
    return replace(
        evidence, tables={**evidence.tables, **found}, missing={**evidence.missing, **_why_not(scope, found)}
    )


_MOST_GROUPS = 8  # each costs a look at its partition of the coordinator's log


def _other_groups(sources: Sources, scope: Scope) -> dict[str, pa.Table]:
    """What other groups committed on the source, where the group of this check is known and its history may be read."""
    from workbench.problems.draft import OWN_GROUPS  # as above
    from workbench.sources.commits import COMMITS, commit_history

    if not scope.group or not scope.sinks:
        return {}
    try:
        reading = sources.cluster.groups_reading([scope.source]).rows()
        names = sorted({row["group"] for row in reading} - {scope.group})
        wanted = [name for name in names if not name.startswith(OWN_GROUPS)][:_MOST_GROUPS]
        settings = sources.cluster.client_settings()
        tables = [commit_history(settings, name).tables["commit_history"] for name in wanted]
    except SourceError:
        return {}
    return {"other_commits": pa.concat_tables(tables) if tables else table_of(COMMITS, [])}


def _why_not(scope: Scope, found: Mapping[str, pa.Table]) -> dict[str, str]:
    if "other_commits" in found or scope.source in scope.stores:
        return {}
    needs = "no group was given (--group)" if not scope.group else "no sink was given (--sink)"
    return {"other_commits": "the history of other groups cannot be read" if scope.group and scope.sinks else needs}


def _key_placement(evidence: Evidence) -> pa.Table:
    offsets = evidence.table("offsets")
    counts = Counter(offsets.column("topic").to_pylist() if offsets else [])
    with evidence.connect(memory_limit=standing.MEMORY_LIMIT) as con:
        keyed = con.execute("SELECT EXISTS (SELECT 1 FROM records WHERE key IS NOT NULL)").fetchone()
        rows = con.execute(_MOVED_KEYS).fetchall() if keyed and keyed[0] else []
    placed = ((topic, part, offset, fits(key, part, max(counts[topic], 1))) for topic, part, offset, key in rows)
    return table_of(PLACEMENT_SCHEMA, placed)


def diagnose(evidence: Evidence) -> Report:
    """The duplicates report of some evidence; reads nothing else, not even the clock."""
    return examine(evidence).report


def examine(evidence: Evidence) -> Examination:
    """``diagnose`` with the ledger's rows at hand."""
    if is_route(evidence.facts):
        from workbench.problems.hops.examining import examine_route

        return examine_route(PROBLEM, evidence, examine)
    con = evidence.connect(memory_limit=standing.MEMORY_LIMIT)
    if "records" not in evidence.tables:
        return Examination(standing.nothing_read(PROBLEM, ledger.LEDGER, evidence), con, standing.NO_ROWS, evidence)
    create_places(con, evidence)
    create_stores(con, evidence)
    define_macros(con, evidence)
    counts = ledger.build(con, evidence)
    case = Case(con, evidence, counts, int(counts["extra_copies"] or 0))
    create_senders(con, case)
    create_came_back(case)
    create_reread(case)
    rulings = {item: _rule_on(item, case) for item in RULES}
    settled = attribution.attribute(case, rulings)
    return Examination(_report(case, rulings, settled), con, ledger.ledger_rows_sql(), evidence)


def _rule_on(item: Rule, case: Case) -> Ruling:
    if is_store(case.facts["source"]) and item not in OF_STORES:
        return Ruling()
    return item.rule_on(case) if case.entries or item in ALWAYS else Ruling()


def _report(case: Case, rulings: Mapping[Rule, Ruling], settled: Attribution) -> Report:
    findings = [found for item in rulings if (found := attribution.finding_of(item, rulings[item], settled))]
    if settled.unexplained:
        what, count = "extra copies", settled.unexplained
        findings.append(attribution.unexplained_finding(count, what, rulings, Severity.WARNING))
    findings.sort(key=lambda found: (-found.severity, found.state, -found.count, found.code))
    ruled_out, undecided = attribution.outcome_lists(rulings, findings)
    doubts = standing.doubts(case)
    causes = {code: n for code, n in sorted(settled.counts.items()) if n}
    return Report(
        problem=PROBLEM,
        verdict=verdict_of([found.severity.word for found in findings], doubts),
        ledger=case.ledger,
        causes={**causes, "undetermined": settled.undetermined, "unexplained": settled.unexplained},
        findings=tuple(findings),
        ruled_out=ruled_out,
        undecided=(*doubts, *undecided),
        notes=(*standing.notes(case), *_business(case)),
        facts=_facts(case),
    )


_BUSINESS = """
SELECT count(*) AS events, sum(ids)::BIGINT AS messages FROM (
    SELECT business_key_hash, count(DISTINCT message_id) AS ids FROM visible
    WHERE place = 'source' AND business_key_hash IS NOT NULL GROUP BY ALL HAVING count(DISTINCT message_id) > 1)
"""


def _business(case: Case) -> list[Note]:
    if not case.facts["business_key"]:
        return []
    row = case.rows(_BUSINESS)[0]
    if not row["events"]:
        return []
    return [
        Note(
            "duplicates-business",
            f"{row['events']:,} business events came as {row['messages']:,} messages with different ids.",
        )
    ]


def _facts(case: Case) -> dict[str, Any]:
    per_place = case.rows(
        "SELECT p.topic, coalesce(sum(c.n - 1), 0)::BIGINT AS extra FROM places p LEFT JOIN copies c USING (topic)"
        " WHERE p.role IN ('source', 'sink') GROUP BY p.topic ORDER BY p.topic"
    )
    return {**standing.facts(case), "extra_copies_by_topic": {row["topic"]: row["extra"] for row in per_place}}
