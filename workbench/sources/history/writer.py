"""One watcher's hand in a folder of looks: it adds looks, joins them, and removes what is too old."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

import pyarrow as pa

from workbench.errors import SourceUnavailable, UsageError
from workbench.sources.history.files import ROWS, TIMES, LookFile, Row, files_of, metadata, named

LOOKS_A_SEGMENT = 360
ROWS_A_SEGMENT = 3_000_000  # rows of looks that are joined at a time
_ROWS_A_ROW_GROUP = 1 << 15
_MEMORY = "512MB"  # to join with
_LOCK = ".watching-{}"


class HistoryWriter:
    """One watcher's hand in a folder; a context manager.

    Args:
        folder: made where it is not there.
        looks_a_segment: how many looks are joined into one file,
        rows_a_segment: and how many rows of looks at most.

    Raises:
        UsageError: the folder cannot be written to.
    """

    def __init__(
        self, folder: Path, looks_a_segment: int = LOOKS_A_SEGMENT, rows_a_segment: int = ROWS_A_SEGMENT
    ) -> None:
        self.folder, self.name = folder, secrets.token_hex(4)
        self._most_looks, self._most_rows, self._rows = looks_a_segment, rows_a_segment, 0
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
        """Keeps one look; joins looks where there are enough, or they hold as many rows as are joined at a time."""
        columns = list(zip(*sorted(rows, key=_order), strict=True)) or [()] * (len(ROWS) - 1)
        count = len(columns[0])
        arrays = [pa.array(column, ROWS.field(name).type) for name, column in zip(Row._fields, columns, strict=True)]
        arrays.insert(ROWS.get_field_index("look"), pa.repeat(pa.scalar(0, pa.int32()), count))
        seen = pa.RecordBatch.from_arrays(arrays, schema=ROWS)
        self._write(f"look-{at_ms:013}-{at_ms:013}-{self.name}", [seen], [at_ms])
        self._rows += count
        if self._rows >= self._most_rows or len(self._loose(self.name)) >= self._most_looks:
            self.join(self.name)
            self._rows = 0

    def join(self, writer: str) -> None:
        """Joins the loose looks of a writer into a segment, or several where they hold many rows."""
        for looks in self._portions(self._loose(writer)):
            if len(looks) > 1:
                self._join(looks)

    def _portions(self, loose: Sequence[LookFile]) -> Iterator[list[LookFile]]:
        """Neighbours that hold no more rows together than are joined at a time; at least one."""
        portion: list[LookFile] = []
        rows = 0
        for one in loose:
            count = metadata(one.path).num_rows
            if portion and rows + count > self._most_rows:
                yield portion
                portion, rows = [], 0
            portion.append(one)
            rows += count
        yield portion

    def _join(self, looks: Sequence[LookFile]) -> None:
        times = [one.first_ms for one in looks]
        name = f"segment-{times[0]:013}-{times[-1]:013}-{looks[0].writer}"
        with _changes([one.path for one in looks]) as batches:
            self._write(name, batches, times)
        for one in looks:
            one.path.unlink(missing_ok=True)

    def forget(self, before_ms: int) -> int:
        """Removes files whose last look is older than a moment; how many."""
        old = [one for one in named(self.folder) if one.last_ms < before_ms]
        for one in old:
            one.path.unlink(missing_ok=True)
        return len(old)

    def _loose(self, writer: str) -> list[LookFile]:
        return [one for one in files_of(self.folder) if one.writer == writer and not one.joined]

    def _adopt(self) -> None:
        """Joins what a watcher that died left behind, and removes looks that it had joined already."""
        seen = list(self.folder.glob("look-*.parquet"))  # before what is kept: a look that comes in between is neither
        for path in set(seen) - {one.path for one in files_of(self.folder)}:
            path.unlink(missing_ok=True)
        for writer in {one.writer for one in files_of(self.folder) if not one.joined}:
            if writer != self.name:
                self._join_if_dead(writer)

    def _join_if_dead(self, writer: str) -> None:
        """Joins the looks of a watcher that is no more, unless another one is at it."""
        path = self.folder / _LOCK.format(writer)
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            self.join(writer)
            path.unlink(missing_ok=True)

    def _write(self, name: str, batches: Iterable[pa.RecordBatch], times: Sequence[int]) -> None:
        import pyarrow.parquet as pq

        scratch = self.folder / f".{name}.{os.getpid()}"
        schema = ROWS.with_metadata({TIMES: json.dumps(list(times)).encode()})
        try:
            with pq.ParquetWriter(scratch, schema, **_LAYOUT) as out:
                for batch in batches:
                    out.write_batch(batch.replace_schema_metadata(schema.metadata), _ROWS_A_ROW_GROUP)
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


_LAYOUT: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["group", "topic"],
    "column_encoding": {field.name: "DELTA_BINARY_PACKED" for field in ROWS if pa.types.is_integer(field.type)},
    "write_statistics": ["group", "topic"],
}


@contextmanager
def _changes(paths: Sequence[Path]) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows of some looks that differ from the look before, by place and look; a place that vanished is null once.

    Read from the files, compared by the places' numbers (names may be long), and given row group by row group.

    Raises:
        SourceUnavailable: the looks cannot be read, or there is no room to compare them.
    """
    import duckdb

    from workbench.evidence import connect_duckdb

    files = [str(path) for path in paths]
    with connect_duckdb(list(paths), threads=1, memory_limit=_MEMORY) as con:
        try:
            con.execute(_NUMBERED, {"files": files})
            con.execute(_PLACES, {"files": files})
            places = con.sql("SELECT * EXCLUDE (place) FROM places ORDER BY place").to_arrow_table()
            query = con.sql(_CHANGES, params={"files": files, "last": len(files) - 1})
            yield (_spelled(batch, places) for batch in query.to_arrow_reader(_ROWS_A_ROW_GROUP))
        except duckdb.Error as error:
            why = str(error).splitlines()[0].rstrip(".")
            raise SourceUnavailable(f"Looks of the history cannot be joined: {why}.", source="history") from None


def _spelled(batch: pa.RecordBatch, places: pa.Table) -> pa.RecordBatch:
    """The rows with the names of their places instead of the numbers."""
    named = places.take(batch["place"])
    arrays = [
        (named[name].combine_chunks() if name in named.column_names else batch[name]).cast(kind)
        for name, kind in zip(ROWS.names, ROWS.types, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=ROWS)


_NUMBERED = """
CREATE TEMP TABLE numbered AS
SELECT unnest($files::VARCHAR[]) AS filename, generate_subscripts($files::VARCHAR[], 1)::INTEGER - 1 AS number
"""
_PLACES = """
CREATE TEMP TABLE places AS
SELECT row_number() OVER (ORDER BY "group" NULLS FIRST, topic, partition) - 1 AS place, *
FROM (SELECT DISTINCT "group", topic, partition FROM read_parquet($files))
"""
_VALUES = ("committed_offset", "log_start_offset", "log_end_offset", "last_stable_offset")
_SAME = " AND ".join(f"lag({name}) OVER w IS NOT DISTINCT FROM {name}" for name in _VALUES)
_OR_NOTHING = ", ".join(f"CASE WHEN NOT gone THEN {name} END AS {name}" for name in _VALUES)
# Of each place the first row, and those that differ from the look before; a row without values where the next look lacks it.
_CHANGES = f"""
WITH looks AS (
    SELECT place, number AS look, {", ".join(_VALUES)}
    FROM read_parquet($files, filename = true) f JOIN numbered USING (filename)
    JOIN places p ON p."group" IS NOT DISTINCT FROM f."group" AND p.topic = f.topic AND p.partition = f.partition),
compared AS (
    SELECT *, lag(look) OVER w AS before, lead(look) OVER w AS after, {_SAME} AS same
    FROM looks WINDOW w AS (PARTITION BY place ORDER BY look))
SELECT place, look + gone::INTEGER AS look, {_OR_NOTHING}
FROM compared, (VALUES (false), (true)) AS rows(gone)
WHERE CASE WHEN gone THEN look < $last AND after IS DISTINCT FROM look + 1
      ELSE before IS DISTINCT FROM look - 1 OR NOT same END
ORDER BY place, look
"""


def _order(row: Row) -> tuple[bool, str, str, int]:
    return row.group is not None, row.group or "", row.topic, row.partition
