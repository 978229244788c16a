"""What goes on around a fault: healthy traffic, dead letters and retries that belong to every integration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.messages import Message, sample
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import Sent, send
from workbench.sandbox.incidents.service import Processor, processor, work


def flow(scene: Scene, low: int = 100, high: int = 400) -> list[Sent]:
    """Opens the scene, and sends its messages to the source."""
    scene.open()
    return send(scene.bootstrap, scene.source, scene.messages(low, high))


def bystander(scene: Scene) -> None:
    """Healthy traffic of another integration, with a group of its own."""
    other = replace(scene, source=f"{scene.source}.other", sink=f"{scene.sink}.other", group=f"{scene.group}-other")
    flow(other, 20, 60)
    work(other, processor(other, {}))


def mishaps(scene: Scene, messages: Sequence[Message], *, always: bool = False) -> dict[str, str]:
    """Picks a few messages that are dead-lettered or wait for a retry; in most scenes there are some.

    Returns:
        id -> ``dead_lettered`` or ``retrying``. The topics exist and are options when anything is picked.
    """
    if not always and scene.rng.random() < 0.4:
        return {}
    picked = sample(scene.rng, messages, 4, 12)
    scene.rng.shuffle(picked)
    half = scene.rng.randint(1, len(picked) - 1)
    for topic in (scene.dead_letters, scene.retry):
        topics.create(scene.bootstrap, topic, scene.rng.randint(1, 2))
    scene.options |= {"dead_letters": [scene.dead_letters], "retry_topic": [scene.retry]}
    fates = {message.id: "dead_lettered" for message in picked[:half]}
    return fates | {message.id: "retrying" for message in picked[half:]}


def service(scene: Scene, messages: Sequence[Message], lost: Iterable[str] = ()) -> tuple[Processor, dict[str, str]]:
    """A handler for messages of which some are lost and others meet a mishap; and the fates of all of them."""
    gone = set(lost)
    healthy = [message for message in messages if message.id not in gone]
    fates = dict.fromkeys((message.id for message in messages), "delivered")
    fates |= mishaps(scene, healthy) | dict.fromkeys(gone, "lost")
    return processor(scene, fates), fates
