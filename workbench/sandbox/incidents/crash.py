"""Programs that are killed: each runs in a process of its own, says what it did, and gets SIGKILL.

``main`` is such a program: it reads its order from standard input, as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import SandboxError
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.deadletters import Output
from workbench.sandbox.incidents.messages import Message
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.scene import scene as make_scene
from workbench.sandbox.incidents.sending import FLUSH_SECONDS, Sender, transactional
from workbench.sandbox.incidents.service import Plain, Processor, consumer, put, run

# Nobody ends the transactions of the dead before this; brokers allow no more than 15 minutes by default.
TRANSACTION_TIMEOUT_MS = 900_000


@dataclass(frozen=True)
class Crashed:
    """What a program did before it was killed.

    Attributes:
        handled: ids in the order in which they were handled.
        written: (id, topic, partition, offset) of what it wrote.
        session_ms: session timeout it had joined with; its partitions are free after that.
    """

    handled: list[str]
    written: list[tuple[str, str, int, int]]
    session_ms: int


def open_transaction(scene: Scene, messages: Sequence[Message], partition: int) -> None:
    """Sends messages to one partition of the source in a transaction that stays open: the sender is killed."""
    order = {"act": "open", "messages": [_plain(message) for message in messages], "partition": partition}
    told = _run_and_kill(scene, order)
    if told["acknowledged"] != len(messages):
        raise SandboxError("The open transaction was not acknowledged.", hint="Read the broker's log.")


def process_without_end(
    scene: Scene,
    *,
    transaction: bool,
    commit: bool,
    until: dict[int, int] | None = None,
    unfinished: Sequence[str] = (),
) -> Crashed:
    """Runs the service until the source is read, and kills it before it can do anything more.

    Args:
        scene: its topics and group.
        transaction: it writes in a transaction, which stays open.
        commit: it commits its input.
        until: partition -> offset at which it stops.
        unfinished: ids that it reads and commits, but does not get to work on.
    """
    session_ms = topics.short_session_ms(scene.bootstrap)
    order = {"act": "process", "transaction": transaction, "commit": commit, "until": until, "session_ms": session_ms,
             "unfinished": list(unfinished)}  # fmt: skip
    told = _run_and_kill(scene, order)
    return Crashed(told["handled"], [tuple(row) for row in told["written"]], session_ms)


def _run_and_kill(scene: Scene, order: dict[str, Any]) -> Any:
    names = {name: getattr(scene, name) for name in _NAMES}
    with _program() as program:
        out, into = program.stdout, program.stdin
        if out is None or into is None:
            raise SandboxError("The program to be killed has no pipes.")
        into.write(json.dumps({**order, "bootstrap": scene.bootstrap, "names": names}) + "\n")
        into.flush()
        line = out.readline()
        program.send_signal(signal.SIGKILL)
        program.wait()
    if not line:
        raise SandboxError("The program that was to be killed ended by itself.", hint="Its error is above.")
    return json.loads(line)


_NAMES = ("source", "sink", "retry", "dead_letters", "group", "partitions")


@contextmanager
def _program() -> Iterator[subprocess.Popen[str]]:
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    program = subprocess.Popen(
        [sys.executable, "-c", "from workbench.sandbox.incidents.crash import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        yield program
    finally:
        program.kill()
        program.wait()
        for pipe in (program.stdin, program.stdout):
            if pipe:
                pipe.close()


def _plain(message: Message) -> dict[str, Any]:
    return {"id": message.id, "key": message.key, "value": dict(message.value)}


class _OpenTransaction:
    """Writes in one transaction and never ends it."""

    def __init__(self, bootstrap: str) -> None:
        self.client = transactional(bootstrap, transaction_timeout_ms=TRANSACTION_TIMEOUT_MS)
        self.client.begin_transaction()
        self.written: list[tuple[str, str, int, int]] = []

    def write(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            put(self.client, output, self.written)
        self.client.flush(FLUSH_SECONDS)


def _open(scene: Scene, order: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    client = transactional(scene.bootstrap, transaction_timeout_ms=TRANSACTION_TIMEOUT_MS)
    client.begin_transaction()
    sender = Sender(client, scene.source)
    for fields in order["messages"]:
        sender.send(Message(**fields), order["partition"])
    return {"acknowledged": sum(sent.error is None for sent in sender.flush())}, client


def _process(scene: Scene, order: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    outlet = _OpenTransaction(scene.bootstrap) if order["transaction"] else Plain(scene.bootstrap)
    until = order["until"] and {int(partition): offset for partition, offset in order["until"].items()}
    client = consumer(scene, session_timeout_ms=order["session_ms"], heartbeat_interval_ms=topics.HEARTBEAT_MS)
    handler = Processor(scene, dict.fromkeys(order["unfinished"], "lost"))
    done = run(client, scene, handler, outlet, until=until, commit=order["commit"])
    return {"handled": done.handled, "written": outlet.written}, (client, outlet)


def main() -> None:
    """The program: does what it is told, says so in one line, and waits for its end."""
    order = json.loads(sys.stdin.readline())
    scene = make_scene(order["bootstrap"], "crash", "loss", 0, Path())
    for name, value in order["names"].items():
        setattr(scene, name, value)
    # The clients must live until the kill: closed in order, they would leave the group or end the transaction.
    told, _alive = {"open": _open, "process": _process}[order["act"]](scene, order)
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    time.sleep(600)
