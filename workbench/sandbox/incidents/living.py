"""Programs that live on: members of a group, and senders, that go on while a check looks at them, and end by themselves.

``main`` is such a program: it reads its order from standard input, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LIFE_SECONDS = 240.0
TICK_SECONDS = 0.02


@dataclass(frozen=True)
class Member:
    """How a member of a group behaves.

    Attributes:
        bootstrap, group, topic: where.
        per_second: how many records it takes a second at most.
        commit_seconds: how often it commits; 0: never.
        stop_at: partition -> offset that it does not get past, and comes back to.
        pause: partitions that it pauses when it has them.
        slow_after: seconds after which it takes ``slow_per_second`` only.
        slow_per_second: that rate.
        rejoin_seconds: how often it leaves and joins again; 0: never.
        sink: where it writes a copy of each record; "": nowhere.
        log: JSON Lines file for what it does; "": none.
        commit_until: seconds after which its commits fail.
        partitions: of the topic, taken by ``assign`` without joining the group; none: it joins.
        settings: of the consumer.
        life_seconds: when it ends.
    """

    bootstrap: str
    group: str
    topic: str
    per_second: float = 1000.0
    commit_seconds: float = 0.2
    stop_at: Mapping[int, int] = field(default_factory=dict)
    pause: tuple[int, ...] = ()
    slow_after: float = 0.0
    slow_per_second: float = 0.0
    rejoin_seconds: float = 0.0
    sink: str = ""
    log: str = ""
    commit_until: float = 0.0
    partitions: tuple[int, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    life_seconds: float = LIFE_SECONDS


@dataclass(frozen=True)
class Sender:
    """How a sender behaves: ``per_second`` records to each of ``partitions``, in their turn, for so long.

    Attributes:
        bootstrap, topic: where.
        per_second: partition -> records a second.
        life_seconds: when it ends.
    """

    bootstrap: str
    topic: str
    per_second: Mapping[int, float] = field(default_factory=dict)
    life_seconds: float = LIFE_SECONDS


_BEGUN: list[subprocess.Popen[str]] = []
_OWED: list[Callable[[], None]] = []


def end_all() -> None:
    """Ends all programs that this process began, and makes good what incidents left broken."""
    while _BEGUN:
        _BEGUN.pop().kill()
    while _OWED:
        _OWED.pop()()


def owe(act: Callable[[], None]) -> None:
    """Something to make good once the incident has been looked at."""
    _OWED.append(act)


def begin(what: Member | Sender) -> subprocess.Popen[str]:
    """Starts a program that nobody needs to wait for; it ends with its life, or with ``end``."""
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    program = subprocess.Popen(
        [sys.executable, "-c", "from workbench.sandbox.incidents.living import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    if program.stdin is not None:
        program.stdin.write(json.dumps({"act": type(what).__name__, **asdict(what)}) + "\n")
        program.stdin.close()
    _BEGUN.append(program)
    return program


def end(program: subprocess.Popen[str]) -> None:
    """Ends a program in order: a member leaves its group."""
    program.terminate()
    program.wait(20)


def main() -> None:
    """The program."""
    import signal

    signal.signal(signal.SIGTERM, _leave)
    order = json.loads(sys.stdin.readline())
    act = order.pop("act")
    for name in ("stop_at", "per_second"):
        if isinstance(order.get(name), dict):
            order[name] = {int(key): value for key, value in order[name].items()}
    if act == "Sender":
        _send(Sender(**order))
    else:
        _Life(Member(**order)).live()


def _leave(*_: object) -> None:
    raise SystemExit(0)


def _send(sender: Sender) -> None:
    from confluent_kafka import Producer

    client = Producer({"bootstrap.servers": sender.bootstrap, "linger.ms": 5})
    began, sent = time.monotonic(), dict.fromkeys(sender.per_second, 0)
    while (past := time.monotonic() - began) < sender.life_seconds:
        for partition, rate in sender.per_second.items():
            while sent[partition] < past * rate:
                sent[partition] += 1
                body = {"messageId": f"live-{partition}-{sent[partition]}", "data": {"n": sent[partition]}}
                client.produce(sender.topic, json.dumps(body).encode(), f"k{partition}".encode(), partition=partition)
        client.poll(0)
        time.sleep(TICK_SECONDS)
    client.flush(10)


class _Life:
    """A member at work."""

    def __init__(self, member: Member) -> None:
        from confluent_kafka import Producer

        self.member = member
        self.began = self.committed = time.monotonic()
        self.taken = 0.0
        self.positions: dict[int, int] = {}
        self.client = self._join()
        self.producer = Producer({"bootstrap.servers": member.bootstrap}) if member.sink else None

    def _join(self) -> Any:
        from confluent_kafka import Consumer, TopicPartition

        settings = {
            "bootstrap.servers": self.member.bootstrap, "group.id": self.member.group, "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50, "queued.min.messages": 100, **self.member.settings,
        }  # fmt: skip
        client = Consumer(settings)
        if self.member.partitions:
            client.assign([TopicPartition(self.member.topic, one) for one in self.member.partitions])
        else:
            client.subscribe([self.member.topic], on_assign=self._assigned)
        self.joined = time.monotonic()
        return client

    def _assigned(self, client: Any, places: list[Any]) -> None:
        client.assign(places)
        kept = [place for place in places if place.partition in self.member.pause]
        if kept:
            client.pause(kept)
            for place in kept:
                self._log("INFO", "consumer.paused", partition=place.partition)

    def live(self) -> None:
        try:
            while time.monotonic() - self.began < self.member.life_seconds:
                self._turn()
                again = self.member.rejoin_seconds
                if again and time.monotonic() - self.joined > again:
                    self.client.close()
                    self.client, self.positions = self._join(), {}
        finally:
            self.client.close()

    def _rate(self) -> float:
        slow = self.member.slow_after and time.monotonic() - self.began > self.member.slow_after
        return self.member.slow_per_second if slow else self.member.per_second

    def _turn(self) -> None:
        rate = self._rate()
        failed: set[int] = set()
        for message in self.client.consume(max(1, min(50, int(rate / 10))), 0.1):
            if message.error() is None and message.partition() not in failed and not self._take(message, 1 / rate):
                failed.add(message.partition())
        self._commit()

    def _take(self, message: Any, seconds: float) -> bool:
        """Whether it could be processed."""
        from confluent_kafka import TopicPartition

        partition, offset = message.partition(), message.offset()
        stop = self.member.stop_at.get(partition)
        if stop is not None and offset >= stop:
            # It fails, and is tried again: the reader goes back to it, and others get their turn.
            self.client.seek(TopicPartition(self.member.topic, partition, stop))
            self._log("ERROR", "process.failed", partition=partition, offset=stop, error="ValueError: cannot process")
            time.sleep(0.05)
            return False
        time.sleep(seconds)
        if self.producer:
            self.producer.produce(self.member.sink, message.value(), message.key())
        self._log("INFO", "processed", partition=partition, offset=offset, duration_ms=round(seconds * 1000, 2))
        self.positions[partition] = offset + 1
        self._commit()
        return True

    def _commit(self) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        now = time.monotonic()
        due = self.member.commit_seconds and now - self.committed >= self.member.commit_seconds
        failing = self.member.commit_until and now - self.began > self.member.commit_until
        if not due or not self.positions:
            return
        self.committed = now
        if self.producer:
            self.producer.flush(5)
        if failing:
            return
        try:
            spots = [TopicPartition(self.member.topic, one, at) for one, at in self.positions.items()]
            self.client.commit(offsets=spots, asynchronous=False)
        except KafkaException:
            self.positions.clear()  # the group has rebalanced: others go on

    def _log(self, level: str, event: str, **more: Any) -> None:
        if not self.member.log:
            return
        line = {"at": round(time.time() * 1000), "level": level, "event": event, "topic": self.member.topic, **more}
        with Path(self.member.log).open("a") as file:
            file.write(json.dumps(line) + "\n")
