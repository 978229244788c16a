"""``WireReader``: the same rows as the client library gives, from the Fetch responses themselves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.capture.parts import NO_ANSWER
from workbench.capture.reader import GIVE_UP_SECONDS, POLL_SECONDS, SILENCE_SECONDS, Chunk
from workbench.capture.spec import Limits, PartitionRange
from workbench.capture.wire.batches import Batch, Split, body, split
from workbench.capture.wire.codecs import Codecs
from workbench.capture.wire.errors import DamagedBatch, stepped_over
from workbench.capture.wire.fetcher import FETCH_BYTES, SMALLEST_FETCH, Fetcher
from workbench.capture.wire.heads import Head, heads_batch
from workbench.capture.wire.rows import rows_of
from workbench.capture.wire.transactions import Aborted, marker_of
from workbench.capture.wire.transport import Part, Transport

CHUNK_BYTES = 8 << 20  # decompressed; larger only where one batch is
ARENA_SPARE = 2 << 20  # the last batch of a chunk reaches beyond its end
SMALLEST_CHUNK = 64 << 10
CHUNKS_A_LIMIT = 8
MOST_DAMAGED = 50  # batches of one partition; where more are, nothing of it is trusted
OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE = 1, 2


class WireReader:
    """Reads record batches; every record that is in the log, those of aborted transactions marked as such.

    Reads: Metadata, Fetch, ListOffsets (only for partitions that stay silent or were cut).
    """

    name = "wire"

    def __init__(self, settings: Mapping[str, Any], limits: Limits | None = None) -> None:
        """Connects.

        Args:
            settings: how to reach the cluster, in librdkafka's names.
            limits: of the scan; they keep what is fetched ahead, and the size of chunks, in proportion.

        Raises:
            NotForWire: it cannot be used with these settings.
        """
        limits = limits or Limits()
        pace = FETCH_BYTES if limits.max_bytes_per_second is None else limits.max_bytes_per_second >> 2
        share = CHUNK_BYTES if limits.max_bytes is None else limits.max_bytes // CHUNKS_A_LIMIT
        self._fetch_bytes = max(SMALLEST_FETCH, min(FETCH_BYTES, pace))
        self._chunk_bytes = max(SMALLEST_CHUNK, min(CHUNK_BYTES, share, self._fetch_bytes))
        self._transport = Transport(settings)

    def close(self) -> None:
        """Frees connections and threads."""
        self._transport.close()

    def read(
        self, topic: str, ranges: Sequence[PartitionRange], want: set[str], stopped: Callable[[], bool]
    ) -> Iterator[Chunk]:
        """Yields chunks until every range is read, has failed, or ``stopped`` says so.

        Raises:
            NotForWire: the topic has messages of an old format; what was yielded before stays valid.
        """
        scan = _Scan(self._transport, topic, ranges, want, sizes=(self._fetch_bytes, self._chunk_bytes))
        while scan.active and not stopped():
            for chunk in scan.step():
                yield chunk
                if stopped():
                    return


@dataclass
class _Pending:
    """Batches of one partition that are parsed together."""

    heads: list[Head] = field(default_factory=list)
    records: list[tuple[Batch, Any, bool]] = field(default_factory=list)
    size: int = 0

    def add(self, head: Head, data: Any) -> None:
        self.heads.append(head)
        if not head.batch.is_control:
            self.records.append((head.batch, data, head.is_aborted))
            self.size += memoryview(data).nbytes


class _Scan:
    """One topic's ranges while they are read."""

    def __init__(
        self,
        transport: Transport,
        topic: str,
        ranges: Sequence[PartitionRange],
        want: set[str],
        *,
        sizes: tuple[int, int],
    ) -> None:
        self.topic, self.want = topic, want
        self.positions = {part.partition: part.start_offset for part in ranges}
        self.ends = {part.partition: part.end_offset for part in ranges}
        self.active = {part.partition for part in ranges if part.offsets}
        self.errors: dict[int, str] = {}
        self._transport = transport
        self._stable = {part.partition: part.last_stable_offset for part in ranges}
        todo = [
            (part.partition, part.start_offset, part.end_offset, part.last_stable_offset)
            for part in ranges
            if part.offsets
        ]
        self._fetcher = Fetcher(transport, topic, todo, sizes[0])
        self._chunk_bytes = sizes[1]
        self._codecs = Codecs(arena=sizes[1] + ARENA_SPARE)
        self._told, self._told_errors = dict(self.positions), dict(self.errors)
        self._silent = self._unprobed = 0.0
        self._damaged_batches: Counter[int] = Counter()

    def step(self) -> Iterator[Chunk]:
        """At most one answer of a leader."""
        began, before = time.monotonic(), dict(self.positions)
        self._ask()
        answer = self._fetcher.take(POLL_SECONDS)
        found = [one for part in (answer.parts if answer else ()) if (one := self._sorted(part)) is not None]
        self._ask()  # the next answer travels while this one is parsed
        waited = time.monotonic() - began
        for part, records in found:
            yield from self._records(part, records)
        if self.positions == before:
            self._was_silent(waited)
        else:
            self._silent = self._unprobed = 0.0
        yield from self._chunk(None)

    def _ask(self) -> None:
        for partition, error in self._fetcher.ask().items():
            self._finish(partition, self._reason(error))

    def _chunk(self, batch: Any | None, heads: Any | None = None) -> Iterator[Chunk]:
        """What is new since the last chunk."""
        moved = {partition: at for partition, at in self.positions.items() if at != self._told[partition]}
        if batch is not None or heads is not None or moved or self.errors != self._told_errors:
            self._told, self._told_errors = dict(self.positions), dict(self.errors)
            yield Chunk(batch, moved, dict(self.errors), heads, reader="wire")

    # ---- what a leader said of one partition ----

    def _sorted(self, part: Part) -> tuple[Part, Split] | None:
        """The batches of a partition, and the next fetch moved behind them."""
        partition = part.partition
        at = self._fetcher.position(partition)
        if at is None:
            return None
        if part.error_code:
            self._event(part, at)
            return None
        found = split(part.records, self.topic, partition, at)
        if found.batches:
            self._fetcher.reached(partition, found.batches[-1].last_offset + 1)
        elif found.cut:
            self._too_large(partition, found.cut)
        elif found.damage is None and self._fetcher.nothing(part):
            self._move(partition, self.ends[partition])
        if found.damage:
            self._fetcher.drop(partition)
        return part, found

    def _too_large(self, partition: int, size: int) -> None:
        if not self._fetcher.grow(partition, size):
            self._damaged(
                partition,
                DamagedBatch(self.topic, partition, self.positions[partition], f"a batch of {size} bytes is too large"),
            )

    def _event(self, part: Part, at: int) -> None:
        from kafka.errors import for_code

        from workbench.sources.mapping import fault_of

        error = for_code(part.error_code)()
        fault = fault_of(error)
        if part.error_code == OFFSET_OUT_OF_RANGE:
            self._out_of_range(part.partition, at)
        elif part.error_code == CORRUPT_MESSAGE:
            self._damaged(
                part.partition, DamagedBatch(self.topic, part.partition, self.positions[part.partition], fault.text)
            )
        elif fault.kind in {"denied", "login"}:
            self._finish(part.partition, self._reason(error))
        else:
            # Leaders move, epochs change, topics vanish: who leads is asked again, and says so if the topic is gone.
            self._fetcher.retry(fault.text)

    # ---- records ----

    def _records(self, part: Part, found: Split) -> Iterator[Chunk]:
        """Chunks of a partition's batches; those that are damaged are stepped over, for the next one says where it begins."""
        partition, pending = part.partition, _Pending()
        self._codecs.forget()
        aborted = Aborted(part.aborted or (), self._stable[partition])
        damage, upto = found.damage, self.positions[partition]
        for number, batch in enumerate(found.batches):
            if batch.base_offset >= self.ends[partition]:
                upto = self.ends[partition]
                break
            try:
                # Control batches hold markers, no records; they are checked like all others.
                data = body(batch, self.topic, partition, self._codecs)
                marker = marker_of(batch, data, self.topic, partition) if batch.is_control else None
            except DamagedBatch as error:
                if self._damaged_batches[partition] >= MOST_DAMAGED:
                    damage = error
                    break
                yield from self._parsed(partition, pending, upto)
                pending, upto = _Pending(), _behind(found.batches, number)
                self._step_over(partition, batch.base_offset, upto, error.why)
                continue
            upto = batch.last_offset + 1
            pending.add(Head(batch, marker, aborted.is_aborted(batch, marker)), data)
            if pending.size >= self._chunk_bytes:
                yield from self._parsed(partition, pending, upto)
                pending = _Pending()
        yield from self._parsed(partition, pending, upto)
        if damage:
            self._damaged(partition, damage)

    def _parsed(self, partition: int, pending: _Pending, upto: int) -> Iterator[Chunk]:
        if partition not in self.active:
            return
        rows, damage = None, None
        if pending.records:
            low, high = self.positions[partition], self.ends[partition]
            rows, damage = rows_of(pending.records, self.topic, partition, low=low, high=high, want=self.want)
            self._codecs.forget()
        self._move(partition, damage.offset if damage else upto)
        if damage:
            self._damaged(partition, damage)
        trusted = [head for head in pending.heads if damage is None or head.batch.base_offset < damage.offset]
        heads = heads_batch(trusted, self.topic, partition) if trusted else None
        yield from self._chunk(rows if rows is not None and rows.num_rows else None, heads)

    def _move(self, partition: int, position: int) -> None:
        self.positions[partition] = max(self.positions[partition], min(position, self.ends[partition]))
        if position >= self.ends[partition]:
            self._finish(partition)

    def _step_over(self, partition: int, base: int, upto: int, why: str) -> None:
        """Goes on behind a damaged batch, and says what is not read."""
        low, high = max(base, self.positions[partition]), min(upto, self.ends[partition]) - 1
        if low <= high:
            self._damaged_batches[partition] += 1
            self._note(partition, stepped_over(low, high, why))

    def _damaged(self, partition: int, damage: DamagedBatch) -> None:
        offset = max(damage.offset, self.positions[partition])
        self._finish(partition, f"unreadable from offset {offset} on: {damage.why}")

    def _finish(self, partition: int, error: str | None = None) -> None:
        if partition not in self.active:
            return
        self.active.discard(partition)
        self._fetcher.drop(partition)
        if error:
            self._note(partition, error)

    def _note(self, partition: int, text: str) -> None:
        self.errors[partition] = "; ".join(filter(None, (self.errors.get(partition), text)))

    # ---- partitions that cannot go on; the same words as the client reader's ----

    def _reason(self, error: Any, operation: str = "Read") -> str:
        from workbench.sources.mapping import reason

        return reason(error, operation, f"topic {self.topic}")

    def _bounds(self, partition: int) -> tuple[int, int] | str:
        leader = self._fetcher.leaders.get(partition)
        if leader is None or leader.node < 0:
            return f"no leader answers on topic {self.topic}"
        try:
            return self._transport.bounds(self.topic, partition, leader)
        except Exception as error:  # noqa: BLE001 - the library's own; what they mean is judged by code
            return self._reason(error, "Describe")

    def _out_of_range(self, partition: int, at: int) -> None:
        """Retention or a deletion overtook the reader: it goes on where the log now begins."""
        bounds = self._bounds(partition)
        if isinstance(bounds, str):
            self._fetcher.retry(bounds)
            return
        low, high = bounds
        if low > at:
            last = min(low, self.ends[partition]) - 1
            self._note(partition, f"offsets {at} to {last} were deleted before they could be read")
            self._move(partition, low)
            self._fetcher.reached(partition, low)
        elif high < self.ends[partition]:
            self._finish(partition, f"the log now ends at {high}: offsets from there on are gone")
        else:
            self._fetcher.retry()

    def _was_silent(self, seconds: float) -> None:
        """Asks how far silent partitions reach; gives up when nothing moved for long."""
        self._silent, self._unprobed = self._silent + seconds, self._unprobed + seconds
        if self._unprobed < SILENCE_SECONDS:
            return
        self._unprobed = 0.0
        began = time.monotonic()
        for partition in sorted(self.active):
            bounds = self._bounds(partition)
            if isinstance(bounds, tuple) and bounds[1] < self.ends[partition]:
                self._finish(partition, f"the log now ends at {bounds[1]}: offsets from there on are gone")
        self._silent += time.monotonic() - began
        if self._silent > GIVE_UP_SECONDS:
            why = f" ({self._fetcher.complaint})" if self._fetcher.complaint else ""
            for partition in list(self.active):
                self._finish(partition, f"{NO_ANSWER} for {GIVE_UP_SECONDS:.0f} s{why}")


def _behind(batches: Sequence[Batch], number: int) -> int:
    """Where it goes on behind a damaged batch: where the next begins, as its own head may be wrong; the last one is believed."""
    return batches[number + 1].base_offset if number + 1 < len(batches) else batches[number].last_offset + 1
