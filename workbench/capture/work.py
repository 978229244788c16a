"""The loop of one lane: read, collect some tens of thousands of records, derive, write a part."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import pyarrow as pa

from workbench.capture.derive import Deriver
from workbench.capture.lanes import Lane, Round
from workbench.capture.parts import Parts, Segment
from workbench.capture.reader import Chunk, Reader
from workbench.capture.readers import open_reader
from workbench.capture.schema import RAW
from workbench.capture.spec import CaptureSpec, Limits, TopicSpec

FLUSH_ROWS = 65_536
FLUSH_BYTES = 32 << 20

# What a lane writes: whole rows; or only coordinates, of what read_committed shows or of what is (still) there.
Kind = Literal["records", "visible", "present"]
Derive = Callable[[Sequence[Any]], Any]
Told = Callable[[int, int, int], None]  # records, bytes, offsets since the last call


@dataclass
class Budget:
    """What may still be read.

    Attributes:
        records: records, None is no limit.
        bytes: bytes, None is no limit.
        deadline: ``time.monotonic()`` seconds, None is no limit.
        pace: bytes a second, None is no limit.
    """

    records: int | None = None
    bytes: int | None = None
    deadline: float | None = None
    pace: float | None = None
    _taken: int = 0
    _since: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, limits: Limits, used: Sequence[Segment], lanes: int) -> Budget:
        """The budget of one of several lanes, after what earlier runs have used."""
        return cls(
            None if limits.max_records is None else limits.max_records - sum(one.records for one in used),
            None if limits.max_bytes is None else limits.max_bytes - sum(one.bytes for one in used),
            None if limits.max_seconds is None else time.monotonic() + limits.max_seconds,
            None if limits.max_bytes_per_second is None else limits.max_bytes_per_second / lanes,
        )

    def spent(self) -> bool:
        """Whether nothing more may be read."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return True
        return (self.records is not None and self.records <= 0) or (self.bytes is not None and self.bytes <= 0)

    def take(self, records: int, size: int) -> None:
        """Counts what was read."""
        self.records = None if self.records is None else self.records - records
        self.bytes = None if self.bytes is None else self.bytes - size
        self._taken += size

    def wait(self, stopped: Callable[[], bool]) -> None:
        """Sleeps until the pace allows more."""
        while self.pace and not stopped() and not self.spent():
            ahead = self._since + self._taken / self.pace - time.monotonic()
            if ahead <= 0:
                return
            time.sleep(min(ahead, 0.2))


def run_lane(
    client_settings: Mapping[str, Any],
    spec: CaptureSpec,
    lane: Lane,
    *,
    kind: Kind,
    folder: Path,
    budget: Budget,
    stopped: Callable[[], bool],
    told: Told,
    registry: Mapping[str, Any] | None = None,
) -> None:
    """Reads a lane into parts in ``folder``; what was read when it is stopped is written.

    Raises:
        SourceUnavailable: the client library gave up.
    """
    isolation = "read_committed" if kind == "visible" else "read_uncommitted"
    reader = open_reader(client_settings, spec, isolation)
    topics = {topic.topic: topic for topic in spec.topics}
    try:
        with _without_gc(), _quick_switches(needed=reader.name == "client"):
            for ranges in lane.rounds:
                if not stopped() and not budget.spent():
                    with _deriving(spec, topics[ranges[0].topic], kind, registry) as (derive, want):
                        flusher = _Flusher(Parts(folder), ranges, derive)
                        _run_round(reader, want, ranges, flusher, budget=budget, stopped=stopped, told=told)
    finally:
        reader.close()


def _run_round(
    reader: Reader,
    want: set[str],
    ranges: Round,
    flusher: _Flusher,
    *,
    budget: Budget,
    stopped: Callable[[], bool],
    told: Told,
) -> None:
    with flusher:
        for chunk in reader.read(ranges[0].topic, ranges, want, lambda: stopped() or budget.spent()):
            kept = _within(chunk, budget.records)
            rows, size = (kept.batch.num_rows, kept.batch.nbytes) if kept.batch is not None else (0, 0)
            told(rows, size, flusher.add(kept))
            budget.take(rows, size)
            if budget.pace:
                budget.wait(stopped)


def _within(chunk: Chunk, records: int | None) -> Chunk:
    """The chunk cut to so many records, its positions right behind them."""
    if chunk.batch is None or records is None or chunk.batch.num_rows <= records:
        return chunk
    batch = chunk.batch.slice(0, max(0, records))
    last = dict(zip(batch["partition"].to_pylist(), batch["offset"].to_pylist(), strict=True))
    return replace(chunk, batch=batch, positions={partition: offset + 1 for partition, offset in last.items()})


@contextmanager
def _deriving(
    spec: CaptureSpec, topic: TopicSpec, kind: Kind, registry: Mapping[str, Any] | None
) -> Iterator[tuple[Derive, set[str]]]:
    """(what makes rows of raw batches, the raw columns that it needs)."""
    if kind != "records":
        yield _coordinates, set()
        return
    deriver = Deriver(spec, topic, registry)
    try:
        yield deriver, deriver.plan.raw_columns
    finally:
        deriver.close()


def _coordinates(batches: Sequence[Any]) -> Any:
    return pa.Table.from_batches(batches, schema=RAW).select(["topic", "partition", "offset"])


@contextmanager
def _without_gc() -> Iterator[None]:
    """Millions of short-lived messages make the collector run for nothing: it costs up to half of the speed."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _quick_switches(*, needed: bool) -> Iterator[None]:
    """Deriving takes many short turns beside a loop over messages that never rests: at the default of 5 ms each waits."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005 if needed else before)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@dataclass
class _Lot:
    """What one part is made of."""

    batches: list[Any] = field(default_factory=list)
    heads: list[Any] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    reader: str = "wire"

    def add(self, chunk: Chunk) -> None:
        if chunk.batch is not None:
            self.batches.append(chunk.batch)
            self.rows += chunk.batch.num_rows
            self.bytes += chunk.batch.nbytes
        if chunk.heads is not None:
            self.heads.append(chunk.heads)
        if chunk.reader == "client":
            self.reader = "client"  # of any of it: then all of it is looked at again


class _Flusher:
    """Collects chunks of one round, derives their rows in one thread and writes parts in another, in order.

    At most one lot is being derived and one written: what is in memory stays bounded by three.
    """

    def __init__(self, parts: Parts, ranges: Round, derive: Derive) -> None:
        self._parts, self._topic, self._derive = parts, ranges[0].topic, derive
        self._lot = _Lot()
        self._written = {part.partition: part.start_offset for part in ranges}
        self._positions = dict(self._written)
        self._errors: dict[int, str] = {}
        self._told_errors: dict[int, str] = {}
        self._deriving = ThreadPoolExecutor(1, thread_name_prefix="workbench-derive")
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="workbench-write")
        self._derived: Future[Future[Any]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # What was read before an error is kept. After an interrupt rows and positions may not belong together.
        try:
            if kind is None or issubclass(kind, Exception):
                self._flush()
            last = self._join()
            if last is not None:
                last.result()
        finally:
            self._deriving.shutdown()
            self._writing.shutdown()

    def add(self, chunk: Chunk) -> int:
        """Takes a chunk; by how many offsets it moved."""
        moved = sum(at - self._positions[partition] for partition, at in chunk.positions.items())
        self._positions |= chunk.positions
        self._errors |= chunk.errors
        self._lot.add(chunk)
        if self._lot.rows >= FLUSH_ROWS or self._lot.bytes >= FLUSH_BYTES:
            self._flush()
        return moved

    def _flush(self) -> None:
        if self._positions == self._written and self._errors == self._told_errors:
            return
        written = self._join()
        work = (written, self._lot, dict(self._written), dict(self._positions), dict(self._errors))
        self._lot = _Lot()
        self._written, self._told_errors = dict(self._positions), dict(self._errors)
        self._derived = self._deriving.submit(self._make, *work)

    def _join(self) -> Future[Any] | None:
        """Waits for the lot that is being derived; its part, which may still be written."""
        derived, self._derived = self._derived, None
        return None if derived is None else derived.result()

    def _make(
        self,
        before: Future[Any] | None,
        lot: _Lot,
        starts: dict[int, int],
        ends: dict[int, int],
        errors: dict[int, str],
    ) -> Future[Any]:
        table = self._derive(lot.batches)
        counts = _counts(lot.batches)
        segments = [
            Segment(
                topic=self._topic,
                partition=partition,
                start=start,
                end=ends[partition],
                records=counts.get(partition, (0, 0))[0],
                bytes=counts.get(partition, (0, 0))[1],
                error=errors.get(partition),
                reader=lot.reader,
            )
            for partition, start in starts.items()
            if ends[partition] != start or partition in errors
        ]
        heads = pa.Table.from_batches(lot.heads) if lot.heads else None
        if before is not None:
            before.result()
        return self._writing.submit(self._parts.write, table, segments, heads)


def _counts(batches: list[Any]) -> dict[int, tuple[int, int]]:
    """Partition -> (records, bytes of keys, values and headers)."""
    if not batches:
        return {}
    import pyarrow.compute as pc

    table = pa.Table.from_batches(batches, schema=RAW)
    sizes = [pc.fill_null(pc.binary_length(table[name]), 0).cast(pa.int64()) for name in ("key", "value")]
    table = pa.table({"partition": table["partition"], "size": pc.add(*sizes)})
    found = table.group_by("partition").aggregate([([], "count_all"), ("size", "sum")])
    return {row["partition"]: (row["count_all"], row["size_sum"]) for row in found.to_pylist()}
