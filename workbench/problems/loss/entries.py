"""The lost messages with what evidence says of each: the table ``entries`` that the loss rules claim from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.evidence import Evidence

if TYPE_CHECKING:
    import duckdb

# Error texts of producers, in librdkafka's, the Java client's and common wrappers' words.
ERROR_CLASSES = {
    "queue_full": r"queue[ _-]?full|BufferError|buffer[ _-]?(exhausted|full)|BufferExhausted",
    "too_large": r"(too|TOO)[ _-]?(large|LARGE)|RecordTooLarge|larger than|SIZE_TOO_LARGE|exceeds?.{0,30}(size|bytes)",
    "timestamp": r"invalid[ _-]?timestamp|timestamp.{0,120}out of (the )?(acceptable )?range",
    "beside": r"part of a batch|invalid[ _-]?record|invalid[ _-]?different[ _-]?record",
}

_NO_SERVICE = """
CREATE OR REPLACE TEMP TABLE logged (message_id VARCHAR, partition INTEGER, "offset" BIGINT, error VARCHAR, line BIGINT,
                                     dead BOOLEAN, dead_failed BOOLEAN)
"""
_NAMED = """
CREATE OR REPLACE TEMP MACRO is_dead_letter_topic(name) AS
    coalesce(name IN (SELECT p.topic FROM places p WHERE p.role = 'dead_letters'), false)
"""
# Lines on writing a dead letter, by their words or by the topic they name, and those that say it did not work.
_NO_DEAD = (
    r"\b(no|without|missing) dead[ _-]?letter|dead[ _-]?letter\w* (is |are )?(disabled|off|not configured|not set)"
)
_DEAD = r"dead[ _-]?letter|\b(dlq|dlt|parking[ _-]?lot|error topic)\b|[._-](dlq|dlt)\b|recoverer"
_FAILED = (
    r"fail|error|exception|could not|cannot|can.?t|unable|refused|denied|reject|too[ _-]?large|timed? ?out|not authori[sz]ed"
    r"|unknown[ _-]?topic|not available"
)
_SERVICE = """
CREATE OR REPLACE TEMP TABLE logged AS
SELECT message_id, CASE WHEN topic IS NULL OR topic = source_topic() THEN partition END AS partition,
       CASE WHEN topic IS NULL OR topic = source_topic() THEN "offset" END AS "offset",
       coalesce(error, event, level) AS error, line,
       is_dead_letter_topic(topic) OR regexp_matches(concat_ws(' ', event, error), '{dead}', 'i')
           AND NOT regexp_matches(concat_ws(' ', event, error), '{no_dead}', 'i') AS dead,
       coalesce(regexp_matches(concat_ws(' ', event, error), '{failed}', 'i'), false) AS dead_failed
FROM service_log WHERE error IS NOT NULL OR lower(level) IN ('error', 'fatal', 'critical', 'warn', 'warning')
"""

_ENTRIES = """
CREATE OR REPLACE TEMP TABLE entries AS
WITH lost AS (SELECT * FROM messages WHERE disposition = 'lost'),
by_id AS (
    SELECT message_id, arg_min(error, line) AS error, bool_or(dead) AS dead, bool_or(dead AND dead_failed) AS dead_failed
    FROM logged WHERE message_id IS NOT NULL GROUP BY ALL),
by_place AS (
    SELECT partition, "offset", arg_min(error, line) AS error, bool_or(dead) AS dead,
           bool_or(dead AND dead_failed) AS dead_failed FROM logged
    WHERE message_id IS NULL AND "offset" IS NOT NULL GROUP BY ALL),
held AS (
    SELECT r.partition, r.offset FROM records r SEMI JOIN lost l ON l.partition = r.partition AND l."offset" = r.offset
    WHERE r.topic = source_topic()),
joined AS (
    SELECT l.*, coalesce(i.error, b.error) AS log_error,
           coalesce(i.dead, false) OR coalesce(b.dead, false) AS log_dead,
           coalesce(i.dead_failed, false) OR coalesce(b.dead_failed, false) AS log_dead_failed,
           o.log_start_offset, o.high_watermark, c.committed_offset,
           h.offset IS NOT NULL AS held,
           coalesce(l.error, CASE WHEN NOT l.in_source THEN coalesce(i.error, b.error) END) AS send_error
    FROM lost l LEFT JOIN by_id i USING (message_id)
    LEFT JOIN by_place b ON b.partition = l.partition AND b."offset" = l."offset"
    LEFT JOIN offsets o ON o.topic = source_topic() AND o.partition = l.partition
    LEFT JOIN commits c ON c.partition = l.partition
    LEFT JOIN held h ON h.partition = l.partition AND h.offset = l."offset")
SELECT *, CASE WHEN send_error IS NULL THEN NULL %s ELSE 'other' END AS error_class,
       coalesce(at_ms >= coalesce((SELECT reach_ms FROM places WHERE role = 'source'), at_ms), true) AS source_reaches
FROM joined
"""


def create_entries(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> int:
    """Creates ``entries``, one row a lost message, and returns how many there are."""
    con.execute(_NAMED)
    words = {"dead": _DEAD, "failed": _FAILED, "no_dead": _NO_DEAD}
    con.execute(_SERVICE.format(**words) if "service_log" in evidence.tables else _NO_SERVICE)
    whens = " ".join(
        f"WHEN regexp_matches(send_error, '{pattern}', 'i') THEN '{name}'" for name, pattern in ERROR_CLASSES.items()
    )
    con.execute(_ENTRIES % whens)
    found = con.execute("SELECT count(*) FROM entries").fetchone()
    return int(found[0]) if found else 0
