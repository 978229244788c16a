"""The table that every source of history gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa

from workbench.tables import table_of

SAMPLES = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("at_ms", pa.int64()), ("committed_offset", pa.int64()),
     ("log_end_offset", pa.int64()), ("history", pa.string())]
)  # fmt: skip


class Sample(NamedTuple):
    """Where a group stood on one partition at one moment.

    Attributes:
        topic, partition: where.
        at_ms: the moment, epoch milliseconds, by the broker's clock for commits, by the reader's for looks taken.
        committed_offset: the next offset that the group would have read; None: it had no commit yet, or it was removed.
        log_end_offset: the log's end at that moment; None: not known.
        history: which source says so: commits, watch, prometheus or snapshots.
    """

    topic: str
    partition: int
    at_ms: int
    committed_offset: int | None
    log_end_offset: int | None
    history: str


def samples_table(samples: Iterable[Sample]) -> pa.Table:
    """The table, by partition and moment."""
    return table_of(SAMPLES, sorted(samples))
