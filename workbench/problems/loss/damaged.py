"""Loss on a broker's disk: record batches whose bytes are no longer what was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.problems.rules import RULED_OUT, Case, Ruling, rule
from workbench.report import Severity

# Where the scan met bytes that are no batch: it stepped over them ("offsets N to M are damaged"), or ended there ("unreadable
# from offset N on"), as the client library always does, which names the check.
_DAMAGED = r"""
SELECT s.topic, s.partition, min(u.low) AS "at", sum(u.high - u.low)::BIGINT AS offsets, bool_and(u.damaged) AS passed,
       any_value(s.error) AS error, any_value(p.role) AS role
FROM scan s JOIN places p USING (topic) JOIN unread u ON u.topic = s.topic AND u.partition = s.partition
WHERE regexp_matches(s.error, '(?i)\b(crc|checksum|corrupt|damaged|decompress)')
GROUP BY s.topic, s.partition ORDER BY any_value(p.role) <> 'source', s.topic, s.partition
"""


def is_damaged(case: Case) -> bool:
    """Whether the scan met a damaged batch anywhere."""
    return case.has("scan") and bool(case.rows(_DAMAGED))


@rule("loss-corrupt-record", Severity.CRITICAL, needs=("scan",))
def corrupt_record(case: Case) -> Ruling:
    """A record batch is damaged on the broker's disk: nobody who checks what he reads gets it, or past it.

    Confirmed where the scan of a topic of the integration met a batch whose checksum (CRC-32C) does not fit, or that cannot be
    decompressed. The scan steps over it where the next batch can be told, and ends there where not: the number of offsets that
    were not read is an upper bound, and messages of the sent log that were acknowledged there are unverifiable. Ruled out where
    every batch up to the end was read and fits its checksum.
    """
    rows = case.rows(_DAMAGED)
    if not rows:
        return RULED_OUT
    first = rows[0]
    return Ruling(
        state="confirmed",
        upper_bound=sum(row["offsets"] for row in rows),
        summary=f"The record batch of {first['topic']}-{first['partition']} at offset {first['at']:,} is damaged, and "
        f"{_behind(rows)}: {{count}} offsets at most on {len(rows):,} partition(s).",
        subject={"topic": first["topic"], "partition": first["partition"]},
        tables=("scan",),
        rows=tuple(f"{row['topic']}-{row['partition']}: {row['error']}" for row in rows[:10]),
    )


def _behind(rows: Sequence[Mapping[str, Any]]) -> str:
    if all(row["passed"] for row in rows):
        return "consumers stop there, though what lies behind it is whole"
    return "nothing behind it could be read"
