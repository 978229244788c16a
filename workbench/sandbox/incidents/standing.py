"""What planters of lag share: waiting for members, for commits, and the truth of a group that goes on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.truth import Truth

# What lives takes its time on a machine with much else to do: what is late must stand out from that.
EXPECTED_LATENCY = "3s"
SETTLE_SECONDS = 3.2


def joined(scene: Scene, members: int = 1) -> None:
    """Waits until the group has so many members and its first commit."""
    topics.wait_until(lambda: topics.members(scene.bootstrap, scene.group) >= members, f"{members} members join")
    topics.wait_until(lambda: bool(topics.commits(scene.bootstrap, scene.group)), "the group commits")


def read_up_to(scene: Scene) -> None:
    """Waits until the group has committed everything."""
    topics.wait_until(lambda: not behind(scene), "the group has read everything")


def late_on(scene: Scene, partitions: int) -> None:
    """Waits until the group is late on so many partitions: has not committed past what was there before the latency."""

    def late() -> bool:
        ends = topics.ends(scene.bootstrap, scene.source)
        time.sleep(SETTLE_SECONDS)
        made = topics.commits(scene.bootstrap, scene.group)
        return sum(1 for part, at in made.items() if at < ends[part]) >= partitions

    topics.wait_until(late, f"the group is late on {partitions} partitions", 60)


def behind(scene: Scene) -> dict[int, int]:
    """Partition -> offsets that the group is behind, where it is."""
    ends = topics.ends(scene.bootstrap, scene.source)
    made = topics.commits(scene.bootstrap, scene.group)
    return {part: end - made[part] for part, end in ends.items() if part in made and end > made[part]}


def lag_truth(
    scene: Scene, expects: Mapping[str, str], causes: Mapping[str, int], *, notes: tuple[str, ...] = (), **ledger: int
) -> Truth:
    """The truth of a group of which nothing moves any more."""
    time.sleep(SETTLE_SECONDS)
    return truth_now(scene, expects, causes, notes=notes, **ledger)


def truth_now(
    scene: Scene, expects: Mapping[str, str], causes: Mapping[str, int], *, notes: tuple[str, ...] = (), **ledger: int
) -> Truth:
    """The truth of a group that goes on: offsets that change are not part of it."""
    given: dict[str, Any] = {"source": scene.source, "group": scene.group, "expected_latency": EXPECTED_LATENCY}
    return Truth(
        incident=scene.incident,
        problem=scene.problem,
        seed=scene.seed,
        options={**given, **scene.options},
        ledger=ledger,
        causes=causes,
        findings=dict(expects),
        clean=not expects,
        notes=notes,
    )
