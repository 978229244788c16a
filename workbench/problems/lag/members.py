"""Rules on the group's members: none, idle ones, and ones that come and go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from workbench.problems.lag.crashes import crash_loop, perhaps_crashes
from workbench.problems.lag.rhythm import rhythm
from workbench.problems.lag.situation import GONE, JUST_LEFT_MS
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity, State


@rule("lag-no-members", Severity.CRITICAL, needs=("groups",))
def no_members(case: Case) -> Ruling:
    """Records wait for longer than the expected latency, and the group has no member that could read them.

    Confirmed where the group is empty or dead and its history shows that this is not its habit: a job that runs now and
    then, at least three times so far, may be empty until its next run is overdue. Suspected where the history is not at
    hand. Ruled out where the group has members, is rebalancing, or goes on to commit without members (a consumer with
    assigned partitions).
    """
    group = case.facts["group"]
    seen = case.rows('SELECT state FROM groups WHERE "group" = ?', [group])
    if not seen or seen[0]["state"] == "Unknown":
        return Ruling(undecided=f"the state of group {group} is not known")
    if seen[0]["state"] not in GONE or _commits_without(case) or _storms(case):
        return RULED_OUT
    state: State = "confirmed" if case.has("generations") else "suspected"
    oldest = case.rows("SELECT max(time_lag_seconds) AS age, sum(lag)::BIGINT AS lag, count(*) AS n FROM entries")[0]
    rows = case.rows("SELECT topic, partition, committed_offset FROM entries ORDER BY time_lag_seconds DESC LIMIT 10")
    return Ruling(
        claims=(Claim(state, "NOT leaderless"),),
        summary=(
            f"Group {group} has no members{_since(case)}, and {oldest['lag'] or 0:,} offsets wait on {oldest['n']:,} of its "
            f"partitions; the oldest record has waited for {oldest['age'] or 0:,.0f} s."
        ),
        subject={"group": group},
        tables=("groups", "committed", "heads"),
        rows=places(rows),
    )


def _commits_without(case: Case) -> bool:
    """Somebody commits for the group though it has no members, and did so within the expected latency or a moment."""
    if not case.has("commit_history"):
        return False
    patience = max(case.facts["expected_latency_seconds"] * 1000, 5_000)
    since = case.numbers["collected_ms"] - patience
    found = case.rows(
        "SELECT count(*) AS n FROM commit_history WHERE at_ms >= ? AND NOT removed AND members = 0 AND leader_epoch >= 0",
        [since],
    )
    return bool(found[0]["n"])


def _storms(case: Case) -> bool:
    """It is empty for a moment only, between two of many generations."""
    emptied = _habits(case).emptied_ms
    found = case.rows("SELECT bool_or(storm) AS storm FROM entries")
    return bool(found[0]["storm"]) and emptied is not None and case.numbers["collected_ms"] - emptied <= JUST_LEFT_MS


def _habits(case: Case) -> Any:
    return rhythm(_rows(case, "generations"), _rows(case, "commit_history"))


def _rows(case: Case, table: str) -> list[dict[str, Any]]:
    found = case.evidence.table(table)
    return found.to_pylist() if found is not None else []


def _since(case: Case) -> str:
    emptied = _habits(case).emptied_ms if case.has("generations") else None
    if emptied is None:
        return ""
    at = datetime.fromtimestamp(emptied / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f" since {at}"


@rule("lag-idle-members", Severity.INFO, needs=("members",))
def idle_members(case: Case) -> Ruling:
    """The group has members, and the lagging partitions are nobody's, or pile up on one while others have less to do.

    Confirmed where a lagging partition is assigned to no member of a stable group; or where the lagging partitions belong
    to members that have at least two partitions more than another member, and no partition of the others lags. Members
    beyond the number of partitions are a note. Ruled out where every lagging partition is assigned and the assignment is
    even.
    """
    group = case.facts["group"]
    seen = case.rows('SELECT state FROM groups WHERE "group" = ?', [group]) if case.has("groups") else []
    if not seen or seen[0]["state"] != "Stable":
        return RULED_OUT if seen and seen[0]["state"] in GONE else Ruling(undecided="the group is not stable just now")
    found = case.rows("SELECT count(*) FILTER (assigned = false) AS free, bool_and(overloaded) AS uneven FROM entries")[
        0
    ]
    if found["free"]:
        where, said = (
            "assigned = false",
            f"{found['free']:,} lagging partitions of group {group} are assigned to no member.",
        )
    elif found["uneven"]:
        where = "overloaded"
        said = f"All {case.entries:,} lagging partitions of group {group} belong to members that have more to do than others."
    else:
        return RULED_OUT
    rows = case.rows(f"SELECT topic, partition, committed_offset FROM entries WHERE {where} LIMIT 10")
    return Ruling(
        claims=(Claim("confirmed", where),),
        summary=said,
        subject={"group": group},
        tables=("members",),
        rows=places(rows),
    )


@rule("lag-rebalance-storm", Severity.WARNING, needs=("generations", "samples"))
def rebalance_storm(case: Case) -> Ruling:
    """The group rebalances over and over, and gets little done in between.

    Confirmed where the group's history shows at least three generations since it is behind, and of what was to be done
    since then less than half is done. A partition that stands alone while others move is not claimed. Ruled out where the
    group keeps its generation, gets most of it done, or its members die of one and the same record (lag-poison-pill).
    """
    if not case.count("storm") or crash_loop(case):
        return RULED_OUT
    group, perhaps = case.facts["group"], perhaps_crashes(case)
    other = "" if perhaps is None else f" AND entry <> {perhaps[0]}"
    since = case.rows("SELECT min(behind_since_ms) AS since FROM entries")[0]["since"]
    count = _habits(case).rebalances(since, case.numbers["collected_ms"])
    return Ruling(
        claims=(Claim("confirmed", f"storm AND NOT (stands AND others_move){other}"),),
        summary=f"Group {group} went through {count:,} generations since it is behind, and commits little in between.",
        subject={"group": group},
        tables=("generations", "samples"),
    )


def places(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Coordinates of at most ten rows."""
    return tuple(f"{row['topic']}/{row['partition']}@{row['committed_offset']}" for row in rows[:10])
