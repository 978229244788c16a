"""A group's history as tables that rules of several problems ask: how its offsets moved, and who took over from whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.evidence import Evidence

if TYPE_CHECKING:
    import duckdb

# Clocks of clients and brokers: a copy counts as written before or after an event of the coordinator within this.
SKEW_MS = 2_000

# One row a commit on the source topic as it is now (a topic of the same name that was deleted has another id).
_MOVES = """
CREATE OR REPLACE TEMP TABLE moves AS
WITH now AS (SELECT any_value(topic_id) AS topic_id FROM topics WHERE topic = source_topic()),
own AS (
    SELECT h.* FROM commit_history h, now WHERE h.topic = source_topic()
      AND (h.topic_id IS NULL OR now.topic_id IS NULL OR h.topic_id = now.topic_id OR h.removed))
SELECT partition, at_ms, log_offset, committed_offset, leader_epoch, removed, members, generation,
       lag(committed_offset) OVER w AS before_offset, coalesce(lag(removed) OVER w, false) AS was_removed,
       row_number() OVER w = 1 AS is_first,
       max(committed_offset) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS highest_before,
       EXISTS (SELECT 1 FROM generations g WHERE g.members > 0 AND g.log_offset < own.log_offset) AS had_members
FROM own WINDOW w AS (PARTITION BY partition ORDER BY log_offset)
"""
# Members that went without a word: in one record of the group some are gone and others are there, and it was never empty in
# between. A member that leaves in order leaves an empty group, or those that stay, behind at once.
_TAKEOVERS = """
CREATE OR REPLACE TEMP TABLE takeovers AS
SELECT g.log_offset, g.at_ms, m.partition, m.committed_offset
FROM generations g LEFT JOIN LATERAL (
    SELECT partition, arg_max(committed_offset, log_offset) AS committed_offset FROM moves
    WHERE NOT removed AND log_offset < g.log_offset GROUP BY partition) m ON true
WHERE g.joined > 0 AND g."left" > 0 AND NOT g.removed
"""
# When each partition of the source was first given to a member.
_ASSIGNED = """
CREATE OR REPLACE TEMP TABLE assigned AS
SELECT partition, min(at_ms) AS at_ms, min(log_offset) AS log_offset,
       (SELECT min(log_offset) FROM group_members WHERE topic = source_topic()) AS begun
FROM (SELECT unnest(partitions) AS partition, at_ms, log_offset FROM group_members WHERE topic = source_topic())
GROUP BY partition
"""
_NONE = """
CREATE OR REPLACE TEMP TABLE moves (partition INTEGER, at_ms BIGINT, log_offset BIGINT, committed_offset BIGINT,
    leader_epoch INTEGER, removed BOOLEAN, members INTEGER, generation INTEGER, before_offset BIGINT, was_removed BOOLEAN,
    is_first BOOLEAN, highest_before BIGINT, had_members BOOLEAN);
CREATE OR REPLACE TEMP TABLE takeovers (log_offset BIGINT, at_ms BIGINT, partition INTEGER, committed_offset BIGINT);
CREATE OR REPLACE TEMP TABLE assigned (partition INTEGER, at_ms BIGINT, log_offset BIGINT, begun BIGINT)
"""


def create_history(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    """Creates ``moves``, ``takeovers`` and ``assigned``; empty where the history is not at hand."""
    if "commit_history" not in evidence.tables or "topics" not in evidence.tables:
        con.execute(_NONE)
        return
    con.execute(_MOVES)
    con.execute(_TAKEOVERS)
    con.execute(_ASSIGNED)


def is_whole(evidence: Evidence) -> bool:
    """Whether the history reaches back to the group's beginning."""
    return "commit_history" in evidence.tables and evidence.facts.get("history_since") is None
