"""Were messages lost? Each due message gets one disposition; each lost one its cause."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError
from workbench.evidence import Evidence
from workbench.problems import attribution, standing
from workbench.problems.examination import Examination, verdict_of
from workbench.problems.history import create_history
from workbench.problems.hops.route import is_route
from workbench.problems.loss import ledger
from workbench.problems.loss.backdated import timestamp_retention
from workbench.problems.loss.consumer import consumer_dropped
from workbench.problems.loss.damaged import corrupt_record, is_damaged
from workbench.problems.loss.entries import create_entries
from workbench.problems.loss.leaders import acks_zero, leader_failover, unclean_election
from workbench.problems.loss.lineage import create_lineage
from workbench.problems.loss.mirror import is_mirrored, mirror_doubts, mirror_gap
from workbench.problems.loss.offsets import (
    commit_before_processing,
    create_former,
    new_partition_skipped,
    offsets_expired,
    reset_latest,
    sink_knows_more,
    skipped_forward,
    topic_recreated,
)
from workbench.problems.loss.outbox import outbox_unpublished
from workbench.problems.loss.producer import error_ignored, queue_full
from workbench.problems.loss.readers import commit_past_unprocessed, shared_group
from workbench.problems.loss.refused import oversize, rejected_timestamp
from workbench.problems.loss.replicas import min_isr_too_low
from workbench.problems.loss.resumed import create_stood, without_history
from workbench.problems.loss.retention import (
    compacted,
    overtaken,
    records_deleted,
    retention_overtook,
)
from workbench.problems.loss.targets import target_deleted, target_rejected
from workbench.problems.loss.transactions import aborted_transaction, hanging_transaction
from workbench.problems.loss.unwritten import dead_letter_write_failed
from workbench.problems.macros import define_macros
from workbench.problems.places import create_places
from workbench.problems.rules import Case, Rule, Ruling
from workbench.problems.scope import require_source
from workbench.problems.stores import create_stores
from workbench.report import Note, Report, Undecided
from workbench.stores import is_store

if TYPE_CHECKING:
    import duckdb

    from workbench.problems.attribution import Attribution
    from workbench.problems.draft import Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

PROBLEM = "loss"
RULES: tuple[Rule, ...] = (
    retention_overtook,
    records_deleted,
    timestamp_retention,
    compacted,
    corrupt_record,
    aborted_transaction,
    hanging_transaction,
    error_ignored,
    queue_full,
    oversize,
    rejected_timestamp,
    acks_zero,
    leader_failover,
    unclean_election,
    min_isr_too_low,
    consumer_dropped,
    dead_letter_write_failed,
    skipped_forward,
    reset_latest,
    new_partition_skipped,
    offsets_expired,
    topic_recreated,
    commit_before_processing,
    commit_past_unprocessed,
    shared_group,
    mirror_gap,
    target_rejected,
    target_deleted,
    outbox_unpublished,
)
# What can be said of a source that is a table: its rows are handed over, or not.
OF_STORES = (outbox_unpublished, corrupt_record)
# What can be said where a mirror reads the source, which commits for no group.
OF_MIRRORS = (
    mirror_gap,
    corrupt_record,
    aborted_transaction,
    hanging_transaction,
    compacted,
    error_ignored,
    queue_full,
    oversize,
    rejected_timestamp,
    acks_zero,
    leader_failover,
    min_isr_too_low,
)

# Optional columns that a capture for this problem holds beside coordinates, times and ids.
WANT = frozenset({"aborted", "event", "key", "origin"})


def collect(sources: Sources, scope: Scope, *, work_dir: Path, progress: Progress | None = None) -> Evidence:
    """Reads what the loss ledger and its rules need.

    Args:
        sources: where to read.
        scope: what is due, where, since when.
        work_dir: an empty private folder for the capture; must outlive the evidence unless that is saved.
        progress: called with what is being done.

    Returns:
        Evidence with tables ``records``, ``offsets``, ``scan``, ``configs``, ``topics`` and, where they apply,
        ``committed``, ``groups``, ``sent_log``, ``service_log``, ``open_transactions``, ``epochs``.

    Raises:
        UsageError: no sink is named, or an option does not fit what the topics hold.
        SourceError: the cluster cannot be reached, or a topic does not exist.

    Reads:
        Metadata, DescribeConfigs, ListOffsets, OffsetFetch, DescribeGroups, Fetch, DescribeProducers, OffsetForLeaderEpoch.
    """
    from workbench.problems.collecting import collect_evidence  # clients load only where something is read
    from workbench.problems.hops.collecting import collect_route

    require_source(scope)
    if scope.through:
        return collect_route(collect, PROBLEM, sources, scope, work_dir=work_dir, progress=progress)
    if not scope.sinks:
        raise UsageError(
            "Loss needs a sink to compare with.", hint="Add --sink TOPIC; `workbench discover` proposes one."
        )
    if len(scope.sinks) > ledger.MAX_SINKS:
        raise UsageError(f"At most {ledger.MAX_SINKS} sinks fit one check.", hint="Check them in groups.")
    found = collect_evidence(sources, scope, topics=scope.topics(), want=WANT, work_dir=work_dir, progress=progress)
    return _with_epochs(sources, found)


def _with_epochs(sources: Sources, evidence: Evidence) -> Evidence:
    """The evidence with the leader epochs of the source: where each of its leaders began to write."""
    source = evidence.facts["source"]
    if source in evidence.missing or is_store(source):
        return evidence
    found = sources.cluster.epochs([source])
    tables, missing = dict(evidence.tables), dict(evidence.missing)
    if found.failures:
        missing["epochs"] = found.why_incomplete()
    else:
        tables["epochs"] = found.table
    return Evidence(tables, evidence.facts, missing)


def diagnose(evidence: Evidence) -> Report:
    """The loss report of some evidence; reads nothing else, not even the clock."""
    return examine(evidence).report


def examine(evidence: Evidence) -> Examination:
    """``diagnose`` with the ledger's rows at hand."""
    if is_route(evidence.facts):
        from workbench.problems.hops.examining import examine_route

        return examine_route(PROBLEM, evidence, examine)
    con = evidence.connect(memory_limit=standing.MEMORY_LIMIT)
    if "records" not in evidence.tables:
        report = standing.nothing_read(PROBLEM, ("sent", *ledger.DISPOSITIONS), evidence)
        return Examination(report, con, standing.NO_ROWS, evidence)
    create_places(con, evidence)
    create_stores(con, evidence)
    define_macros(con, evidence)
    counts = ledger.build(con, evidence)
    case = _case(con, evidence, counts)
    rulings = {item: _rule_on(item, case) for item in RULES}
    settled = attribution.attribute(case, rulings)
    report = _report(case, rulings, settled)
    return Examination(report, con, ledger.ledger_rows_sql(), evidence)


def _case(con: duckdb.DuckDBPyConnection, evidence: Evidence, counts: dict[str, int | None]) -> Case:
    entries = create_entries(con, evidence)
    create_history(con, evidence)
    numbers = {"collected_ms": standing.epoch_ms(evidence.facts["collected_at"]), **ledger.counts_beside(con)}
    case = Case(con, evidence, counts, entries, numbers)
    create_stood(case)
    numbers["cut_off"] = create_lineage(case)
    numbers["former_commits"] = create_former(case)
    if case.has("offsets") and case.has("committed"):
        numbers["lost_offsets"] = sum(item.offsets for item in overtaken(case))
    return case


def _rule_on(item: Rule, case: Case) -> Ruling:
    if is_store(case.facts["source"]) and item not in OF_STORES:
        return Ruling()
    if is_mirrored(case.facts) and item not in OF_MIRRORS:
        return Ruling()
    if (
        item.kind == "risk"
        or case.entries
        or case.ledger["hidden"]
        or case.numbers.get("lost_offsets")
        or case.numbers["cut_off"]
        or case.numbers["former_commits"]
        or (item is corrupt_record and is_damaged(case))
        or (item in {retention_overtook, records_deleted} and without_history(case))
        or (item is topic_recreated and sink_knows_more(case))
    ):
        return item.rule_on(case)
    return Ruling()  # nothing to explain: a cause is ruled out whatever evidence it would have needed


def _report(case: Case, rulings: dict[Rule, Ruling], settled: Attribution) -> Report:
    group_known = standing.group_known(case) or is_mirrored(case.facts)
    findings = [found for item in rulings if (found := attribution.finding_of(item, rulings[item], settled))]
    # Without the group's commits a message without cause may simply wait; then nothing is called unexplained.
    unexplained = settled.unexplained if group_known else 0
    undetermined = settled.undetermined + settled.unexplained - unexplained
    if unexplained:
        findings.append(attribution.unexplained_finding(unexplained, "lost messages", rulings))
    findings.sort(key=lambda found: (-found.severity, found.state, -found.count, found.code))
    ruled_out, undecided = attribution.outcome_lists(rulings, findings)
    doubts = (
        *standing.doubts(case),
        *mirror_doubts(case),
        *_own_doubts(case, unresolved=undetermined if not group_known else 0),
    )
    risks = {item.code for item in RULES if item.kind == "risk"}
    undecided_risks = [item for item in undecided if item.code in risks]
    causes = {code: n for code, n in sorted(settled.counts.items()) if n}
    return Report(
        problem=PROBLEM,
        verdict=verdict_of([found.severity.word for found in findings], (*doubts, *undecided_risks)),
        ledger=case.ledger,
        causes={**causes, "undetermined": undetermined, "unexplained": unexplained},
        findings=tuple(findings),
        ruled_out=ruled_out,
        undecided=(*doubts, *undecided),
        notes=tuple(_notes(case)),
        facts=_facts(case),
    )


def _own_doubts(case: Case, unresolved: int) -> list[Undecided]:
    out = []
    if unresolved:
        hint = "give --group" if not case.facts["group"] else case.evidence.missing.get("committed", "see doctor")
        known = case.facts.get("groups_seen") or []
        seen = f"; groups with commits on {case.facts['source']}: {', '.join(known[:5])}" if known else ""
        out.append(
            Undecided(
                "ledger",
                f"{unresolved:,} messages are missing, but without the group's commits they may only be waiting: {hint}{seen}",
            )
        )
    unverifiable, known_reach = int(case.ledger["unverifiable"] or 0), _reach_known(case)
    verified = sum(
        int(case.ledger[name] or 0) for name in ("delivered", "dead_lettered", "retrying", "lost", "waiting")
    )
    if unverifiable and (not known_reach or not verified) and not standing.unread(case):
        out.append(
            Undecided(
                "ledger",
                f"{unverifiable:,} messages cannot be verified: a sink, retry or dead-letter topic no longer reaches back "
                "to when they were due; check a later window with --since",
            )
        )
    return out


def _reach_known(case: Case) -> bool:
    return not case.rows("SELECT 1 FROM places WHERE role <> 'source' AND NOT reach_known")


def _notes(case: Case) -> list[Note]:
    out = list(standing.notes(case))
    due_from = case.rows(
        "SELECT topic, reach_ms FROM places WHERE role <> 'source' AND reach_ms IS NOT NULL ORDER BY reach_ms DESC LIMIT 1"
    )
    if case.ledger["unverifiable"] and due_from:
        out.append(
            Note(
                "due-window",
                f"{case.ledger['unverifiable']:,} messages are unverifiable: {due_from[0]['topic']} reaches back only to "
                f"{standing.utc_text(due_from[0]['reach_ms'])}.",
            )
        )
    superseded = case.rows("SELECT count(*) AS n FROM messages WHERE superseded AND disposition = 'delivered'")[0]["n"]
    if superseded:
        out.append(
            Note(
                "superseded", f"{superseded:,} messages count as delivered: a later record of their key replaced them."
            )
        )
    if case.numbers["aborted_only"]:
        out.append(
            Note(
                "aborted-only",
                f"{case.numbers['aborted_only']:,} ids exist only in aborted transactions: they were not sent.",
            )
        )
    if not case.entries and case.ledger["hidden"]:
        out.append(
            Note(
                "hidden", f"{case.ledger['hidden']:,} messages lie above the last stable offset of an open transaction."
            )
        )
    if case.ledger["sent"] == 0:
        out.append(Note("nothing-due", "No message was due in this window."))
    return out


def _facts(case: Case) -> dict[str, Any]:
    return {
        **standing.facts(case),
        "unmatched_at_sink": case.numbers["unmatched_at_sink"],
        "aborted_only": case.numbers["aborted_only"],
        "lost_offsets_upper_bound": case.numbers.get("lost_offsets", 0),
    }
