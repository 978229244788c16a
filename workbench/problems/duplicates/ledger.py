"""The duplicates ledger: records = messages + extra copies, per place (the source, each sink).

One pass groups records by place and id; ids with one copy collapse into a row a place there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.evidence import Evidence

if TYPE_CHECKING:
    import duckdb

LEDGER = ("records", "messages", "extra_copies", "reprocessed")

# What readers see of the source and the sinks. {joined}, {only}: what only matters where transactions are open or aborted.
_VISIBLE = """
CREATE OR REPLACE TEMP VIEW {name} AS
SELECT r.*, p.role AS place, p.id AS place_id, coalesce(r.is_aborted, false) AS aborted
FROM {table} r JOIN places p ON p.topic = r.topic {joined}
WHERE p.role IN ('source', 'sink') AND r.message_id IS NOT NULL AND (p.role <> 'source' OR in_window(r.timestamp_ms)) {only}
"""
_STABLE_JOIN = "LEFT JOIN offsets o ON o.topic = r.topic AND o.partition = r.partition"
_STABLE_ONLY = """AND (sees_uncommitted(p.role)
    OR NOT coalesce(r.is_aborted, false) AND coalesce(r.offset < o.last_stable_offset, true))"""
_TRANSACTIONAL = """
SELECT EXISTS (SELECT 1 FROM offsets WHERE last_stable_offset < high_watermark)
    OR EXISTS (SELECT 1 FROM records WHERE is_aborted)
"""

# Ids are grouped by hash first: most ids stand alone, and eight bytes an id are soon grouped. Only ids whose hash occurs
# twice in a place are then compared as they are.
_COPIES = """
CREATE OR REPLACE TEMP TABLE hashed AS
SELECT place_id, CASE WHEN n > 1 THEN h END AS h, sum(n)::BIGINT AS records, count(*) AS ids FROM (
    SELECT place_id, hash(message_id) AS h, count(*) AS n FROM visible GROUP BY place_id, h)
GROUP BY ALL;
CREATE OR REPLACE TEMP TABLE copies AS
SELECT v.topic, any_value(v.place) AS place, v.message_id, count(*) AS n
FROM visible v SEMI JOIN hashed s ON s.place_id = v.place_id AND s.h = hash(v.message_id)
GROUP BY v.topic, v.message_id;
"""
# All records of the ids that stand somewhere more than once: few, and looked at from several sides.
_AGAIN = """
CREATE OR REPLACE TEMP TABLE again AS
SELECT r.* FROM records r SEMI JOIN (SELECT DISTINCT message_id FROM copies WHERE n > 1) c ON c.message_id = r.message_id
"""
_TOTALS = """
SELECT (SELECT coalesce(sum(records), 0)::BIGINT FROM hashed),
       (SELECT coalesce(sum(ids) FILTER (h IS NULL), 0)::BIGINT FROM hashed) + (SELECT count(*) FROM copies)
"""

# Each copy after the first with what it has in common with the copies before it.
_ENTRIES = """
CREATE OR REPLACE TEMP TABLE entries AS
WITH repeated AS (SELECT topic, message_id FROM copies WHERE n > 1),
ranked AS (
    SELECT v.message_id, v.place, v.topic, v.partition, v.offset AS "offset", v.timestamp_ms, v.timestamp_type,
           key_of(v) AS key, v.value_size, v.value_hash, v.aborted, v.replay_count, v.dialect, v.origin_offset,
           row_number() OVER w AS copy, first_value(v.partition) OVER w AS first_partition,
           first_value(v.offset) OVER w AS first_offset, first_value(v.timestamp_ms) OVER w AS first_ms,
           first_value(key_of(v)) OVER w AS first_key,
           max(v.aborted) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS after_aborted,
           count(*) OVER (PARTITION BY v.topic, v.message_id, v.partition, v.timestamp_ms, key_of(v), v.value_hash, v.value_size
                          ORDER BY v.offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS same_before
    FROM visible_again v SEMI JOIN repeated r ON r.topic = v.topic AND r.message_id = v.message_id
    WINDOW w AS (PARTITION BY v.topic, v.message_id ORDER BY v.timestamp_ms, v.partition, v.offset)),
at_source AS (
    SELECT v.message_id, count(*) FILTER (NOT v.aborted) AS source_copies, count(*) FILTER (v.aborted) AS visible_aborted,
           list(v.timestamp_ms) AS source_times
    FROM visible_again v SEMI JOIN repeated r ON r.message_id = v.message_id WHERE v.place = 'source' GROUP BY v.message_id),
hidden_aborted AS (
    SELECT r.message_id, count(*) AS aborted_copies FROM again r SEMI JOIN repeated e ON e.message_id = r.message_id
    WHERE r.topic = source_topic() AND r.is_aborted GROUP BY r.message_id),
dead AS (
    SELECT r.message_id, min(r.timestamp_ms) AS dead_ms FROM again r JOIN places p ON p.topic = r.topic
    SEMI JOIN repeated e ON e.message_id = r.message_id WHERE p.role = 'dead_letters' GROUP BY r.message_id)
SELECT row_number() OVER (ORDER BY k.topic, k.message_id, k.copy) AS entry, k.*,
       coalesce(a.source_copies, 0) + coalesce(a.visible_aborted, 0) AS source_copies,
       coalesce(h.aborted_copies, 0) AS aborted_copies,
       k.place = 'sink' AND list_contains(coalesce(a.source_times, []), k.timestamp_ms) AS keeps_source_time,
       d.dead_ms IS NOT NULL AND k.timestamp_ms >= d.dead_ms AS after_dead_letter,
       k.place = 'sink' AND a.message_id IS NOT NULL
           AND k.copy > coalesce(a.source_copies, 0) + coalesce(a.visible_aborted, 0) AS reprocessed
FROM ranked k LEFT JOIN at_source a USING (message_id) LEFT JOIN hidden_aborted h USING (message_id)
LEFT JOIN dead d USING (message_id) WHERE k.copy > 1
"""


def build(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> dict[str, int | None]:
    """Creates ``copies`` (ids that may stand in a place more than once) and ``entries`` (one row an extra copy).

    Returns the ledger.

    The ledger: records, messages (ids, per place), extra_copies, and reprocessed: extra copies at a sink beyond what the
    source itself holds.
    """
    _define(con, evidence)
    transactional = (con.execute(_TRANSACTIONAL).fetchone() or (True,))[0]
    narrowed = {"joined": _STABLE_JOIN, "only": _STABLE_ONLY} if transactional else {"joined": "", "only": ""}
    con.execute(_VISIBLE.format(name="visible", table="records", **narrowed))
    con.execute(_COPIES)
    con.execute(_AGAIN)
    con.execute(_VISIBLE.format(name="visible_again", table="again", **narrowed))
    con.execute(_ENTRIES)
    records, messages = con.execute(_TOTALS).fetchone() or (0, 0)
    extra, reprocessed = con.execute("SELECT count(*), count(*) FILTER (reprocessed) FROM entries").fetchone() or (0, 0)
    return {"records": records, "messages": messages, "extra_copies": extra, "reprocessed": reprocessed}


def _define(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    facts = evidence.facts
    wide = facts["isolation"] == "read_uncommitted"
    reader = facts["consumer_config"].get("isolation.level") == "read_uncommitted"
    con.execute(f"CREATE OR REPLACE TEMP MACRO sees_uncommitted(role) AS ({wide} OR (role = 'source' AND {reader}))")


def ledger_rows_sql() -> str:
    """The rows for ``ledger.parquet``: every extra copy."""
    return """
    SELECT e.message_id, CASE WHEN e.reprocessed THEN 'reprocessed' ELSE 'extra_copy' END AS disposition,
           coalesce(a.cause, 'unexplained') AS cause, a.candidates, e.topic, e.partition, e."offset",
           CASE WHEN e.timestamp_ms BETWEEN 0 AND 253402300799999 THEN make_timestamptz(e.timestamp_ms * 1000) END AS "at"
    FROM entries e LEFT JOIN attributed a USING (entry) ORDER BY e.entry
    """
