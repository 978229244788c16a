"""Loss on a broker's disk: record batches whose bytes are no longer what was written."""

from __future__ import annotations

from workbench.problems.rules import RULED_OUT, Case, Ruling, rule
from workbench.report import Severity

# Where the scan met bytes that are no batch: both readers say "unreadable from offset N on", or librdkafka names the check.
_DAMAGED = r"""
SELECT s.topic, s.partition, s.next_offset AS "at", s.end_offset - s.next_offset AS behind, s.error, p.role
FROM scan s JOIN places p USING (topic)
WHERE regexp_matches(s.error, '(?i)\b(crc|checksum|corrupt|damaged|decompress)') ORDER BY p.role <> 'source', s.topic, s.partition
"""


def is_damaged(case: Case) -> bool:
    """Whether the scan met a damaged batch anywhere."""
    return case.has("scan") and bool(case.rows(_DAMAGED))


@rule("loss-corrupt-record", Severity.CRITICAL, needs=("scan",))
def corrupt_record(case: Case) -> Ruling:
    """A record batch is damaged on the broker's disk: nobody who checks what he reads gets it, or past it.

    Confirmed where the scan of a topic of the integration ends at a batch whose checksum (CRC-32C) does not fit, or that
    cannot be decompressed. How much behind it is damaged too is not known: the number of offsets is an upper bound, and
    messages of the sent log that were acknowledged there are unverifiable. Ruled out where every batch up to the end was read
    and fits its checksum.
    """
    rows = case.rows(_DAMAGED)
    if not rows:
        return RULED_OUT
    first = rows[0]
    return Ruling(
        state="confirmed",
        upper_bound=sum(row["behind"] for row in rows),
        summary=f"The record batch of {first['topic']}-{first['partition']} at offset {first['at']:,} is damaged, and nothing "
        f"behind it could be read: {{count}} offsets at most on {len(rows):,} partition(s).",
        subject={"topic": first["topic"], "partition": first["partition"]},
        tables=("scan",),
        rows=tuple(f"{row['topic']}-{row['partition']}: {row['error']}" for row in rows[:10]),
    )
