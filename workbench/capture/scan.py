"""``capture``: a bounded, resumable scan of topics into Parquet."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.capture import aborted
from workbench.capture.crew import Interrupts, Job, run
from workbench.capture.lanes import divide, process_count
from workbench.capture.parts import Parts, Segment, owned, prepare, remaining, save_manifest
from workbench.capture.readers import why_not_wire
from workbench.capture.schema import OUTCOME, capture_schema
from workbench.capture.spec import CaptureSpec, PartitionRange
from workbench.capture.work import Kind


@dataclass(frozen=True)
class ScanProgress:
    """How far a scan is.

    Attributes:
        step: what is being done, for people.
        records: records read so far, earlier runs included.
        bytes: their bytes.
        offsets: offsets done, holes included; of ``total_offsets``.
        total_offsets: offsets of the whole scan.
        seconds: since this run began.
    """

    step: str
    records: int
    bytes: int
    offsets: int
    total_offsets: int
    seconds: float


@dataclass(frozen=True)
class Capture:
    """A finished or cut capture.

    Attributes:
        files: Parquet files that hold its rows.
        schema: of every file.
        outcome: one row a partition: topic, partition i32, start_offset, end_offset, next_offset (how far it got,
            without a gap) i64, records i64, bytes i64, error string (null: none), truncated bool (next < end).
        batches: Parquet files of schema ``BATCHES``: the record batches that the wire reader read; one that lies across
            two ranges, or that a killed run had read already, comes more than once.
        reader: ``wire``, ``client`` or ``wire+client``, as it was read; empty where nothing was.
        why_client: why the client library was used, where it was.
        truncated: some partition was not read to its end.
        seconds: wall time, earlier runs included.
    """

    files: tuple[Path, ...]
    schema: pa.Schema
    outcome: pa.Table
    batches: tuple[Path, ...]
    reader: str
    why_client: str
    truncated: bool
    seconds: float


def capture(
    client_settings: Mapping[str, Any],
    spec: CaptureSpec,
    folder: Path,
    progress: Callable[[ScanProgress], None] | None = None,
    registry: Mapping[str, Any] | None = None,
) -> Capture:
    """Reads the ranges of a spec into Parquet files in a folder.

    Reads up to the end offsets of the spec, what aborted transactions wrote too; where the client library reads, and holes
    may be aborted transactions, again with read_committed. Killed at any moment and called again with the same spec and
    folder, it goes on where it was.
    Ctrl-C keeps what was read and returns a truncated capture.

    Args:
        client_settings: librdkafka settings that reach the cluster.
        spec: what to read.
        folder: new, empty, or of an earlier call with the same spec.
        progress: called a few times a second.
        registry: where the schemas are that records name.

    Raises:
        UsageError: the folder holds another capture, or one that is running.
        SourceUnavailable: the client library gave up; calling again resumes.

    Reads: Fetch, ListOffsets; Describe and Read on the topics.
    """
    folder = folder.absolute()
    interrupts = Interrupts()
    with owned(folder), interrupts.caught():
        scan = _Scan(client_settings, spec, folder, prepare(folder, spec), interrupts, progress, registry)
        if not scan.manifest["complete"]:
            scan.run()
        return scan.result()


@dataclass
class _Scan:
    settings: Mapping[str, Any]
    spec: CaptureSpec
    folder: Path
    manifest: dict[str, Any]
    interrupts: Interrupts
    progress: Callable[[ScanProgress], None] | None
    registry: Mapping[str, Any] | None
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.parts = Parts(self.folder)
        self.visible = Parts(self.folder / "visible")
        self.present = Parts(self.folder / "present")

    def run(self) -> None:
        """Reads what is missing, then looks for aborted records, then calls it complete."""
        seconds = self.manifest["seconds"]
        try:
            self._pass("records", "reading", self.parts, self.spec.ranges())
            if "aborted" in self.spec.want:
                self._find_aborted()
            self.manifest["complete"] = not self.interrupts.seen and self._is_done()
        finally:
            self.manifest["seconds"] = seconds + time.monotonic() - self.began
            save_manifest(self.folder, self.manifest)

    def _pass(self, kind: Kind, step: str, parts: Parts, ranges: Sequence[PartitionRange]) -> None:
        done = parts.segments()
        todo = remaining(ranges, done)
        lanes = divide(todo, process_count(self.spec, sum(part.offsets for part in todo)))
        limited = self.spec if kind == "records" else _without_counts(self.spec)
        job = Job(self.settings, limited, kind, self.folder, parts.folder, done, self.registry)
        run(job, lanes, self.interrupts, self._told(step, done, sum(part.offsets for part in ranges)))

    def _told(self, step: str, done: Sequence[Segment], total: int) -> Callable[[int, int, int], None]:
        sums = [
            sum(one.records for one in done), sum(one.bytes for one in done), sum(one.end - one.start for one in done),
        ]  # fmt: skip
        last = [0.0]

        def told(records: int, size: int, offsets: int) -> None:
            sums[:] = [sums[0] + records, sums[1] + size, sums[2] + offsets]
            now = time.monotonic()
            if self.progress and (now - last[0] > 0.1 or sums[2] >= total):
                last[0] = now
                self.progress(ScanProgress(step, sums[0], sums[1], sums[2], total, now - self.began))

        return told

    def _is_done(self) -> bool:
        """Whether nothing is left that could be read: what is missing has failed, it was not cut by a limit."""
        segments = self.parts.segments()
        failed = {(one.topic, one.partition) for one in segments if one.failed}
        return all((gap.topic, gap.partition) in failed for gap in remaining(self.spec.ranges(), segments))

    def _find_aborted(self) -> None:
        checked = aborted.ranges_to_check(self.spec.ranges(), self.parts.segments())
        if not checked and not self.manifest["marked"]:
            return
        if not self.interrupts.seen:
            self._pass("visible", "looking for aborted transactions", self.visible, checked)
        unknown = aborted.unchecked(checked, self.visible.segments())
        found = aborted.candidates(self.parts, self.visible, checked)
        if found.num_rows and not self.interrupts.seen:
            self._pass("present", "confirming aborted records", self.present, aborted.lookups(found))
        if found.num_rows or unknown or self.manifest["marked"]:
            # A run that goes on later must look at the marks again.
            self.manifest["marked"] = True
            save_manifest(self.folder, self.manifest)
            aborted.mark(self.parts, checked, found, self.present, unknown)

    def result(self) -> Capture:
        """The capture as its files tell it."""
        segments = self.parts.segments()
        outcome = _outcome(self.spec.ranges(), segments)
        cut = any(outcome["truncated"].to_pylist())
        return Capture(
            files=self.parts.files(),
            schema=capture_schema(self.spec.include_values),
            outcome=outcome,
            batches=self.parts.batches(),
            reader="+".join(sorted({one.reader for one in segments}, reverse=True)),
            why_client=_why_client(self.spec, self.settings),
            truncated=cut or self.interrupts.seen,
            seconds=float(self.manifest["seconds"]),
        )


def _why_client(spec: CaptureSpec, settings: Mapping[str, Any]) -> str:
    if spec.reader == "client":
        return "it was asked for"
    return why_not_wire(settings) or "the wire reader could not connect, or met an old message format"


def _without_counts(spec: CaptureSpec) -> CaptureSpec:
    """Second looks are bounded by the first: only its pace and time bind them."""
    import dataclasses

    return dataclasses.replace(spec, limits=dataclasses.replace(spec.limits, max_records=None, max_bytes=None))


def _outcome(ranges: Sequence[PartitionRange], segments: Sequence[Segment]) -> pa.Table:
    by_place: dict[tuple[str, int], list[Segment]] = defaultdict(list)
    for segment in segments:
        by_place[segment.topic, segment.partition].append(segment)
    rows = [_outcome_row(part, by_place[part.topic, part.partition]) for part in ranges]
    return pa.Table.from_pylist(rows, schema=OUTCOME)


def _outcome_row(part: PartitionRange, segments: list[Segment]) -> dict[str, Any]:
    gaps = remaining([part], segments)
    reached = gaps[0].start_offset if gaps else max(part.start_offset, part.end_offset)
    errors = dict.fromkeys(segment.error for segment in segments if segment.error and (segment.failed or gaps))
    return {
        "topic": part.topic,
        "partition": part.partition,
        "start_offset": part.start_offset,
        "end_offset": part.end_offset,
        "next_offset": reached,
        "records": sum(segment.records for segment in segments),
        "bytes": sum(segment.bytes for segment in segments),
        "error": "; ".join(errors) or None,
        "truncated": bool(gaps),
    }
