"""A risk of loss: acknowledgements that one broker alone can give."""

from __future__ import annotations

from workbench.problems.loss.lineage import acks_of
from workbench.problems.loss.retention import number_of
from workbench.problems.rules import RULED_OUT, Case, Ruling, rule
from workbench.report import Severity

_ALONE = """
SELECT partition, leader, len(replicas) AS replicas FROM topics
WHERE topic = source_topic() AND len(isr) = 1 AND len(replicas) > 1 ORDER BY partition
"""


@rule("loss-min-isr-too-low", Severity.WARNING, kind="risk")
def min_isr_too_low(case: Case) -> Ruling:
    """All replicas but one are out of sync, and the topic still lets that one acknowledge alone.

    Confirmed where a partition of the source has several replicas of which one is in sync now, ``min.insync.replicas`` is 1, and
    the producer waits for all (``acks=all``, or an idempotent producer): it believes that several brokers have what one
    has. Suspected where the producer's ``acks`` are not known. Undecided where the topic's setting is not. Ruled out where more
    than one replica of each partition is in sync, the setting is 2 or more (sends fail then, and nothing is lost unseen),
    or the producer asks for less anyway.
    """
    alone = case.rows(_ALONE) if case.has("topics") else []
    if not alone or acks_of(case) in ("0", "1"):
        return RULED_OUT
    least = number_of(case, "min.insync.replicas")
    if least is None:
        why = case.evidence.missing.get("configs", "its settings were not collected")
        return Ruling(undecided=f"needs min.insync.replicas of {case.facts['source']}: {why}")
    if least > 1:
        return RULED_OUT
    first = alone[0]
    return Ruling(
        state="confirmed" if acks_of(case) == "all" else "suspected",
        affected=len(alone),
        summary=f"{len(alone):,} partition(s) of {case.facts['source']} have 1 of {first['replicas']} replicas in sync, and with "
        "min.insync.replicas=1 that one acknowledges alone.",
        subject={"topic": str(case.facts["source"]), "partition": first["partition"]},
        tables=("topics", "configs"),
        rows=tuple(f"partition {row['partition']}: broker {row['leader']} alone" for row in alone[:10]),
    )
