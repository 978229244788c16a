"""The cause groups of dead letters, as the report shows them: names, numbers, times and coordinates, no content."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from workbench.problems.dlq.causes import REASONS

if TYPE_CHECKING:
    import duckdb

SAMPLES = 3
MOST_GROUPS = 200
SLOTS = 24  # of the rate over time

_NAMES = "list_sort(list(DISTINCT {0}) FILTER ({0} IS NOT NULL))[1:20]"
_GROUPS = f"""
SELECT fingerprint, any_value(grouped_by) AS grouped_by, any_value(exception_class) AS exception_class,
       CASE WHEN contains(any_value(grouped_by), 'frame') THEN any_value(frame) END AS frame,
       CASE WHEN any_value(grouped_by) = 'code' THEN any_value(code) END AS code,
       min(template) AS template, {_NAMES.format("stage")} AS stages, mode(kind ORDER BY kind) AS kind, count(*) AS count,
       min(failed_ms) AS first_ms, max(failed_ms) AS last_ms, mode(disposition ORDER BY disposition) AS disposition,
       map_from_entries(list_sort(list(DISTINCT (disposition, of_disposition)))) AS dispositions,
       {_NAMES.format("topic")} AS topics, {_NAMES.format("dialect")} AS dialects,
       count(DISTINCT key) AS keys, max(of_key) FILTER (key IS NOT NULL) AS top_key,
       list_sort(list(DISTINCT origin_topic || '/' || origin_partition) FILTER (origin_partition IS NOT NULL))[1:50] AS partitions,
       {_NAMES.format("producer")} AS producers, {_NAMES.format("event_type")} AS event_types,
       {_NAMES.format("event_version")} AS event_versions, {_NAMES.format("schema_id")} AS schema_ids,
       {_NAMES.format("app_version")} AS app_versions, min(attempts) AS attempts_min, max(attempts) AS attempts,
       min(at_ms) AS oldest_ms, count(*) FILTER (drained) AS drained,
       (list(DISTINCT trace_id ORDER BY trace_id) FILTER (trace_id IS NOT NULL))[1:{SAMPLES}] AS traces,
       (list(topic || '/' || partition || '/' || "offset" ORDER BY topic, partition, "offset"))[1:{SAMPLES}] AS samples
FROM (SELECT *, count(*) OVER (PARTITION BY fingerprint, disposition) AS of_disposition,
             count(*) OVER (PARTITION BY fingerprint, key) AS of_key FROM dead)
GROUP BY fingerprint ORDER BY count DESC, fingerprint LIMIT {MOST_GROUPS}
"""
_RATE = f"""
WITH edges AS (SELECT min(failed_ms) AS low, greatest(ceil((max(failed_ms) - min(failed_ms) + 1) / {SLOTS}.0), 1)::BIGINT AS step
               FROM dead)
SELECT fingerprint, (failed_ms - low) // step AS slot, count(*) FROM dead, edges WHERE failed_ms IS NOT NULL GROUP BY ALL
"""
# Versions or schemas of the group that no dead letter outside it had before the group began: a change at its start.
_CHANGES = """
WITH starts AS (SELECT fingerprint, min(failed_ms) AS began FROM dead GROUP BY fingerprint),
said AS (SELECT fingerprint, failed_ms, unnest(['event version ' || event_version, 'schema ' || schema_id,
                'application version ' || app_version]) AS what FROM dead),
before AS (SELECT s.fingerprint, o.what FROM starts s JOIN said o ON o.failed_ms < s.began AND o.what IS NOT NULL GROUP BY ALL)
SELECT s.fingerprint, list_sort(list(DISTINCT s.what)) FROM said s
WHERE s.what IS NOT NULL AND EXISTS (SELECT 1 FROM before b WHERE b.fingerprint = s.fingerprint
    AND split_part(b.what, ' ', 1) = split_part(s.what, ' ', 1))
  AND NOT EXISTS (SELECT 1 FROM before b WHERE b.fingerprint = s.fingerprint AND b.what = s.what)
GROUP BY s.fingerprint
"""
_WHY = {
    "replay": "the failure passes: sending it again may succeed",
    "fix_first": "it would fail again as it is: mend the code or the payload first",
    "discard": "a later dead letter of the same message stands for it",
    "already_recovered": "the same message is in the sink",
    "unknown": "nothing says why it failed",
}


def groups(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The cause groups, largest first, as JSON: what makes each one, its size, times, spread, disposition and samples."""
    cursor = con.execute(_GROUPS)
    names = [column[0] for column in cursor.description or []]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    total = con.execute("SELECT count(*) FROM dead").fetchall()[0][0]
    now = con.execute("SELECT now_ms()").fetchall()[0][0]
    rates, changes, texts = _rates(con), dict(con.execute(_CHANGES).fetchall()), _texts(con)
    out = []
    for row in rows:
        name = row["fingerprint"]
        more = {"rate": rates.get(name, []), "changed_at_start": changes.get(name, [])}
        out.append(_group(row, total, now) | more | ({"text": texts[name]} if name in texts else {}))
    return out


def _rates(con: duckdb.DuckDBPyConnection) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    for fingerprint, slot, count in con.execute(_RATE).fetchall():
        out.setdefault(fingerprint, [0] * SLOTS)[min(int(slot), SLOTS - 1)] = count
    return out


def _texts(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """A text of each group, where exception texts are kept at all."""
    if "text" not in {row[0] for row in con.execute("DESCRIBE letters").fetchall()}:
        return {}
    return dict(con.execute("SELECT fingerprint, min(text) FROM dead WHERE text <> '' GROUP BY fingerprint").fetchall())


def _group(row: dict[str, Any], total: int, now: int) -> dict[str, Any]:
    first, last, oldest = row.pop("first_ms"), row.pop("last_ms"), row.pop("oldest_ms")
    top, known, least = row.pop("top_key"), row["keys"], row.pop("attempts_min")
    mixed = len(row["dispositions"]) > 1
    return {
        **row,
        "why": REASONS.get(row["grouped_by"], row["grouped_by"]),
        "share": round(row["count"] / total, 4) if total else None,
        "top_key_share": round(top / row["count"], 4) if known and top else None,
        "attempts_min": least,
        "age_seconds": max(0, (now - oldest) // 1000) if oldest is not None else None,
        "first_seen": _iso(first),
        "last_seen": _iso(last),
        "already_recovered": row["dispositions"].get("already_recovered", 0),
        "reason": _WHY[row["disposition"]] + ("; others of the group differ" if mixed else ""),
    }


def _iso(at_ms: int | None) -> str | None:
    try:
        return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None
