"""The files of a capture on disk, and what makes it resumable.

A part is one Parquet file that carries in its own metadata which offsets it covers, so that a rename commits rows and
progress at once: killed at any moment, a capture has neither lost nor doubled a row. ``capture.json`` says what the
folder is a capture of, and whether it is complete.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from workbench.capture.spec import CaptureSpec, PartitionRange
from workbench.errors import UsageError

MANIFEST = "capture.json"
MANIFEST_VERSION = 1
SEGMENTS = b"workbench.segments"
NO_ANSWER = "no answer"  # errors that begin so pass: what is missing is asked for again
BATCHES_FOLDER = "batches"
# Dictionaries pay for columns that repeat; for ids, keys and values they are built and thrown away.
REPEATING = [
    "role", "topic", "timestamp_type", "header_names.list.element", "event_type", "event_version", "dialect",
    "headers.list.element.name", "marker", "codec",
]  # fmt: skip
# Two thirds of the time of level 1 for three times its size. Captures are scratch; what is saved is written anew.
FAST = -20
# What readers of the files filter by.
SORTED = ["partition", "offset", "timestamp_ms", "base_offset"]
WAIT_FOR_WORKERS_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Segment:
    """Offsets of one partition that a part covers.

    Attributes:
        topic: its topic.
        partition: its partition.
        start: first offset covered.
        end: first offset not covered.
        records: rows of the part in it.
        bytes: of their keys, values and headers, as held in memory.
        error: why reading ended here, or what is missing; null when nothing is.
        reader: who read it; what the client library reads tells nothing of aborted transactions.
    """

    topic: str
    partition: int
    start: int
    end: int
    records: int
    bytes: int
    error: str | None = None
    reader: str = "client"

    @property
    def failed(self) -> bool:
        """Whether what is missing behind it cannot be had, however often it is asked for."""
        return self.error is not None and not self.error.startswith(NO_ANSWER)


class Parts:
    """The Parquet parts in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, table: Any, segments: Sequence[Segment], heads: Any | None = None) -> Path:
        """Adds one part: rows and what they cover, both or neither; before it the record batches they came in.

        Killed in between, the batches are there and come again with the rows: whoever reads them takes each once.
        """
        name = f"part-{time.time_ns():020d}-{secrets.token_hex(4)}.parquet"
        if heads is not None:
            folder = self.folder / BATCHES_FOLDER
            folder.mkdir(exist_ok=True, mode=0o700)
            write_parquet(heads, folder / name)
        data = json.dumps([astuple(segment) for segment in segments])
        write_parquet(table.replace_schema_metadata({SEGMENTS: data.encode()}), self.folder / name)
        return self.folder / name

    def batches(self) -> tuple[Path, ...]:
        """Files of record batches, oldest first."""
        return tuple(path.absolute() for path in sorted((self.folder / BATCHES_FOLDER).glob("part-*.parquet")))

    def paths(self) -> list[Path]:
        """All parts, oldest first."""
        return sorted(self.folder.glob("part-*.parquet"))

    def files(self) -> tuple[Path, ...]:
        """Parts that hold rows."""
        import pyarrow.parquet as pq

        return tuple(path.absolute() for path in self.paths() if pq.read_metadata(path).num_rows)

    def segments(self) -> list[Segment]:
        """What all parts cover; a part that cannot be read (power was lost) is removed and read again."""
        return [segment for path in self.paths() for segment in _segments_of(path)]


def _segments_of(path: Path) -> Iterator[Segment]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        data = (pq.read_metadata(path).metadata or {})[SEGMENTS]
    except (pa.ArrowException, OSError, KeyError):
        path.unlink()
        return
    for row in json.loads(data):
        yield Segment(*row)


def write_parquet(table: Any, path: Path) -> None:
    """Writes or replaces a Parquet file, whole or not at all."""
    import pyarrow.parquet as pq

    scratch = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        pq.write_table(
            table,
            scratch,
            compression="zstd",
            compression_level=FAST,
            use_dictionary=REPEATING,
            write_statistics=SORTED,
        )
        scratch.chmod(0o600)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def prepare(folder: Path, spec: CaptureSpec) -> dict[str, Any]:
    """Makes or takes up the folder of a capture; its manifest.

    Raises:
        UsageError: the folder holds another capture.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / MANIFEST
    if path.is_file():
        return _taken_up(path, spec)
    if any(folder.glob("part-*.parquet")):
        raise UsageError(f"{folder} holds parts of an unknown capture.", hint="Name a folder that is new or empty.")
    manifest = {
        "version": MANIFEST_VERSION,
        "fingerprint": spec.fingerprint(),
        "complete": False,
        "marked": False,
        "seconds": 0.0,
        "spec": spec.to_json(),
    }
    save_manifest(folder, manifest)
    return manifest


def _taken_up(path: Path, spec: CaptureSpec) -> dict[str, Any]:
    try:
        manifest = dict(json.loads(path.read_text()))
        known = manifest["version"] == MANIFEST_VERSION and manifest["fingerprint"] == spec.fingerprint()
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise UsageError(f"{path.parent} holds another capture.", hint="Name a folder that is new or empty.")
    for scratch in path.parent.rglob(".*.partial"):
        scratch.unlink(missing_ok=True)
    return manifest


def save_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest, whole or not at all."""
    scratch = folder / f".{MANIFEST}.{os.getpid()}.partial"
    scratch.write_text(json.dumps(manifest, indent=1) + "\n")
    scratch.replace(folder / MANIFEST)


def interrupted_spec(folder: Path) -> CaptureSpec | None:
    """The spec of an unfinished capture in a folder, to be given to ``capture`` again; None when there is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        return None if manifest["complete"] else CaptureSpec.from_json(manifest["spec"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Holds the folder: no second capture, and no worker left over from one that was killed, writes into it.

    Raises:
        UsageError: another capture is running in this folder.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / ".owner").open("w") as owner, (folder / ".workers").open("w") as workers:
        if not _locked(owner, fcntl.LOCK_EX, 0.0):
            raise UsageError(f"Another capture runs in {folder}.", hint="Wait for it, or name another folder.")
        if not _locked(workers, fcntl.LOCK_EX, WAIT_FOR_WORKERS_SECONDS):
            raise UsageError(f"Processes of an earlier capture still write to {folder}.", hint="End them, then retry.")
        fcntl.flock(workers, fcntl.LOCK_UN)
        yield


@contextmanager
def working(folder: Path) -> Iterator[None]:
    """Held by a worker process for as long as it may write."""
    with (folder / ".workers").open("w") as workers:
        fcntl.flock(workers, fcntl.LOCK_SH)
        yield


def _locked(file: Any, kind: int, patience_seconds: float) -> bool:
    give_up_at = time.monotonic() + patience_seconds
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= give_up_at:
            return False
        time.sleep(0.05)


def remaining(ranges: Iterable[PartitionRange], segments: Iterable[Segment]) -> list[PartitionRange]:
    """The offsets of the ranges that no segment covers, in order."""
    covered: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for segment in segments:
        covered[segment.topic, segment.partition].append((segment.start, segment.end))
    return [gap for part in ranges for gap in _gaps(part, sorted(covered[part.topic, part.partition]))]


def _gaps(part: PartitionRange, covered: list[tuple[int, int]]) -> Iterator[PartitionRange]:
    at = part.start_offset
    for start, end in [*covered, (part.end_offset, part.end_offset)]:
        if start > at:
            upto = min(start, part.end_offset)
            yield PartitionRange(part.topic, part.partition, at, upto, part.last_stable_offset)
        at = max(at, end)
