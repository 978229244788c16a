"""In which order dead letters are sent, and in which steps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain, repeat

from workbench.redrive.candidates import Candidate

SIZES = (1, 2, 5, 20, 50, 200, 500, 2_000, 5_000)
LARGEST_STEP = 10_000
MOST_CANARIES = 100

STATEMENT = (
    "Messages of one origin partition are sent in the order in which they were first sent, so the messages of a key keep "
    "their order among themselves; the partitions take turns. One message of each cause group goes first, as a canary. "
    "All of them come behind what the target holds already."
)


def ordered(chosen: Sequence[Candidate]) -> tuple[list[Candidate], int]:
    """(the candidates in the order of sending, how many at the beginning are canaries).

    A canary is the first message of a cause group whose key no earlier message has, so that no key's order changes.
    """
    lanes: dict[tuple[str, int], list[Candidate]] = defaultdict(list)
    for one in chosen:
        lanes[_lane(one)].append(one)
    ranked = [(rank, lane, one) for lane in sorted(lanes) for rank, one in enumerate(sorted(lanes[lane], key=_within))]
    turns = [one for _, _, one in sorted(ranked, key=lambda item: item[:2])]
    canaries = _canaries(turns)
    first = set(map(id, canaries))
    return canaries + [one for one in turns if id(one) not in first], len(canaries)


def _lane(one: Candidate) -> tuple[str, int]:
    return one.home[:2] if one.home else (one.topic, one.partition)


def _within(one: Candidate) -> tuple[int, int]:
    return (one.home[2] if one.home else one.offset), one.offset


def _canaries(turns: Sequence[Candidate]) -> list[Candidate]:
    found: dict[str, Candidate] = {}
    keys: set[tuple[str | None, bytes]] = set()
    for one in turns:
        key = None if one.key is None else (one.target, one.key)
        if one.fingerprint not in found and key not in keys and len(found) < MOST_CANARIES:
            found[one.fingerprint] = one
        if key is not None:
            keys.add(key)
    return list(found.values())


def steps(total: int, canaries: int, done: int = 0) -> Iterator[tuple[int, int]]:
    """(first row, the one behind the last) of each step of the ramp that is not done: 1, 2, 5, 20, 50, 200 ... rows.

    A step holds canaries or other rows, never both: the rest of a cause group waits for what became of its canary.
    """
    at = 0
    for size in chain(SIZES, repeat(LARGEST_STEP)):
        if at >= total:
            return
        end = min(at + size, canaries if at < canaries else total)
        if end > done:
            yield max(at, done), end
        at = end
