"""Rules on rates: too much comes, too little is read, or both are so on one partition only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.problems.lag.entries import is_more_than_its_share
from workbench.problems.lag.members import places
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity, State

_MOVING = "alive AND sampled AND NOT stands AND NOT leaderless AND NOT hanging AND NOT coalesce(storm, false)"
_NOT_OLD = "came_ms IS NULL"
_NOT_UNEVEN = (
    "coalesce(assigned, true) AND NOT (coalesce(overloaded, false) AND (SELECT bool_and(overloaded) FROM entries))"
)


@rule("lag-hot-partition", Severity.WARNING, needs=("samples",))
def hot_partition(case: Case) -> Ruling:
    """One partition gets much more than its share of the traffic, and its reader does not keep up.

    Confirmed where a topic has at least two partitions and the lag of one is more than three times their median and more
    than twice its fair share, its commit moves, and it got at least one and a half times its fair share of what was sent
    (in the window, or where that has nothing, in the whole log). Suspected where the traffic is even and the lag is not.
    The share of its most frequent key is named where the waiting records were read. Ruled out where the lag is even or
    its member has more partitions than others.
    """
    rows = case.rows(f"SELECT * FROM entries WHERE hot AND {_MOVING} AND {_not_old(case)} AND {_NOT_UNEVEN}")
    if not rows:
        return RULED_OUT
    partitions = case.numbers["partitions"]
    sure = [row["entry"] for row in rows if is_more_than_its_share(row["hot_traffic"], partitions)]
    others = [row["entry"] for row in rows if row["entry"] not in sure]
    claims = [Claim("confirmed", _is_in(sure))] if sure else []
    claims += [Claim("suspected", _is_in(others))] if others else []
    first = next(row for row in rows if not sure or row["entry"] in sure)
    share = f"{100 * (first['hot_traffic'] or 0):.0f} % of the traffic"
    return Ruling(
        claims=tuple(claims),
        summary=f"{first['topic']}-{first['partition']} is {first['lag']:,} offsets behind and gets {share}, one of "
        f"{partitions:,} partitions{_top_key(case, first)}.",
        subject={"topic": first["topic"], "partition": first["partition"], "group": case.facts["group"]},
        tables=("samples", "offsets"),
        rows=places(rows),
    )


def _is_in(entries: list[int]) -> str:
    return f"entry IN ({', '.join(str(entry) for entry in entries)})" if entries else "false"


def _top_key(case: Case, row: dict[str, Any]) -> str:
    if not case.has("records"):
        return ""
    column = "key" if "key" in _columns(case) else "key_hash"
    found = case.rows(
        f"SELECT count(*) AS n, sum(count(*)) OVER () AS total FROM records WHERE role = 'source' AND topic = ? AND"
        f" partition = ? AND {column} IS NOT NULL GROUP BY {column} ORDER BY n DESC LIMIT 1",
        [row["topic"], row["partition"]],
    )
    return f"; one key makes up {100 * found[0]['n'] / found[0]['total']:.0f} % of what waits there" if found else ""


def _columns(case: Case) -> set[str]:
    return {row["column_name"] for row in case.rows("DESCRIBE records")}


# Waiting records that are older than an earlier record of their partition, by more than ?, as a share of those that wait.
_OLD = """
WITH seen AS (
    SELECT topic, partition, "offset", timestamp_ms,
           max(timestamp_ms) OVER (PARTITION BY topic, partition ORDER BY "offset" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
               AS newest
    FROM records WHERE role = 'source' AND NOT coalesce(is_aborted, false))
SELECT e.entry, avg(CASE WHEN s.timestamp_ms < greatest(s.newest, e.came_ms) - ? THEN 1 ELSE 0 END) AS old,
       max(greatest(s.newest, e.came_ms) - s.timestamp_ms) / 1000.0 AS early
FROM entries e JOIN seen s ON s.topic = e.topic AND s.partition = e.partition AND s."offset" >= e.committed_offset
GROUP BY e.entry
"""


def _old(case: Case) -> dict[int, float]:
    """Entry -> seconds by which its waiting records are older than ones before them, where that is so of half of them."""
    if not case.has("records"):
        return {}
    late = max(round(case.facts["expected_latency_seconds"] * 1000), 5_000)
    return {row["entry"]: row["early"] for row in case.rows(_OLD, [late]) if (row["old"] or 0) >= 0.5}


def _not_old(case: Case) -> str:
    return f"{_NOT_OLD} AND NOT {_is_in(sorted(_old(case)))}"


@rule("lag-bulk-load", Severity.INFO, needs=("samples",))
def bulk_load(case: Case) -> Ruling:
    """The end of the log jumped: many records came at once with timestamps of long ago.

    Confirmed where half of the waiting records are older than an earlier record of their partition by more than the
    expected latency (and 5 s), so that they came later than they say. Suspected where the waiting records were not read,
    and the next one is older than one before it. Their age by timestamp is then no waiting time. Ruled out where
    timestamps rise, or the broker sets them.
    """
    if not case.has("records"):
        return _bulk(case, "suspected", "came_ms IS NOT NULL", {}) if case.count("came_ms IS NOT NULL") else RULED_OUT
    old = _old(case)
    return _bulk(case, "confirmed", _is_in(sorted(old)), old) if old else RULED_OUT


def _bulk(case: Case, state: State, where: str, old: Mapping[int, float]) -> Ruling:
    rows = case.rows(
        f"SELECT topic, partition, committed_offset, lag, (came_ms - head_ms) / 1000.0 AS early FROM entries WHERE {where}"
    )
    early = max((*old.values(), *(row["early"] or 0 for row in rows)))
    behind = sum(row["lag"] or 0 for row in rows)
    return Ruling(
        claims=(Claim(state, where),),
        summary=f"{behind:,} offsets on {len(rows):,} partitions came in bulk with old timestamps: up to {early:,.0f} s older than "
        "records before them.",
        subject={"group": case.facts["group"], "topic": rows[0]["topic"]},
        tables=("samples", "records") if case.has("records") else ("samples",),
        rows=places(rows),
    )


_DURATIONS = """
SELECT median(duration_ms) FILTER (at_ms >= ?) AS since, median(duration_ms) FILTER (at_ms < ?) AS before,
       count(*) FILTER (at_ms < ?) AS earlier
FROM service_log WHERE duration_ms IS NOT NULL
"""
SLOWER = 2.0
FALLEN = 0.6
FEWEST = 3


@rule("lag-slow-processing", Severity.WARNING, needs=("samples",))
def slow_processing(case: Case) -> Ruling:
    """Each record takes longer to process than before, while no more records come than before.

    Confirmed where the service's log gives durations and their median since the group is behind is at least twice the one
    before, while the rate of what is sent is not twice what it was. Undecided where the group reads less than 60 % of what
    it read before, not twice as much is sent, and no durations are at hand. Ruled out where the durations are flat, or the
    group reads as fast as it did.
    """
    rows = case.rows(f"SELECT * FROM entries WHERE {_MOVING} AND {_not_old(case)}")
    if not rows:
        return RULED_OUT
    since = min((row["behind_since_ms"] for row in rows if row["behind_since_ms"]), default=None)
    measured = _durations(case, since)
    if measured is None:
        known = case.numbers.get("consumed_fell") and not case.numbers.get("produced_rose")
        return (
            Ruling(undecided="the group reads less than it did: needs durations (service log, traces)")
            if known
            else RULED_OUT
        )
    before, now = measured
    if now < SLOWER * before or case.numbers.get("produced_rose"):
        return RULED_OUT
    return Ruling(
        claims=(Claim("confirmed", f"{_MOVING} AND {_not_old(case)}"),),
        summary=f"Processing one record took {before:,.0f} ms and takes {now:,.0f} ms since group {case.facts['group']} is "
        f"behind on {len(rows):,} partitions; no more is sent than before.",
        subject={"group": case.facts["group"]},
        tables=("service_log", "samples"),
        rows=places(rows),
    )


def _durations(case: Case, since: int | None) -> tuple[float, float] | None:
    """(median before it was behind, median since), in ms; None where either is not at hand."""
    if since is None or not case.has("service_log") or "duration_ms" not in _log_columns(case):
        return None
    found = case.rows(_DURATIONS, [since, since, since])[0]
    return None if found["since"] is None or (found["earlier"] or 0) < FEWEST else (found["before"], found["since"])


def _log_columns(case: Case) -> set[str]:
    return {row["column_name"] for row in case.rows("DESCRIBE service_log")}


def _slow(case: Case) -> bool:
    return bool(slow_processing.rule_on(case).claims)


def _perhaps_slow(case: Case) -> bool:
    return slow_processing.rule_on(case).undecided is not None


@rule("lag-burst", Severity.INFO, needs=("samples",))
def burst(case: Case) -> Ruling:
    """Much came at once, and the group works it off.

    Confirmed where at some time of the window at least twice as much was sent as now, and the lag falls: the group reads
    more than is sent. Suspected where the lag falls and the burst itself lies before the window. Ruled out where the lag
    grows or stays.
    """
    falling = f"trend = 'falling' AND {_MOVING} AND {_not_old(case)} AND NOT {_hot(case)}"
    if not case.count(falling) or _slow(case):
        return RULED_OUT
    rows = case.rows(f"SELECT * FROM entries WHERE {falling}")
    ahead = max((row["catch_up_seconds"] for row in _catching(case, falling)), default=None)
    done = "" if ahead is None else f", and is through in about {ahead:,.0f} s"
    return Ruling(
        claims=(
            Claim("confirmed", f"{falling} AND burst"),
            Claim("suspected", f"{falling} AND NOT coalesce(burst, false)"),
        ),
        summary=f"Group {case.facts['group']} works off a burst on {len(rows):,} partitions: it reads more than is sent{done}.",
        subject={"group": case.facts["group"]},
        tables=("samples",),
        rows=places(rows),
    )


def _hot(case: Case) -> str:
    """What the rule on hot partitions takes for certain."""
    sure = [claim.where for claim in hot_partition.rule_on(case).claims if claim.state == "confirmed"]
    return f"({sure[0]})" if sure else "false"


def _catching(case: Case, where: str) -> list[dict[str, Any]]:
    return case.rows(
        f"SELECT lag / nullif(consumed_recently - produced_recently, 0) AS catch_up_seconds FROM entries WHERE {where}"
        " AND consumed_recently > produced_recently AND lag IS NOT NULL"
    )


@rule("lag-throughput-deficit", Severity.WARNING, needs=("samples",))
def throughput_deficit(case: Case) -> Ruling:
    """More is sent than the group reads, on most partitions: it can not catch up as it is.

    Confirmed where the group lives and its commits move, on at least half of the partitions that are sent anything the lag
    grows, and the whole 95 % interval of the trend (Theil-Sen, at least five samples) lies above zero. Suspected with
    fewer samples. What a hot partition, longer processing, an uneven assignment or a storm of rebalances explains is not
    claimed; suspected where the group reads less than it did and no durations tell whether processing takes longer. Ruled out
    where the rates are equal or the lag falls.
    """
    growing = (
        f"trend = 'growing' AND consumed > 0 AND {_MOVING} AND {_not_old(case)} AND {_NOT_UNEVEN} AND NOT {_hot(case)}"
    )
    count = case.count(growing)
    if not count or 2 * count < case.numbers["partitions_fed"] or _slow(case):
        return RULED_OUT
    total = case.rows(
        f"SELECT sum(produced) AS produced, sum(consumed) AS consumed, min(slope_low) AS low FROM entries WHERE {growing}"
    )[0]
    rows = case.rows(f"SELECT topic, partition, committed_offset FROM entries WHERE {growing} ORDER BY lag DESC")
    return Ruling(
        claims=(
            Claim("suspected" if _perhaps_slow(case) else "confirmed", f"{growing} AND slope_low > 0"),
            Claim("suspected", f"{growing} AND slope_low IS NULL"),
        ),
        summary=f"Group {case.facts['group']} reads {total['consumed']:,.1f} records a second on {count:,} partitions that are "
        f"sent {total['produced']:,.1f}: the lag grows.",
        subject={"group": case.facts["group"]},
        tables=("samples",),
        rows=places(rows),
    )
