"""A group that has gone on since its next records were removed: what stood where its commits made a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
SELECT e.partition, e.before_offset AS since, e.at_ms, e.before_ms, e.low, least(e.committed_offset, e.low, coalesce((
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
CREATE OR REPLACE TEMP TABLE steps (partition INTEGER, since BIGINT, at_ms BIGINT, before_ms BIGINT, low BIGINT,
                                    until BIGINT);
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
# The step to where a partition begins today, where it is far longer than the group's steps are. kept_ms: the time of the first
# record that is left. Without other steps to compare with nothing is said.
_CROSSED = """
WITH usual AS (
    SELECT quantile_cont(committed_offset - before_offset, 0.95) AS size FROM moves m
    WHERE NOT removed AND committed_offset > before_offset AND coalesce(members, 1) > 0 AND NOT EXISTS (
        SELECT 1 FROM steps s WHERE s.partition = m.partition AND s.at_ms = m.at_ms AND s.until = s.low)),
kept AS (SELECT partition, arg_min(timestamp_ms, "offset") AS at_ms FROM records WHERE topic = source_topic() GROUP BY ALL),
far AS (
    SELECT s.partition, max(s.until - s.since)::BIGINT AS offsets, arg_max(s.at_ms, s.until - s.since) AS at_ms,
           arg_max(s.at_ms - s.before_ms, s.until - s.since) AS paused_ms
    FROM steps s, usual u WHERE s.until = s.low AND s.until - s.since >= 2 * u.size + 10 GROUP BY s.partition)
SELECT f.*, f.at_ms - k.at_ms AS kept_ms, sum(f.offsets) OVER () AS in_all
FROM far f LEFT JOIN kept k USING (partition) ORDER BY partition
"""
# What is gone of the source since the group's first commits.
_GONE = """
SELECT coalesce(sum(greatest(o.log_start_offset - f.first, 0)), 0)::BIGINT AS offsets
FROM offsets o JOIN (SELECT partition, min(committed_offset) AS first FROM moves WHERE is_first GROUP BY partition) f
ON f.partition = o.partition WHERE o.topic = source_topic()
"""
# What the group may have read before its first commits: that arrived, too, and is not among what is gone.
_BEFORE = "SELECT coalesce(sum(committed_offset), 0)::BIGINT AS offsets FROM moves WHERE is_first"
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
            the group had committed nothing, or how old the first record behind them was.
        appended_age_ms: the same by when it was written; None where that is not known.
        known: whether a sent log names the messages.
        words: what is so old, for the report.
    """

    partition: int
    offsets: int
    age_ms: int
    appended_age_ms: int | None
    known: bool
    words: str


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

    With a sent log these are known by their messages. Without one a step counts only where the sink's exact count says that
    something did not arrive (it holds less than is gone of the source): after a pause of at least the retention time, or
    where the group came to today's log start by a step that is far longer than its others, and at least half of what the
    step passed did not arrive.
    """
    if case.has("sent_log"):
        return tuple(
            Step(
                r["partition"],
                r["messages"],
                r["age_ms"] or 0,
                r["appended_age_ms"],
                True,
                "the newest of them was {} old",
            )
            for r in case.rows(_BY_ID)
        )
    short = _shortage(case)
    if short <= 0:
        return ()
    paused = case.rows(_PAUSED, [retention_ms]) if (retention_ms or 0) > 0 else []
    words = "the group had committed nothing for {}"
    if paused:
        most = short + int(case.rows(_BEFORE)[0]["offsets"])
        return tuple(Step(r["partition"], min(r["offsets"], most), r["age_ms"], None, False, words) for r in paused)
    return tuple(_crossing(row) for row in case.rows(_CROSSED) if short >= row["in_all"] / 2)


def _crossing(row: dict[str, Any]) -> Step:
    kept = row["kept_ms"] or 0
    age, words = max(
        (row["paused_ms"] or 0, "the group had committed nothing for {}"), (kept, "what it went on with was {} old")
    )
    return Step(row["partition"], row["offsets"], age, None, False, words)


def without_history(case: Case) -> bool:
    """Whether less arrived than is gone of the source, and no history says if the group had read it."""
    if case.has("commit_history") or not case.has("offsets") or not case.has("committed"):
        return False
    if case.numbers.get("lost_offsets"):  # the commits themselves say more
        return False
    arrived = _arrived(case)
    gone = case.rows("SELECT coalesce(sum(log_start_offset), 0)::BIGINT AS n FROM offsets WHERE topic = source_topic()")
    return arrived is not None and arrived < int(gone[0]["n"])


def _shortage(case: Case) -> int:
    """How many offsets that are gone of the source left no message elsewhere; 0 where that cannot be counted."""
    arrived = _arrived(case) if is_whole(case.evidence) else None
    return 0 if arrived is None else int(case.rows(_GONE)[0]["offsets"]) - arrived


def _arrived(case: Case) -> int | None:
    """How many messages there are elsewhere that the source does not have; None where that cannot be counted."""
    facts = case.facts
    if facts["since"] or facts["until"] or facts["where"]:
        return None
    if len(facts["sinks"]) != 1 or standing.unidentified(case) or not case.con.execute(_EXACT).fetchall()[0][0]:
        return None
    if case.has("batches") and case.rows(
        "SELECT 1 FROM batches WHERE topic = source_topic() AND is_control LIMIT 1"
    ):  # markers take offsets that no message has
        return None
    return int(case.numbers["unmatched_at_sink"] + case.numbers["elsewhere"])
