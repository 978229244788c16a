"""What may be done with each dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from workbench.evidence import Evidence

LEDGER = ("dead_letters", "replay", "fix_first", "discard", "already_recovered", "unknown")
# A dead letter that was sent back so often and came again is not helped by sending it once more.
MOST_REPLAYS = 2

# One row a dead letter. Precedence: already_recovered, discard (a later dead letter of the same message stands for it),
# then by the kind of its failure. failed_ms: when it failed, as far as that is told. drained: a group has read past it.
_DEAD = f"""
CREATE OR REPLACE TEMP TABLE dead AS
WITH letters_in AS (
    SELECT l.*, r.message_id, r.event_type, r.event_version, key_of(r) AS key, r.value_size, r.key_size,
           l.replay_count AS replays,
           coalesce(r.message_id, l.origin_topic || '/' || l.origin_partition || '/' || l.origin_offset,
                    l.topic || '/' || l.partition || '/' || l.offset) AS who
    FROM letters l LEFT JOIN records r ON r.role = 'dead_letters' AND r.topic = l.topic AND r.partition = l.partition
        AND r.offset = l.offset),
processed AS (
    SELECT DISTINCT r.message_id FROM records r
    WHERE r.role = 'sink' AND r.message_id IS NOT NULL AND coalesce(r.is_aborted, false) = false),
read_by AS (SELECT topic, partition, max(committed_offset) AS upto FROM drains GROUP BY ALL),
ordered AS (
    SELECT *, row_number() OVER (PARTITION BY who ORDER BY at_ms DESC, topic, partition DESC, "offset" DESC) AS newest
    FROM letters_in)
SELECT o.* EXCLUDE (replay_count, newest), o.replays AS replay_count,
    CASE WHEN o.last_failure_ms BETWEEN 0 AND now_ms() + 86400000 THEN o.last_failure_ms ELSE o.at_ms END AS failed_ms,
    coalesce(d.upto > o.offset, false) AS drained, CASE
    WHEN p.message_id IS NOT NULL THEN 'already_recovered'
    WHEN o.newest > 1 THEN 'discard'
    WHEN coalesce(o.replays, 0) >= {MOST_REPLAYS} THEN 'fix_first'
    WHEN o.kind = 'transient' AND o.has_payload THEN 'replay'
    WHEN o.kind IN ('payload', 'validation', 'code') THEN 'fix_first'
    ELSE 'unknown' END AS disposition
FROM ordered o LEFT JOIN processed p USING (message_id)
LEFT JOIN read_by d ON d.topic = o.topic AND d.partition = o.partition;
CREATE OR REPLACE TEMP VIEW unresolved AS
SELECT * FROM dead WHERE NOT drained AND disposition NOT IN ('already_recovered', 'discard')
"""
_NO_DRAINS = """
CREATE TEMP TABLE drains ("group" VARCHAR, topic VARCHAR, partition INTEGER, committed_offset BIGINT)
"""
_NO_HOMES = """
CREATE TEMP TABLE homes (topic VARCHAR, role VARCHAR, partitions INTEGER, replication INTEGER, retention_ms BIGINT,
    cleanup_policy VARCHAR, max_message_bytes BIGINT)
"""


def create_dead(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    """Creates ``dead``, the dead letters with their message id and disposition, and ``unresolved``, those still to be seen to."""
    from workbench.problems.standing import epoch_ms

    now = epoch_ms(evidence.facts["collected_at"])
    con.execute(f"CREATE OR REPLACE TEMP MACRO now_ms() AS {now}::BIGINT")
    for name, create in (("drains", _NO_DRAINS), ("homes", _NO_HOMES)):
        if name not in evidence.tables:
            con.execute(create)
    con.execute(_DEAD)


def ledger(con: duckdb.DuckDBPyConnection) -> dict[str, int | None]:
    """Dead letters by disposition; the dispositions sum to ``dead_letters``."""
    found = dict(con.execute("SELECT disposition, count(*) FROM dead GROUP BY disposition").fetchall())
    return {"dead_letters": sum(found.values()), **{name: found.get(name, 0) for name in LEDGER[1:]}}
