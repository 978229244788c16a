"""Sending dead letters back, against a producer that sends the same records in transactions of the same size."""

from __future__ import annotations

import json
import statistics
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.cases import Result
from benchmarks.measure import Run, run
from benchmarks.traffic import PRODUCER, values
from workbench.config import profile_from_options
from workbench.redrive.audit import Audit
from workbench.redrive.plan import load_plan
from workbench.redrive.planning import Choice, make_plan
from workbench.redrive.running import execute, prepared
from workbench.redrive.sending import ROWS_A_TRANSACTION, producer_settings
from workbench.redrive.stepping import Pace
from workbench.sources import connect
from workbench.tables import keep_pandas_out

RECORDS = 100_000
PARTITIONS = 6
LETTERS = "bench.orders.dlq"
STACK = b"java.net.SocketTimeoutException: no answer" + b"\n\tat com.example.Billing.call(Billing.java:42)" * 20
_PROGRAM = (sys.executable, "-m", "benchmarks.redriving")


def redrive_against_producer(bootstrap: str, rounds: int) -> list[Result]:
    """Reading and sending of a plan, against sending alone from memory, and against reading and sending in plain Python.

    All are transactional, acks=all, idempotent, with transactions of the same size.
    """
    _create(bootstrap, LETTERS)
    _write_letters(bootstrap)
    ours: list[Run] = []
    bare: list[Run] = []
    copying: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            topics = [f"bench.redriven.{number}", f"bench.bare.{number}", f"bench.copied.{number}"]
            for topic in topics:
                _create(bootstrap, topic)
            plan = Path(folder) / f"{number}.json"
            run((*_PROGRAM, "plan", bootstrap, topics[0], str(plan)))
            ours.append(run((*_PROGRAM, "redrive", bootstrap, topics[0], str(plan))))
            bare.append(run((*_PROGRAM, "bare", bootstrap, topics[1], "")))
            copying.append(run((*_PROGRAM, "copy", bootstrap, topics[2], "")))
    return [_result(ours, bare), _against_copy(ours, copying)]


def _result(ours: list[Run], bare: list[Run]) -> Result:
    mine, other = _rate(ours), _rate(bare)
    whole = statistics.median(one.seconds for one in bare) / statistics.median(one.seconds for one in ours)
    return Result(
        name="redrive, against a bare transactional producer",
        workbench=mine,
        other=other,
        unit="records/s",
        ratio=mine / other,
        goal=">= 0.5",
        met=mine / other >= 0.5,
        peak_mib=max(one.peak_mib for one in ours),
        other_peak_mib=max(one.peak_mib for one in bare),
        rounds={side: [round(one.seconds, 3) for one in runs] for side, runs in _sides(ours, bare)},
        note=f"{RECORDS:,} dead letters with stacks of {len(STACK):,} B; start of the program included: {whole:.2f}",
    )


def _against_copy(ours: list[Run], copying: list[Run]) -> Result:
    """The equal question: both read what they send."""
    mine, other = _rate(ours), _rate(copying)
    return Result(
        name="redrive, against reading and sending in plain Python",
        workbench=mine,
        other=other,
        unit="records/s",
        ratio=mine / other,
        goal=">= 0.5",
        met=mine / other >= 0.5,
        peak_mib=max(one.peak_mib for one in ours),
        other_peak_mib=max(one.peak_mib for one in copying),
        rounds={side: [round(one.seconds, 3) for one in runs] for side, runs in _sides(ours, copying)},
        note="the plain program keeps no plan, no progress and no audit",
    )


def _rate(runs: list[Run]) -> float:
    return statistics.median(RECORDS / json.loads(one.output)["seconds"] for one in runs)


def _sides(ours: list[Run], bare: list[Run]) -> list[tuple[str, list[Run]]]:
    return [("workbench", ours), ("producer", bare)]


def _create(bootstrap: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})  # its futures end with it
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)


def _records() -> Iterator[tuple[int, bytes, bytes]]:
    """(number, key, value) of each message."""
    for number, value in enumerate(values(RECORDS, 0, seed=11)):
        yield number, b"order-%d" % number, value


def _write_letters(bootstrap: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, **PRODUCER})
    for number, key, value in _records():
        headers: list[tuple[str, bytes]] = [
            ("content-type", b"application/json"),
            ("kafka_dlt-original-topic", b"bench.orders"),
            ("kafka_dlt-original-partition", struct.pack(">i", number % PARTITIONS)),
            ("kafka_dlt-original-offset", struct.pack(">q", number // PARTITIONS)),
            ("kafka_dlt-exception-fqcn", b"java.net.SocketTimeoutException"),
            ("kafka_dlt-exception-stacktrace", STACK),
        ]
        while True:
            try:
                producer.produce(LETTERS, value, key, partition=number // 500 % PARTITIONS, headers=headers)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()


def _plan(bootstrap: str, target: str, file: str) -> None:
    from workbench.problems.scope import scope_from

    with connect(profile_from_options(bootstrap)) as sources, tempfile.TemporaryDirectory() as folder:
        scope = scope_from(dead_letters=[LETTERS])
        plan = make_plan(sources, scope, Choice(target=target), work_dir=Path(folder), progress=lambda _: None)
        plan.save(Path(file))


def _redrive(bootstrap: str, file: str) -> float:
    """Seconds from the first look at the dead letters to the last commit."""
    plan = load_plan(Path(file))
    profile = profile_from_options(bootstrap)
    with connect(profile) as sources, tempfile.TemporaryDirectory() as folder:
        began = perf_counter()
        with prepared(sources.cluster, plan, Path(folder), (None, None)) as (spool, change):
            audit = Audit(Path(file + ".audit"), plan, producer_settings(profile.kafka))
            execute(sources.cluster, plan, spool, change, pace=Pace(settle_seconds=0), audit=audit, say=lambda _: None)
        return perf_counter() - began


def _bare(bootstrap: str, topic: str) -> float:
    """Seconds from the first transaction to the last commit of records that are in memory."""
    sent = [(key, value, number % PARTITIONS) for number, key, value in _records()]
    headers: list[tuple[str, str | bytes | None]] = [("content-type", b"application/json"), *(
        (name, b"0123456789abcdef") for name in ("plan", "origin", "letter", "count", "at"))]  # fmt: skip
    settings = producer_settings({"bootstrap.servers": bootstrap}, **{"transactional.id": topic})
    began = perf_counter()
    producer = Producer(settings)
    producer.init_transactions(60)
    for start in range(0, len(sent), ROWS_A_TRANSACTION):
        producer.begin_transaction()
        for key, value, partition in sent[start : start + ROWS_A_TRANSACTION]:
            producer.produce(topic, value, key, partition, headers=headers)
            producer.poll(0)
        producer.commit_transaction(60)
    return perf_counter() - began


def _copy(bootstrap: str, topic: str) -> float:
    """Seconds from the first look at the dead letters to the last commit of a plain consumer with a producer."""
    settings = producer_settings({"bootstrap.servers": bootstrap}, **{"transactional.id": topic})
    marks: list[tuple[str, str | bytes | None]] = [
        (name, b"0123456789abcdef") for name in ("plan", "origin", "letter", "count", "at")
    ]
    began = perf_counter()
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "enable.auto.commit": False})
    parts = [TopicPartition(LETTERS, part, 0) for part in range(PARTITIONS)]
    left = sum(reader.get_watermark_offsets(part)[1] for part in parts)
    reader.assign(parts)
    producer = Producer(settings)
    producer.init_transactions(60)
    open_rows = 0
    while left:
        for message in reader.consume(min(1000, left), 1.0):
            if open_rows == 0:
                producer.begin_transaction()
            kept = [pair for pair in message.headers() or () if not pair[0].startswith("kafka_dlt-")]
            producer.produce(topic, message.value(), message.key(), message.partition(), headers=kept + marks)
            open_rows, left = open_rows + 1, left - 1
            if open_rows == ROWS_A_TRANSACTION or not left:
                producer.commit_transaction(60)
                open_rows = 0
        producer.poll(0)
    seconds = perf_counter() - began
    reader.close()
    return seconds


def main(what: str, bootstrap: str, topic: str, file: str) -> None:
    """One side, or the plan that one of them needs; prints its seconds as JSON."""
    keep_pandas_out()
    if what == "plan":
        _plan(bootstrap, topic, file)
    else:
        sides = {"redrive": lambda: _redrive(bootstrap, file), "bare": lambda: _bare(bootstrap, topic)}
        sides["copy"] = lambda: _copy(bootstrap, topic)
        print(json.dumps({"seconds": sides[what]()}))


if __name__ == "__main__":
    main(*sys.argv[1:5])
