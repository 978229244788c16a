"""The chosen dead letters as they are in the log: read once, kept on disk in a private folder while a command runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.capture.schema import RAW
from workbench.redrive.candidates import Place
from workbench.redrive.reading import Raw, committed_batches, ranges_since, records_of

if TYPE_CHECKING:
    from workbench.sources import Cluster

MOST_RECORDS = 1_000_000  # of one plan: its coordinates are held in memory


class Spool:
    """Raw records by coordinates; memory holds their places, not the records."""

    def __init__(self, file: Path) -> None:
        import pyarrow as pa

        self._at: dict[Place, tuple[int, int]] = {}
        self._source = pa.memory_map(str(file))
        self._file = pa.ipc.open_file(self._source)
        file.unlink()  # the content goes with this process, however it ends
        for number, topic, batch in self.batches():
            columns = (batch[name].to_pylist() for name in ("partition", "offset"))
            for row, (partition, offset) in enumerate(zip(*columns, strict=True)):
                self._at[topic, partition, offset] = number, row

    def __contains__(self, place: Place) -> bool:
        return place in self._at

    def close(self) -> None:
        """Frees the file."""
        self._source.close()

    def batches(self) -> Iterator[tuple[int, str, Any]]:
        """(number, topic, batch of schema ``RAW``), each batch of one topic."""
        for number in range(self._file.num_record_batches):
            batch = self._file.get_batch(number)
            yield number, batch["topic"][0].as_py(), batch

    def records(self, places: Sequence[Place], dropped: Callable[[str], bool] | None = None) -> list[Raw]:
        """The records at the places, in their order, without the headers whose names are dropped.

        Raises:
            KeyError: one is not there.
        """
        import pyarrow as pa

        by_batch: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for position, place in enumerate(places):
            number, row = self._at[place]
            by_batch[number].append((position, row))
        out: list[Any] = [None] * len(places)
        for number, asked in by_batch.items():
            taken = self._file.get_batch(number).take(pa.array([row for _, row in asked], pa.int64()))
            for (position, _), record in zip(asked, records_of(taken, dropped), strict=True):
                out[position] = record
        return out


def fill(cluster: Cluster, places: Collection[Place], file: Path) -> Spool:
    """Reads the records at some places into a spool; those that are gone are simply not in it.

    Raises:
        SourceError: a topic cannot be read.

    Reads: Metadata, ListOffsets, Fetch.
    """
    import pyarrow as pa

    wanted: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for topic, partition, offset in places:
        wanted[topic][partition].append(offset)
    settings = cluster.client_settings()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, RAW) as writer:
        file.chmod(0o600)
        for topic, parts in wanted.items():
            lows = {partition: min(offsets) for partition, offsets in parts.items()}
            highs = {partition: max(offsets) + 1 for partition, offsets in parts.items()}
            for batch in committed_batches(
                settings, _narrowed(ranges_since(cluster, [topic], {topic: lows})[topic], highs)
            ):
                kept = _chosen(batch, parts)
                if kept.num_rows:
                    writer.write_batch(kept)
    return Spool(file)


def _narrowed(ranges: Sequence[Any], highs: Mapping[int, int]) -> list[Any]:
    from dataclasses import replace

    return [
        replace(one, end_offset=min(one.end_offset, highs[one.partition]))
        for one in ranges
        if one.start_offset < highs.get(one.partition, 0)
    ]


def _chosen(batch: Any, wanted: Mapping[int, Sequence[int]]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    masks = []
    for partition in pc.unique(batch["partition"]).to_pylist():
        offsets = pa.array(wanted.get(partition, ()), pa.int64())
        masks.append(pc.and_(pc.equal(batch["partition"], partition), pc.is_in(batch["offset"], offsets)))
    mask = masks[0] if masks else pa.array([], pa.bool_())
    for more in masks[1:]:
        mask = pc.or_(mask, more)
    return batch.filter(mask)
