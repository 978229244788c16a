"""Several faults on one integration: each message and each copy has one of them for its cause."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import takewhile

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.copies import copies_truth
from workbench.sandbox.incidents.crash import process_without_end
from workbench.sandbox.incidents.messages import EVENT_TYPES, Message, sample
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import Sender, Sent, producer, send
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import sent_line, write_sent_log
from workbench.sandbox.ports import free_ports

IGNORED, DROPPED = "loss-producer-error-ignored", "loss-consumer-dropped"
SKIPPED, EARLY = "loss-offset-skipped-forward", "loss-commit-before-processing"
RESENT, REWOUND = "duplicates-application-resend", "duplicates-offset-rewind"
CRASHED, MIXED = "duplicates-crash-before-commit", "duplicates-non-atomic-write"

LOSSES = dict.fromkeys((IGNORED, DROPPED, SKIPPED, EARLY), "confirmed")
COPIES = dict.fromkeys((RESENT, REWOUND, CRASHED, MIXED), "confirmed")


@incident("several-losses", "loss", LOSSES)
def several_losses(scene: Scene) -> Truth:
    """A sender's errors are ignored, one event type is dropped, offsets are set forward, and a crash comes after a commit."""
    scene.open()
    messages = scene.messages(300, 500)
    unlucky = sample(scene.rng, messages, 10, 25)
    failed = _send_to_nobody(scene, unlucky)
    sent = send(scene.bootstrap, scene.source, [one for one in messages if one not in unlucky])
    scene.options["sent_log"] = write_sent_log(scene.folder, [sent_line(one) for one in (*sent, *failed)], scene.rng)
    kind = scene.rng.choice(EVENT_TYPES)
    dropped = {one.message.id for one in sent if one.message.event_type == kind}
    marks = [_at(scene, share) for share in (0.25, 0.45, 0.65, 0.85)]
    handler = processor(scene, dict.fromkeys(dropped, "lost"))
    work(scene, handler, until=marks[0])
    topics.commit(scene.bootstrap, scene.group, scene.source, marks[1])
    work(scene, handler, until=marks[2])
    begun = {part: at - min(at - marks[2][part], scene.rng.randint(1, 15)) for part, at in marks[3].items()}
    unfinished = _between(sent, begun, marks[3])
    crashed = process_without_end(
        scene, transaction=False, commit=True, until=marks[3], unfinished=[*unfinished, *dropped]
    )
    work(scene, handler, session_timeout_ms=crashed.session_ms)
    ids = {
        IGNORED: {one.id for one in unlucky},
        SKIPPED: _between(sent, marks[0], marks[1]),
        EARLY: unfinished,
    }
    ids[DROPPED] = dropped - ids[SKIPPED] - ids[EARLY]
    lost = set().union(*ids.values())
    run = {one.message.id for part, at in marks[3].items() for one in _run_below(sent, part, at, lost)}
    return _lost(scene, messages, ids, either=run & dropped)


@incident("several-copies", "duplicates", COPIES)
def several_copies(scene: Scene) -> Truth:
    """A crash before a commit, offsets that are set back, and a sender that sends some events again."""
    scene.open()
    sent = send(scene.bootstrap, scene.source, scene.messages(200, 400))
    handler = processor(scene, {})
    work(scene, handler, until=_at(scene, 0.2))
    crashed = process_without_end(scene, transaction=False, commit=False, until=_at(scene, 0.5))
    work(scene, handler, session_timeout_ms=crashed.session_ms)
    topics.commit(scene.bootstrap, scene.group, scene.source, _at(scene, 0.8))
    again = work(scene, handler).handled
    time.sleep(0.05)  # the copies get a later CreateTime
    resent = send(scene.bootstrap, scene.source, sample(scene.rng, [one.message for one in sent], 10, 40))
    work(scene, handler)
    sent_again = [one.message.id for one in resent]
    causes = {CRASHED: crashed.handled, REWOUND: again, RESENT: [*sent_again, *sent_again]}
    everything = [one.message.id for one in sent]
    return copies_truth(
        scene,
        COPIES,
        source=[*everything, *sent_again],
        sink=[*everything, *crashed.handled, *again, *sent_again],
        causes={code: len(hit) for code, hit in causes.items()},
        ids={code: sorted(set(hit)) for code, hit in causes.items()},
        ledger={"reprocessed": len(crashed.handled) + len(again)},
    )


def _send_to_nobody(scene: Scene, messages: Sequence[Message]) -> list[Sent]:
    sender = Sender(producer(f"127.0.0.1:{free_ports(1)[0]}", message_timeout_ms=1500), scene.source)
    for message in messages:
        sender.send(message)
    return sender.flush()


def _at(scene: Scene, share: float) -> dict[int, int]:
    """The offset at a share of each partition of the source as it is now."""
    return {part: int(end * share) for part, end in topics.ends(scene.bootstrap, scene.source).items()}


def _between(sent: Sequence[Sent], low: Mapping[int, int], high: Mapping[int, int]) -> set[str]:
    return {one.message.id for one in sent if low[one.partition or 0] <= (one.offset or 0) < high[one.partition or 0]}


def _run_below(sent: Sequence[Sent], partition: int, offset: int, lost: set[str]) -> list[Sent]:
    """The unbroken run of lost messages right below an offset."""
    below = sorted((one for one in sent if one.partition == partition), key=lambda one: -(one.offset or 0))
    return list(takewhile(lambda one: one.message.id in lost, (one for one in below if (one.offset or 0) < offset)))


def _lost(scene: Scene, messages: Sequence[Message], ids: Mapping[str, set[str]], either: set[str]) -> Truth:
    """``either``: a handler that drops them and a crash before they are handled look alike."""
    fates = dict.fromkeys((message.id for message in messages), "delivered")
    fates |= dict.fromkeys((one for lost in ids.values() for one in lost), "lost")
    causes = {code: len(lost - either) for code, lost in ids.items()} | (
        {"undetermined": len(either)} if either else {}
    )
    ids = {code: lost - either for code, lost in ids.items()}
    return scene.loss(fates, expects=LOSSES, causes=causes, ids={code: sorted(lost) for code, lost in ids.items()})
