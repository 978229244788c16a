"""The ramp of a run: after each step it waits, looks at what became of it, and stops where too much came back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import RedriveError
from workbench.problems.draft import OWN_GROUPS
from workbench.redrive.plan import Plan
from workbench.redrive.watching import Watch

if TYPE_CHECKING:
    from workbench.sources import Cluster

POLL_SECONDS = 0.2
# How much longer than the settling time a step waits for the groups that are to read it.
PATIENCE, LEAST_PATIENCE_SECONDS = 6, 60.0


@dataclass(frozen=True)
class Pace:
    """How carefully a run goes.

    Attributes:
        settle_seconds: what is waited after a step before it is looked at; 0 sends without looking.
        pause_seconds: between two steps, besides.
        max_refail: share of what was sent, in all or of one cause group, above which a run stops.
        rate: copies a second at most; null is no limit.
    """

    settle_seconds: float = 10.0
    pause_seconds: float = 0.0
    max_refail: float = 0.1
    rate: float | None = None


@dataclass(frozen=True)
class Came:
    """What came back of what was sent.

    Attributes:
        sent, back: copies, in all.
        worst_group: fingerprint of the cause group with the largest share; empty where nothing came back.
        worst_share: that share, or the share of all where that is larger.
    """

    sent: int
    back: int
    worst_group: str
    worst_share: float


def judged(plan: Plan, done: int, back: set[int]) -> Came:
    """What came back, in all and by cause group: a poisoned group is not hidden by those that are well."""
    returned = Counter(plan.rows[number].group for number in back if number < done)
    sent = Counter(row.group for row in plan.rows[:done])
    shares = {group: returned[group] / sent[group] for group in returned}
    worst = max(shares, key=lambda group: shares[group], default="")
    return Came(done, sum(returned.values()), worst, shares.get(worst, 0.0))


def require_few(plan: Plan, came: Came, pace: Pace) -> None:
    """Stops a run of which too much came back.

    Raises:
        RedriveError: with how much of which cause group.
    """
    if came.back and came.worst_share > pace.max_refail:
        raise RedriveError(
            f"Stopped: {came.back:,} of {came.sent:,} copies came back to a dead-letter topic, or did not arrive in a sink"
            f" ({came.worst_share:.0%} of cause group {came.worst_group}; --max-refail is {pace.max_refail:.0%})."
            f" {len(plan.rows) - came.sent:,} were not sent.",
            hint="Mend the cause, then make a new plan; --transform mends payloads.",
        )


def sleep(seconds: float, stopped: Callable[[], bool]) -> None:
    """Waits, unless it is told to stop."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stopped():
        time.sleep(min(POLL_SECONDS, max(0.0, until - time.monotonic())))


def settle(
    watch: Watch, step: tuple[int, int], pace: Pace, *, stopped: Callable[[], bool], say: Callable[[str], None]
) -> set[int]:
    """Waits until a step can be judged: the settling time, and until the groups that work on its partitions have read it.

    Returns:
        The rows that came back so far, and those of the step that were read and are in no sink.

    Raises:
        RedriveError: a group with members does not get to it.
    """
    sleep(pace.settle_seconds, stopped)
    give_up_at = time.monotonic() + max(pace.settle_seconds * PATIENCE, LEAST_PATIENCE_SECONDS)
    first, end = step
    places = watch.where(first, end)
    while not stopped():
        # Asked in this order: what a group gives up is written before it commits past it.
        readers, behind = groups_behind(watch.cluster, places)
        back = watch.look()
        # Where nobody works on the target, nothing is due in a sink yet.
        absent = watch.absent(first, end) if readers and not behind else set()
        late = time.monotonic() > give_up_at
        if any(first <= number < end for number in back) or (not behind and (late or not absent)):
            return back | absent
        if late:
            raise RedriveError(
                f"Stopped: group {behind[0]} has members, but has not read what was sent; it cannot be judged.",
                hint="See `workbench check lag --group "
                + behind[0]
                + "`; run again to go on, or with --settle-seconds 0.",
            )
        say(f"waiting for {', '.join(behind[:3]) or 'the sinks'} to get the step")
        sleep(1.0, stopped)
    return watch.look()


def groups_behind(cluster: Cluster, places: dict[tuple[str, int], int]) -> tuple[bool, list[str]]:
    """Whether a group works on some places, and the groups that are assigned one and have not committed up to its offset.

    Reads: ListGroups, OffsetFetch, DescribeGroups.
    """
    if not places:
        return False, []
    topics = sorted({topic for topic, _ in places})
    reading = {row["group"] for row in cluster.groups_reading(topics).rows()}
    groups = sorted(group for group in reading if not group.startswith(OWN_GROUPS))
    if not groups:
        return False, []
    assigned = {(row["group"], row["topic"], row["partition"]) for row in cluster.members(groups).rows()}
    committed = {
        (row["group"], row["topic"], row["partition"]): row["committed_offset"]
        for row in cluster.committed(groups, topics).rows()
    }
    behind = [
        group
        for group in groups
        if any(
            (group, *place) in assigned and committed.get((group, *place), 0) < offset
            for place, offset in places.items()
        )
    ]
    return any((group, *place) in assigned for group in groups for place in places), behind
