"""All groups of a cluster at once, against Kafka's own ``kafka-consumer-groups --all-groups --describe``."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.cases import FOUND, WORKBENCH, Result
from benchmarks.measure import alternate, median_seconds, peak_mib
from workbench.sandbox.tools import describe_all_groups, described

GROUPS, PARTITIONS, RECORDS = 500, 12, 50
TOPIC = "bench.groups"
TIMES_AT_LEAST = 5.0


def all_groups_against_kafka(bootstrap: str, rounds: int) -> list[Result]:
    """Seconds of whole programs on 500 groups x 12 partitions of one topic, and whether their numbers agree."""
    _plant(bootstrap)
    ours = (
        *WORKBENCH,
        "check",
        "lag",
        "--bootstrap",
        bootstrap,
        "--all-groups",
        "--format",
        "json",
        "--expected-latency",
        "1h",
    )
    theirs = tuple(describe_all_groups(bootstrap))
    runs = alternate({"workbench": ours, "kafka": theirs}, rounds, allowed=FOUND)
    mine, other = median_seconds(runs["workbench"]), median_seconds(runs["kafka"])
    equal, known = _agreement(bootstrap, runs["workbench"][0].output)
    ratio = other / mine
    return [
        Result(
            name=f"lag of {GROUPS} groups x {PARTITIONS} partitions, against kafka-consumer-groups",
            workbench=mine,
            other=other,
            unit="s",
            ratio=ratio,
            goal=f">= {TIMES_AT_LEAST:.0f}, equal numbers",
            met=ratio >= TIMES_AT_LEAST and equal == known == GROUPS * PARTITIONS,
            peak_mib=peak_mib(runs["workbench"]),
            other_peak_mib=peak_mib(runs["kafka"]),
            rounds={name: [round(one.seconds, 3) for one in found] for name, found in runs.items()},
            note=f"{equal:,} of {known:,} partitions with equal commits, ends and lag",
        )
    ]


def _agreement(bootstrap: str, output: str) -> tuple[int, int]:
    """(partitions with equal numbers, partitions that the tool tells)."""
    told = described(bootstrap)
    mine = {
        (report["facts"]["group"], part["topic"], part["partition"]): (
            part["committed_offset"], part["log_end_offset"], part["lag"],
        )
        for report in json.loads(output)["reports"]
        for part in report["facts"]["partitions"]
    }  # fmt: skip
    equal = sum(mine.get(key) == (one.committed_offset, one.log_end_offset, one.lag) for key, one in told.items())
    return equal, len(told)


def _plant(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
    client = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20})
    for number in range(RECORDS * PARTITIONS):
        client.produce(TOPIC, json.dumps({"messageId": f"m{number}"}).encode(), partition=number % PARTITIONS)
        client.poll(0)
    client.flush(60)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: _commit(bootstrap, number), range(GROUPS)))


def _commit(bootstrap: str, number: int) -> None:
    rng = random.Random(number)
    reader = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"bench-group-{number:03}", "enable.auto.commit": False}
    )
    places = [TopicPartition(TOPIC, part, rng.randrange(RECORDS + 1)) for part in range(PARTITIONS)]
    reader.commit(offsets=places, asynchronous=False)
    reader.close()
