"""Dead-letter queues in trouble, and an empty one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.deadletters import Headers, Output, Record, id_header, spring
from workbench.sandbox.incidents.messages import sample
from workbench.sandbox.incidents.reading import read
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.service import Plain, processor, work
from workbench.sandbox.incidents.traffic import flow
from workbench.sandbox.incidents.truth import Truth

ERROR = "Profile of the user is missing"


@incident("dlq-context-missing", "dlq", {"dlq-context-missing": "confirmed"})
def context_missing(scene: Scene) -> Truth:
    """A script of the team's own copies some dead letters into the queue without a word of where they come from."""
    failing, rest = _failing(scene)
    copied = rest[: scene.rng.randint(5, 30)]
    _put(scene, [spring(one, scene.dead_letters, ERROR) for one in failing])
    _put(scene, [Output(scene.dead_letters, one.id, one.key, one.value, id_header(one)) for one in copied])
    return _truth(scene, {"dlq-context-missing": "confirmed"}, fix_first=len(failing), unknown=len(copied))


@incident("dlq-redrive-loop", "dlq", {"dlq-redrive-loop": "confirmed"})
def redrive_loop(scene: Scene) -> Truth:
    """Dead letters are sent back as they are, fail in the same way, and come again."""
    failing, _ = _failing(scene)
    rounds = scene.rng.randint(2, 4)
    for count in range(rounds):
        marks: Headers = (("replay_count", str(count).encode()),) if count else ()
        _put(scene, [_again(spring(one, scene.dead_letters, ERROR), marks) for one in failing])
    lettered = len(failing) * rounds
    return _truth(scene, {"dlq-redrive-loop": "confirmed"}, fix_first=len(failing), discard=lettered - len(failing))


@incident("clean-dlq-empty", "dlq")
def empty(scene: Scene) -> Truth:
    """The service gave nothing up."""
    topics.create(scene.bootstrap, scene.dead_letters, 1)
    flow(scene)
    work(scene, processor(scene, {}))
    return _truth(scene, {})


def _failing(scene: Scene) -> tuple[list[Record], list[Record]]:
    """Records of the source that cannot be processed, and others that were never tried; the service did all the rest."""
    topics.create(scene.bootstrap, scene.dead_letters, scene.rng.randint(1, 3))
    sent = flow(scene)
    chosen = sample(scene.rng, [one.message for one in sent], 40, 60)
    fates = {message.id: "lost" for message in chosen}
    work(scene, processor(scene, fates))
    found = [one for one in read(scene.bootstrap, scene.source) if one.id in fates]
    cut = len(found) // 3
    return found[:cut], found[cut:]


def _put(scene: Scene, outputs: Sequence[Output]) -> None:
    Plain(scene.bootstrap).write(outputs)


def _again(output: Output, marks: Headers) -> Output:
    return Output(output.topic, output.id, output.key, output.value, (*output.headers, *marks))


def _truth(scene: Scene, expects: dict[str, str], **dispositions: Any) -> Truth:
    scene.options |= {"dead_letters": [scene.dead_letters]}
    names = ("replay", "fix_first", "discard", "already_recovered", "unknown")
    ledger = {name: dispositions.get(name, 0) for name in names}
    return scene.truth(expects=expects, ledger={"dead_letters": sum(ledger.values()), **ledger})
