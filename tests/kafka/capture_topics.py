"""Topics for capture: made, filled and described with the client library alone."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
from confluent_kafka import Consumer, IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from workbench.capture import Capture, CaptureSpec, IdFrom, PartitionRange, TopicSpec

ROOT = Path(__file__).parents[2]


def create(bootstrap: str, topic: str, partitions: int = 1, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    settings = {name.replace("_", "."): value for name, value in config.items()}
    for future in admin.create_topics([NewTopic(topic, partitions, 1, config=settings)]).values():
        future.result(20)


def produce(bootstrap: str, topic: str, records: Iterable[dict[str, Any]], **settings: Any) -> None:
    """Records name any of value, key, headers, partition, timestamp; ``None`` in between flushes."""
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 2_000_000, "linger.ms": 5, **settings})
    for record in records:
        while True:
            try:
                producer.produce(topic, **{"partition": 0, **record})
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0


@contextmanager
def transaction(bootstrap: str, name: str, *, commit: bool | None) -> Iterator[Producer]:
    """A transaction that is committed, aborted, or (None) left open until the block of the caller is gone."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "transaction.timeout.ms": 600_000})
    producer.init_transactions(20)
    producer.begin_transaction()
    yield producer
    producer.flush(20)
    if commit is not None:
        (producer.commit_transaction if commit else producer.abort_transaction)(20)
        # The call ends before the markers are written; the next of the name begins only behind them.
        Producer({"bootstrap.servers": bootstrap, "transactional.id": name}).init_transactions(20)


def ranges(bootstrap: str, *topics: str) -> tuple[PartitionRange, ...]:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    known = admin.list_topics(timeout=20).topics
    places = [TopicPartition(topic, partition) for topic in topics for partition in sorted(known[topic].partitions)]

    def at(spec: Any, isolation: Any) -> list[int]:
        found = admin.list_offsets(dict.fromkeys(places, spec), isolation_level=isolation)
        return [found[place].result(20).offset for place in places]

    lows = at(OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)
    highs = at(OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
    stable = at(OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
    return tuple(
        PartitionRange(place.topic, place.partition, low, high, lso)
        for place, low, high, lso in zip(places, lows, highs, stable, strict=True)
    )


def spec(bootstrap: str, topic: str, id_from: str = "json:$.messageId", **options: Any) -> CaptureSpec:
    topics = (TopicSpec(topic, "source", IdFrom.parse(id_from), ranges(bootstrap, topic)),)
    return CaptureSpec(topics, **{"processes": 1, **options})


def settings(bootstrap: str) -> dict[str, Any]:
    return {"bootstrap.servers": bootstrap, "group.id": "test-capture"}


def rows(captured: Capture, *columns: str) -> list[Any]:
    """Rows of a capture in log order; tuples of the columns, or plain values for one column."""
    if not captured.files:
        return []
    for file in captured.files:
        assert pq.read_schema(file).equals(captured.schema)
    names = ", ".join(f'"{name}"' for name in columns)
    files = [str(file) for file in captured.files]
    query = f'SELECT {names} FROM read_parquet(?) ORDER BY topic, "partition", "offset"'
    found = duckdb.execute(query, [files]).fetchall()
    return [row[0] for row in found] if len(columns) == 1 else found


def messages(count: int, start: int = 0, partitions: int = 1, padding: int = 0) -> Iterator[dict[str, Any]]:
    for number in range(start, start + count):
        body = json.dumps({"messageId": f"m-{number}", "note": "x" * padding}).encode()
        yield {"key": str(number % 7), "value": body, "partition": number % partitions}


def script(spec: CaptureSpec, folder: Path, bootstrap: str) -> list[str]:
    """A command line that runs a capture in another process and prints its progress, then outcome and peak memory."""
    code = f"""
        import json, re
        from pathlib import Path
        from workbench.capture import CaptureSpec, capture
        spec = CaptureSpec.from_json(json.loads({json.dumps(json.dumps(spec.to_json()))}))
        told = lambda progress: print(progress.records, flush=True)
        found = capture({settings(bootstrap)!r}, spec, Path({str(folder)!r}), told)
        # getrusage would give the peak of the process that started this one, when that was higher.
        peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10
        print(json.dumps({{"truncated": found.truncated, "outcome": found.outcome.to_pylist(), "peak_mib": peak}}))
    """
    return [sys.executable, "-c", textwrap.dedent(code)]


def lowest_offset(bootstrap: str, topic: str, partition: int = 0) -> int:
    consumer = Consumer({**settings(bootstrap)})
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20, cached=False)[0]
    finally:
        consumer.close()
