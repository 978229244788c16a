"""The records that wait, read within bounds: what of the offsets behind is readable, and what the next records are like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.capture import (
    BATCHES,
    CaptureSpec,
    IdFrom,
    Limits,
    PartitionRange,
    TopicSpec,
    capture,
    decoded_sample,
    estimate,
    resolve_id_from,
    sample,
)
from workbench.capture.identity import ALTERNATIVES
from workbench.errors import SourceError, UsageError
from workbench.evidence import Parquet

if TYPE_CHECKING:
    from workbench.problems.draft import Draft, Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

MOST_OFFSETS = 50_000  # of each partition; more waits seldom, and the first say what it is like
MOST_RECORDS = 400_000
MOST_BYTES = 256 << 20
BEFORE = 200  # offsets before the committed one, to compare with what was read without trouble
_EARLIER_MS = 2_000


def read_waiting(sources: Sources, scope: Scope, draft: Draft, work_dir: Path, progress: Progress) -> None:
    """Adds ``records``, ``batches`` and ``scan`` of what waits, and of the sinks since it began to wait.

    Reads: Fetch by assignment, bounded in records and bytes.
    """
    settings = sources.cluster.client_settings()
    ranges = _ranges(draft, scope)
    if not ranges:
        return
    ids = {topic: _id(sources, scope, parts) for topic, parts in ranges.items()}
    specs = [
        TopicSpec(topic, "source", ids[topic], tuple(parts), _others(scope, ids[topic]), *scope.formats_of(topic))
        for topic, parts in ranges.items()
    ]
    specs += _sinks(sources, scope, draft, next(iter(ids.values())))
    spec = CaptureSpec(
        topics=tuple(specs),
        want=frozenset({"key", "aborted"}),
        limits=Limits(min(MOST_RECORDS, scope.limit or MOST_RECORDS), MOST_BYTES, 60.0, scope.max_bytes_per_second),
        processes=1,
        reader=scope.reader,
    )
    progress(estimate(spec, draft.tables["offsets"]))
    progress("reading what waits")
    try:
        found = capture(settings, spec, work_dir / "waiting", progress, sources.registry)
    except SourceError as error:
        draft.missing["records"] = str(error).rstrip(".")
        return
    draft.tables["records"] = Parquet(found.files, found.schema)
    draft.tables["scan"] = found.outcome
    if found.reader != "client":
        draft.tables["batches"] = Parquet(found.batches, BATCHES)
    if "client" in found.reader:
        draft.missing["batches"] = f"the client library read, which does not show them: {found.why_client}"
    draft.facts["reader"] = found.reader


def _ranges(draft: Draft, scope: Scope) -> dict[str, list[PartitionRange]]:
    """Of each partition that is behind, what waits, and a little before it."""
    seen = {(row["topic"], row["partition"]): row for row in draft.tables["offsets"].to_pylist()}  # type: ignore[union-attr]
    out: dict[str, list[PartitionRange]] = {}
    for row in (row for name in ("committed", "unbegun") for row in draft.tables[name].to_pylist()):  # type: ignore[union-attr]
        place, at = (row["topic"], row["partition"]), row["committed_offset"]
        log = seen.get(place)
        if (
            row["group"] != scope.group
            or log is None
            or log["high_watermark"] is None
            or log["log_start_offset"] is None
        ):
            continue
        low, high = max(at, log["log_start_offset"]), log["high_watermark"]
        if low < high:
            stable = high if log["last_stable_offset"] is None else log["last_stable_offset"]
            first = max(log["log_start_offset"], low - BEFORE)
            out.setdefault(place[0], []).append(PartitionRange(*place, first, min(high, low + MOST_OFFSETS), stable))
    return out


def _sinks(sources: Sources, scope: Scope, draft: Draft, found: IdFrom) -> list[TopicSpec]:
    """What came to the sinks since the oldest waiting record was written."""
    times = [row["timestamp_ms"] for row in draft.tables["heads"].to_pylist() if row["timestamp_ms"]]  # type: ignore[union-attr]
    if not scope.sink_topics() or not times:
        return []
    id_from = IdFrom.parse(scope.sink_id_from) if scope.sink_id_from not in (None, "auto") else found
    out = []
    for sink in scope.sink_topics():
        begun = {
            row["partition"]: row["offset"]
            for row in sources.cluster.offsets_at([sink], max(0, min(times) - _EARLIER_MS)).rows()
        }
        rows = [row for row in sources.cluster.offsets([sink], sizes=False).rows() if row["high_watermark"] is not None]
        parts = [_since(row, begun.get(row["partition"])) for row in rows]
        out.append(TopicSpec(sink, "sink", id_from, tuple(parts), _others(scope, id_from), *scope.formats_of(sink)))
    return out


def _since(row: dict[str, Any], first: int | None) -> PartitionRange:
    end = row["high_watermark"]
    start = end if first is None else first
    return PartitionRange(
        row["topic"], row["partition"], max(start, end - MOST_OFFSETS), end, row["last_stable_offset"]
    )


def _id(sources: Sources, scope: Scope, ranges: Sequence[PartitionRange]) -> IdFrom:
    """Where ids are; records without any are told apart by their coordinates all the same."""
    if scope.id_from != "auto":
        return IdFrom.parse(scope.id_from)
    batch = sample(sources.cluster.client_settings(), list(ranges))
    batch = decoded_sample(batch, scope.formats_of(ranges[0].topic), sources.registry)
    try:
        return resolve_id_from(batch, ranges[0].topic) if batch.num_rows else IdFrom.parse("json:$.messageId")
    except UsageError:
        return IdFrom.parse("json:$.messageId")


def _others(scope: Scope, chosen: IdFrom) -> tuple[IdFrom, ...]:
    return tuple(one for one in ALTERNATIVES if one != chosen) if scope.id_from == "auto" else ()
