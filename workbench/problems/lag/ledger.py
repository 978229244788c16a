"""The ledger of a group's partitions: of the offsets behind, what can be read, what is only there, what is gone or hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.problems.lag.partitions import Standing

if TYPE_CHECKING:
    import duckdb

    from workbench.evidence import Evidence

WITHIN = ("readable", "control", "aborted", "compacted")

# What a whole scan saw of the offsets between the commit and what readers may see; one row a partition.
_SEEN = """
SELECT s.topic, s.partition,
       (SELECT count(*) FROM records r WHERE r.role = 'source' AND r.topic = s.topic AND r.partition = s.partition
        AND r."offset" >= w.low AND r."offset" < w.high AND NOT (w.committed AND coalesce(r.is_aborted, false))) AS readable,
       (SELECT count(*) FROM records r WHERE r.role = 'source' AND r.topic = s.topic AND r.partition = s.partition
        AND r."offset" >= w.low AND r."offset" < w.high AND w.committed AND r.is_aborted) AS aborted
FROM scan s JOIN wanted w USING (topic, partition)
WHERE s.error IS NULL AND s.next_offset >= w.high AND s.start_offset <= w.low
"""
_CONTROL = """
SELECT b.topic, b.partition, sum(b.last_offset - b.base_offset + 1)::BIGINT AS control
FROM (SELECT DISTINCT topic, partition, base_offset, last_offset, is_control FROM batches) b
JOIN wanted w USING (topic, partition)
WHERE b.is_control AND b.base_offset >= w.low AND b.base_offset < w.high GROUP BY ALL
"""


def ledger(seen: Sequence[Standing], within: dict[str, int | None] | None = None) -> dict[str, int | None]:
    """The ledger; what no scan has told apart is null, unless nothing is left to tell apart.

    Args:
        seen: the group's partitions.
        within: what a scan of all that waits found, by the names of ``WITHIN``.
    """
    lag, expired, hidden = (_total([getattr(p, name) for p in seen]) for name in ("lag", "expired", "hidden"))
    rest = None if lag is None or expired is None or hidden is None else lag - expired - hidden
    if rest == 0 or within is None:
        within = dict.fromkeys(WITHIN, 0 if rest == 0 else None)
    return {"offsets_behind": lag, **within, "expired": expired, "hidden": hidden}


def scanned(
    con: duckdb.DuckDBPyConnection, evidence: Evidence, seen: Sequence[Standing]
) -> dict[str, int | None] | None:
    """What the scan found of all that waits and may be seen; None where it did not read all of it."""
    if "records" not in evidence.tables or "scan" not in evidence.tables:
        return None
    committed = evidence.facts["isolation"] == "read_committed"
    wanted = [
        (
            p.topic,
            p.partition,
            p.committed_offset + (p.expired or 0),
            (p.log_end_offset or 0) - (p.hidden or 0),
            committed,
        )
        for p in seen
        if p.lag and p.hidden is not None and p.lag > p.hidden + (p.expired or 0)
    ]
    con.execute(
        "CREATE OR REPLACE TEMP TABLE wanted (topic VARCHAR, partition INTEGER, low BIGINT, high BIGINT, committed BOOLEAN)"
    )
    if wanted:
        con.executemany("INSERT INTO wanted VALUES (?, ?, ?, ?, ?)", wanted)
    found = con.execute(_SEEN).fetchall()
    if len(found) < len(wanted) or any(p.lag is None for p in seen):
        return None
    whole = sum(high - low for _, _, low, high, _ in wanted)
    readable, aborted = sum(row[2] for row in found), sum(row[3] for row in found)
    return _split(whole, readable, aborted, _control(con, evidence))


def _control(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> int | None:
    if "batches" not in evidence.tables:
        return None
    rows: list[tuple[Any, ...]] = con.execute(_CONTROL).fetchall()
    return sum(int(row[2]) for row in rows)


def _split(whole: int, readable: int, aborted: int, control: int | None) -> dict[str, int | None]:
    rest = whole - readable - aborted
    if control is None:  # the client library shows no markers
        nothing = 0 if rest == 0 else None
        return {"readable": readable, "control": nothing, "aborted": aborted, "compacted": nothing}
    control = min(control, rest)
    return {"readable": readable, "control": control, "aborted": aborted, "compacted": rest - control}


def _total(values: Sequence[int | None]) -> int | None:
    """Their sum; None where one is unknown, or where there is nothing to sum."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
