"""What is to be known before dead letters are sent back, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.redrive.candidates import Candidate
from workbench.redrive.placement import Placement
from workbench.redrive.plan import GUESSED, HOME_MADE
from workbench.redrive.targets import Readers, Target

if TYPE_CHECKING:
    from workbench.evidence import Evidence
    from workbench.redrive.planning import Choice


@dataclass(frozen=True)
class Known:
    """What was learnt of the targets.

    Attributes:
        targets: by name.
        readers: who reads them.
        placements: target -> how its partitions are chosen.
        stale: ``newer``: messages whose key has a newer record; ``passed``: of these, where a group has read it.
    """

    targets: Mapping[str, Target]
    readers: Readers
    placements: dict[str, Placement]
    stale: Counter[str]


def expected_duplicates(chosen: Sequence[Candidate], readers: Readers) -> dict[str, int]:
    """Group -> messages that it has read already and will see again, because another group gave them up."""
    counts: Counter[str] = Counter()
    for one in chosen:
        if one.home is None or one.home[0] != one.target:
            continue
        groups = readers.groups(one.home[0])
        failed = one.consumer or (groups[0] if len(groups) == 1 else None)
        for group in groups:
            counts[group] += group != failed and one.home[2] < readers.committed.get((group, *one.home[:2]), 0)
    return {group: count for group, count in sorted(counts.items()) if count}


def warnings(
    evidence: Evidence, chosen: Sequence[Candidate], choice: Choice, known: Known, failures: Mapping[str, int]
) -> Iterator[str]:
    """The warnings of a plan."""
    yield from _of_placement(known)
    yield from _of_readers(chosen, choice, known)
    yield from _of_records(evidence, chosen, choice, known)
    for what, count in failures.items():
        yield f"{count:,} records: {what}."


def _of_placement(known: Known) -> Iterator[str]:
    for name, found in sorted(known.placements.items()):
        count = known.targets[name].partitions
        if found.moved:
            was = f"; those places fit {' or '.join(found.was)}" if found.was else ""
            now = f"{found.partitioner or 'unknown'}/{count}"
            yield (
                f"{found.moved:,} keys of {name} go to another partition now ({now}) than the message was in first{was}: the"
                " partition count or the partitioner changed, so the order within such a key is not kept."
            )
        if found.partitioner is None:
            yield (
                f"The partitioner of {name} is not known ({found.seen:,} keys fit none of murmur2, crc32, fnv1a): copies go"
                " to the partition that the message was in."
            )
        if found.unkeyed:
            yield f"{found.unkeyed:,} copies for {name} have no key; they go to the partition the message was in, or round."


def _of_readers(chosen: Sequence[Candidate], choice: Choice, known: Known) -> Iterator[str]:
    for name in sorted(known.targets):
        groups = known.readers.groups(name)
        if len(groups) > 1:
            yield f"Fan-out: {len(groups)} groups read {name} and each gets the copies: {', '.join(groups[:10])}."
    if known.readers.unknown:
        yield f"More groups may read the targets: {known.readers.unknown}."
    for group, count in expected_duplicates(chosen, known.readers).items():
        yield f"Group {group} has read {count:,} of these messages already and will see them twice."
    if choice.isolation == "read_uncommitted":
        yield "The readers use read_uncommitted: they may see a message more than once if a step is repeated."
    elif choice.isolation is None:
        yield (
            "Exactly once holds for read_committed readers only. What the target's readers use cannot be known from the"
            " brokers (Java's default is read_uncommitted); --isolation says it."
        )


def _of_records(evidence: Evidence, chosen: Sequence[Candidate], choice: Choice, known: Known) -> Iterator[str]:
    if known.stale["newer"]:
        yield (
            f"{known.stale['newer']:,} messages have a newer record of the same key in the target"
            f" ({known.stale['passed']:,} of these read by a group already): sending the older one may overwrite it"
            " (--exclude-stale leaves out those that were read)."
        )
    failing = sum(one.disposition == "fix_first" for one in chosen)
    if failing and not choice.transform:
        yield f"{failing:,} of them would fail again as they are, by their cause: was it mended, or is --transform missing?"
    if not evidence.facts["sinks"]:
        yield "No sink was named (--sink): whether a message was processed anyway is not known."
    unknown = sum(one.origin is None for one in chosen) if choice.fallback and not choice.target else 0
    if unknown:
        yield f"{unknown:,} dead letters do not say where they come from: they go to the integration's source."
    guessed = sum(bool(one.flags & HOME_MADE) for one in chosen)
    if guessed:
        yield f"{guessed:,} dead letters are of no known framework: origin and the headers to strip are guessed by name."
    inside = sum(bool(one.flags & GUESSED) for one in chosen)
    if inside:
        yield f"{inside:,} messages are taken out of envelopes whose form is guessed: look at the dry run (--include-values)."
    if evidence.facts["truncated"]:
        yield "The dead letters were not read to their end: a later one of the same message may be missed."
    lacking = sorted(name for name in evidence.missing if name.startswith("records"))
    if lacking:
        yield f"Not all could be read: {'; '.join(evidence.missing[name] for name in lacking)}."
