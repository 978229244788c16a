"""Lanes: how a scan is divided between processes, by partitions and offset ranges."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.capture.spec import CaptureSpec, PartitionRange

# Below this many offsets a process costs more to start than it gains.
WORTH_A_PROCESS = 500_000
# One reader keeps about two cores busy: the client library's thread, the reading one, and the one that derives.
CORES_A_PROCESS = 2
# A cut through a partition makes both sides fetch around it: whole partitions are kept when that is nearly as even.
TOLERANCE = 0.08

Round = tuple[PartitionRange, ...]


@dataclass(frozen=True)
class Lane:
    """The work of one process.

    Attributes:
        rounds: read one after another; one topic, and at most one range a partition, each.
    """

    rounds: tuple[Round, ...]

    @property
    def offsets(self) -> int:
        """Offsets to read."""
        return sum(part.offsets for ranges in self.rounds for part in ranges)


def divide(ranges: Sequence[PartitionRange], count: int) -> list[Lane]:
    """At most ``count`` lanes of about equal offsets that together are the ranges, each offset once."""
    total = sum(part.offsets for part in ranges)
    lanes: list[list[PartitionRange]] = [[]]
    room = share = -(-total // max(1, count))
    for part in ranges:
        rest = part
        while rest.offsets and len(lanes) < count and rest.offsets > room + share * TOLERANCE:
            cut = rest.start_offset + room
            if room > share * TOLERANCE:
                lanes[-1].append(_cut(rest, rest.start_offset, cut))
                rest = _cut(rest, cut, rest.end_offset)
            lanes.append([])
            room = share
        if rest.offsets:
            lanes[-1].append(rest)
            room -= rest.offsets
        if room <= share * TOLERANCE and len(lanes) < count:
            lanes.append([])
            room = share
    return [Lane(_rounds(parts)) for parts in lanes if parts]


def _cut(part: PartitionRange, start: int, end: int) -> PartitionRange:
    return PartitionRange(part.topic, part.partition, start, end, part.last_stable_offset)


def _rounds(parts: list[PartitionRange]) -> tuple[Round, ...]:
    """One topic a round; a second range of the same partition (left by an interrupted scan) comes in another."""
    rounds: list[dict[tuple[str, int], PartitionRange]] = []
    for part in parts:
        key = (part.topic, part.partition)
        free = next((one for one in rounds if key not in one and next(iter(one))[0] == part.topic), None)
        if free is None:
            rounds.append(free := {})
        free[key] = part
    return tuple(tuple(one.values()) for one in rounds)


def process_count(spec: CaptureSpec, offsets: int) -> int:
    """How many processes to read with.

    A limit on records or bytes that may bind is kept exactly, by one process.
    """
    limits = spec.limits
    if limits.max_bytes is not None or (limits.max_records is not None and limits.max_records < offsets):
        return 1
    if spec.processes is not None:
        return max(1, spec.processes)
    return max(1, min(2, (os.cpu_count() or 1) // CORES_A_PROCESS, offsets // WORTH_A_PROCESS))
