"""Rules on the group's members."""

from __future__ import annotations

from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity

_GONE = ("Empty", "Dead")


@rule("lag-no-members", Severity.CRITICAL, needs=("groups",))
def no_members(case: Case) -> Ruling:
    """Records wait for longer than the expected latency, and the group has no member that could read them.

    Suspected where the group is empty or dead while a partition is lagging: whether it is empty by habit, as a nightly
    job between two runs, only its commit history tells, and give such a job an expected latency of its rhythm. Ruled out
    where the group has members, or is rebalancing.
    """
    group = case.facts["group"]
    seen = case.rows('SELECT state FROM groups WHERE "group" = ?', [group])
    if not seen or seen[0]["state"] == "Unknown":
        return Ruling(undecided=f"the state of group {group} is not known")
    if seen[0]["state"] not in _GONE:
        return RULED_OUT
    oldest = case.rows("SELECT max(time_lag_seconds) AS age, sum(lag)::BIGINT AS lag, count(*) AS n FROM entries")[0]
    rows = case.rows("SELECT topic, partition, committed_offset FROM entries ORDER BY time_lag_seconds DESC LIMIT 10")
    return Ruling(
        claims=(Claim("suspected", "true"),),
        summary=(
            f"Group {group} has no members, and {oldest['lag']:,} offsets wait on {oldest['n']:,} of its partitions; "
            f"the oldest record has waited for {oldest['age']:,.0f} s."
        ),
        subject={"group": group},
        tables=("groups", "committed", "heads"),
        rows=tuple(f"{row['topic']}/{row['partition']}@{row['committed_offset']}" for row in rows),
    )
