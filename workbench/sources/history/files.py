"""The files of a folder that ``workbench watch`` keeps: looks at groups and logs, in Parquet.

A look is one file, renamed into place: killed at any moment, a watcher has lost at most the look it was taking. Looks of an
hour, or as many as fit into memory, are joined into one segment that holds only what changed. Each watcher writes files of
its own name, and may look at groups and topics of its own: what one did not see says nothing about what another did.

A file begins with all that its first look saw, so that what is not there at that moment is gone. Rows are sorted by group
(logs first), topic, partition and look, in row groups with statistics of the first two: one group's past is read without
the others'.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from workbench.errors import SourceUnavailable

TIMES = b"workbench.looks"  # metadata: when the looks of a file were, epoch milliseconds

# group: null for the log of a partition. look: number of the look, of the times in the file's metadata. Offsets are null where
# there is none, or it was not known.
ROWS = pa.schema(
    [
        ("group", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("look", pa.int32()),
        ("committed_offset", pa.int64()),
        ("log_start_offset", pa.int64()),
        ("log_end_offset", pa.int64()),
        ("last_stable_offset", pa.int64()),
    ]
)


class Row(NamedTuple):
    """One row of a look: a group's commit on a partition, or (group None) the partition's log."""

    group: str | None
    topic: str
    partition: int
    committed_offset: int | None = None
    log_start_offset: int | None = None
    log_end_offset: int | None = None
    last_stable_offset: int | None = None


@dataclass(frozen=True)
class LookFile:
    """A file of looks by its name: when its first and last look were, whose they are, whether they are joined."""

    path: Path
    first_ms: int
    last_ms: int
    writer: str

    @property
    def joined(self) -> bool:
        """Whether it is a segment."""
        return self.path.name.startswith("segment-")


def files_of(folder: Path) -> list[LookFile]:
    """All files, oldest first; looks that a segment of their writer covers are left out."""
    found = sorted(named(folder), key=lambda one: one.first_ms)
    covered: dict[str, list[LookFile]] = {}
    for one in found:
        if one.joined:
            covered.setdefault(one.writer, []).append(one)
    return [
        one
        for one in found
        if one.joined or not any(s.first_ms <= one.first_ms <= s.last_ms for s in covered.get(one.writer, ()))
    ]


def named(folder: Path) -> list[LookFile]:
    """The files whose names say that they are looks or segments, in any order."""
    return [one for path in folder.glob("*.parquet") if (one := _named(path))]


def _named(path: Path) -> LookFile | None:
    parts = path.stem.split("-")
    with suppress(ValueError, IndexError):
        return LookFile(path, int(parts[1]), int(parts[2]), parts[3])
    return None


def looks_of(path: Path) -> list[int]:
    """When the looks of a file were, epoch milliseconds, oldest first.

    Raises:
        SourceUnavailable: the file is damaged.
    """
    try:
        return [int(at) for at in json.loads((metadata(path).metadata or {})[TIMES])]
    except (KeyError, ValueError):
        raise _damaged(path) from None


def metadata(path: Path) -> Any:
    """A file's Parquet metadata.

    Raises:
        SourceUnavailable: the file is damaged.
    """
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(path)
    except (OSError, ValueError, pa.ArrowException):
        raise _damaged(path) from None


def rows_of(path: Path, which: Any, columns: Sequence[str]) -> pa.Table:
    """Columns of the rows that an expression chooses; row groups that hold none of these are not read.

    Raises:
        SourceUnavailable: the file is damaged.
    """
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=list(columns), filters=which)
    except (OSError, ValueError, pa.ArrowException):
        raise _damaged(path) from None


def _damaged(path: Path) -> SourceUnavailable:
    return SourceUnavailable(
        f"{path.name} of the history is damaged.", source="history", hint=f"Remove {path} and go on."
    )
