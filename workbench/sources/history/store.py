"""What ``workbench watch`` keeps: looks at groups and logs, in Parquet files of one folder.

A look is one file, renamed into place: killed at any moment, a watcher has lost at most the look it was taking. Looks of an
hour are joined into one segment that holds only what changed. Each watcher writes files of its own name; two of them in one
folder are two sets of looks.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import pyarrow as pa

from workbench.errors import SourceUnavailable, UsageError
from workbench.sources.history.table import Sample

LOOKS_A_SEGMENT = 360
MOST_MOMENTS = 400  # samples of a partition that a diagnosis gets; more say nothing new
_META = b"workbench.looks"
_LOCK = ".watching-{}"

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
class _File:
    """A file of looks by its name: when its first and last look were, whose they are, whether they are joined."""

    path: Path
    first_ms: int
    last_ms: int
    writer: str

    @property
    def joined(self) -> bool:
        return self.path.name.startswith("segment-")


class HistoryStore:
    """The looks in a folder, for reading.

    Args:
        folder: of ``workbench watch --out``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self) -> list[_File]:
        """All files, oldest first; looks that a segment of their writer covers are left out."""
        found = sorted(filter(None, map(_named, self.folder.glob("*.parquet"))), key=lambda one: one.first_ms)
        covered: dict[str, list[_File]] = {}
        for one in found:
            if one.joined:
                covered.setdefault(one.writer, []).append(one)
        return [
            one
            for one in found
            if one.joined or not any(s.first_ms <= one.first_ms <= s.last_ms for s in covered.get(one.writer, ()))
        ]

    def samples(self, group: str, since_ms: int) -> list[Sample]:
        """Where a group stood at the looks since a moment, at most ``MOST_MOMENTS`` of them; [] where nobody watched it.

        Raises:
            SourceUnavailable: a file cannot be read.

        Reads: the files.
        """
        files = [one for one in self.files() if one.last_ms >= since_ms]
        moments = _thinned(sorted({at for one in files for at in _looks(one.path) if at >= since_ms}))
        steps = _Steps()
        for one in files:
            steps.take(one, group)
        return [sample for place in steps.places() for sample in steps.samples(place, moments)]


class _Steps:
    """The values of a group's partitions as they changed."""

    def __init__(self) -> None:
        self.commits: dict[tuple[str, int], list[tuple[int, int | None]]] = {}
        self.ends: dict[tuple[str, int], list[tuple[int, int | None]]] = {}

    def take(self, file: _File, group: str) -> None:
        import pyarrow.compute as pc

        table, times = _read(file.path), _looks(file.path)
        mine = table.filter(pc.equal(table["group"], group))
        topics = pa.array(sorted(set(mine["topic"].to_pylist())), pa.string())
        logs = table.filter(pc.and_(pc.is_null(table["group"]), pc.is_in(table["topic"], topics)))
        for rows, column, out in ((mine, "committed_offset", self.commits), (logs, "log_end_offset", self.ends)):
            names = ("topic", "partition", "look", column)
            for topic, partition, look, value in zip(*(rows[name].to_pylist() for name in names), strict=True):
                out.setdefault((topic, partition), []).append((times[look], value))

    def places(self) -> list[tuple[str, int]]:
        return sorted(self.commits)

    def samples(self, place: tuple[str, int], moments: Sequence[int]) -> Iterator[Sample]:
        commits, ends = sorted(self.commits[place]), sorted(self.ends.get(place, ()), key=lambda one: one[0])
        for at in moments:
            yield Sample(*place, at, _value_at(commits, at), _value_at(ends, at), "watch")


def _value_at(steps: Sequence[tuple[int, int | None]], at: int) -> int | None:
    before = bisect_right([when for when, _ in steps], at)
    return steps[before - 1][1] if before else None


def _thinned(moments: Sequence[int]) -> Sequence[int]:
    """Evenly chosen moments, the last one among them."""
    if len(moments) <= MOST_MOMENTS:
        return moments
    step = len(moments) / MOST_MOMENTS
    return [moments[len(moments) - 1 - round(number * step)] for number in range(MOST_MOMENTS)][::-1]


class HistoryWriter:
    """One watcher's hand in a folder; a context manager.

    Args:
        folder: made where it is not there.
        looks_a_segment: how many looks are joined into one file.

    Raises:
        UsageError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, looks_a_segment: int = LOOKS_A_SEGMENT) -> None:
        self.folder, self.name, self._many = folder, secrets.token_hex(4), looks_a_segment
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock: IO[str] = (folder / _LOCK.format(self.name)).open("w")
        except OSError as error:
            raise UsageError(f"{folder} cannot be written to: {error.strerror}.", hint="Name another --out.") from None
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __enter__(self) -> Self:
        self._adopt()
        return self

    def __exit__(self, *_: object) -> None:
        self.join(self.name)
        self._lock.close()
        (self.folder / _LOCK.format(self.name)).unlink(missing_ok=True)

    def add(self, at_ms: int, rows: Iterable[Row]) -> None:
        """Keeps one look; joins looks where there are enough."""
        columns = list(zip(*rows, strict=True)) or [()] * (len(ROWS) - 1)
        count = len(columns[0])
        arrays = [pa.array(column, ROWS.field(name).type) for name, column in zip(Row._fields, columns, strict=True)]
        arrays.insert(ROWS.get_field_index("look"), pa.repeat(pa.scalar(0, pa.int32()), count))
        self._write(f"look-{at_ms:013}-{at_ms:013}-{self.name}", pa.Table.from_arrays(arrays, schema=ROWS), [at_ms])
        if len(self._loose(self.name)) >= self._many:
            self.join(self.name)

    def join(self, writer: str) -> None:
        """Joins the loose looks of a writer into a segment."""
        loose = self._loose(writer)
        if len(loose) < 2:
            return
        times = [one.first_ms for one in loose]
        tables = [_numbered(_read(one.path), number) for number, one in enumerate(loose)]
        name = f"segment-{times[0]:013}-{times[-1]:013}-{writer}"
        self._write(name, changes(pa.concat_tables(tables)), times)
        for one in loose:
            one.path.unlink(missing_ok=True)

    def forget(self, before_ms: int) -> int:
        """Removes files whose last look is older than a moment; how many."""
        old = [one for one in map(_named, self.folder.glob("*.parquet")) if one and one.last_ms < before_ms]
        for one in old:
            one.path.unlink(missing_ok=True)
        return len(old)

    def _loose(self, writer: str) -> list[_File]:
        return [one for one in HistoryStore(self.folder).files() if one.writer == writer and not one.joined]

    def _adopt(self) -> None:
        """Joins what a watcher that died left behind, and removes looks that it had joined already."""
        kept = {one.path for one in HistoryStore(self.folder).files()}
        for path in self.folder.glob("look-*.parquet"):
            if path not in kept:
                path.unlink(missing_ok=True)
        for writer in {one.writer for one in HistoryStore(self.folder).files() if not one.joined}:
            if writer != self.name and self._is_dead(writer):
                self.join(writer)

    def _is_dead(self, writer: str) -> bool:
        path = self.folder / _LOCK.format(writer)
        try:
            with path.open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        path.unlink(missing_ok=True)
        return True

    def _write(self, name: str, table: pa.Table, times: Sequence[int]) -> None:
        import pyarrow.parquet as pq

        scratch = self.folder / f".{name}.{os.getpid()}"
        ints = [field.name for field in ROWS if pa.types.is_integer(field.type)]
        try:
            pq.write_table(
                table.replace_schema_metadata({_META: json.dumps(list(times)).encode()}),
                scratch,
                compression="zstd",
                use_dictionary=["group", "topic"],
                column_encoding=dict.fromkeys(ints, "DELTA_BINARY_PACKED"),
                write_statistics=False,
            )
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
            scratch.chmod(0o600)
            scratch.replace(self.folder / f"{name}.parquet")
        except OSError as error:
            raise UsageError(
                f"{self.folder} cannot be written to: {error.strerror}.", hint="Make room, or name another --out."
            ) from None
        finally:
            scratch.unlink(missing_ok=True)


def changes(table: pa.Table) -> pa.Table:
    """The rows of several looks that differ from the look before, by place and look; a place that vanished is null once."""
    from workbench.evidence import connect_duckdb

    with connect_duckdb(threads=1) as con:
        con.register("looks", table)
        return con.sql(_CHANGES).to_arrow_table().cast(ROWS)


# Every place at every look of the file, those where it was not there without values; of these the first, and those that differ.
_VALUES = ("committed_offset", "log_start_offset", "log_end_offset", "last_stable_offset")
_NOTHING = ", ".join(f"NULL::BIGINT AS {name}" for name in _VALUES)
_SAME = " AND ".join(f"lag({name}) OVER w IS NOT DISTINCT FROM {name}" for name in _VALUES)
_ALL = ", ".join(_VALUES)
_CHANGES = f"""
WITH last_look AS (SELECT max(look) AS n FROM looks),
marked AS (
    SELECT *, lead(look) OVER w AS next_look FROM looks WINDOW w AS (PARTITION BY "group", topic, partition ORDER BY look)),
gone AS (
    SELECT "group", topic, partition, look + 1 AS look, {_NOTHING} FROM marked, last_look
    WHERE coalesce(next_look, n + 1) > look + 1 AND look < n),
every AS (SELECT "group", topic, partition, look, {_ALL} FROM looks UNION ALL SELECT * FROM gone),
compared AS (
    SELECT *, lag(look) OVER w IS NOT NULL AND {_SAME} AS same
    FROM every WINDOW w AS (PARTITION BY "group", topic, partition ORDER BY look))
SELECT "group", topic, partition, look::INTEGER AS look, {_ALL} FROM compared WHERE NOT same
ORDER BY "group" NULLS FIRST, topic, partition, look
"""


def _numbered(table: pa.Table, number: int) -> pa.Table:
    looks = pa.repeat(pa.scalar(number, pa.int32()), table.num_rows)
    return table.replace_schema_metadata(None).set_column(ROWS.get_field_index("look"), "look", looks)


def _named(path: Path) -> _File | None:
    parts = path.stem.split("-")
    with suppress(ValueError, IndexError):
        return _File(path, int(parts[1]), int(parts[2]), parts[3])
    return None


def _looks(path: Path) -> list[int]:
    import pyarrow.parquet as pq

    try:
        metadata: Mapping[bytes, bytes] = pq.read_metadata(path).metadata or {}
        return [int(at) for at in json.loads(metadata[_META])]
    except (OSError, KeyError, ValueError, pa.ArrowException):
        raise _damaged(path) from None


def _read(path: Path) -> Any:
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path).cast(ROWS)
    except (OSError, ValueError, pa.ArrowException):
        raise _damaged(path) from None


def _damaged(path: Path) -> SourceUnavailable:
    return SourceUnavailable(
        f"{path.name} of the history is damaged.", source="history", hint=f"Remove {path} and go on."
    )


__all__ = ["ROWS", "HistoryStore", "HistoryWriter", "Row", "changes"]
