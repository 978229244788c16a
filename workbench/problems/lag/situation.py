"""A group in its situation: each partition's standing and movement, the group's rhythm, and what is no lag after all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.evidence import Evidence
from workbench.problems.lag.partitions import Index, Standing, rows_of, standings
from workbench.problems.lag.rhythm import LATE, SAME_MOMENT_MS, Rhythm, rhythm
from workbench.problems.lag.trends import NOTHING, Motion, motion, points_of
from workbench.sources.history import committed_at

Place = tuple[str, int]

GONE = ("Empty", "Dead")
GRACE_MS = 5_000
CATCH_UP_SECONDS = 60.0
OFTEN = 3  # runs within the window: a group that comes and goes
JUST_LEFT_MS = 15_000
MOST_PATIENT = 3  # usual times between commits
LEAST_PATIENCE_MS = 2_000
MOSTLY = 0.6


@dataclass(frozen=True)
class Situation:
    """One group's evidence, brought together.

    Attributes:
        group: its name.
        seen: a standing for each partition with a commit; what is excused is not lagging.
        motions: place -> movement; empty without samples.
        habits: its rhythm.
        alive: whether it has members, or had some until a moment ago; None: not known.
        excuses: place -> (note code, why it is not lagging).
        owners: place -> the member that it is assigned to.
        advances: place -> when its commits advanced.
        now_ms, latency_ms: when it was looked at, and what is late.
    """

    group: str
    seen: tuple[Standing, ...]
    motions: Mapping[Place, Motion] = field(default_factory=dict)
    habits: Rhythm = field(default_factory=Rhythm)
    alive: bool | None = None
    excuses: Mapping[Place, tuple[str, str]] = field(default_factory=dict)
    owners: Mapping[Place, str] = field(default_factory=dict)
    advances: Mapping[Place, Sequence[int]] = field(default_factory=dict)
    now_ms: int = 0
    latency_ms: float = 0.0

    def motion(self, item: Standing) -> Motion:
        """The movement of a partition."""
        return self.motions.get((item.topic, item.partition), NOTHING)

    def stands(self, item: Standing) -> bool:
        """Whether its commit has not moved for longer than the group takes between two, while records waited.

        And for most of the time that it is behind: a reader that serves its partitions in turns lets each of them wait.
        """
        moved = self.motion(item)
        standing = moved.standing_seconds
        if not item.lag or standing is None:
            return False
        patience = max(self.latency_ms, MOST_PATIENT * (self.habits.interval_ms or 0), LEAST_PATIENCE_MS)
        behind = 0 if moved.behind_since_ms is None else self.now_ms - moved.behind_since_ms + self.latency_ms
        return standing * 1000 > max(patience, MOSTLY * behind)

    def serves_in_turns(self, item: Standing) -> bool:
        """Whether its reader works off what waits on another of its partitions: then this one waits for its turn.

        One that advances several others again and again at the same moments does not take its partitions in turns.
        """
        place = (item.topic, item.partition)
        mine = self.owners.get(place)
        advanced = max(self.motion(item).last_advance_ms or 0, item.head_ms or 0)
        others = [
            other
            for other in self.seen
            if (other.topic, other.partition) != place and self.owners.get((other.topic, other.partition), mine) == mine
        ]
        busy = any(
            other.lagging and (self.motion(other).last_advance_ms or 0) > advanced and not self.stands(other)
            for other in others
        )
        return busy and self._together(others, advanced) < OFTEN

    def _together(self, others: Iterable[Standing], since_ms: int) -> int:
        """At how many moments after one the commits of at least two of some partitions advanced."""
        moments = Counter(
            at // SAME_MOMENT_MS
            for other in others
            for at in self.advances.get((other.topic, other.partition), ())
            if at > since_ms
        )
        return sum(1 for count in moments.values() if count > 1)

    def others_move(self, item: Standing) -> bool:
        """Whether another partition's commit moved after this one could have moved last."""
        mine = max(self.motion(item).last_advance_ms or 0, item.head_ms or 0)
        place = (item.topic, item.partition)
        return any((other.last_advance_ms or 0) > mine for at, other in self.motions.items() if at != place)


def situation(evidence: Evidence, index: Index, committed: Sequence[Mapping[str, Any]]) -> Situation:
    """The situation of the group that the evidence is narrowed to."""
    group, latency_ms = evidence.facts["group"], evidence.facts["expected_latency_seconds"] * 1000
    seen = standings(index, committed)
    habits = rhythm(rows_of(evidence, "generations"), rows_of(evidence, "commit_history"))
    base = Situation(
        group=group,
        seen=tuple(seen),
        motions=_motions(evidence, seen, habits, latency_ms, index.collected_ms)
        if "samples" in evidence.tables
        else {},
        habits=habits,
        owners={
            (row["topic"], row["partition"]): row["member_id"]
            for row in rows_of(evidence, "members")
            if row["group"] == group and row["topic"]
        },
        advances=_advances(evidence),
        alive=_alive(evidence, group, habits, index.collected_ms),
        now_ms=index.collected_ms,
        latency_ms=latency_ms,
    )
    return _excused(base, index)


def _alive(evidence: Evidence, group: str, habits: Rhythm, now_ms: int) -> bool | None:
    state = next((row["state"] for row in rows_of(evidence, "groups") if row["group"] == group), None)
    if state in (None, "Unknown"):
        return None
    left = habits.emptied_ms
    return state not in GONE or (left is not None and now_ms - left <= JUST_LEFT_MS and len(habits.runs) >= OFTEN)


def _motions(
    evidence: Evidence, seen: Iterable[Standing], habits: Rhythm, latency_ms: float, now_ms: int
) -> dict[Place, Motion]:
    by_place: dict[Place, list[dict[str, Any]]] = {}
    for row in rows_of(evidence, "samples"):
        by_place.setdefault((row["topic"], row["partition"]), []).append(row)
    ids = {row["topic"]: row["topic_id"] for row in rows_of(evidence, "topics")}
    made = {
        place: [one for one in found if one[0] <= now_ms]
        for place, found in committed_at(rows_of(evidence, "commit_history"), ids).items()
    }
    return {
        place: motion(
            points_of(by_place.get(place, ())),
            made.get(place, ()),
            head_ms=item.head_ms,
            latency_ms=latency_ms,
            interval_ms=habits.interval_ms,
        )
        for item in seen
        for place in [(item.topic, item.partition)]
    }


def _advances(evidence: Evidence) -> dict[Place, list[int]]:
    out: dict[Place, list[int]] = {}
    at: dict[Place, int] = {}
    for row in sorted(rows_of(evidence, "commit_history"), key=lambda row: row["log_offset"]):
        place, offset = (row["topic"], row["partition"]), row["committed_offset"]
        if offset is not None and offset > at.get(place, -1):
            out.setdefault(place, []).append(row["at_ms"])
        at[place] = -1 if offset is None else offset
    return out


def _excused(base: Situation, index: Index) -> Situation:
    excuses: dict[Place, tuple[str, str]] = {}
    out = []
    for item in base.seen:
        why = _excuse(base, item, index) if item.lagging is not False else None
        if why:
            excuses[item.topic, item.partition] = why
        out.append(replace(item, lagging=False, why=why[1]) if why else item)
    return replace(base, seen=tuple(out), excuses=excuses)


def _excuse(base: Situation, item: Standing, index: Index) -> tuple[str, str] | None:
    """(note code, why) where what looks like lag is none."""
    if item.lagging is None:
        return _healthy_transaction(index, item)
    for ask in (_old_timestamps, _by_habit, _between_commits, _catching_up):
        if item.head_ms is not None and (found := ask(base, item)):
            return found
    return None


def _healthy_transaction(index: Index, item: Standing) -> tuple[str, str] | None:
    """An open transaction within its timeout: its coordinator knows it, and what is above it comes when it ends."""
    held = index.open.get((item.topic, item.partition), ())
    if item.hidden and item.hidden == item.lag and held and all(row["hanging"] is False for row in held):
        return "open-transaction", f"a transaction is open: {held[0]['reason']}"
    return None


def _old_timestamps(base: Situation, item: Standing) -> tuple[str, str] | None:
    """Records that came with old timestamps, within the expected latency: their age is not a wait."""
    came = came_ms(base, item)
    if came is None or base.now_ms - came > base.latency_ms:
        return None
    return "old-timestamps", "the waiting records came a moment ago with old timestamps"


def came_ms(base: Situation, item: Standing) -> float | None:
    """When at the earliest the next record can have come, where that is later than its timestamp says; else None.

    An earlier record of the partition has a later timestamp, so the record came after that time.
    """
    moved = base.motion(item)
    if moved.passed_seconds is None or not moved.passed_error_seconds or item.head_ms is None:
        return None
    came = base.now_ms - (moved.passed_seconds + moved.passed_error_seconds) * 1000
    return came if came - item.head_ms > max(base.latency_ms, GRACE_MS) else None


def _by_habit(base: Situation, item: Standing) -> tuple[str, str] | None:
    habits = base.habits
    if habits.next_run_ms is None:
        return None
    if habits.up_since_ms is None and base.now_ms <= habits.next_run_ms:
        return "between-runs", "the group has no members by habit, and its next run is not overdue"
    longest = max(LATE * (habits.longest_run_ms or 0), base.latency_ms)
    running = habits.up_since_ms is not None and base.now_ms - habits.up_since_ms <= longest
    if running and (item.head_ms or 0) < (habits.up_since_ms or 0):
        return "between-runs", "the group's run has begun, and takes no longer than others did"
    return None


def _between_commits(base: Situation, item: Standing) -> tuple[str, str] | None:
    """A slow but regular committer: at its last commit it was up to date, and the next is not overdue."""
    usual, last = base.habits.interval_ms, base.habits.last_commit_ms
    if not base.alive or usual is None or last is None:
        return None
    if base.now_ms - last <= 2 * usual and (item.head_ms or 0) >= last - base.latency_ms:
        return "between-commits", f"the group commits every {usual / 1000:.1f} s, and was up to date at its last commit"
    return None


def _catching_up(base: Situation, item: Standing) -> tuple[str, str] | None:
    """A group that has just begun, or is back: what waits was there before, and gets less."""
    up, moved = base.habits.up_since_ms, base.motion(item)
    if up is None or (came_ms(base, item) or item.head_ms or 0) >= up or _comes_and_goes(base):
        return None
    if base.stands(item) and base.others_move(item):
        return None
    if base.now_ms - up <= max(base.latency_ms, GRACE_MS):
        return "starting", f"the group's members are there for {(base.now_ms - up) / 1000:.0f} s only"
    limit = max(CATCH_UP_SECONDS, 10 * base.latency_ms / 1000)
    if moved.catch_up_seconds is not None and moved.catch_up_seconds <= limit:
        return "catching-up", f"it reads what came before it began, and is done in about {moved.catch_up_seconds:.0f} s"
    return None


def _comes_and_goes(base: Situation) -> bool:
    """Whether the group, or a member of it, goes and comes again; the joins at a group's beginning are none."""
    window = base.now_ms - 20 * max(base.latency_ms, GRACE_MS)
    if sum(1 for start, _ in base.habits.runs if start >= window) >= OFTEN:
        return True
    settled = max(window, (base.habits.up_since_ms or 0) + GRACE_MS)
    return sum(1 for at, _ in base.habits.generations if at >= settled) >= OFTEN
