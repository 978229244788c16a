"""Which records belong to aborted transactions, where the client library read them: those that it shows only uncommitted.

The wire reader knows by itself. For the client library partitions with holes are read again: an aborted transaction leaves
its marker, which is a hole to a reader. A record counts as aborted when it was read, was not visible below the last stable
offset, and is still in the log afterwards; without the last, a record that compaction or retention removed in between would
look aborted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.capture.parts import Parts, Segment, remaining, write_parquet
from workbench.capture.spec import PartitionRange

# Candidates closer than this are looked up in one go.
NEAR = 5_000
MOST_LOOKUPS = 64

Place = tuple[str, int]


def ranges_to_check(ranges: Sequence[PartitionRange], segments: Sequence[Segment]) -> list[PartitionRange]:
    """What read_committed has to show: up to the last hole below the last stable offset, where there is any.

    Only of partitions that the client library has read, or a part of them.

    Where reading ended before the last stable offset, the marker of a transaction may lie behind that end, so that
    everything read has to be shown.
    """
    reached = {(gap.topic, gap.partition): gap.start_offset for gap in reversed(remaining(ranges, segments))}
    last_hole: dict[Place, int] = {}
    by_client = {(segment.topic, segment.partition) for segment in segments if segment.reader == "client"}
    for segment in segments:
        if segment.records < segment.end - segment.start:
            place = (segment.topic, segment.partition)
            last_hole[place] = max(last_hole.get(place, 0), segment.end)
    out = []
    for part in ranges:
        place = (part.topic, part.partition)
        covered = min(reached.get(place, part.end_offset), part.end_offset)
        upto = covered if covered < part.last_stable_offset else last_hole.get(place, 0)
        end = min(upto, part.last_stable_offset, part.end_offset)
        if end > part.start_offset and place in by_client:
            out.append(PartitionRange(part.topic, part.partition, part.start_offset, end, part.last_stable_offset))
    return out


def candidates(records: Parts, visible: Parts, checked: Sequence[PartitionRange]) -> Any:
    """Records that read_committed did not show: pyarrow.Table of topic, partition, offset, in order."""
    con = _connect(records, visible)
    with con:
        _register_ranges(con, checked)
        return con.sql(
            f"""SELECT r.topic, r.partition, r."offset" FROM ({_coordinates_sql(records)}) AS r
            JOIN checked AS c ON r.topic = c.topic AND r.partition = c.partition
              AND r."offset" >= c.start_offset AND r."offset" < c.end_offset
            ANTI JOIN ({_coordinates_sql(visible)}) AS v
              ON r.topic = v.topic AND r.partition = v.partition AND r."offset" = v."offset"
            ORDER BY ALL"""
        ).to_arrow_table()


def lookups(found: Any) -> list[PartitionRange]:
    """Offset ranges that hold the candidates, few and narrow."""
    places: dict[Place, list[int]] = defaultdict(list)
    for topic, partition, offset in zip(*(found[name].to_pylist() for name in found.column_names), strict=True):
        places[topic, partition].append(offset)
    out = []
    for (topic, partition), offsets in places.items():
        runs = _runs(offsets)
        if len(runs) > MOST_LOOKUPS:
            runs = [(offsets[0], offsets[-1] + 1)]
        out += [PartitionRange(topic, partition, start, end, end) for start, end in runs]
    return out


def _runs(offsets: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for offset in offsets:
        if runs and offset - runs[-1][1] < NEAR:
            runs[-1] = (runs[-1][0], offset + 1)
        else:
            runs.append((offset, offset + 1))
    return runs


def mark(
    records: Parts, checked: Sequence[PartitionRange], found: Any, present: Parts, unknown: Sequence[PartitionRange]
) -> None:
    """Writes ``is_aborted`` into the parts that hold candidates or offsets that could not be checked.

    Args:
        records: the parts to rewrite.
        checked: what was read again; partitions without any keep what the wire reader said.
        found: candidates.
        present: parts of coordinates that were still in the log afterwards.
        unknown: ranges whose records get null: read_committed could not be read up to their end.
    """
    for path in records.files():
        _mark_file(path, checked, found, present, unknown)


def _mark_file(
    path: Path, checked: Sequence[PartitionRange], found: Any, present: Parts, unknown: Sequence[PartitionRange]
) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(path, columns=["topic", "partition", "offset", "is_aborted"])
    marked = _marked(rows, checked, found, present, unknown)
    if not marked.equals(rows["is_aborted"]):
        table = pq.read_table(path)
        at = table.schema.get_field_index("is_aborted")
        write_parquet(table.set_column(at, table.schema.field(at), marked), path)


def _marked(
    rows: Any, checked: Sequence[PartitionRange], found: Any, present: Parts, unknown: Sequence[PartitionRange]
) -> Any:
    """Column ``is_aborted`` of some rows, in their order."""
    con = _connect(present)
    with con:
        con.register("r", rows.append_column("row", pa.array(range(rows.num_rows), pa.int64())))
        con.register("found", found)
        _register_ranges(con, checked)
        _register_ranges(con, unknown, "unknown")
        still = _coordinates_sql(present)
        return con.sql(
            f"""SELECT CASE
              WHEN NOT EXISTS (SELECT 1 FROM checked AS c WHERE c.topic = r.topic AND c.partition = r.partition)
              THEN r.is_aborted
              WHEN EXISTS (SELECT 1 FROM unknown AS u WHERE u.topic = r.topic AND u.partition = r.partition
                AND r."offset" >= u.start_offset AND r."offset" < u.end_offset) THEN NULL
              WHEN f.topic IS NULL THEN false
              WHEN p.topic IS NULL THEN NULL ELSE true END AS is_aborted
            FROM r LEFT JOIN found AS f ON r.topic = f.topic AND r.partition = f.partition AND r."offset" = f."offset"
            LEFT JOIN ({still}) AS p ON r.topic = p.topic AND r.partition = p.partition AND r."offset" = p."offset"
            ORDER BY r.row"""
        ).to_arrow_table()["is_aborted"]


def unchecked(checked: Sequence[PartitionRange], visible: Sequence[Segment]) -> list[PartitionRange]:
    """Ranges that were not read with read_committed to their end, and those whose beginning was gone by then."""
    missing = remaining(checked, visible)
    failed = {(one.topic, one.partition) for one in visible if one.error}
    return [*missing, *(part for part in checked if (part.topic, part.partition) in failed)]


def _connect(*all_parts: Parts) -> Any:
    from workbench.evidence import connect_duckdb

    return connect_duckdb(files=[path for parts in all_parts for path in parts.files()], memory_limit="1GB")


def _coordinates_sql(parts: Parts) -> str:
    from workbench.evidence import Parquet

    files = Parquet(parts.files(), pa.schema([])).scan_sql()
    if files:
        return f'SELECT topic, partition, "offset" FROM {files}'
    return """SELECT '' AS topic, 0::INTEGER AS partition, 0::BIGINT AS "offset" WHERE false"""


def _register_ranges(con: Any, ranges: Sequence[PartitionRange], name: str = "checked") -> None:
    columns = {
        "topic": pa.array([part.topic for part in ranges], pa.string()),
        "partition": pa.array([part.partition for part in ranges], pa.int32()),
        "start_offset": pa.array([part.start_offset for part in ranges], pa.int64()),
        "end_offset": pa.array([part.end_offset for part in ranges], pa.int64()),
    }
    con.register(name, pa.table(columns))
