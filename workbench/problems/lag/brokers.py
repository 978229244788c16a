"""Rules on what the brokers do: partitions that cannot be read, and transactions that hold readers back."""

from __future__ import annotations

from workbench.problems.lag.members import places
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, lacking, rule
from workbench.report import Severity


@rule("lag-broker", Severity.CRITICAL, needs=("topics",))
def broker(case: Case) -> Ruling:
    """The partition has no leader, or lost replicas: whoever reads it waits.

    Confirmed where a partition that the group has commits on has no leader. Suspected where a lagging partition stands and
    fewer replicas are in sync than it has. Ruled out where all lagging partitions have a leader and all of their replicas,
    or move.
    """
    rows = case.rows(
        "SELECT topic, partition, committed_offset, leaderless FROM entries WHERE leaderless OR (shrunk AND stands)"
    )
    if not rows:
        return RULED_OUT
    dark = [row for row in rows if row["leaderless"]]
    said = f"{len(dark):,} partitions have no leader" if dark else f"{len(rows):,} partitions that stand lost replicas"
    return Ruling(
        claims=(Claim("confirmed", "leaderless"), Claim("suspected", "shrunk AND stands AND NOT leaderless")),
        summary=f"{said}, first {rows[0]['topic']}-{rows[0]['partition']}: group {case.facts['group']} cannot read what is there.",
        subject={"topic": rows[0]["topic"], "partition": rows[0]["partition"]},
        tables=("topics",),
        rows=places(dark or rows),
    )


@rule("lag-hanging-transaction", Severity.CRITICAL, needs=("offsets",))
def hanging_transaction(case: Case) -> Ruling:
    """A transaction that nobody ends holds the last stable offset, and the group's read_committed readers stand there.

    Confirmed where a partition is behind with nothing readable below its last stable offset, and its open transaction was
    seen twice with the same producer and first offset while the transaction coordinator, asked in between, did not know it
    or lists it past its timeout. A transaction that its coordinator knows and that may go on is a note. Ruled out where the
    last stable offset is at the end, or the reader is read_uncommitted.
    """
    if case.facts["isolation"] != "read_committed":
        return RULED_OUT
    if case.numbers.get("hidden") and not case.has("open_transactions"):
        return lacking(case, "open_transactions")
    if not case.count("hanging"):
        return RULED_OUT
    rows = case.rows("SELECT topic, partition, committed_offset, lag FROM entries WHERE hanging")
    first, offsets = rows[0], sum(row["lag"] or 0 for row in rows)
    return Ruling(
        claims=(Claim("confirmed", "hanging"),),
        summary=f"A transaction hangs on {first['topic']}-{first['partition']}: {offsets:,} offsets on "
        f"{len(rows):,} partitions are behind the last stable offset and stay there.",
        subject={"topic": first["topic"], "partition": first["partition"], "group": case.facts["group"]},
        tables=("offsets", "open_transactions"),
        rows=places(rows),
    )
