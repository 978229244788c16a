"""Reads records as read_committed readers see them, raw, from ranges of topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.capture import CaptureSpec, PartitionRange
from workbench.capture.readers import open_reader, why_not_wire
from workbench.capture.wire.errors import NotForWire
from workbench.errors import NotFound, SourceUnavailable

if TYPE_CHECKING:
    from workbench.sources import Cluster

EVERYTHING = frozenset({"key", "value", "headers", "timestamp"})
Headers = list[tuple[str, bytes | None]]


class Raw(NamedTuple):
    """A record as it is in the log."""

    partition: int
    offset: int
    timestamp_ms: int | None
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def ranges_since(
    cluster: Cluster, topics: Sequence[str], since: Mapping[str, Mapping[int, int]] | None = None
) -> dict[str, list[PartitionRange]]:
    """What committed readers can see of topics now, from given offsets on.

    Args:
        cluster: where to ask.
        topics: which ones.
        since: topic -> partition -> first offset; partitions that are not named are read from their beginning.

    Raises:
        NotFound: a topic does not exist.
        SourceUnavailable: a partition's offsets cannot be had.

    Reads: Metadata, ListOffsets.
    """
    cluster.require_topics(topics)
    out: dict[str, list[PartitionRange]] = {topic: [] for topic in topics}
    for row in cluster.offsets(topics, sizes=False).rows():
        topic, partition, low, stable = (
            row[n] for n in ("topic", "partition", "log_start_offset", "last_stable_offset")
        )
        if low is None or stable is None:
            why = row["error"] or "its offsets are unknown"
            raise SourceUnavailable(f"{topic}/{partition} cannot be read: {why}.", source="cluster", retriable=True)
        start = max(low, (since or {}).get(topic, {}).get(partition, low))
        out[topic].append(PartitionRange(topic, partition, min(start, stable), stable, stable))
    for topic, found in out.items():
        if not found:
            raise NotFound(f"Topic {topic} cannot be read.", source="cluster")
    return out


def committed_batches(
    settings: Mapping[str, Any], ranges: Sequence[PartitionRange], want: frozenset[str] = EVERYTHING
) -> Iterator[Any]:
    """Record batches of schema ``RAW`` of one topic's ranges, without what aborted transactions wrote.

    Args:
        settings: librdkafka settings that reach the cluster.
        ranges: of one topic, none beyond its last stable offset.
        want: optional raw columns.

    Raises:
        SourceUnavailable: a partition could not be read to the end of its range.

    Reads: Fetch.
    """
    reached: dict[int, int] = {}
    if not why_not_wire(settings):
        try:
            yield from _read(settings, "wire", ranges, want, reached)
            return
        except NotForWire:
            pass
    rest = [replace(one, start_offset=reached.get(one.partition, one.start_offset)) for one in ranges]
    yield from _read(settings, "client", rest, want, reached)


def _read(
    settings: Mapping[str, Any], kind: Any, ranges: Sequence[PartitionRange], want: frozenset[str], reached: Any
) -> Iterator[Any]:
    filled = [one for one in ranges if one.offsets]
    if not filled:
        return
    # What read_committed shows only the client reader knows; the wire reader says which records are aborted.
    isolation = "read_uncommitted" if kind == "wire" else "read_committed"
    reader = open_reader(settings, CaptureSpec(topics=(), reader=kind), isolation)
    try:
        for chunk in reader.read(filled[0].topic, filled, set(want), lambda: False):
            if chunk.batch is not None:
                yield _visible(chunk.batch)
            reached |= chunk.positions
            if chunk.errors:
                place, why = next(iter(chunk.errors.items()))
                raise SourceUnavailable(
                    f"{filled[0].topic}/{place} could not be read: {why}.", source="cluster", retriable=True
                )
    finally:
        reader.close()


def _visible(batch: Any) -> Any:
    import pyarrow.compute as pc

    aborted = batch["is_aborted"]
    return batch.filter(pc.invert(pc.fill_null(aborted, False))) if pc.any(aborted).as_py() else batch


def records_of(batch: Any, dropped: Callable[[str], bool] | None = None) -> list[Raw]:
    """A raw batch as Python values, without the headers whose names are dropped."""
    names = ("partition", "offset", "timestamp_ms", "timestamp_type", "key", "value")
    columns = [batch[name].to_pylist() for name in names]
    return [Raw(*row) for row in zip(*columns, headers_of(batch["headers"], dropped), strict=True)]


def headers_of(column: Any, dropped: Callable[[str], bool] | None = None) -> list[Headers]:
    """A column of headers as lists of pairs; many times faster than turning each into a dict.

    Args:
        column: of schema ``RAW``.
        dropped: asked once for each name; what it drops never becomes a Python value, which stacks make expensive.
    """
    if dropped is not None:
        return _some_headers(column, dropped)
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0).to_pylist()
    flat = column.flatten()
    pairs = list(zip(flat.field("name").to_pylist(), flat.field("value").to_pylist(), strict=True))
    out, at = [], 0
    for length in lengths:
        out.append(pairs[at : at + length])
        at += length
    return out


def _some_headers(column: Any, dropped: Callable[[str], bool]) -> list[Headers]:
    import pyarrow as pa
    import pyarrow.compute as pc

    flat = column.flatten()
    names = flat.field("name").dictionary_encode()
    known = pa.array([not dropped(name) for name in names.dictionary.to_pylist()], pa.bool_())
    keep = known.take(names.indices)
    kept, rows = flat.filter(keep), pc.list_parent_indices(column).filter(keep)
    out: list[Headers] = [[] for _ in range(len(column))]
    pairs = zip(kept.field("name").to_pylist(), kept.field("value").to_pylist(), strict=True)
    for row, pair in zip(rows.to_pylist(), pairs, strict=True):
        out[row].append(pair)
    return out
