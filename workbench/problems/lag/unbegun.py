"""Partitions that live members hold and never committed: what came since then waits like what lies behind a commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.problems.lag.rhythm import rhythm
from workbench.problems.standing import epoch_ms
from workbench.tables import table_of

if TYPE_CHECKING:
    from workbench.problems.draft import Draft
    from workbench.problems.scope import Scope
    from workbench.sources import Sources
    from workbench.sources.commits import History

INTERVALS = 3  # usual times between commits after which a first one is overdue
LEAST_MS = 5_000
UNKNOWN_MS = 60_000  # where the group has not committed often enough to have a usual time

UNBEGUN = pa.schema(
    [("group", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("committed_offset", pa.int64()),
     ("joined_ms", pa.int64())]
)  # fmt: skip


def read_unbegun(
    sources: Sources,
    scope: Scope,
    draft: Draft,
    past: History | None,
    commits: Iterable[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Adds ``unbegun``: partitions that are overdue for a first commit, with the first offset since the members came.

    A reader may begin at the log's end, so what was there before it came is not counted; nor is what came within the time in
    which a first commit may be due. Empty where nobody can say since when the group has members.

    Returns:
        Its rows: group, topic, partition, committed_offset (the first offset since then, in place of a commit), joined_ms.

    Reads: ListOffsets (by timestamp).
    """
    group, rows = str(scope.group), []
    members, now_ms = draft.tables.get("members"), epoch_ms(draft.facts["collected_at"])
    if past is not None and isinstance(members, pa.Table):
        with_commit = {(row["topic"], row["partition"]) for row in commits}
        held = {
            (row["topic"], row["partition"]) for row in members.to_pylist() if row["group"] == group and row["topic"]
        }
        places = sorted(place for place in held - with_commit if scope.source in (None, place[0]))
        rows = _overdue(sources, scope, past, places, now_ms) if places else []
    table = table_of(UNBEGUN, [(group, *row) for row in rows])
    draft.tables["unbegun"] = table
    return list(table.to_pylist())


def _overdue(
    sources: Sources, scope: Scope, past: History, places: Sequence[tuple[str, int]], now_ms: int
) -> list[tuple[str, int, int, int]]:
    habits = rhythm(past.tables["generations"].to_pylist(), past.tables["commit_history"].to_pylist())
    due_ms = UNKNOWN_MS if habits.interval_ms is None else max(LEAST_MS, INTERVALS * habits.interval_ms)
    due_ms = max(due_ms, scope.expected_latency_seconds * 1000)
    joined = habits.up_since_ms
    if joined is None or now_ms - joined < due_ms:
        return []
    names = sorted({topic for topic, _ in places})
    first, late = (
        {(row["topic"], row["partition"]): row["offset"] for row in sources.cluster.offsets_at(names, at).rows()}
        for at in (joined, round(now_ms - due_ms))
    )
    out = []
    for place in places:
        since, until = first.get(place), late.get(place)
        if since is not None and (until is None or since < until):
            out.append((*place, since, joined))
    return out
