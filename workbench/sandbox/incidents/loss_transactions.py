"""Loss by transactions: copies that were aborted, and copies that nobody sees while a transaction stays open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.crash import open_transaction, process_without_end
from workbench.sandbox.incidents.deadletters import Output
from workbench.sandbox.incidents.messages import Message, sample
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene, fates_of
from workbench.sandbox.incidents.sending import FLUSH_SECONDS, Sent, in_transaction, send, transactional
from workbench.sandbox.incidents.service import Plain, processor, put, work
from workbench.sandbox.incidents.traffic import flow, service
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import sent_line, write_sent_log

ABORTED = "loss-aborted-transaction"
HANGING = {"loss-hanging-transaction": "suspected"}


@incident("aborted-transaction", "loss", {ABORTED: "confirmed"})
def aborted_transaction(scene: Scene) -> Truth:
    """The service's transaction with some notifications aborts, and it commits the input all the same."""
    messages = [sent.message for sent in flow(scene)]
    gone = {message.id for message in sample(scene.rng, messages, 5, 30)}
    handler, fates = service(scene, messages, ())
    gone -= {i for i, fate in fates.items() if fate != "delivered"}
    work(scene, handler, Transactional(scene.bootstrap, abandon=gone))
    return scene.loss(fates | dict.fromkeys(gone, "lost"), expects={ABORTED: "confirmed"}, cause=ABORTED)


@incident("aborted-transaction-source", "loss", {ABORTED: "confirmed"})
def aborted_transaction_source(scene: Scene) -> Truth:
    """The sender's transactions abort, and its log says that they were committed."""
    scene.open()
    messages = scene.messages()
    gone = sample(scene.rng, messages, 5, 30)
    lost_ids = {message.id for message in gone}
    client = transactional(scene.bootstrap)
    kept = [message for message in messages if message.id not in lost_ids]
    half = len(kept) // 2
    sent: list[Sent] = in_transaction(client, scene.source, kept[:half], commit=True)
    sent += in_transaction(client, scene.source, gone, commit=False)
    sent += in_transaction(client, scene.source, kept[half:], commit=True)
    lines = [sent_line(one, committed=True) for one in sent]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)
    work(scene, processor(scene, {}))
    return scene.loss(fates_of(messages, lost=gone), expects={ABORTED: "confirmed"}, cause=ABORTED)


@incident("hanging-transaction", "loss", HANGING)
def hanging_transaction(scene: Scene) -> Truth:
    """A transactional sender is killed: what follows in its partition is not visible to committed readers."""
    sent = flow(scene, 50, 200)
    work(scene, processor(scene, {}))
    held = scene.writer.write(scene.rng.randint(3, 15))
    partition = scene.rng.randrange(scene.partitions)
    open_transaction(scene, held, partition)
    later = send(scene.bootstrap, scene.source, scene.messages(50, 200))
    behind = send(scene.bootstrap, scene.source, scene.writer.write(5), partition=partition)
    work(scene, processor(scene, {}))
    everything = [*(one.message for one in (*sent, *later, *behind)), *held]
    hidden = [one.message for one in (*later, *behind) if one.partition == partition]
    return scene.loss(fates_of(everything, hidden=[*held, *hidden]), expects=HANGING)


@incident("hanging-transaction-sink", "loss", HANGING)
def hanging_transaction_sink(scene: Scene) -> Truth:
    """A transactional service is killed after it committed its input: its notifications stay invisible."""
    sent = flow(scene, 50, 200)
    work(scene, processor(scene, {}))
    held = send(scene.bootstrap, scene.source, scene.messages(10, 40))
    crashed = process_without_end(scene, transaction=True, commit=True)
    last_stable = topics.ends(scene.bootstrap, scene.sink, committed=True)
    later = send(scene.bootstrap, scene.source, scene.messages(50, 200))
    outlet = Plain(scene.bootstrap)
    work(scene, processor(scene, {}), outlet, session_timeout_ms=crashed.session_ms)
    # Where the killed service had written nothing yet, nothing holds the last stable offset back.
    held_back = {partition: last_stable[partition] for _, _, partition, _ in crashed.written}
    hidden = _at_or_above(held_back, [*crashed.written, *outlet.written])
    everything: Sequence[Message] = [one.message for one in (*sent, *held, *later)]
    return scene.loss(fates_of(everything, hidden=hidden), expects=HANGING)


class Transactional:
    """Writes each poll's outputs in one transaction, and those that it gives up or retries in one that aborts."""

    def __init__(self, bootstrap: str, *, abandon: Iterable[str] = (), retry: Iterable[str] = ()) -> None:
        self.client = transactional(bootstrap)
        self.abandon = set(abandon)
        self.retry = set(retry)

    def write(self, outputs: Iterable[Output]) -> None:
        """Writes; when it returns, all transactions have ended."""
        given = list(outputs)
        failing = self.abandon | self.retry
        self._transaction([output for output in given if output.id in failing], commit=False)
        self._transaction([output for output in given if output.id not in self.abandon], commit=True)

    def _transaction(self, outputs: list[Output], *, commit: bool) -> None:
        if not outputs:
            return
        self.client.begin_transaction()
        for output in outputs:
            put(self.client, output, [])
        self.client.flush(FLUSH_SECONDS)
        if commit:
            self.client.commit_transaction(FLUSH_SECONDS)
        else:
            self.client.abort_transaction(FLUSH_SECONDS)


def _at_or_above(last_stable: dict[int, int], written: list[tuple[str, str, int, int]]) -> set[str]:

    return {m for m, _, partition, offset in written if partition in last_stable and offset >= last_stable[partition]}
