"""What a scan will cost, said before it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.capture.lanes import process_count
from workbench.capture.spec import CaptureSpec, PartitionRange

# Measured on two cores against a local broker; a slower network shows as more seconds while it runs.
RECORDS_PER_SECOND = 250_000
BYTES_PER_SECOND = 80_000_000


@dataclass(frozen=True)
class Estimate:
    """The cost of a scan before it begins.

    Attributes:
        records: upper bound of the records to read: offsets, holes included.
        bytes: about how many bytes are fetched; null when no log size is known.
        seconds: about how long it takes.
    """

    records: int
    bytes: int | None
    seconds: float


def estimate(spec: CaptureSpec, offsets: Any) -> Estimate:
    """What a scan will cost.

    Args:
        spec: of the capture.
        offsets: the table of ``Cluster.offsets``: topic, partition, log_start_offset, high_watermark, log_size_bytes.

    Returns:
        Records, bytes and seconds, the limits taken into account.
    """
    known = {(row["topic"], row["partition"]): row for row in offsets.to_pylist()}
    records = sum(part.offsets for part in spec.ranges())
    sizes = [_size(part, known.get((part.topic, part.partition), {})) for part in spec.ranges() if part.offsets]
    size = None if any(one is None for one in sizes) else round(sum(one or 0.0 for one in sizes))
    limits = spec.limits
    if limits.max_records is not None and limits.max_records < records:
        size = None if size is None else size * limits.max_records // records
        records = limits.max_records
    if limits.max_bytes is not None and size is not None:
        size = min(size, limits.max_bytes)
    return Estimate(records, size, _seconds(spec, records, size))


def _size(part: PartitionRange, row: dict[str, Any]) -> float | None:
    """The range's share of its partition's log; holes are taken to be spread evenly."""
    size, low, high = row.get("log_size_bytes"), row.get("log_start_offset"), row.get("high_watermark")
    if size is None or low is None or high is None:
        return None
    return float(size) * part.offsets / max(1, int(high) - int(low))


def _seconds(spec: CaptureSpec, records: int, size: int | None) -> float:
    processes = process_count(spec, records)
    seconds = max(records / RECORDS_PER_SECOND, (size or 0) / BYTES_PER_SECOND) / processes
    if spec.limits.max_bytes_per_second and size:
        seconds = max(seconds, size / spec.limits.max_bytes_per_second)
    return min(seconds, spec.limits.max_seconds or seconds)
