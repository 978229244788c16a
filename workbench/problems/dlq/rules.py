"""What is wrong with a dead-letter queue itself."""

from __future__ import annotations

from workbench.problems.rules import RULED_OUT, Case, Ruling, rule
from workbench.report import Severity


@rule("dlq-context-missing", Severity.WARNING, needs=("letters",), kind="risk")
def context_missing(case: Case) -> Ruling:
    """Dead letters say neither where they come from nor why they were given up.

    Fires where a dead letter names no origin topic or no cause at all (no class, message or stage): Kafka Connect writes
    them so unless ``errors.deadletterqueue.context.headers.enable`` is set, and copies made by hand are so. Ruled out where
    every dead letter has both.
    """
    row = case.rows(
        "SELECT count(*) AS n, count(*) FILTER (origin_topic IS NULL) AS origin,"
        " count(*) FILTER (NOT has_cause) AS cause, any_value(topic) AS topic FROM letters"
        " WHERE origin_topic IS NULL OR NOT has_cause"
    )[0]
    if not row["n"]:
        return RULED_OUT
    return Ruling(
        state="confirmed",
        affected=row["n"],
        summary=f"{{count}} dead letters lack context: {row['origin']:,} name no origin, {row['cause']:,} no cause.",
        subject={"topic": row["topic"]},
        tables=("letters",),
    )


_LOOPING = """
SELECT count(*) AS messages, coalesce(sum(n), 0)::BIGINT AS letters FROM (
    SELECT who, count(*) AS n FROM (
        SELECT coalesce(message_id, origin_topic || '/' || origin_partition || '/' || origin_offset) AS who, replay_count
        FROM dead WHERE message_id IS NOT NULL OR origin_offset IS NOT NULL)
    GROUP BY who HAVING count(*) >= 2 AND max(coalesce(replay_count, 0)) >= {replays})
"""


@rule("dlq-redrive-loop", Severity.CRITICAL, needs=("letters",), kind="risk")
def redrive_loop(case: Case) -> Ruling:
    """The same message comes back to the dead-letter topic again and again after it was sent back.

    Confirmed where a message was dead-lettered at least twice and its records count replays; suspected where the same message
    was dead-lettered at least three times without such a count. Ruled out where every message was dead-lettered once, or
    twice without a sign of a redrive.
    """
    counted = case.rows(_LOOPING.format(replays=1))[0]
    plain = case.rows(_LOOPING.format(replays=0).replace(">= 2", ">= 3"))[0]
    found = counted if counted["messages"] else plain
    if not found["messages"]:
        return RULED_OUT
    return Ruling(
        state="confirmed" if counted["messages"] else "suspected",
        affected=found["messages"],
        summary=f"{{count}} messages were dead-lettered {found['letters']:,} times in all: what sends them back does not help.",
        tables=("letters", "records"),
    )
