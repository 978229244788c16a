"""Makes a plan: what may be sent back, where to, in which order, and what is to be known before."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import RedriveError, UsageError
from workbench.problems import dlq
from workbench.redrive import scan, schema, transform
from workbench.redrive.candidates import (
    REASONS,
    Candidate,
    candidates,
    chosen_groups,
    counted,
    leave_out,
)
from workbench.redrive.dead_letters import Dialects
from workbench.redrive.inspection import inspect
from workbench.redrive.ordering import STATEMENT, ordered
from workbench.redrive.placement import place
from workbench.redrive.plan import Plan, Row, Topic
from workbench.redrive.spool import MOST_RECORDS, Spool, fill
from workbench.redrive.targets import Target, readers_of, targets_of, usable
from workbench.redrive.trying import try_all
from workbench.redrive.warnings import Known, expected_duplicates, warnings
from workbench.stores import is_store

if TYPE_CHECKING:
    from workbench.evidence import Evidence
    from workbench.problems.draft import Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

HEADER_MODES = ("strip", "keep")


@dataclass(frozen=True)
class Choice:
    """What a plan is asked for; options of ``workbench redrive plan`` with underscores.

    Attributes:
        cause_groups: fingerprints, or their beginnings; none is all.
        where: DuckDB predicate over the message inside a dead letter.
        target: one target for all, instead of each one's origin.
        fallback: the target of those whose origin nothing says; null leaves them out.
        max_replays: dead letters that were sent back so often are left out.
        headers: ``strip`` or ``keep`` what the dead-lettering added.
        transform: ``path.py:function`` or a DuckDB expression for the new value.
        schema: ``FILE.json`` or ``path.py:Model`` that values must fit.
        exclude_stale: leave out messages whose key has a newer record that some group has read.
        isolation: what the target's readers use; null is not known.
    """

    cause_groups: tuple[str, ...] = ()
    where: str | None = None
    target: str | None = None
    fallback: str | None = None
    max_replays: int = 2
    headers: str = "strip"
    transform: str | None = None
    schema: str | None = None
    exclude_stale: bool = False
    isolation: str | None = None


def make_plan(sources: Sources, scope: Scope, choice: Choice, *, work_dir: Path, progress: Progress) -> Plan:
    """A plan for what may be sent back; reads only.

    Args:
        sources: where to read.
        scope: ``dead_letters``, and ``sinks`` that tell what was processed anyway.
        choice: which of them, where to, and how.
        work_dir: an empty private folder.
        progress: called with what is being done.

    Raises:
        UsageError: an option does not fit.
        RedriveError: there is nothing to send.
        SourceError: the cluster cannot be read.

    Reads:
        Metadata, DescribeConfigs, ListOffsets, ListGroups, OffsetFetch, Fetch.
    """
    _check(choice)
    changes = transform.describe(choice.transform)
    fits = schema.describe(choice.schema)
    change = schema.load(fits, choice.schema, transform.load(changes, choice.transform))
    evidence = dlq.collect(sources, scope, work_dir=work_dir, progress=progress)
    found = _found(evidence, choice)
    progress("reading the chosen dead letters")
    spool = fill(sources.cluster, [one.place for one in _staying(found)], work_dir / "letters.arrow")
    dialects = Dialects(scope.dialects)
    inspect(spool, found, choice.where, dialects)
    progress("looking at the targets")
    known = _aim(sources, evidence, found, choice, progress)
    failures = _try(spool, found, change, (choice.headers, dialects), known.targets)
    plan = _plan(evidence, found, choice, known, failures)
    spool.close()
    return replace(plan, transform=changes, schema=fits, dialects=scope.dialects)


def _check(choice: Choice) -> None:
    from workbench.capture import check_predicate

    if choice.where:
        check_predicate(choice.where)
    if choice.headers not in HEADER_MODES:
        raise UsageError(f"--headers is {choice.headers!r}.", hint="Use strip or keep.")
    if choice.max_replays < 1:
        raise UsageError("--max-replays must be at least 1.")
    if choice.isolation not in (None, "read_committed", "read_uncommitted"):
        raise UsageError(f"--isolation is {choice.isolation!r}.", hint="Use read_committed or read_uncommitted.")


def _staying(found: Iterable[Candidate]) -> list[Candidate]:
    return [one for one in found if one.left_out is None]


def _found(evidence: Evidence, choice: Choice) -> list[Candidate]:
    """All dead letters, with those left out that need no further look."""
    if "letters" not in evidence.tables or "records" not in evidence.tables:
        why = "; ".join(f"{name}: {reason}" for name, reason in evidence.missing.items())
        raise RedriveError(
            f"The dead letters could not be read: {why}.", hint="`workbench doctor --acls` shows the rights."
        )
    examined = dlq.examine(evidence)
    with examined.con:
        found = candidates(examined.con)
    groups = chosen_groups(choice.cause_groups, found) if choice.cause_groups else []
    stable = {(row["topic"], row["partition"]): row["last_stable_offset"] or 0 for row in _rows(evidence, "offsets")}
    leave_out(found, groups, stable, choice.max_replays)
    if len(_staying(found)) > MOST_RECORDS:
        raise UsageError(
            f"{len(_staying(found)):,} dead letters are chosen; a plan holds at most {MOST_RECORDS:,}.",
            hint="Narrow it with --cause-group or --since.",
        )
    return found


def _rows(evidence: Evidence, name: str) -> list[dict[str, Any]]:
    table = evidence.table(name)
    return table.to_pylist() if table is not None else []


def _aim(sources: Sources, evidence: Evidence, found: Sequence[Candidate], choice: Choice, progress: Progress) -> Known:
    """Gives each candidate its target and partition, or leaves it out."""
    letters = set(evidence.facts["dead_letters"])
    for one in _staying(found):
        one.target = choice.target or (one.origin[0] if one.origin else choice.fallback)
        if not usable(one.target, letters):
            one.left_out = "no_target"
    names = sorted({str(one.target) for one in _staying(found)})
    targets = targets_of(sources.cluster, names)
    if choice.target and choice.target not in targets and _staying(found):
        sources.cluster.require_topics([choice.target])  # says which name is near
    for one in _staying(found):
        if one.target not in targets:
            one.left_out = "no_target"
    readers = readers_of(sources.cluster, sorted(targets))
    known = Known(targets, readers, {}, Counter())
    for name, target in targets.items():
        progress(f"looking for newer records in {name}")
        _look(sources, found, choice, known, target)
    return known


def _look(sources: Sources, found: Sequence[Candidate], choice: Choice, known: Known, target: Target) -> None:
    """One target: what was sent back before, what is newer, and where each copy goes."""
    chosen = [one for one in _staying(found) if one.target == target.name]
    read_to: dict[int, int] = defaultdict(int)
    for (_, topic, partition), offset in known.readers.committed.items():
        if topic == target.name:
            read_to[partition] = max(read_to[partition], offset)
    keys = {one.key for one in chosen if one.key is not None}
    seen = scan.look(sources.cluster, scan.ranges_for(sources.cluster, target.name, chosen), keys, read_to)
    sent = {copy.letter for copy in seen.copies}
    for one in chosen:
        if "/".join(map(str, one.place)) in sent:
            one.left_out = "already_sent"
            continue
        stale = scan.is_stale(one, seen.passed, target.partitions)
        known.stale["passed"] += stale
        known.stale["newer"] += stale or scan.is_stale(one, seen.newest, target.partitions)
        if stale and choice.exclude_stale:
            one.left_out = "stale"
    still = [one for one in chosen if one.left_out is None]
    known.placements[target.name] = place(still, target.name, target.partitions, seen.keyed)


def _try(
    spool: Spool, found: Sequence[Candidate], change: Any, how: tuple[str, Dialects], targets: Mapping[str, Target]
) -> Counter[str]:
    """Transforms and checks every record; those that cannot be sent are left out. Returns what failed, by kind."""
    staying = _staying(found)
    limits = {name: target.largest_bytes for name, target in targets.items()}
    failures: Counter[str] = Counter()
    outcomes = try_all(spool, [row_of(one) for one in staying], change, how, limits)
    for one, outcome in zip(staying, outcomes, strict=True):
        one.left_out = outcome.left_out
        if outcome.why:
            failures[f"{REASONS[outcome.left_out or '']}: {outcome.why}"] += 1
    return failures


def row_of(one: Candidate) -> Row:
    """A candidate as a row of a plan."""
    origin = "/".join(map(str, one.home)) if one.home else None
    return Row(*one.place, str(one.target), one.target_partition, origin, one.replays, one.fingerprint, one.flags)


def _plan(evidence: Evidence, found: Sequence[Candidate], choice: Choice, known: Known, failures: Counter[str]) -> Plan:
    staying, canaries = ordered(_staying(found))
    excluded = counted(found)
    if not staying:
        raise RedriveError(
            "There is nothing to send back: " + nothing(excluded), hint="`workbench check dlq` shows why."
        )
    aimed = sorted({str(one.target) for one in staying})
    facts = evidence.facts
    asked = {"cause_groups": list(choice.cause_groups), "where": choice.where, "target": choice.target}
    return Plan(
        cluster_id=facts["cluster_id"],
        made_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        dead_letters=_dead_letters(evidence),
        targets={name: known.targets[name].planned() for name in aimed},
        rows=tuple(row_of(one) for one in staying),
        sinks=tuple(sink for sink in facts["sinks"] if not is_store(sink)),
        ids=facts.get("id_from_by_topic", {}),
        readers=tuple({"group": group, "topic": name} for name in aimed for group in known.readers.groups(name)),
        selection={**asked, "max_replays": choice.max_replays, "exclude_stale": choice.exclude_stale},
        headers=choice.headers,
        excluded=excluded,
        groups=dict(Counter(one.fingerprint for one in staying)),
        expected_duplicates=expected_duplicates(staying, known.readers),
        warnings=tuple(warnings(evidence, staying, choice, known, failures)),
        order=STATEMENT,
        canaries=canaries,
    )


def nothing(excluded: Mapping[str, int]) -> str:
    """What became of the dead letters, as one sentence."""
    parts = [f"{count:,} {REASONS[reason]}" for reason, count in excluded.items()]
    return ("; ".join(parts) or "there are no dead letters") + "."


def _dead_letters(evidence: Evidence) -> dict[str, Topic]:
    """The topics that were read: what is sent back may come back to any of them."""
    ids = {row["topic"]: row["topic_id"] for row in _rows(evidence, "topics")}
    ends: dict[str, dict[int, int]] = defaultdict(dict)
    for row in _rows(evidence, "offsets"):
        if row["topic"] in evidence.facts["dead_letters"] and row["last_stable_offset"] is not None:
            ends[row["topic"]][row["partition"]] = row["last_stable_offset"]
    return {topic: Topic(ids.get(topic), parts) for topic, parts in ends.items()}
