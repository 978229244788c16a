"""Where keys go now: the partitioner that a target's producers use, and the partition of each copy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workbench.problems.partitioners import PARTITIONERS, fits
from workbench.redrive.candidates import Candidate

# So much of what was seen must lie where a partitioner would put it.
ENOUGH = 0.98
FEWEST = 3


@dataclass(frozen=True)
class Placement:
    """How a target's partitions are chosen.

    Attributes:
        partitioner: murmur2, crc32, fnv1a; null when what was seen fits none of them.
        seen: how many keyed records it was judged by.
        moved: copies whose key lies in another partition now than where the message was first.
        was: (partitioner, partition count) pairs that explain where those messages were first.
        unkeyed: copies without a key.
    """

    partitioner: str | None
    seen: int
    moved: int = 0
    was: tuple[str, ...] = ()
    unkeyed: int = 0


def partitioner_of(keyed: Iterable[tuple[bytes, int]], partitions: int) -> tuple[str | None, int]:
    """(the partitioner that put the keys where they are, how many were looked at).

    With one partition, or with nothing to judge by, it is murmur2, the default of Java's client.
    """
    pairs = set(keyed)
    if partitions == 1 or len(pairs) < FEWEST:
        return "murmur2", len(pairs)
    shares = {
        name: sum(function(key) % partitions == partition for key, partition in pairs) / len(pairs)
        for name, function in PARTITIONERS.items()
    }
    best = max(shares, key=lambda name: shares[name])
    return (best if shares[best] >= ENOUGH else None), len(pairs)


def place(chosen: Sequence[Candidate], target: str, partitions: int, keyed: Iterable[tuple[bytes, int]]) -> Placement:
    """Gives each candidate of a target its partition.

    A key goes where the target's producers put it now. Without a key, or where that cannot be told, a copy goes to the
    partition that the message was in, as long as there is one of that number; else they go round.
    """
    pairs = list(keyed)
    homes = [one.home for one in chosen]
    if len(set(pairs)) < FEWEST:  # the target shows nothing: the origins of the dead letters do
        pairs += [pair for one in chosen if (pair := _at_origin(one, target, partitions))]
    name, seen = partitioner_of(pairs, partitions)
    moved: list[tuple[bytes, int]] = []
    for number, (one, home) in enumerate(zip(chosen, homes, strict=True)):
        was = home[1] if home and home[0] == target else None
        one.target_partition = _partition(one.key, was, number, partitions, name)
        if one.key is not None and was is not None and was != one.target_partition:
            moved.append((one.key, was))
    explained = _explained(moved, partitions)
    return Placement(name, seen, len(moved), explained, sum(one.key is None for one in chosen))


def _at_origin(one: Candidate, target: str, partitions: int) -> tuple[bytes, int] | None:
    home = one.home
    if one.key is None or home is None or home[0] != target or home[1] >= partitions:
        return None
    return one.key, home[1]


def _partition(key: bytes | None, was: int | None, number: int, partitions: int, name: str | None) -> int:
    if key is not None and name is not None:
        return PARTITIONERS[name](key) % partitions
    return was if was is not None and was < partitions else number % partitions


def _explained(moved: Sequence[tuple[bytes, int]], partitions: int) -> tuple[str, ...]:
    """The pairs that explain every old place."""
    common: set[str] | None = None
    for key, partition in moved[:200]:
        pairs = set(fits(key, partition, partitions))
        common = pairs if common is None else common & pairs
    return tuple(sorted(common or ()))
