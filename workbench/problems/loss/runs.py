"""Runs of lost messages: neighbours of a partition that are missing with no delivered message between them."""

from __future__ import annotations

from workbench.problems.rules import Case

# Lost messages by the length of their run: missing neighbours with no delivered message between them.
_RUNS = """
CREATE OR REPLACE TEMP TABLE runs AS
WITH due AS (
    SELECT r.partition, r.offset, r.message_id FROM records r
    WHERE r.topic = source_topic() AND r.due AND r.message_id IS NOT NULL AND coalesce(r.is_aborted, false) = false
      AND r.partition IN (SELECT DISTINCT partition FROM entries WHERE in_source)),
marked AS (
    SELECT due.partition, due.offset, e.entry, row_number() OVER (PARTITION BY due.partition ORDER BY due.offset) AS position
    FROM due LEFT JOIN entries e ON e.message_id = due.message_id),
grouped AS (
    SELECT partition, entry, position - row_number() OVER (PARTITION BY partition ORDER BY position) AS run
    FROM marked WHERE entry IS NOT NULL),
sizes AS (SELECT partition, count(*) AS due, count(entry) AS lost FROM marked GROUP BY partition)
SELECT g.entry, count(*) OVER (PARTITION BY g.partition, g.run) AS length, s.due, s.lost
FROM grouped g JOIN sizes s USING (partition)
"""

# Runs no longer than random drops at the partition's own rate would make them: the longest run expected among n
# messages dropped with probability p is about log(n) / log(1/p).
_SCATTERED = """
SELECT entry FROM runs WHERE lost < due AND length <= 1 + ceil(ln(greatest(due, 2)) / -ln(least(lost / due, 0.9)))"""


def scattered(case: Case) -> str:
    """Entries that lie between delivered messages, as a handler that drops now and then leaves them."""
    return f"entry IN ({scattered_entries(case)})"


def scattered_entries(case: Case) -> str:
    """The same as a query for their numbers."""
    case.con.execute(_RUNS)
    return _SCATTERED
