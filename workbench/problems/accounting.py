"""Offset accounting: what every offset of a scan was, so that nothing is inferred from holes."""

from __future__ import annotations

from typing import Any

from workbench.problems.rules import Case

# A batch that lies across the ranges of two readers, or that a killed run had read, comes twice.
_CONTROL = """
SELECT s.topic, sum(least(b.last_offset + 1, s.next_offset) - greatest(b.base_offset, s.start_offset))::BIGINT AS control
FROM (SELECT DISTINCT topic, partition, base_offset, last_offset FROM batches WHERE is_control) b
JOIN scan s ON s.topic = b.topic AND s.partition = b.partition
WHERE b.base_offset < s.next_offset AND b.last_offset >= s.start_offset GROUP BY s.topic
"""
_RECORDS = """
SELECT r.topic, count(*) FILTER (r.offset >= o.last_stable_offset) AS hidden,
       count(*) FILTER (coalesce(r.is_aborted, false) AND coalesce(r.offset < o.last_stable_offset, true)) AS aborted,
       count(*) AS records
FROM records r LEFT JOIN offsets o ON o.topic = r.topic AND o.partition = r.partition GROUP BY r.topic
"""
_SCANNED = "SELECT topic, sum(greatest(next_offset - start_offset, 0))::BIGINT AS scanned FROM scan GROUP BY topic ORDER BY topic"
_DAMAGED = "SELECT topic, sum(high - low)::BIGINT AS damaged FROM unread WHERE damaged GROUP BY topic"
_REMOVED = "SELECT topic, sum(log_start_offset)::BIGINT AS removed FROM offsets GROUP BY topic"


def offsets_by_topic(case: Case) -> dict[str, dict[str, int | None]]:
    """Topic -> what its offsets are; all but ``removed`` sum to ``scanned``. Needs the table ``unread``.

    ``readable``: records that read_committed shows; ``hidden``: records at or above the last stable offset; ``aborted``:
    records of aborted transactions below it; ``control``: transaction markers and the like; ``compacted``: offsets without
    anything, which compaction removed or nobody ever wrote. ``control`` and ``compacted`` are null where the client
    library read, which does not tell the two apart. ``damaged``, where there are any: offsets of batches that are
    damaged on the broker's disk. ``removed``: offsets below the log's start, null where it is unknown.
    """
    by_wire = case.facts.get("reader") == "wire" and case.has("batches")
    control = _by_topic(case, _CONTROL) if by_wire else {}
    damaged = _by_topic(case, _DAMAGED)
    records, removed = _by_topic(case, _RECORDS), _by_topic(case, _REMOVED)
    out = {}
    for topic, row in _by_topic(case, _SCANNED).items():
        found = records.get(topic, {"hidden": 0, "aborted": 0, "records": 0})
        markers = control.get(topic, {"control": 0})["control"] if by_wire else None
        lost = damaged.get(topic, {"damaged": 0})["damaged"]
        out[topic] = {
            "scanned": row["scanned"],
            "readable": found["records"] - found["hidden"] - found["aborted"],
            "hidden": found["hidden"],
            "aborted": found["aborted"],
            "control": markers,
            "compacted": None if markers is None else row["scanned"] - found["records"] - markers - lost,
            **({"damaged": lost} if lost else {}),
            "removed": removed.get(topic, {"removed": None})["removed"],
        }
    return out


def _by_topic(case: Case, query: str) -> dict[str, dict[str, Any]]:
    return {row["topic"]: row for row in case.rows(query)}
