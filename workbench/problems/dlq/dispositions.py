"""What may be done with each dead letter, and the cause groups they fall into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

LEDGER = ("dead_letters", "replay", "fix_first", "discard", "already_recovered", "unknown")
# A dead letter that was sent back so often and came again is not helped by sending it once more.
MOST_REPLAYS = 2
SAMPLES = 3

# One row a dead letter. Precedence: already_recovered, discard (a later dead letter of the same message stands for it),
# then by the kind of its failure.
_DEAD = f"""
CREATE OR REPLACE TEMP TABLE dead AS
WITH letters_in AS (
    SELECT l.*, r.message_id, r.event_type, coalesce(l.replay_count, r.replay_count) AS replays,
           coalesce(r.message_id, l.origin_topic || '/' || l.origin_partition || '/' || l.origin_offset,
                    l.topic || '/' || l.partition || '/' || l.offset) AS who
    FROM letters l LEFT JOIN records r ON r.role = 'dead_letters' AND r.topic = l.topic AND r.partition = l.partition
        AND r.offset = l.offset),
processed AS (
    SELECT DISTINCT r.message_id FROM records r
    WHERE r.role = 'sink' AND r.message_id IS NOT NULL AND coalesce(r.is_aborted, false) = false),
ordered AS (
    SELECT *, row_number() OVER (PARTITION BY who ORDER BY at_ms DESC, topic, partition DESC, "offset" DESC) AS newest
    FROM letters_in)
SELECT o.* EXCLUDE (replay_count, newest), o.replays AS replay_count, CASE
    WHEN p.message_id IS NOT NULL THEN 'already_recovered'
    WHEN o.newest > 1 THEN 'discard'
    WHEN coalesce(o.replays, 0) >= {MOST_REPLAYS} THEN 'fix_first'
    WHEN o.kind = 'transient' AND o.has_payload THEN 'replay'
    WHEN o.kind IN ('payload', 'validation', 'code') THEN 'fix_first'
    ELSE 'unknown' END AS disposition
FROM ordered o LEFT JOIN processed p USING (message_id)
"""
_GROUPS = f"""
SELECT fingerprint, any_value(grouped_by) AS grouped_by, any_value(exception_class) AS exception_class,
       CASE WHEN contains(any_value(grouped_by), 'frame') THEN any_value(frame) END AS frame,
       list_sort(list(DISTINCT stage) FILTER (stage IS NOT NULL)) AS stages, any_value(kind) AS kind, count(*) AS count,
       min(at_ms) AS first_ms, max(at_ms) AS last_ms, mode(disposition ORDER BY disposition) AS disposition,
       count(DISTINCT disposition) AS dispositions, list_sort(list(DISTINCT topic)) AS topics,
       list_sort(list(DISTINCT dialect) FILTER (dialect IS NOT NULL)) AS dialects, max(attempts) AS attempts,
       (list(topic || '/' || partition || '/' || "offset" ORDER BY topic, partition, "offset"))[1:{SAMPLES}] AS samples
FROM dead GROUP BY fingerprint ORDER BY count DESC, fingerprint LIMIT 200
"""
_WHY = {
    "replay": "the failure passes: sending it again may succeed",
    "fix_first": "it would fail again as it is: mend the code or the payload first",
    "discard": "a later dead letter of the same message stands for it",
    "already_recovered": "the same message is in the sink",
    "unknown": "nothing says why it failed",
}


def create_dead(con: duckdb.DuckDBPyConnection) -> None:
    """Creates ``dead``: the dead letters with their message id and disposition."""
    con.execute(_DEAD)


def ledger(con: duckdb.DuckDBPyConnection) -> dict[str, int | None]:
    """Dead letters by disposition; the dispositions sum to ``dead_letters``."""
    found = dict(con.execute("SELECT disposition, count(*) FROM dead GROUP BY disposition").fetchall())
    return {"dead_letters": sum(found.values()), **{name: found.get(name, 0) for name in LEDGER[1:]}}


def groups(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The cause groups, largest first, as JSON: what makes each one, its size, times, disposition and samples."""
    cursor = con.execute(_GROUPS)
    names = [column[0] for column in cursor.description or []]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    total = sum(row["count"] for row in rows)
    return [_group(row, total) for row in rows]


def _group(row: dict[str, Any], total: int) -> dict[str, Any]:
    mixed = row.pop("dispositions") > 1
    first, last = row.pop("first_ms"), row.pop("last_ms")
    return {
        **row,
        "share": round(row["count"] / total, 4) if total else None,
        "first_seen": _iso(first),
        "last_seen": _iso(last),
        "reason": _WHY[row["disposition"]] + ("; others of the group differ" if mixed else ""),
    }


def _iso(at_ms: int | None) -> str | None:
    from datetime import UTC, datetime

    try:
        return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None
