"""What lag is judged by: commits first, then log ends, then the next record of what waits; all groups in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from workbench.evidence import Evidence
from workbench.problems.collecting import OWN_GROUPS, Draft, Progress, silent
from workbench.problems.lag.partitions import waits

if TYPE_CHECKING:
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

MOST_HEADS = 5_000
NO_OFFSETS = frozenset({"share", "streams"})  # kinds whose offsets OffsetFetch does not tell


def collect_groups(sources: Sources, scope: Scope, names: Sequence[str] | None, progress: Progress | None) -> Evidence:
    """The evidence of one group, or with None of all groups but the workbench's own.

    Raises:
        SourceError: the cluster cannot be reached.
    """
    cluster, draft = sources.cluster, Draft(facts={**scope.facts(), "truncated": False})
    (progress or silent)("asking the cluster")
    groups = cluster.groups(names)
    draft.take("groups", groups)
    found = {row["group"]: row for row in groups.rows() if not row["group"].startswith(OWN_GROUPS)}
    chosen = list(names) if names else sorted(found)
    plain = [name for name in chosen if found.get(name, {}).get("type") not in NO_OFFSETS]
    committed = cluster.committed(plain, [scope.source] if scope.source else None)
    draft.tables["committed"] = committed.table
    # Members are read after the commits, so that what they have no commit for has none yet.
    draft.take("members", cluster.members([name for name in plain if found.get(name, {}).get("member_count")]))
    now = datetime.now(UTC)
    draft.facts |= {
        "collected_at": now.isoformat(timespec="milliseconds"),
        "groups": chosen,
        "group_failures": {**groups.failures, **committed.failures},
    }
    _read_ends(sources, scope, draft, committed.rows(), round(now.timestamp() * 1000), all_heads=names is not None)
    return Evidence(draft.tables, draft.facts, draft.missing)


def _read_ends(
    sources: Sources, scope: Scope, draft: Draft, commits: Sequence[dict[str, Any]], now_ms: int, *, all_heads: bool
) -> None:
    cluster = sources.cluster
    topics = sorted({row["topic"] for row in commits})
    offsets = cluster.offsets(topics, sizes=False)
    draft.tables["offsets"] = offsets.table
    draft.facts["deleted_topics"] = sorted(t for t in topics if "does not exist" in offsets.failures.get(t, ""))
    draft.missing |= {t: why for t, why in offsets.failures.items() if t not in draft.facts["deleted_topics"]}
    alive = sorted({row["topic"] for row in offsets.rows()})
    cutoffs = cluster.offsets_at(alive, max(0, now_ms - round(scope.expected_latency_seconds * 1000)))
    draft.tables["cutoffs"] = cutoffs.table
    ends = {(row["topic"], row["partition"]): row for row in offsets.rows()}
    limits = {(row["topic"], row["partition"]): row["offset"] for row in cutoffs.rows()}
    starts = []
    for row in commits:
        place, at = (row["topic"], row["partition"]), row["committed_offset"]
        start = _start(ends.get(place), at, scope.isolation)
        if start is not None and (all_heads or waits(limits, place, at)):
            starts.append((*place, at, *start))
    draft.tables["heads"] = _heads(sources, starts[:MOST_HEADS], scope.isolation)


def _start(seen: dict[str, Any] | None, at: int, isolation: str) -> tuple[int, int] | None:
    """(where to look from, where to stop); None where nothing is behind or the offsets are not known."""
    if seen is None or seen["high_watermark"] is None or seen["log_start_offset"] is None:
        return None
    end = seen["high_watermark"]
    if isolation == "read_committed" and seen["last_stable_offset"] is not None:
        end = seen["last_stable_offset"]
    return (max(at, seen["log_start_offset"]), end) if at < seen["high_watermark"] else None


def _heads(sources: Sources, starts: Iterable[tuple[str, int, int, int, int]], isolation: str) -> Any:
    """The heads under the committed offset that each was asked for, which may lie below the log's start."""
    from workbench.sources.heads import HEADS_SCHEMA
    from workbench.tables import table_of

    asked = list(starts)
    wanted = {(topic, part, first, end) for topic, part, _, first, end in asked if first < end}
    found = {}
    if wanted:
        answered = sources.cluster.heads(wanted, isolation)
        found = {(row["topic"], row["partition"], row["offset"]): row for row in answered.rows()}
    nothing: dict[str, Any] = {}
    rows = []
    for topic, part, at, first, _ in sorted(set(asked)):
        head = found.get((topic, part, first), nothing)
        rows.append(
            (topic, part, at, *(head.get(n) for n in ("first_offset", "timestamp_ms", "timestamp_type", "error")))
        )
    return table_of(HEADS_SCHEMA, rows)
