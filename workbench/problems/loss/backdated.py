"""Loss because records carry old times: retention takes them as soon as they are written."""

from __future__ import annotations

from workbench.problems.loss.retention import (
    DELETION,
    TIMESTAMPS,
    config_of,
    gone_below,
    number_of,
    overtaken,
    passed,
    stamped,
)
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity

# How it came that a message was removed: while it was young by its writing, though old by its own time.
_BACKDATED = """entry IN (
    SELECT e.entry FROM entries e JOIN late l ON l.partition = e.partition AND l."offset" = e.acked_offset
    LEFT JOIN (SELECT entry, min(at_ms) AS at_ms FROM stood GROUP BY entry) s ON s.entry = e.entry
    WHERE coalesce(s.at_ms, {now}) - l.appended_ms < {retention} AND coalesce(s.at_ms, {now}) - l.stamp_ms >= {retention})"""


@rule("loss-timestamp-retention", Severity.WARNING, needs=("offsets", "committed"))
def timestamp_retention(case: Case) -> Ruling:
    """Retention removed records at once because their own times were old, though they had only just been written.

    Retention by time goes by the times that records carry. Confirmed where a message of the sent log lay below the log start
    before the group read it, its record timestamp (``record_timestamp``) was older than ``retention.ms`` and its writing (the
    time of sending, and those of the messages before it in the partition) was not. Suspected where the times of the
    removed records are not known, and records that are kept have times that far before those of records before them.
    Undecided where records that were removed too soon have no time of their own in the sent log. Ruled out where the topic stamps
    records itself (``LogAppendTime``), or what was removed was old by its writing too.
    """
    if config_of(case, "message.timestamp.type") == "LogAppendTime":
        return RULED_OUT
    partitions = [item for item in overtaken(case) if item.by >= TIMESTAMPS]
    if not partitions:
        too_soon = [item for item in overtaken(case) if item.by == DELETION]
        return Ruling(undecided=_NO_TIMES) if too_soon and not stamped(case) else passed(case)
    gone = gone_below(partitions)
    limits = {"now": int(case.numbers["collected_ms"]), "retention": number_of(case, "retention.ms")}
    known = f"{gone} AND {_BACKDATED.format(**limits)}"
    offsets, first = sum(item.offsets for item in partitions), partitions[0]
    return Ruling(
        claims=(Claim("confirmed", known), Claim("suspected", gone)),
        state="confirmed" if case.count(known) else "suspected",
        upper_bound=offsets,
        summary=f"Retention removed {{count}} {'messages' if case.count(gone) else 'offsets at most'} for their old timestamps, "
        f"soon after they were written, on {len(partitions)} partition(s): {first.why}.",
        subject={"topic": str(case.facts["source"]), "group": str(case.facts["group"])},
        tables=("sent_log", "offsets", "configs") if case.has("sent_log") else ("records", "offsets", "configs"),
        rows=tuple(f"partition {item.partition}: {item.offsets:,} offsets, {item.why}" for item in partitions[:10]),
    )


_NO_TIMES = "needs the times of the removed records: let the sent log hold record_timestamp beside at"
