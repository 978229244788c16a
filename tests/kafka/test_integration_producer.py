"""The producer on a real broker: a receipt is where the message is, and a failed send is never silent."""

from __future__ import annotations

import json

import pytest

from workbench.integration.failures import SendError
from workbench.integration.metrics import Metrics
from workbench.integration.producer import MessageProducer
from workbench.integration.records import Outgoing
from workbench.problems.partitioners import murmur2
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.reading import read
from workbench.sandbox.ports import free_ports
from workbench.sources.logs import read_sent_log

pytestmark = pytest.mark.kafka

BIG = b"x" * 1_200_000


def event(number: int, topic: str, value: bytes | None = None) -> Outgoing:
    body = value if value is not None else json.dumps({"messageId": f"m-{number}"}).encode()
    return Outgoing(topic, body, b"key-%d" % number, f"m-{number}")


def nowhere() -> dict:
    return {"bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}", "message.timeout.ms": 1500}


def test_receipts_headers_partitions_and_sent_log_agree_with_the_topic(kafka, topic_name, tmp_path):
    topics.create(kafka, topic_name, 4)
    log, metrics = tmp_path / "logs" / "sent.jsonl", Metrics()
    with MessageProducer({"bootstrap.servers": kafka}, sent_log=log, metrics=metrics) as producer:
        receipts = [
            producer.send(event(0, topic_name)),
            *producer.send_all([event(n, topic_name) for n in range(1, 50)]),
        ]
        with pytest.raises(SendError) as refused:
            producer.send(event(99, topic_name, BIG))
    assert (refused.value.message_id, refused.value.reason) == ("m-99", "MSG_SIZE_TOO_LARGE")
    assert refused.value.hint
    stored = {record.id: record for record in read(kafka, topic_name)}
    assert [(r.partition, r.offset) for r in receipts] == [
        (stored[f"m-{n}"].partition, stored[f"m-{n}"].offset) for n in range(50)
    ]
    assert dict(stored["m-7"].headers) == {"message-id": b"m-7", "content-type": b"application/json"}
    assert stored["m-7"].partition == (murmur2(b"key-7") & 0x7FFFFFFF) % 4
    lines = {row["message_id"]: row for row in read_sent_log(log).table.to_pylist()}
    assert len(lines) == 51
    assert (lines["m-7"]["partition"], lines["m-7"]["offset"]) == (receipts[7].partition, receipts[7].offset)
    assert (lines["m-99"]["acked"], lines["m-99"]["offset"]) == (False, None)
    assert metrics.value("messages_sent_total", topic=topic_name) == 50
    assert metrics.value("message_send_failures_total", topic=topic_name, reason="MSG_SIZE_TOO_LARGE") == 1


def test_a_failure_that_nobody_waited_for_is_raised_at_the_end():
    metrics = Metrics()
    producer = MessageProducer(nowhere(), metrics=metrics)
    producer.submit(event(1, "t"))
    producer.submit(event(2, "t"))
    with pytest.raises(SendError, match="1 more failed") as failed:
        producer.close()
    assert failed.value.in_doubt
    assert metrics.value("message_send_failures_total", topic="t", reason="_MSG_TIMED_OUT") == 2


def test_a_failure_is_raised_once():
    producer = MessageProducer(nowhere())
    with pytest.raises(SendError):
        producer.send(event(1, "t"))
    producer.close()


def test_a_full_buffer_holds_the_sender_back_and_then_tells_it(tmp_path):
    """No broker takes anything: what finds no room is refused to the caller, who still has it."""
    log, metrics = tmp_path / "sent.jsonl", Metrics()
    settings = {**nowhere(), "queue.buffering.max.messages": 5, "message.timeout.ms": 5000}
    producer = MessageProducer(settings, buffer_seconds=0.2, sent_log=log, metrics=metrics)
    for number in range(5):
        producer.submit(event(number, "t"))
    with pytest.raises(SendError) as refused:
        producer.submit(event(5, "t"))
    assert (refused.value.message_id, refused.value.reason) == ("m-5", "_QUEUE_FULL")
    with pytest.raises(SendError, match="4 more"):
        producer.close()
    assert metrics.value("message_send_failures_total", topic="t", reason="_QUEUE_FULL") == 1
    rows = read_sent_log(log).table.to_pylist()
    assert sorted(row["message_id"] for row in rows) == [f"m-{n}" for n in range(6)]
    assert not any(row["acked"] for row in rows)


def test_a_full_buffer_empties_while_the_sender_waits(kafka, topic_name):
    topics.create(kafka, topic_name, 1)
    settings = {"bootstrap.servers": kafka, "queue.buffering.max.messages": 20}
    with MessageProducer(settings) as producer:
        for number in range(500):
            producer.submit(event(number, topic_name))
    assert len({record.id for record in read(kafka, topic_name)}) == 500
