"""One run of the integration's producer or consumer, or of the bare client with the same settings; prints JSON.

``python -m benchmarks.integration_once produce|consume bare|wrapped|traced BOOTSTRAP TOPIC COUNT``
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import uuid
from pathlib import Path
from time import perf_counter
from typing import Any

import confluent_kafka
from confluent_kafka import TopicPartition

from workbench.integration.consumer import MessageConsumer
from workbench.integration.outlets import AtLeastOnce
from workbench.integration.producer import MessageProducer
from workbench.integration.records import Outgoing, Record
from workbench.integration.tracing import NO_TRACING, Tracing, to_otlp_file

BATCH = 500
PRODUCER = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    "compression.type": "lz4",
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 262_144,
}
CONSUMER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "partition.assignment.strategy": "cooperative-sticky",
    "check.crcs": True,
}


def value(number: int) -> bytes:
    """The value of a message: about 200 bytes of JSON."""
    return b'{"messageId":"m-%d","source":"user-service","data":{"userId":"user-%d","note":"%s"}}' % (
        number,
        number % 997,
        b"x" * 120,
    )


def bare_produce(bootstrap: str, topic: str, count: int) -> float:
    """Seconds until everything is acknowledged; each message with its delivery report, as a careful program does it."""
    client = confluent_kafka.Producer({"bootstrap.servers": bootstrap, **PRODUCER})
    failed: list[Any] = []

    def told(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error)

    began = perf_counter()
    for number in range(count):
        headers = [("message-id", b"m-%d" % number), ("content-type", b"application/json")]
        while True:
            try:
                client.produce(topic, value(number), b"%d" % (number % 997), headers=headers, on_delivery=told)
                break
            except BufferError:
                client.poll(0.05)
        client.poll(0)
    client.flush()
    if failed:
        raise SystemExit(f"{len(failed)} messages failed")
    return perf_counter() - began


def produce(bootstrap: str, topic: str, count: int, tracing: Tracing) -> float:
    """The same with the wrapper."""
    with MessageProducer({"bootstrap.servers": bootstrap, **PRODUCER}, tracing=tracing) as producer:
        began = perf_counter()
        for number in range(count):
            producer.submit(Outgoing(topic, value(number), b"%d" % (number % 997), f"m-{number}"))
        producer.flush()
        return perf_counter() - began


def bare_consume(bootstrap: str, topic: str, count: int) -> float:
    """Seconds from the first record to the last commit; each record decoded, offsets committed after each batch."""
    client = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, **CONSUMER})
    client.subscribe([topic])
    seen, began, messages = 0, 0.0, []
    while seen < count:
        messages = client.consume(1, 0.2)
        began = began or (perf_counter() if messages else 0.0)
        messages += client.consume(BATCH - 1, 0) if messages else []
        positions: dict[int, int] = {}
        for message in messages:
            if message.error():
                raise SystemExit(str(message.error()))
            json.loads(message.value())
            dict(message.headers() or ())
            positions[message.partition()] = message.offset() + 1
            seen += 1
        if positions:
            spots = [TopicPartition(topic, partition, offset) for partition, offset in positions.items()]
            client.commit(offsets=spots, asynchronous=False)
    took = perf_counter() - began
    client.close()
    return took


class _Counting:
    """The handler: decodes each record, and notes when the first and the last one came."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.seen = 0
        self.began = 0.0
        self.done = threading.Event()

    def __call__(self, record: Record) -> tuple[Outgoing, ...]:
        self.began = self.began or perf_counter()
        json.loads(record.value or b"null")
        dict(record.headers)
        self.seen += 1
        if self.seen == self._count:
            self.done.set()
        return ()


def consume(bootstrap: str, topic: str, count: int, tracing: Tracing) -> float:
    """The same with the wrapper, its last commit included."""
    handler = _Counting(count)
    outlet = AtLeastOnce(MessageProducer({"bootstrap.servers": bootstrap}))
    settings = {"bootstrap.servers": bootstrap, "group.id": uuid.uuid4().hex, **CONSUMER}
    consumer = MessageConsumer(settings, [topic], handler, outlet, tracing=tracing, batch_size=BATCH)
    thread = threading.Thread(target=consumer.run)
    thread.start()
    handler.done.wait()
    while consumer.metrics.value("messages_processed_total", topic=topic, result="success") != count:
        pass  # the last batch is being committed
    took = perf_counter() - handler.began
    consumer.stop()
    thread.join()
    return took


def main(arguments: list[str]) -> None:
    """One run."""
    action, side, bootstrap, topic, count = *arguments[:4], int(arguments[4])
    with tempfile.TemporaryDirectory() as folder:
        tracing = to_otlp_file("benchmark", Path(folder) / "spans.jsonl") if side == "traced" else NO_TRACING
        if side == "bare":
            seconds = {"produce": bare_produce, "consume": bare_consume}[action](bootstrap, topic, count)
        else:
            seconds = {"produce": produce, "consume": consume}[action](bootstrap, topic, count, tracing)
        tracing.shutdown()
    print(json.dumps({"records": count, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1:])
