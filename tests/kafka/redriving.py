"""A place to send dead letters back in: a source, a dead-letter topic filled as Spring does, and a profile that may."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from tests.kafka.capture_topics import create, produce, ranges
from workbench.cli import main
from workbench.problems.partitioners import murmur2
from workbench.redrive.plan import Plan, load_plan

TRANSIENT, POISON = "java.net.SocketTimeoutException", "com.fasterxml.jackson.core.JsonParseException"
PROFILE = '[profiles.it]\nredrive = true\nkafka = { "bootstrap.servers" = "%s" }\n'


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Place:
    """Topics of one test, and the folder in which its commands run."""

    bootstrap: str
    source: str
    letters: str
    folder: Path
    partitions: int = 3
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def plan_file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def plan(self) -> Plan:
        return load_plan(self.plan_file)

    def audit(self) -> list[dict[str, Any]]:
        lines = (self.folder / "plan.audit.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def environment(self) -> dict[str, str]:
        config, state = self.folder / "workbench.toml", self.folder / "state"
        if not config.exists():
            config.write_text(PROFILE % self.bootstrap)
        return {**os.environ, **self.secrets, "WORKBENCH_CONFIG": str(config), "XDG_STATE_HOME": str(state)}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "workbench", "redrive", *words]

    def run(self, *words: str, expect: int | None = 0) -> Done:
        """``workbench redrive ...`` in this folder and process: starting one for each command costs seconds."""
        out, err = io.StringIO(), io.StringIO()
        with self._entered(["workbench", "redrive", *words]), redirect_stdout(out), redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as ended:
                code = int(ended.code or 0)
        done = Done(code, out.getvalue(), err.getvalue())
        assert expect is None or code == expect, done
        return done

    @contextmanager
    def _entered(self, argv: list[str]) -> Iterator[None]:
        before = dict(os.environ), Path.cwd(), sys.argv
        os.environ.update(self.environment())
        os.chdir(self.folder)
        sys.argv = argv
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before[0])
            os.chdir(before[1])
            sys.argv = before[2]

    def make_plan(self, *more: str, expect: int = 0) -> Done:
        return self.run("plan", "--profile", "it", "--dead-letters", self.letters, *more, expect=expect)

    def send(self, *more: str, expect: int | None = 0) -> Done:
        quick = () if "--settle-seconds" in more else ("--settle-seconds", "0")
        return self.run("run", "plan.json", "--profile", "it", "--execute", *quick, *more, expect=expect)


def place(bootstrap: str, unique: str, folder: Path, partitions: int = 3) -> Place:
    found = Place(bootstrap, f"orders-{unique}", f"orders-{unique}.dlq", folder, partitions)
    create(bootstrap, found.source, partitions)
    create(bootstrap, found.letters, 2)
    return found


def spring_headers(place: Place, number: int, partition: int, cause: str, **more: bytes) -> list[tuple[str, bytes]]:
    return [
        ("message-id", f"m-{number}".encode()),
        ("kafka_dlt-original-topic", place.source.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", partition)),
        ("kafka_dlt-original-offset", struct.pack(">q", number // place.partitions)),
        ("kafka_dlt-original-consumer-group", b"billing"),
        ("kafka_dlt-exception-fqcn", cause.encode()),
        ("kafka_dlt-exception-message", b"no answer"),
        *((name.replace("_", "-"), value) for name, value in more.items()),
    ]


def value_of(number: int) -> bytes:
    return json.dumps({"messageId": f"m-{number}", "amount": number}).encode()


def dead_letters(place: Place, numbers: Iterable[int], cause: str = TRANSIENT, **more: bytes) -> None:
    """Puts messages into the dead-letter topic, as if their consumer had read them at made-up places of the source."""
    records = []
    for number in numbers:
        key = f"k-{number}".encode()
        partition = murmur2(key) % place.partitions
        headers = spring_headers(place, number, partition, cause, **more)
        records.append({"key": key, "value": value_of(number), "partition": number % 2, "headers": headers})
    produce(place.bootstrap, place.letters, records, acks="all")


def committed(bootstrap: str, topic: str) -> list[Any]:
    """What an independent read_committed reader sees of a topic, to its end."""
    ends = {one.partition: one.last_stable_offset for one in ranges(bootstrap, topic)}
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "witness", "isolation.level": "read_committed",
         "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )  # fmt: skip
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    out = []
    while any(spot.offset < ends[spot.partition] for spot in positions(consumer, topic, ends)):
        found = consumer.consume(1000, 0.5)
        assert all(message.error() is None for message in found)
        out += found
    consumer.close()
    return out


def positions(consumer: Consumer, topic: str, ends: dict[int, int]) -> list[TopicPartition]:
    found = consumer.position([TopicPartition(topic, partition) for partition in ends])
    for spot in found:
        spot.offset = max(spot.offset, 0)
    return found


def copies(messages: Sequence[Any]) -> Counter[str]:
    """Message id -> how often it is there."""
    return Counter(json.loads(message.value())["messageId"] for message in messages)


def header(message: Any, name: str) -> bytes | None:
    return dict(message.headers() or ()).get(name)
