"""What became of each record of a plan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.redrive import progress
from workbench.redrive.candidates import Place
from workbench.redrive.plan import Plan, Row
from workbench.redrive.preflight import require_same_cluster
from workbench.redrive.scan import Copy, copies_since
from workbench.redrive.spool import fill
from workbench.redrive.targets import Readers, readers_of, targets_of
from workbench.redrive.watching import Watch, ids_of, seen_ids

if TYPE_CHECKING:
    from workbench.sources import Cluster

STATES = ("recovered", "back_in_dead_letters", "not_seen_yet", "lost", "unverifiable")
SKEW_MS = 60_000
READ_COMMITTED = "Exactly once is said of read_committed readers only; others may have seen copies of repeated steps."


@dataclass(frozen=True)
class Fate:
    """What became of a row.

    Attributes:
        state: one of ``STATES``.
        basis: what says so.
        copies: ``topic/partition/offset`` of its committed copies; more than one is a duplicate.
    """

    state: str
    basis: str
    copies: tuple[str, ...]


@dataclass(frozen=True)
class Verified:
    """What became of a plan.

    Attributes:
        plan: whose records.
        fates: one a row, in order.
        done: rows that are sent by the progress topic; null where it does not say.
        at: ISO time of the look.
    """

    plan: Plan
    fates: tuple[Fate, ...]
    done: int | None
    at: str

    @property
    def counts(self) -> dict[str, int]:
        """State -> rows; they sum to the plan's rows."""
        found = Counter(fate.state for fate in self.fates)
        return {state: found[state] for state in STATES}

    @property
    def twice(self) -> int:
        """Rows with more than one committed copy."""
        return sum(len(fate.copies) > 1 for fate in self.fates)

    @property
    def exit_code(self) -> int:
        """0 all recovered, 3 not all seen yet, 12 some are dead letters again, 13 some are lost or there twice."""
        counts = self.counts
        if counts["lost"] or self.twice:
            return 13
        if counts["back_in_dead_letters"]:
            return 12
        return 3 if counts["not_seen_yet"] or counts["unverifiable"] else 0

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON types."""
        return {
            "version": 1, "plan": self.plan.id, "at": self.at, "records": len(self.fates), "sent": self.done,
            **self.counts, "twice": self.twice, "basis": dict(Counter(fate.basis for fate in self.fates)),
            "note": READ_COMMITTED,
        }  # fmt: skip

    def write_rows(self, path: Path) -> None:
        """Writes one JSON line a row: dead letter, target, state, basis, copies."""
        with path.open("w") as file:
            for row, fate in zip(self.plan.rows, self.fates, strict=True):
                shown = {"letter": row.letter, "target": row.target, "origin": row.origin, "cause_group": row.group}
                file.write(json.dumps({**shown, **vars_of(fate)}) + "\n")
        path.chmod(0o600)


def vars_of(fate: Fate) -> dict[str, Any]:
    """A fate as JSON types."""
    return {"state": fate.state, "basis": fate.basis, "copies": list(fate.copies)}


@dataclass(frozen=True)
class _Seen:
    """Everything that a row's fate is told by."""

    done: int | None
    copies: Mapping[str, list[tuple[str, Copy]]]
    back: set[int]
    ids: Mapping[Place, str]
    sunk: set[str] | None
    readers: Readers
    reaching: set[str]
    late: bool


def verify(
    cluster: Cluster, plan: Plan, work_dir: Path, *, sinks: tuple[str, ...], expected_latency_seconds: float,
    say: Callable[[str], None],
) -> Verified:  # fmt: skip
    """Follows each record of a plan: its copy, the sinks, the dead-letter topics; by coordinates, headers and id.

    Args:
        cluster: the plan's.
        plan: whose records.
        work_dir: private and empty.
        sinks: where recovered messages are; those of the plan are looked at besides.
        expected_latency_seconds: after this long, a message that was read and is nowhere is lost.
        say: told what is being done.

    Raises:
        RedriveError: the plan is for other topics.
        SourceError: a topic cannot be read.

    Reads: Metadata, ListOffsets, ListGroups, OffsetFetch, Fetch of targets, sinks and dead letters from the plan's time on.
    """
    require_same_cluster(cluster, plan)
    say("reading the targets")
    copies = copies_since(cluster, {name: topic.ends for name, topic in plan.targets.items()})
    by_letter: dict[str, list[tuple[str, Copy]]] = {}
    for target, found in copies.items():
        for copy in found:
            if copy.plan == plan.id:
                by_letter.setdefault(copy.letter, []).append((target, copy))
    spool = fill(cluster, [row[:3] for row in plan.rows], work_dir / "letters.arrow")
    ids = ids_of(plan, spool)
    spool.close()
    say("reading the dead letters")
    back = _back(cluster, plan, ids, by_letter)
    say("reading the sinks")
    seen = _seen(cluster, plan, tuple(dict.fromkeys((*plan.sinks, *sinks))), ids, expected_latency_seconds)
    whole = _Seen(copies=by_letter, back=back, ids=ids, **seen)
    fates = tuple(_fate(number, row, whole) for number, row in enumerate(plan.rows))
    return Verified(plan, fates, whole.done, datetime.now(UTC).isoformat(timespec="milliseconds"))


def _back(
    cluster: Cluster, plan: Plan, ids: Mapping[Place, str], copies: Mapping[str, list[tuple[str, Copy]]]
) -> set[int]:
    watch = Watch(cluster, plan, ids)
    numbers = {row.letter: number for number, row in enumerate(plan.rows)}
    flat = [
        (target, copy, numbers[letter])
        for letter, found in copies.items()
        if letter in numbers
        for target, copy in found
    ]
    for target, copy, number in sorted(flat, key=lambda item: (item[0], item[1].partition, item[1].offset)):
        watch.note(number, target, copy.partition, copy.offset)
    return watch.look()


def _seen(
    cluster: Cluster, plan: Plan, sinks: tuple[str, ...], ids: Mapping[Place, str], latency_seconds: float
) -> dict[str, Any]:
    mark = progress.read_mark(cluster, plan)
    made_ms = round(datetime.fromisoformat(plan.made_at).timestamp() * 1000)
    sunk = set(seen_ids(cluster, plan, sinks, made_ms - SKEW_MS, set(ids.values()))) if sinks else set()
    targets = targets_of(cluster, plan.targets)
    age = (datetime.now(UTC) - datetime.fromisoformat(mark.at)).total_seconds() if mark else 0.0
    starts: dict[tuple[str, int], int] = {}
    for row in cluster.offsets(list(plan.targets), sizes=False).rows():
        starts[row["topic"], row["partition"]] = row["log_start_offset"] or 0
    reaching = {
        name
        for name, topic in plan.targets.items()
        if not (targets[name].compacted if name in targets else True)
        and all(starts.get((name, part), 1 << 62) <= end for part, end in topic.ends.items())
    }
    return {
        "done": mark.done if mark else None,
        "sunk": sunk if sinks else None,
        "readers": readers_of(cluster, list(plan.targets)),
        "reaching": reaching,
        "late": age > latency_seconds,
    }


def _fate(number: int, row: Row, seen: _Seen) -> Fate:
    found = seen.copies.get(row.letter, [])
    state, basis = _state(number, row, seen, found)
    return Fate(state, basis, tuple(f"{target}/{copy.partition}/{copy.offset}" for target, copy in found))


def _state(number: int, row: Row, seen: _Seen, found: list[tuple[str, Copy]]) -> tuple[str, str]:
    sent = bool(found) or (seen.done or 0) > number
    if not sent:
        return "not_seen_yet", "not sent yet"
    if number in seen.back:
        return "back_in_dead_letters", "a new dead letter of it"
    message_id = seen.ids.get(row[:3])
    if seen.sunk is not None and message_id in seen.sunk:
        return "recovered", "its id is in a sink"
    if not found:
        if row.target in seen.reaching:
            return "lost", "it was sent, and no copy is in the target"
        return "unverifiable", "the target no longer keeps what was sent then"
    passed = _passed(found, seen.readers)
    if seen.sunk is None or message_id is None:
        return _without_sinks(passed)
    if passed and seen.late:
        return "lost", "it was read, and is in no sink and no dead-letter topic"
    return "not_seen_yet", "its copy waits, or is being processed"


def _without_sinks(passed: bool | None) -> tuple[str, str]:
    if passed is None:
        return "unverifiable", "no sink was named, and no group reads the target"
    if passed:
        return "recovered", "all groups of the target have read it, and it did not come back"
    return "not_seen_yet", "a group has not read its copy yet"


def _passed(found: list[tuple[str, Copy]], readers: Readers) -> bool | None:
    """Whether every group that reads the target has read a copy; null where no group is known."""
    target, copy = found[0]
    groups = readers.groups(target)
    if not groups:
        return None
    return all(readers.committed.get((group, target, copy.partition), 0) > copy.offset for group in groups)
