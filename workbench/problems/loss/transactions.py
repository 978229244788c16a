"""Loss by transactions: aborted ones that took messages with them, hanging ones that hide them."""

from __future__ import annotations

from workbench.problems.loss import ledger
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity


@rule("loss-aborted-transaction", Severity.CRITICAL, needs=("records",))
def aborted_transaction(case: Case) -> Ruling:
    """The message went down with an aborted transaction.

    Fires where the consumer's output for the message lies in an aborted transaction at the sink, no committed copy does,
    and the group has committed past its input; or where the sent log says that the producer's transaction was committed
    while the source holds only an aborted copy. Without the group's commits the first form is only suspected. Ruled out
    where a later committed copy exists (a healthy retry) or no missing message has an aborted copy.
    """
    at_sink = f"flags & {ledger.SINK_ABORTED} <> 0 AND in_source"
    at_source = f"flags & {ledger.VISIBLE} = 0 AND flags & {ledger.ABORTED} <> 0 AND committed"
    return Ruling(
        claims=(
            Claim("confirmed", f"{at_sink} AND passed"),
            Claim("suspected", f"{at_sink} AND passed IS NULL"),
            Claim("confirmed", at_source),
        ),
        summary="{count} messages exist only in an aborted transaction, and nothing sent them again.",
        subject={"topic": str(case.facts["source"])},
        tables=("records", "committed"),
    )


_HIDING = """
SELECT o.topic, o.partition, o.last_stable_offset, o.high_watermark - o.last_stable_offset AS offsets,
       (SELECT min(r.timestamp_ms) FROM records r WHERE r.topic = o.topic AND r.partition = o.partition
        AND r.offset >= o.last_stable_offset) AS oldest_ms
FROM offsets o JOIN places p USING (topic) WHERE o.last_stable_offset < o.high_watermark ORDER BY o.topic, o.partition
"""


@rule("loss-hanging-transaction", Severity.CRITICAL, needs=("offsets",))
def hanging_transaction(case: Case) -> Ruling:
    """An open transaction holds back the last stable offset, so that read_committed readers see nothing above it.

    Confirmed where a partition's open transaction was seen twice with the same producer and first offset while the
    transaction coordinator, asked in between, did not know it or lists it past its timeout. Suspected where records have
    been hidden for longer than the expected latency and the coordinator's word is not at hand or is that it still runs.
    The messages above it are hidden, not lost. Ruled out where the last stable offset is at the high watermark, or what is
    hidden is younger than the expected latency.
    """
    too_young_ms = case.numbers["collected_ms"] - round(case.facts["expected_latency_seconds"] * 1000)
    rows = case.rows(_HIDING)
    hanging = _hanging(case)
    old = [row for row in rows if row["oldest_ms"] is not None and row["oldest_ms"] <= too_young_ms]
    stuck = [row for row in rows if (row["topic"], row["partition"]) in hanging] or old
    if not stuck:
        return RULED_OUT
    first = stuck[0]
    offsets = sum(row["offsets"] for row in stuck)
    return Ruling(
        state="confirmed" if hanging else "suspected",
        confidence="high" if hanging else "medium",
        affected=int(case.ledger["hidden"] or 0),
        upper_bound=offsets,
        summary=f"{case.ledger['hidden']:,} messages ({offsets:,} offsets) are hidden behind an open transaction on "
        f"{len(stuck)} partition(s), first {first['topic']}-{first['partition']} from offset {first['last_stable_offset']:,}.",
        subject={"topic": first["topic"], "partition": first["partition"]},
        tables=("offsets", "open_transactions") if case.has("open_transactions") else ("offsets",),
        rows=tuple(f"{r['topic']}-{r['partition']} last stable offset {r['last_stable_offset']:,}" for r in stuck[:10]),
    )


def _hanging(case: Case) -> set[tuple[str, int]]:
    if not case.has("open_transactions"):
        return set()
    return {(row["topic"], row["partition"]) for row in case.rows("SELECT * FROM open_transactions WHERE hanging")}
