"""A group that has gone on since its next records were removed: what stood where its commits made a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.problems import standing
from workbench.problems.history import is_whole

if TYPE_CHECKING:
    from workbench.problems.rules import Case

# Commits that went from below today's log start onwards, not those of an admin tool. Of the range between, what lies before the
# first offset that arrived (``until``) is what the group cannot have read.
_STEPS = """
CREATE OR REPLACE TEMP TABLE steps AS
WITH every AS (
    SELECT m.*, o.log_start_offset AS low, lag(m.at_ms) OVER (PARTITION BY m.partition ORDER BY m.log_offset) AS before_ms
    FROM moves m JOIN offsets o ON o.topic = source_topic() AND o.partition = m.partition),
arrived AS (
    SELECT s.partition, s."offset" FROM sent s WHERE s."offset" IS NOT NULL AND s.message_id NOT IN (
        SELECT message_id FROM messages WHERE disposition NOT IN ('delivered', 'dead_lettered', 'retrying')))
SELECT e.partition, e.before_offset AS since, e.at_ms, e.before_ms, least(e.committed_offset, e.low, coalesce((
           SELECT min(a."offset") FROM arrived a WHERE a.partition = e.partition AND a."offset" >= e.before_offset),
           e.low)) AS until
FROM every e
WHERE NOT e.removed AND e.before_offset < e.low AND e.committed_offset > e.before_offset
  AND NOT (e.members = 0 AND coalesce(e.leader_epoch, -1) = -1)
"""
_STOOD = """
CREATE OR REPLACE TEMP TABLE stood AS
SELECT e.entry, s.partition, s.since, s.until, s.at_ms,
       coalesce(l.stamp_ms, e.at_ms) AS stamp_ms, coalesce(l.appended_ms, e.at_ms) AS appended_ms FROM steps s JOIN entries e
ON e.partition = s.partition AND NOT e.in_source AND e.acked_offset >= s.since AND e.acked_offset < s.until
LEFT JOIN late l ON l.partition = e.partition AND l."offset" = e.acked_offset
"""
# Acknowledged messages with their own time, and the earliest at which they can have been written: not before they were sent,
# nor before those that stand before them.
_LATE = """
CREATE OR REPLACE TEMP TABLE late AS
SELECT partition, "offset", CASE WHEN EXISTS (
           SELECT 1 FROM configs c
           WHERE c.topic = source_topic() AND c.name = 'message.timestamp.type' AND c.value = 'LogAppendTime')
       THEN at_ms ELSE coalesce(stamp_ms, at_ms) END AS stamp_ms, max(at_ms) OVER (
           PARTITION BY partition ORDER BY "offset" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS appended_ms
FROM sent WHERE "offset" IS NOT NULL AND partition IS NOT NULL AND at_ms <= {now}
"""
_NONE = """
CREATE OR REPLACE TEMP TABLE steps (partition INTEGER, since BIGINT, at_ms BIGINT, before_ms BIGINT, until BIGINT);
CREATE OR REPLACE TEMP TABLE stood (entry BIGINT, partition INTEGER, since BIGINT, until BIGINT, at_ms BIGINT, stamp_ms BIGINT,
                                    appended_ms BIGINT)
"""
_BY_ID = """
SELECT partition, any_value(since) AS since, count(DISTINCT entry) AS messages, max(until) - min(since) AS offsets,
       min(at_ms - stamp_ms) AS age_ms, min(at_ms - appended_ms) AS appended_age_ms FROM stood GROUP BY partition ORDER BY partition
"""
_PAUSED = """
SELECT partition, sum(until - since)::BIGINT AS offsets, min(at_ms - before_ms) AS age_ms
FROM steps WHERE at_ms - before_ms >= ? GROUP BY partition ORDER BY partition
"""
# What is gone of the source since the group's first commits.
_GONE = """
SELECT coalesce(sum(greatest(o.log_start_offset - f.first, 0)), 0)::BIGINT AS offsets
FROM offsets o JOIN (SELECT partition, min(committed_offset) AS first FROM moves WHERE is_first GROUP BY partition) f
ON f.partition = o.partition WHERE o.topic = source_topic()
"""
_EXACT = """
SELECT NOT EXISTS (SELECT 1 FROM offsets o JOIN places p USING (topic) WHERE p.role <> 'source' AND o.log_start_offset > 0)
"""


@dataclass(frozen=True)
class Step:
    """A partition on which the group's commits stepped over records that are gone now.

    Attributes:
        partition: its number.
        offsets: how many offsets it stepped over at most, or how many did not arrive where only that is known.
        age_ms: how old the newest of them was when the group went on, at least; of a step without known messages, how long
            the group had committed nothing.
        appended_age_ms: the same by when it was written; None where that is not known.
        known: whether a sent log names the messages.
    """

    partition: int
    offsets: int
    age_ms: int
    appended_age_ms: int | None
    known: bool


def create_stood(case: Case) -> None:
    """Creates ``late`` (acknowledged messages with their times), ``steps`` and ``stood`` (lost entry -> the step that passed it).

    The latter two are empty without a history or log starts.
    """
    case.con.execute(_NONE)
    case.con.execute(_LATE.format(now=int(case.numbers["collected_ms"])))
    if case.has("commit_history") and case.has("offsets"):
        case.con.execute(_STEPS)
        case.con.execute(_STOOD)


def steps_over(case: Case, retention_ms: int | None) -> tuple[Step, ...]:
    """The partitions on which the group went on behind records that were removed.

    With a sent log these are known by their messages. Without one a step counts only after a pause of at least the retention
    time, and only where the sink's exact count says that something did not arrive: it holds less than is gone of the source.
    """
    if case.has("sent_log"):
        return tuple(
            Step(r["partition"], r["messages"], r["age_ms"] or 0, r["appended_age_ms"], True) for r in case.rows(_BY_ID)
        )
    short = _shortage(case)
    if short <= 0 or retention_ms is None or retention_ms <= 0:
        return ()
    rows = case.rows(_PAUSED, [retention_ms])
    return tuple(Step(r["partition"], min(r["offsets"], short), r["age_ms"], None, False) for r in rows)


def _shortage(case: Case) -> int:
    """How many offsets that are gone of the source left no message elsewhere; 0 where that cannot be counted."""
    facts = case.facts
    if facts["since"] or facts["until"] or facts["where"] or not is_whole(case.evidence):
        return 0
    if len(facts["sinks"]) != 1 or standing.unidentified(case) or not case.con.execute(_EXACT).fetchall()[0][0]:
        return 0
    if case.has("batches") and case.rows(
        "SELECT 1 FROM batches WHERE topic = source_topic() AND is_control LIMIT 1"
    ):  # markers take offsets that no message has
        return 0
    arrived = case.numbers["unmatched_at_sink"] + case.numbers["elsewhere"]
    return int(case.rows(_GONE)[0]["offsets"]) - arrived
