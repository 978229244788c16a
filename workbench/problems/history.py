"""A group's history as tables that rules of several problems ask: how its offsets moved, and who was in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from workbench.evidence import Evidence

if TYPE_CHECKING:
    import duckdb

# Clocks of clients and brokers: a copy counts as written before or after an event of the coordinator within this.
SKEW_MS = 2_000
LEAST_RETENTION_MS = 60_000  # offsets.retention.minutes is at least 1

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
# What the group's members held: from each record on until the partition's next one.
_MEMBERS = """
CREATE OR REPLACE TEMP VIEW seats AS SELECT log_offset, at_ms, member_id, client_id, client_host, session_timeout_ms, topic,
    partitions, {rebalance} AS rebalance_timeout_ms, {subscribed} AS subscribed, {instance} AS instance_id FROM group_members;
CREATE OR REPLACE TEMP TABLE owned AS
SELECT unnest(partitions) AS partition, log_offset, at_ms, member_id, client_id, client_host, subscribed
FROM seats WHERE topic = source_topic()
"""
# Offsets that were taken away: what was there, since when nobody was in the group, and why it went.
_REMOVALS = f"""
CREATE OR REPLACE TEMP TABLE removals AS
WITH now AS (SELECT any_value(topic_id) AS topic_id FROM topics WHERE topic = source_topic()),
every AS (
    SELECT partition, log_offset, at_ms, removed, members, topic_id,
           last_value(CASE WHEN NOT removed THEN at_ms END IGNORE NULLS) OVER w AS last_ms,
           last_value(CASE WHEN NOT removed THEN topic_id END IGNORE NULLS) OVER w AS last_topic_id,
           max(committed_offset) OVER w AS highest
    FROM commit_history WHERE topic = source_topic()
    WINDOW w AS (PARTITION BY partition ORDER BY log_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
empty AS (
    SELECT e.*, (SELECT max(g.at_ms) FROM generations g WHERE g.members = 0 AND g."left" > 0 AND g.log_offset < e.log_offset)
                AS empty_ms FROM every e WHERE removed),
based AS (SELECT *, greatest(last_ms, CASE WHEN coalesce(members, 0) = 0 THEN empty_ms END) AS base_ms FROM empty)
SELECT partition, log_offset, at_ms, highest, last_ms, empty_ms, CASE
    WHEN last_topic_id <> (SELECT topic_id FROM now) THEN 'recreated'
    WHEN at_ms - base_ms < {LEAST_RETENTION_MS} THEN 'deleted'
    WHEN {{retention}}::BIGINT IS NULL THEN 'unknown'
    WHEN at_ms - base_ms >= {{retention}}::BIGINT THEN 'expired'
    ELSE 'deleted' END AS why
FROM based
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
CREATE OR REPLACE TEMP TABLE assigned (partition INTEGER, at_ms BIGINT, log_offset BIGINT, begun BIGINT);
CREATE OR REPLACE TEMP VIEW seats AS SELECT 0::BIGINT AS log_offset, 0::BIGINT AS at_ms, '' AS member_id, '' AS client_id,
    '' AS client_host, 0 AS session_timeout_ms, '' AS topic, [0] AS partitions, 0 AS rebalance_timeout_ms, [''] AS subscribed,
    '' AS instance_id
    WHERE false;
CREATE OR REPLACE TEMP TABLE owned (partition INTEGER, log_offset BIGINT, at_ms BIGINT, member_id VARCHAR, client_id VARCHAR,
    client_host VARCHAR, subscribed VARCHAR[]);
CREATE OR REPLACE TEMP TABLE removals (partition INTEGER, log_offset BIGINT, at_ms BIGINT, highest BIGINT, last_ms BIGINT,
    empty_ms BIGINT, why VARCHAR)
"""


def create_history(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    """Creates ``moves``, ``assigned``, ``seats``, ``owned`` and ``removals``; empty without a history."""
    if "commit_history" not in evidence.tables or "topics" not in evidence.tables:
        con.execute(_NONE)
        return
    con.execute(_MOVES)
    con.execute(_ASSIGNED)
    known = evidence.tables["group_members"].schema.names
    columns = {
        "rebalance": ("rebalance_timeout_ms", "INTEGER"),
        "subscribed": ("subscribed", "VARCHAR[]"),
        "instance": ("instance_id", "VARCHAR"),
    }
    con.execute(
        _MEMBERS.format(**{key: name if name in known else f"NULL::{kind}" for key, (name, kind) in columns.items()})
    )
    retention = offsets_retention_ms(evidence)
    con.execute(_REMOVALS.format(retention="NULL" if retention is None else retention))


def offsets_retention_ms(evidence: Evidence) -> int | None:
    """How long the brokers keep the offsets of a group that nobody is in; None where they did not say."""
    minutes = broker_setting(evidence, "offsets.retention.minutes")
    return None if minutes is None or not minutes.isdigit() else int(minutes) * 60_000


def broker_setting(evidence: Evidence, name: str) -> str | None:
    """A setting of the brokers; None where it is not known, or not the same on all."""
    table = evidence.tables.get("broker_configs")
    rows = table.to_pylist() if isinstance(table, pa.Table) else []
    values = {row["value"] for row in rows if row["name"] == name}
    return str(values.pop()) if len(values) == 1 and None not in values else None


def is_whole(evidence: Evidence) -> bool:
    """Whether the history reaches back to the group's beginning."""
    return "commit_history" in evidence.tables and evidence.facts.get("history_since") is None
