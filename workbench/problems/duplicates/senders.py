"""Who wrote each copy, from the record batches: the same batch twice, or another producer than before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.problems.rules import Case

if TYPE_CHECKING:
    import duckdb

# A batch that lies across the ranges of two readers, or that a killed run had read, comes twice.
_WRITTEN = """
CREATE OR REPLACE TEMP TABLE written AS
SELECT r.message_id, r.topic, r.partition, r.offset AS "offset", b.producer_id, b.crc, b.records, b.first_timestamp_ms
FROM again r ASOF JOIN (SELECT DISTINCT * FROM batches WHERE NOT is_control) b
    ON b.topic = r.topic AND b.partition = r.partition AND b.base_offset <= r.offset
WHERE r.offset <= b.last_offset
"""
_SENDERS = """
CREATE OR REPLACE TEMP TABLE senders AS
SELECT e.entry, e.place, e.topic, e.first_ms, n.producer_id, b.producer_id AS first_producer_id,
       EXISTS (SELECT 1 FROM written t WHERE t.message_id = e.message_id AND t.topic = e.topic
               AND t.partition = e.partition AND t.offset < e.offset AND t.crc = n.crc AND t.records = n.records
               AND t.first_timestamp_ms IS NOT DISTINCT FROM n.first_timestamp_ms AND t.producer_id IS NULL
               AND n.producer_id IS NULL) AS same_batch
FROM entries e
JOIN written n ON n.topic = e.topic AND n.partition = e.partition AND n.offset = e.offset AND n.message_id = e.message_id
JOIN written b ON b.topic = e.topic AND b.partition = e.first_partition AND b.offset = e.first_offset
"""
# Pairs of producers where the later one took over: the earlier one wrote nothing more, and the later one either went on
# with messages of its own or repeated the end of what the earlier one had written.
_TAKEN_OVER = """
CREATE OR REPLACE TEMP TABLE taken_over AS
WITH pairs AS (
    SELECT producer_id, first_producer_id, count(*) AS copies, min(first_ms) AS from_ms FROM senders
    WHERE place = 'source' AND producer_id <> first_producer_id GROUP BY ALL),
active AS (
    SELECT producer_id, sum(records) AS records, min(first_timestamp_ms) AS began_ms, max(max_timestamp_ms) AS ended_ms
    FROM (SELECT DISTINCT * FROM batches WHERE NOT is_control) WHERE topic = source_topic() GROUP BY producer_id),
tails AS (
    SELECT p.producer_id, p.first_producer_id, count(*) AS tail FROM pairs p
    JOIN (SELECT DISTINCT * FROM batches WHERE NOT is_control) b ON b.producer_id = p.first_producer_id
    JOIN records r ON r.topic = b.topic AND r.partition = b.partition AND r.offset BETWEEN b.base_offset AND b.last_offset
    WHERE b.topic = source_topic() AND b.max_timestamp_ms >= p.from_ms AND r.timestamp_ms >= p.from_ms GROUP BY ALL)
SELECT p.producer_id, p.first_producer_id FROM pairs p
JOIN active n ON n.producer_id = p.producer_id JOIN active o ON o.producer_id = p.first_producer_id
LEFT JOIN tails t ON t.producer_id = p.producer_id AND t.first_producer_id = p.first_producer_id
WHERE o.ended_ms <= n.began_ms AND (n.records > p.copies OR p.copies >= 0.95 * t.tail)
"""
_NONE = """
CREATE OR REPLACE TEMP TABLE senders (
    entry BIGINT, place VARCHAR, topic VARCHAR, first_ms BIGINT, producer_id BIGINT, first_producer_id BIGINT,
    same_batch BOOLEAN);
CREATE OR REPLACE TEMP TABLE taken_over (producer_id BIGINT, first_producer_id BIGINT)
"""

# Predicates over ``entries``; null batches (the client library read) make all of them false.
SAME_BATCH = "entry IN (SELECT entry FROM senders WHERE same_batch)"
IDENTIFIED = "entry IN (SELECT entry FROM senders WHERE producer_id IS NOT NULL)"
SAME_PRODUCER = "entry IN (SELECT entry FROM senders WHERE producer_id = first_producer_id)"
RESTARTED = (
    "entry IN (SELECT entry FROM senders JOIN taken_over USING (producer_id, first_producer_id) WHERE place = 'source')"
)


def create_senders(con: duckdb.DuckDBPyConnection, case: Case) -> None:
    """Creates ``senders`` (one row a copy whose batch is known) and ``taken_over`` (pairs of producers)."""
    con.execute(_NONE)
    if case.has("batches") and case.entries:
        con.execute(_WRITTEN)
        con.execute(_SENDERS)
        con.execute(_TAKEN_OVER)
