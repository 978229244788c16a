"""Lag: groups that are behind for a reason, and groups that only look as if they were."""

from __future__ import annotations

from collections.abc import Mapping

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import EXPECTED_LATENCY, Scene
from workbench.sandbox.incidents.sending import in_transaction, send, transactional
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.traffic import flow
from workbench.sandbox.incidents.truth import Truth

NO_MEMBERS = {"lag-no-members": "suspected"}


@incident("lag-no-members", "lag", NO_MEMBERS)
def no_members(scene: Scene) -> Truth:
    """The service is stopped and nobody starts it again, while messages go on to come."""
    flow(scene, 50, 200)
    work(scene, processor(scene, {}))
    before = topics.ends(scene.bootstrap, scene.source)
    send(scene.bootstrap, scene.source, scene.messages(100, 300))
    ends = topics.ends(scene.bootstrap, scene.source)
    # A partition that never had a record has no commit of the group's, and no lag that anyone could tell.
    behind = {part: end - before[part] for part, end in ends.items() if before[part]}
    lagging = sum(1 for count in behind.values() if count)
    return _truth(scene, NO_MEMBERS, sum(behind.values()), {"lag-no-members": lagging})


@incident("clean-lag-idle-topic", "lag")
def idle_topic(scene: Scene) -> Truth:
    """The service has read everything and was stopped; nothing new comes."""
    flow(scene, 50, 200)
    work(scene, processor(scene, {}))
    return _truth(scene, {}, 0, {})


@incident("clean-lag-markers-only", "lag")
def markers_only(scene: Scene) -> Truth:
    """All that lies behind the commits is a transaction marker, which no reader ever gets."""
    scene.open()
    client = transactional(scene.bootstrap)
    in_transaction(client, scene.source, scene.messages(50, 200), commit=True)
    # The end of a transaction is answered before its markers are in the log; the last stable offset moves with them.
    topics.wait_until(lambda: _ended(scene), "markers are written")
    read = {part: end - 1 for part, end in topics.ends(scene.bootstrap, scene.source).items() if end}
    topics.commit(scene.bootstrap, scene.group, scene.source, read)
    return _truth(scene, {}, len(read), {})


def _ended(scene: Scene) -> bool:
    return topics.ends(scene.bootstrap, scene.source, committed=True) == topics.ends(scene.bootstrap, scene.source)


def _truth(scene: Scene, expects: Mapping[str, str], behind: int, causes: Mapping[str, int]) -> Truth:
    scene.settle()
    return Truth(
        incident=scene.incident,
        problem=scene.problem,
        seed=scene.seed,
        options={"source": scene.source, "group": scene.group, "expected_latency": EXPECTED_LATENCY},
        ledger={"offsets_behind": behind, "expired": 0, "hidden": 0},
        causes=causes,
        findings=dict(expects),
        clean=not expects,
    )
