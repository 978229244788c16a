"""What ends a read through the wire reader."""

from __future__ import annotations

from workbench.errors import SourceUnavailable


class NotForWire(SourceUnavailable):
    """The wire reader cannot read this; the client reader may. What was yielded before stays valid."""

    def __init__(self, why: str, endpoint: str = "") -> None:
        super().__init__(
            f"The wire reader cannot be used: {why}.",
            source="cluster",
            endpoint=endpoint,
            hint="Use the client reader.",
        )
        self.why = why


def stepped_over(low: int, high: int, why: str) -> str:
    """What a scan says of the offsets of a damaged batch, ``high`` included; ``problems.unread`` reads it."""
    return f"offsets {low} to {high} are damaged: {why}"


class DamagedBatch(Exception):
    """Bytes that are no batch of records.

    Attributes:
        topic: where they are.
        partition: in it.
        offset: from here on nothing of the partition is trusted.
        why: what is wrong.
    """

    def __init__(self, topic: str, partition: int, offset: int, why: str) -> None:
        super().__init__(f"{topic}/{partition} is unreadable from offset {offset} on: {why}")
        self.topic, self.partition, self.offset, self.why = topic, partition, offset, why
