"""Routes of two hops: what is lost or doubled at one of them, and one that does well."""

from __future__ import annotations

from dataclasses import replace

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.crash import process_without_end
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene, fates_of
from workbench.sandbox.incidents.sending import Sent
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.traffic import flow
from workbench.sandbox.incidents.truth import Truth

DROPPED, CRASH, PLAIN = "loss-consumer-dropped", "duplicates-crash-before-commit", "duplicates-non-atomic-write"


def _route(scene: Scene) -> tuple[list[Sent], Scene, Scene]:
    """What was sent, and the two hops as scenes of their own."""
    middle, reader = f"{scene.source}.enriched", f"{scene.group}-second"
    topics.create(scene.bootstrap, middle, scene.partitions)
    sent = flow(scene)
    scene.options["through"] = [f"{middle}:{reader}"]
    return sent, replace(scene, sink=middle), replace(scene, source=middle, group=reader)


@incident("dropped-at-second-hop", "loss", {DROPPED: "suspected"})
def dropped_at_second_hop(scene: Scene) -> Truth:
    """The second of two services drops messages now and then; the first one does well."""
    sent, first, second = _route(scene)
    lost = scene.rng.sample([one.message for one in sent], max(2, len(sent) // 40))
    fates = fates_of([one.message for one in sent], lost=lost)
    work(first, processor(first, {}))
    work(second, processor(second, fates))
    return scene.loss(fates, expects={DROPPED: "suspected"}, cause=DROPPED)


@incident("crash-at-first-hop", "duplicates", {CRASH: "confirmed", PLAIN: "confirmed"})
def crash_at_first_hop(scene: Scene) -> Truth:
    """The first of two services dies before it commits; what its successor writes again is carried on by the second one."""
    sent, first, second = _route(scene)
    crashed = process_without_end(first, transaction=False, commit=False)
    work(first, processor(first, {}), session_timeout_ms=crashed.session_ms)
    work(second, processor(second, {}))
    copies = 2 * len(crashed.handled)  # in the middle, and at the end
    return scene.truth(
        expects={CRASH: "confirmed", PLAIN: "confirmed"},
        ledger={"records": 3 * len(sent) + copies, "messages": 3 * len(sent), "extra_copies": copies},
        causes={CRASH: copies},
        ids={CRASH: sorted(crashed.handled)},
    )


@incident("clean-hops", "loss")
def clean_hops(scene: Scene) -> Truth:
    """Two services one after the other: everything gets to the end."""
    sent, first, second = _route(scene)
    work(first, processor(first, {}))
    work(second, processor(second, {}))
    return scene.loss(fates_of([one.message for one in sent]), expects={})
