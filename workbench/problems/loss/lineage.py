"""Where the leaders of the source's partitions changed, and what that has cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.problems.history import SKEW_MS
from workbench.problems.loss.refused import setting
from workbench.problems.loss.retention import config_of

if TYPE_CHECKING:
    from workbench.problems.rules import Case

# turns: where a later leader began to write: from there on, whatever an earlier one had is gone. at_ms: time of its first
# record, null where there is none; last_ms: of the last record before it; begun_ms: since when the topic can have been there.
_NONE = """
CREATE OR REPLACE TEMP TABLE turns (partition INTEGER, leader_epoch INTEGER, start BIGINT, at_ms BIGINT, last_ms BIGINT,
                                    begun_ms BIGINT);
CREATE OR REPLACE TEMP TABLE cut_off (partition INTEGER, start BIGINT, until BIGINT, leader_epoch INTEGER)
"""
_TURNS = f"""
INSERT INTO turns
WITH ends AS (
    SELECT e.partition, e.leader_epoch, e.end_offset, o.log_start_offset, lag(e.end_offset) OVER w AS start,
           row_number() OVER w = 1 AS is_first
    FROM epochs e JOIN offsets o ON o.topic = e.topic AND o.partition = e.partition WHERE e.topic = source_topic()
    WINDOW w AS (PARTITION BY e.partition ORDER BY e.leader_epoch)),
found AS (
    SELECT partition, leader_epoch, coalesce(start, log_start_offset) AS start, end_offset FROM ends
    WHERE NOT is_first OR leader_epoch > 0)
SELECT f.partition, f.leader_epoch, f.start,
       arg_min(r.timestamp_ms, r."offset") FILTER (r."offset" >= f.start AND r."offset" < f.end_offset),
       arg_max(r.timestamp_ms, r."offset") FILTER (r."offset" < f.start),
       (SELECT min(timestamp_ms) - {SKEW_MS} FROM records WHERE topic = source_topic())
FROM found f LEFT JOIN records r ON r.topic = source_topic() AND r.partition = f.partition
GROUP BY f.partition, f.leader_epoch, f.start, f.end_offset
"""
# cut_off: partitions of which something had been read that a later leader does not have: commits above the end of the epoch that
# they name, or messages that reached a sink though another is at the offset that was acknowledged. until: up to there at least.
_CUT_OFF = """
INSERT INTO cut_off
WITH ends AS (
    SELECT t.partition, min(t.start) AS start, s.committed_offset AS until, max(t.leader_epoch) AS leader_epoch
    FROM ({commits}) s JOIN turns t ON t.partition = s.partition AND t.leader_epoch > s.leader_epoch
    WHERE s.leader_epoch >= 0 AND t.start < s.committed_offset GROUP BY t.partition, s.committed_offset, s.leader_epoch),
suspects AS (
    SELECT s.message_id, t.partition, t.start, s."offset" + 1 AS until, t.leader_epoch FROM turns t
    JOIN sent s ON s.partition = t.partition AND s."offset" >= t.start AND s.acked IS NOT FALSE
               AND s.at_ms >= t.begun_ms AND (t.at_ms IS NULL OR s.at_ms <= t.at_ms)
    ANTI JOIN records r ON r.topic = source_topic() AND r.message_id = s.message_id),
arrived AS (
    SELECT s.partition, s.start, s.until, s.leader_epoch FROM suspects s SEMI JOIN (
        SELECT r.message_id FROM records r JOIN places p USING (topic)
        WHERE p.role = 'sink' AND NOT coalesce(r.is_aborted, false)) k ON k.message_id = s.message_id)
SELECT partition, min(start), max(until), max(leader_epoch)
FROM (SELECT * FROM ends UNION ALL SELECT * FROM arrived) GROUP BY partition
"""
_COMMITTED = "SELECT partition, committed_offset, leader_epoch FROM committed WHERE topic = source_topic()"
_MOVES = "SELECT partition, committed_offset, leader_epoch FROM moves WHERE NOT removed"
_NOTHING = "SELECT 0 AS partition, 0 AS committed_offset, -1 AS leader_epoch WHERE false"

# Acknowledged messages at whose offsets a later leader began anew; where compaction may have been at work, only those whose
# offset holds another message.
_REPLACED = f"""NOT in_source AND acked IS NOT FALSE AND acked_offset >= log_start_offset AND {{held}} AND entry IN (
    SELECT e.entry FROM entries e JOIN turns t ON t.partition = e.partition AND e.acked_offset >= t.start
    WHERE (e.at_ms IS NULL OR t.at_ms IS NULL OR e.at_ms <= t.at_ms + {SKEW_MS})
      AND (e.at_ms IS NULL OR t.begun_ms IS NULL OR e.at_ms >= t.begun_ms) AND {{which}})"""
# Sent around the change from one leader to the next in its partition, or in any where the sent log names none.
AROUND = f"""entry IN (
    SELECT e.entry FROM entries e JOIN turns t ON (e.partition IS NULL OR t.partition = e.partition)
    WHERE e.at_ms >= coalesce(t.last_ms, t.begun_ms) - {SKEW_MS} AND (t.at_ms IS NULL OR e.at_ms <= t.at_ms + {SKEW_MS}))"""


def create_lineage(case: Case) -> int:
    """Creates ``turns`` and ``cut_off``, empty where leader epochs are not known; returns how many offsets were cut off."""
    case.con.execute(_NONE)
    if not case.has("epochs") or not case.has("offsets"):
        return 0
    case.con.execute(_TURNS)
    if not case.rows("SELECT 1 FROM turns LIMIT 1"):
        return 0
    sources = [_COMMITTED] if case.has("committed") else []
    sources += [_MOVES] if case.has("commit_history") else []
    case.con.execute(_CUT_OFF.format(commits=" UNION ALL ".join(sources) or _NOTHING))
    return int(case.rows("SELECT coalesce(sum(until - start), 0)::BIGINT AS offsets FROM cut_off")[0]["offsets"])


def replaced(case: Case, which: str) -> str:
    """Entries whose acknowledged offset a later leader wrote anew; ``which`` narrows the turns ``t``."""
    compacts = "compact" in (config_of(case, "cleanup.policy") or "delete")
    return _REPLACED.format(held="held" if compacts else "true", which=which)


def acks_of(case: Case) -> str | None:
    """What the producer waited for: 0, 1 or all; None where nobody said so."""
    given = setting(case.facts["producer_config"], "acks", "request.required.acks")
    if given is None and setting(case.facts["producer_config"], "enable.idempotence") == "true":
        return "all"  # an idempotent producer can't ask for less
    return "all" if given in ("all", "-1") else given


def has_followers(case: Case) -> bool:
    """Whether another replica could lead; assumed where that is not known."""
    if not case.has("topics"):
        return True
    rows = case.rows("SELECT max(len(replicas)) AS replicas FROM topics WHERE topic = source_topic()")
    return rows[0]["replicas"] is None or rows[0]["replicas"] > 1


def turn_in_words(case: Case) -> str:
    """The latest change, in a few words."""
    row = case.rows("SELECT * FROM turns ORDER BY at_ms DESC NULLS FIRST, partition, leader_epoch DESC LIMIT 1")[0]
    return f"leader epoch {row['leader_epoch']} of partition {row['partition']} began at offset {row['start']:,}"


def turn_rows(case: Case) -> tuple[str, ...]:
    """The changes, at most ten."""
    rows = case.rows("SELECT * FROM turns ORDER BY partition, leader_epoch LIMIT 10")
    return tuple(f"partition {row['partition']}: epoch {row['leader_epoch']} from {row['start']:,}" for row in rows)
