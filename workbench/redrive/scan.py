"""What a target already holds: newer records of the same keys, copies of earlier redrives, where keys go now."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.capture import PartitionRange
from workbench.dialects.redrive import LETTER, redrive_of
from workbench.redrive.candidates import Candidate
from workbench.redrive.reading import committed_batches, headers_of, ranges_since

if TYPE_CHECKING:
    from workbench.sources import Cluster

SAMPLE = 2_000  # newest keyed records that show where keys go
SKEW_MS = 3_600_000  # clocks of producers and dead-lettering services may differ
_WANT = frozenset({"key", "headers", "timestamp"})


class Copy(NamedTuple):
    """A record that a redrive of this workbench sent."""

    letter: str
    plan: str | None
    partition: int
    offset: int


@dataclass
class Seen:
    """What was seen in one target.

    Attributes:
        copies: of redrives, in log order by partition.
        newest: (key, partition) -> highest offset and time (epoch ms) of a plain record of that key.
        passed: the same of those that some group has read.
        keyed: (key, partition) of the newest plain records with a key.
    """

    copies: list[Copy] = field(default_factory=list)
    newest: dict[tuple[bytes, int], tuple[int, int]] = field(default_factory=dict)
    passed: dict[tuple[bytes, int], tuple[int, int]] = field(default_factory=dict)
    keyed: deque[tuple[bytes, int]] = field(default_factory=lambda: deque(maxlen=SAMPLE))


def copies_since(cluster: Cluster, since: Mapping[str, Mapping[int, int]]) -> dict[str, list[Copy]]:
    """Target -> the copies that redrives have committed there from some offsets on.

    Reads: Metadata, ListOffsets, Fetch.
    """
    out: dict[str, list[Copy]] = {}
    settings = cluster.client_settings()
    for topic, ranges in ranges_since(cluster, list(since), since).items():
        out[topic] = [
            copy for batch in committed_batches(settings, ranges, frozenset({"headers"})) for copy in _copies(batch)
        ]
    return out


def ranges_for(cluster: Cluster, target: str, chosen: Sequence[Candidate]) -> list[PartitionRange]:
    """The part of a target that can hold newer records or copies: from the oldest origin on.

    Partitions without an origin are read from the time of the oldest dead letter on.

    Reads: Metadata, ListOffsets.
    """
    times = [one.at_ms for one in chosen]
    lows: dict[int, int] = {}
    if None not in times:
        at_ms = max(0, min(at for at in times if at is not None) - SKEW_MS)
        ends = {one.partition: one.end_offset for one in ranges_since(cluster, [target])[target]}
        for row in cluster.offsets_at([target], at_ms).rows():
            lows[row["partition"]] = ends.get(row["partition"], 0) if row["offset"] is None else row["offset"]
    for one in chosen:
        if one.home and one.home[0] == target:
            lows[one.home[1]] = min(lows.get(one.home[1], one.home[2]), one.home[2])
    return ranges_since(cluster, [target], {target: lows})[target]


def look(
    cluster: Cluster, ranges: Sequence[PartitionRange], keys: Collection[bytes], read_to: Mapping[int, int]
) -> Seen:
    """Reads ranges of a target once.

    Args:
        cluster: where to read.
        ranges: of one topic.
        keys: whose newer records matter.
        read_to: partition -> how far the furthest group has read it.

    Reads: Fetch.
    """
    import pyarrow as pa

    seen, wanted = Seen(), pa.array(list(keys), pa.binary())
    for batch in committed_batches(cluster.client_settings(), ranges, _WANT):
        found = list(_copies(batch))
        seen.copies += found
        plain = _without(batch, {(one.partition, one.offset) for one in found})
        _note_keys(seen, plain, wanted, read_to)
    return seen


def _note_keys(seen: Seen, batch: Any, wanted: Any, read_to: Mapping[int, int]) -> None:
    import pyarrow.compute as pc

    keyed = batch.filter(pc.is_valid(batch["key"]))
    tail = keyed.slice(max(0, keyed.num_rows - SAMPLE))
    seen.keyed.extend(zip(tail["key"].to_pylist(), tail["partition"].to_pylist(), strict=True))
    same = keyed.filter(pc.is_in(keyed["key"], wanted))
    columns = (same[name].to_pylist() for name in ("key", "partition", "offset", "timestamp_ms"))
    for key, partition, offset, at in zip(*columns, strict=True):
        _raise_to(seen.newest, (key, partition), offset, at or 0)
        if offset < read_to.get(partition, 0):
            _raise_to(seen.passed, (key, partition), offset, at or 0)


def _raise_to(table: dict[tuple[bytes, int], tuple[int, int]], place: tuple[bytes, int], offset: int, at: int) -> None:
    before = table.get(place, (-1, -1))
    table[place] = max(before[0], offset), max(before[1], at)


def _without(batch: Any, places: Collection[tuple[int, int]]) -> Any:
    import pyarrow as pa

    if not places:
        return batch
    columns = (batch[name].to_pylist() for name in ("partition", "offset"))
    return batch.filter(pa.array([place not in places for place in zip(*columns, strict=True)], pa.bool_()))


def _copies(batch: Any) -> Iterator[Copy]:
    """Only rows that carry our own header are looked at; nearly always there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = batch["headers"].flatten().field("name")
    hits = pc.equal(names, LETTER)
    if not pc.any(hits).as_py():
        return
    rows = pc.unique(pc.list_parent_indices(batch["headers"]).filter(hits))
    some = batch.take(pa.array(rows))
    columns = (some[name].to_pylist() for name in ("partition", "offset"))
    for partition, offset, headers in zip(*columns, headers_of(some["headers"]), strict=True):
        redrive = redrive_of(headers)
        if redrive and redrive.letter:
            yield Copy(redrive.letter, redrive.plan, partition, offset)


def is_stale(one: Candidate, table: Mapping[tuple[bytes, int], tuple[int, int]], partitions: int) -> bool:
    """Whether a table of ``Seen`` has a record of the candidate's key that is newer than its origin.

    By offset in the origin's own partition; elsewhere by time, against that of the dead letter.
    """
    if one.key is None:
        return False
    home = one.home if one.home and one.home[0] == one.target else None
    for partition in range(partitions):
        offset, at = table.get((one.key, partition), (-1, -1))
        if home and home[1] == partition:
            if offset > home[2]:
                return True
        elif one.at_ms is not None and at > one.at_ms:
            return True
    return False
