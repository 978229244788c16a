"""Triage of dead letters, against a plain Python program that reads and groups the same records.

``python -m benchmarks.letters plain BOOTSTRAP`` is that program: it reads all with the client library, decodes Spring's headers,
and counts by exception class and the stack's first frame of the application; it prints the number of groups.
"""

from __future__ import annotations

import json
import random
import statistics
import struct
import sys
from collections import Counter
from collections.abc import Iterator

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.cases import FOUND, WORKBENCH, Result
from benchmarks.measure import alternate, median_seconds, peak_mib

RECORDS = 100_000
PARTITIONS = 6
SOURCE, LETTERS = "bench.triage", "bench.triage.dlt"
BYTES_OF_STACK = 2_000
CLASSES = (
    "java.net.SocketTimeoutException", "com.fasterxml.jackson.databind.JsonMappingException",
    "org.springframework.dao.DuplicateKeyException", "java.lang.NullPointerException", "javax.validation.ValidationException",
    "io.github.resilience4j.circuitbreaker.CallNotPermittedException", "java.lang.IllegalStateException",
)  # fmt: skip
SECONDS_AT_MOST, TIMES_AT_LEAST, MIB_AT_MOST = 30.0, 3.0, 1024


def triage_against_plain(bootstrap: str, rounds: int) -> list[Result]:
    """``workbench check dlq`` against the plain program, each as a whole process."""
    _write(bootstrap)
    ours = (
        *WORKBENCH,
        "check",
        "dlq",
        "--bootstrap",
        bootstrap,
        "--dead-letters",
        LETTERS,
        "--format",
        "json",
        "--yes",
    )
    plain = (sys.executable, "-m", "benchmarks.letters", "plain", bootstrap)
    runs = alternate({"workbench": ours, "plain": plain}, rounds, allowed=FOUND)
    mine, other = runs["workbench"], runs["plain"]
    groups = len(json.loads(mine[0].output)["groups"])
    seconds, whole = median_seconds(mine), median_seconds(other)
    within = Result(
        name="triage of dead letters",
        workbench=seconds,
        other=SECONDS_AT_MOST,
        unit="s",
        ratio=seconds / SECONDS_AT_MOST,
        goal=f"< {SECONDS_AT_MOST:.0f} s, < {MIB_AT_MOST} MiB",
        met=seconds < SECONDS_AT_MOST and peak_mib(mine) < MIB_AT_MOST,
        peak_mib=peak_mib(mine),
        rounds={"workbench": [round(one.seconds, 3) for one in mine]},
        note=f"{RECORDS:,} letters with stacks of {BYTES_OF_STACK:,} B in {groups} groups; "
        f"{statistics.median(one.cpu_seconds for one in mine):.1f} s of processor",
    )
    against = Result(
        name="triage of dead letters, against plain Python",
        workbench=seconds,
        other=whole,
        unit="s",
        ratio=whole / seconds,
        goal=f">= {TIMES_AT_LEAST:.0f}",
        met=whole / seconds >= TIMES_AT_LEAST,
        peak_mib=peak_mib(mine),
        other_peak_mib=peak_mib(other),
        rounds={
            "workbench": [round(one.seconds, 3) for one in mine],
            "plain": [round(one.seconds, 3) for one in other],
        },
        note=f"the plain program ends with {other[0].output.strip()} groups, and knows nothing else",
    )
    return [within, against]


def _write(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in (SOURCE, LETTERS)]).values():
        future.result(30)
    client = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4"})
    for partition, key, value, headers in _letters():
        while True:
            try:
                client.produce(LETTERS, value, key, partition, headers=headers)
                break
            except BufferError:
                client.poll(0.1)
        client.poll(0)
    client.flush(120)


def _letters() -> Iterator[tuple[int, bytes, bytes, list[tuple[str, bytes]]]]:
    rng = random.Random(11)
    for number in range(RECORDS):
        kind = rng.randrange(40)
        name = CLASSES[kind % len(CLASSES)]
        message = f"order {rng.getrandbits(48):012x} of customer {rng.randrange(10**6)} failed at step {kind}"
        frames = f"\tat com.example.step{kind}.Handler.handle(Handler.java:{kind + 40})\n" + "".join(
            f"\tat org.springframework.kafka.listener.Container.invoke{depth}(Container.java:{900 + depth})\n"
            for depth in range(40)
        )
        stack = f"{name}: {message}\n{frames}"[:BYTES_OF_STACK]
        partition = number % PARTITIONS
        headers = [
            ("kafka_dlt-original-topic", SOURCE.encode()),
            ("kafka_dlt-original-partition", struct.pack(">i", partition)),
            ("kafka_dlt-original-offset", struct.pack(">q", number // PARTITIONS)),
            ("kafka_dlt-original-timestamp", struct.pack(">q", 1_780_000_000_000 + number)),
            ("kafka_dlt-exception-fqcn", name.encode()),
            ("kafka_dlt-exception-message", message.encode()),
            ("kafka_dlt-exception-stacktrace", stack.encode()),
        ]
        value = json.dumps(
            {"messageId": f"m{number}", "orderId": rng.getrandbits(48), "amount": rng.randrange(10**5)}
        ).encode()
        yield partition, str(number % 5000).encode(), value, headers


def plain(bootstrap: str) -> int:
    """The number of groups by exception class and first frame of the application."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-plain", "enable.auto.commit": False})
    ends = {part: reader.get_watermark_offsets(TopicPartition(LETTERS, part))[1] for part in range(PARTITIONS)}
    reader.assign([TopicPartition(LETTERS, part, 0) for part in range(PARTITIONS)])
    left, groups = sum(ends.values()), Counter[tuple[str, str]]()
    while left:
        for message in reader.consume(1000, 1.0):
            headers = {name: value for name, value in message.headers() or []}  # noqa: C416  as people write it
            stack = headers["kafka_dlt-exception-stacktrace"].decode()
            frame = next((line.strip() for line in stack.splitlines() if "com.example" in line), "")
            json.loads(message.value())
            groups[headers["kafka_dlt-exception-fqcn"].decode(), frame] += 1
            left -= 1
    reader.close()
    return len(groups)


if __name__ == "__main__":
    print(plain(sys.argv[2]))
