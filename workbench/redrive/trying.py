"""Makes every record as it would be sent, without sending it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from workbench.redrive.dead_letters import Dialects
from workbench.redrive.outgoing import Record, outgoing
from workbench.redrive.plan import Row
from workbench.redrive.spool import Spool
from workbench.redrive.transform import Outcome, Transform

ROWS = 2_000
# What a record costs beside its key, value and headers, generously.
OVERHEAD_BYTES = 512


def try_all(
    spool: Spool, rows: Sequence[Row], change: Transform, how: tuple[str, Dialects], limits: Mapping[str, int | None]
) -> Iterator[Outcome]:
    """The outcome of each row, in order.

    Args:
        spool: the dead letters.
        rows: what to make.
        change: the transformation, and the check of what it gives.
        how: ``strip`` or ``keep``, and the dialects of the dead letters.
        limits: target -> its largest batch in bytes; null is not known.
    """
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        raws = spool.records([row[:3] for row in some])
        made = [outgoing(row, raw, *how) for row, raw in zip(some, raws, strict=True)]
        for outcome in change(made):
            yield _fitting(outcome, limits)


def _fitting(outcome: Outcome, limits: Mapping[str, int | None]) -> Outcome:
    record = outcome.record
    largest = limits.get(record.topic) if record else None
    if record is None or largest is None or size_of(record) <= largest or _packed(record) <= largest:
        return outcome
    return Outcome(None, "too_large")


def size_of(record: Record) -> int:
    """About how many bytes a record takes uncompressed."""
    inner = sum(len(name) + len(value or b"") for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + inner + OVERHEAD_BYTES


def _packed(record: Record) -> int:
    """About how many bytes it takes on the way: the limit is of what is sent, and that is compressed."""
    import pyarrow as pa

    parts = [record.key or b"", record.value or b"", *(value or b"" for _, value in record.headers)]
    return len(pa.compress(b"".join(parts), codec="lz4", asbytes=True)) + OVERHEAD_BYTES
