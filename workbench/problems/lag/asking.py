"""What lag is judged by: commits first, then log ends, then the next record of what waits; all groups in one pass.

Of one group also its past, the state of its topics, and the records that wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.evidence import Evidence
from workbench.problems.draft import OWN_GROUPS, Draft, Progress, silent
from workbench.problems.lag.partitions import waits
from workbench.problems.lag.past import read_expiry, read_history, read_past
from workbench.problems.lag.unbegun import read_unbegun
from workbench.problems.lag.waiting import read_waiting
from workbench.sources.logs import read_service_log

if TYPE_CHECKING:
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

MOST_HEADS = 5_000
NO_OFFSETS = frozenset({"share", "streams"})  # kinds whose offsets OffsetFetch does not tell


def collect_group(sources: Sources, scope: Scope, work_dir: Path, progress: Progress | None) -> Evidence:
    """The evidence of one group, with its past and the records that wait.

    Raises:
        SourceError: the cluster cannot be reached.
    """
    say = progress or silent
    draft, commits, now_ms = _standing_now(sources, scope, [str(scope.group)], say)
    say("reading the group's history")
    past = read_history(sources, scope, draft)
    commits = [*commits, *read_unbegun(sources, scope, draft, past, commits)]
    _read_ends(sources, scope, draft, commits, now_ms, all_heads=True)
    _read_topics(sources, scope, draft)
    read_past(sources, scope, draft, commits, past)
    read_expiry(sources, scope, draft, now_ms)
    if scope.service_log:
        found = read_service_log(scope.service_log)
        draft.tables["service_log"] = found.table
        draft.facts["log_lines_skipped"] = {"service log": dict(found.skipped)} if found.skipped else {}
    read_waiting(sources, scope, draft, work_dir, say)
    return Evidence(draft.tables, draft.facts, draft.missing)


def _read_topics(sources: Sources, scope: Scope, draft: Draft) -> None:
    """Leaders, replicas and settings of the topics that the group has commits on, and what transactions hold open."""
    rows = draft.tables["offsets"].to_pylist()  # type: ignore[union-attr]
    names = sorted({row["topic"] for row in rows})
    draft.take("topics", sources.cluster.topics(names))
    draft.take("configs", sources.cluster.topic_configs(names))
    if scope.isolation == "read_committed" and any(_holds_back(row) for row in rows):
        draft.take("open_transactions", sources.cluster.open_transactions(names))


def _holds_back(row: dict[str, Any]) -> bool:
    stable, end = row["last_stable_offset"], row["high_watermark"]
    return stable is not None and end is not None and stable < end


def collect_groups(sources: Sources, scope: Scope, progress: Progress | None) -> Evidence:
    """The evidence of all groups but the workbench's own, in a handful of bulk requests.

    Raises:
        SourceError: the cluster cannot be reached.
    """
    draft, commits, now_ms = _standing_now(sources, scope, None, progress or silent)
    _read_ends(sources, scope, draft, commits, now_ms, all_heads=False)
    return Evidence(draft.tables, draft.facts, draft.missing)


def _standing_now(
    sources: Sources, scope: Scope, names: Sequence[str] | None, say: Progress
) -> tuple[Draft, list[dict[str, Any]], int]:
    """(what groups and their commits say, the commits, the moment after they were read).

    Raises:
        SourceError: the cluster cannot be reached.
    """
    cluster, draft = sources.cluster, Draft(facts={**scope.facts(), "truncated": False})
    say("asking the cluster")
    groups = cluster.groups(names)
    draft.take("groups", groups)
    found = {row["group"]: row for row in groups.rows() if not row["group"].startswith(OWN_GROUPS)}
    chosen = list(names) if names else sorted(found)
    plain = [name for name in chosen if found.get(name, {}).get("type") not in NO_OFFSETS]
    # Before the commits are asked for: what is committed later is no news of this moment.
    now = datetime.now(UTC)
    committed = cluster.committed(plain, [scope.source] if scope.source else None)
    draft.tables["committed"] = committed.table
    # Members are read after the commits, so that what they have no commit for has none yet.
    draft.take("members", cluster.members([name for name in plain if found.get(name, {}).get("member_count")]))
    draft.facts |= {
        "collected_at": now.isoformat(timespec="milliseconds"),
        "groups": chosen,
        "group_failures": {**groups.failures, **committed.failures},
    }
    return draft, committed.rows(), round(now.timestamp() * 1000)


def _read_ends(
    sources: Sources, scope: Scope, draft: Draft, commits: Sequence[dict[str, Any]], now_ms: int, *, all_heads: bool
) -> None:
    cluster = sources.cluster
    topics = sorted({row["topic"] for row in commits})
    offsets = cluster.offsets(topics, sizes=all_heads)
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
