"""Whether the dead-letter topic itself will keep what it is given, and whether anybody looks at it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from workbench.problems.rules import RULED_OUT, Case, Ruling, rule
from workbench.report import Severity

HALF = 0.5
_ERRORS_OF_WRITING = (
    "authoriz|authoris|not permitted|access denied|denied|unknown topic|recordtoolarge|record too large"
)
# Frameworks that put a dead letter into the partition it came from.
_SAME_PARTITION = "('spring_kafka', 'spring_cloud_stream', 'smallrye_retry')"


@rule("dlq-not-drained", Severity.WARNING, needs=("letters", "drains"), kind="risk")
def not_drained(case: Case) -> Ruling:
    """Nobody takes dead letters out of the queue: the oldest one waits for longer than the horizon.

    Confirmed where an unresolved dead letter is older than ``--horizon`` and no group has read past it; groups of this
    workbench's own redrives do not count. Ruled out where all are younger, or a group has read them. The summary says when
    retention takes the oldest.
    """
    row = case.rows(
        "SELECT count(*) AS n, min(u.at_ms) AS oldest, now_ms() AS now, arg_min(u.topic, u.at_ms) AS topic,"
        " (SELECT count(*) FROM drains) AS readers FROM unresolved u WHERE u.at_ms < now_ms() - ?",
        [round(case.facts["horizon_seconds"] * 1000)],
    )[0]
    if not row["n"]:
        return RULED_OUT
    read = "no group has read past them" if row["readers"] else "no group reads them"
    return Ruling(
        state="confirmed",
        affected=row["n"],
        summary=f"{{count}} dead letters are older than {_span(case.facts['horizon_seconds'] * 1000)} and {read}; the oldest is"
        f" {_span(row['now'] - row['oldest'])} old{_loss_in(case, row)}.",
        subject={"topic": row["topic"]},
        tables=("letters", "drains"),
    )


def _loss_in(case: Case, row: dict[str, Any]) -> str:
    """When retention takes the oldest, where that is known."""
    found = case.rows(
        "SELECT retention_ms FROM homes WHERE topic = ? AND contains(cleanup_policy, 'delete')", [row["topic"]]
    )
    keeps = found[0]["retention_ms"] if found else None
    if keeps is None or keeps < 0:
        return ""
    left = keeps - (row["now"] - row["oldest"])
    return f", and retention takes it in {_span(left)}" if left > 0 else ", and retention may take it any time"


_RETENTION = """
SELECT h.topic, h.retention_ms, h.cleanup_policy,
       (SELECT max(CASE WHEN s.retention_ms < 0 OR NOT contains(s.cleanup_policy, 'delete') THEN 9223372036854775807
                   ELSE s.retention_ms END) FROM homes s WHERE s.role = 'origin' AND s.topic IN
            (SELECT origin_topic FROM dead d WHERE d.topic = h.topic UNION SELECT ?)) AS source_ms,
       (SELECT max(now_ms() - u.at_ms) FROM unresolved u WHERE u.topic = h.topic) AS age_ms,
       (SELECT count(*) FROM unresolved u WHERE u.topic = h.topic) AS waiting
FROM homes h WHERE h.role = 'dead_letters' ORDER BY h.topic
"""
# Dead letters that are gone and that no group had read.
_GONE = """
SELECT coalesce(sum(greatest(o.log_start_offset - coalesce(d.upto, 0), 0)), 0)::BIGINT AS gone, any_value(o.topic) AS topic
FROM offsets o SEMI JOIN (SELECT topic FROM places WHERE role = 'dead_letters') p ON p.topic = o.topic
LEFT JOIN (SELECT topic, partition, max(committed_offset) AS upto FROM drains GROUP BY ALL) d
    ON d.topic = o.topic AND d.partition = o.partition
WHERE o.log_start_offset > coalesce(d.upto, 0)
"""


@rule("dlq-short-retention", Severity.CRITICAL, needs=("letters", "offsets"), kind="risk")
def short_retention(case: Case) -> Ruling:
    """Retention takes dead letters before anybody has seen to them.

    Confirmed where the log already starts behind dead letters that no group had read; where the dead-letter topic keeps records
    for a shorter time than the topic they come from; or where the oldest unresolved one is older than what is kept. Undecided
    where the retention is not known. Ruled out where it is long enough, or the topic is not cleaned by time.
    """
    gone = case.rows(_GONE)[0]
    if gone["gone"] and case.has("drains"):
        return Ruling(
            state="confirmed",
            affected=gone["gone"],
            summary=f"{gone['gone']:,} offsets of dead letters were removed before any group had read them.",
            subject={"topic": gone["topic"]},
            tables=("offsets", "drains"),
        )
    rows = case.rows(_RETENTION, [case.facts.get("origin") or ""])
    short = next((row for row in rows if _is_short(row)), None)
    if short:
        return Ruling(
            state="confirmed",
            affected=short["waiting"],
            summary=_kept(short),
            subject={"topic": short["topic"]},
            tables=("homes",),
        )
    unknown = not rows or any(row["retention_ms"] is None for row in rows)
    if unknown and case.entries:
        return Ruling(undecided="the retention of the dead-letter topic is not known: DescribeConfigs was not answered")
    return RULED_OUT


def _is_short(row: dict[str, Any]) -> bool:
    keeps = row["retention_ms"]
    if keeps is None or keeps < 0 or "delete" not in (row["cleanup_policy"] or "delete"):
        return False
    return bool((row["source_ms"] or 0) > keeps or (row["age_ms"] or 0) > keeps)


def _kept(row: dict[str, Any]) -> str:
    source = row["source_ms"] or 0
    why = (
        f"the topic they come from keeps them for {_span(source) if source < 1 << 62 else 'ever'}"
        if source > row["retention_ms"]
        else f"the oldest unresolved one is {_span(row['age_ms'])} old"
    )
    return f"Dead letters are kept for {_span(row['retention_ms'])}, but {why}; {row['waiting']:,} wait there."


_FEWER = """
SELECT d.topic, d.origin_topic, h.partitions AS own, s.partitions AS source, h.replication AS copies,
       s.replication AS source_copies,
       count(*) AS n, bool_and(d.partition = d.origin_partition) FILTER (d.origin_partition < h.partitions) AS same,
       count(*) FILTER (d.origin_partition >= h.partitions) AS beyond, bool_or(d.dialect IN {same}) AS keeps_partition
FROM dead d JOIN homes h ON h.topic = d.topic JOIN homes s ON s.topic = d.origin_topic AND s.role = 'origin'
WHERE d.origin_partition IS NOT NULL GROUP BY ALL ORDER BY n DESC, d.topic
"""


@rule("dlq-under-provisioned", Severity.WARNING, needs=("letters", "homes"), kind="risk")
def under_provisioned(case: Case) -> Ruling:
    """The dead-letter topic cannot take what the topic before it can give.

    Confirmed where a framework that keeps the partition (Spring) writes to a topic with fewer partitions than the topic that
    was read, so that the others have nowhere to go; where it has fewer replicas; or where the service's log shows that a write to
    it was refused. Ruled out where partitions are not kept, or are enough.
    """
    rows = case.rows(_FEWER.format(same=_SAME_PARTITION))
    for row in rows:
        if row["keeps_partition"] and row["same"] and not row["beyond"] and row["own"] < row["source"]:
            return _under(
                row,
                f"has {row['own']:,} partitions, {row['origin_topic']} has {row['source']:,}, and partitions are kept",
            )
        if row["copies"] and row["source_copies"] and row["copies"] < row["source_copies"]:
            return _under(row, f"has {row['copies']:,} replicas, {row['origin_topic']} has {row['source_copies']:,}")
    return _refused(case) or RULED_OUT


def _under(row: dict[str, Any], how: str) -> Ruling:
    summary = f"{row['topic']} {how}: {{count}} dead letters came through, others may not."
    return Ruling(
        state="confirmed",
        affected=row["n"],
        summary=summary,
        subject={"topic": row["topic"]},
        tables=("homes", "letters"),
    )


def _refused(case: Case) -> Ruling | None:
    if not case.has("service_log"):
        return None
    row = case.rows(
        "SELECT count(*) AS n, any_value(topic) AS topic FROM service_log WHERE topic IN"
        " (SELECT topic FROM places WHERE role = 'dead_letters') AND regexp_matches(lower(coalesce(error, '')), ?)",
        [_ERRORS_OF_WRITING],
    )[0]
    if not row["n"]:
        return None
    return Ruling(
        state="confirmed",
        affected=row["n"],
        summary=f"The service's log shows that {{count}} writes to {row['topic']} were refused.",
        subject={"topic": row["topic"]},
        tables=("service_log",),
    )


_HEADERS = """
SELECT d.topic, count(*) AS n, max(d.header_bytes) AS headers, max(d.hops) AS hops, any_value(h.max_message_bytes) AS bytes_limit,
       max(d.header_bytes + coalesce(d.value_size, 0) + coalesce(d.key_size, 0)) AS size,
       max(d.header_bytes / greatest(d.hops, 1)) FILTER (d.hops > 1) AS growth
FROM dead d JOIN homes h ON h.topic = d.topic WHERE h.max_message_bytes IS NOT NULL AND NOT d.drained
  AND (d.header_bytes >= {half} * h.max_message_bytes OR (d.hops > 1 AND d.header_bytes + coalesce(d.value_size, 0)
       + d.header_bytes / d.hops > h.max_message_bytes)) GROUP BY d.topic ORDER BY n DESC, d.topic
"""


@rule("dlq-oversize-headers", Severity.WARNING, needs=("letters", "homes"), kind="risk")
def oversize_headers(case: Case) -> Ruling:
    """Headers grow with every failure and come near the largest record that the topic takes.

    Confirmed where the headers of a dead letter are half of ``max.message.bytes`` and more, or where one hop more, as large as
    those before, would not fit. Undecided where the limit is not known. Ruled out where headers are small.
    """
    found = case.rows(_HEADERS.format(half=HALF))
    if found:
        row = found[0]
        return Ruling(
            state="confirmed",
            affected=row["n"],
            summary=f"{{count}} dead letters carry headers of up to {row['headers']:,} bytes ({row['hops'] or 1:,} hops);"
            f" {row['topic']} takes records of {row['bytes_limit']:,} bytes.",
            subject={"topic": row["topic"]},
            tables=("letters", "homes"),
        )
    unknown = (
        case.rows("SELECT count(*) AS n FROM homes WHERE role = 'dead_letters' AND max_message_bytes IS NOT NULL")[0][
            "n"
        ]
        == 0
    )
    if unknown and case.entries:
        return Ruling(undecided="the size limit of the dead-letter topic is not known")
    return RULED_OUT


def _span(ms: float) -> str:
    """A time span for people: the two largest units."""
    span = timedelta(milliseconds=max(ms, 0))
    hours, rest = divmod(span.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [(span.days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    said = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(said[:2]) or f"{ms / 1000:.1f} s"
