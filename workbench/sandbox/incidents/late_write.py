"""A transactional batch after its transaction has ended: what a producer's delayed request could once do."""

from __future__ import annotations

import time
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.protocol.producer import ProduceRequest
from kafka.record.default_records import DefaultRecordBatchBuilder

from workbench.errors import SandboxError


def write_late(bootstrap: str, topic: str, transactional_id: str) -> None:
    """Appends one record to partition 0 as the producer that wrote there last; the broker must not verify."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        place = TopicPartition(topic, 0)
        (producer,) = admin.describe_producers([place])[place].active_producers
        batch = _batch(producer)
        wanted = ProduceRequest.TopicProduceData
        data = wanted(name=topic, partition_data=[wanted.PartitionProduceData(index=0, records=batch)])
        # Below version 12 the request cannot add the partition to a transaction by itself.
        request = ProduceRequest(
            transactional_id=transactional_id, acks=-1, timeout_ms=5000, topic_data=[data], min_version=3, max_version=8
        )
        leader = _leader(admin, topic)
        answered = admin._manager.run(admin._manager.send, request, leader)  # noqa: SLF001 - no public way to send one
        if answered.responses[0].partition_responses[0].error_code:
            raise SandboxError("The broker refused the late write.", hint="It verifies transactions: see its settings.")
    finally:
        admin.close()


def _leader(admin: Any, topic: str) -> int:
    (found,) = admin.describe_topics([topic])
    return int(next(part["leader_id"] for part in found["partitions"] if part["partition_index"] == 0))


def _batch(producer: Any) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=1, producer_id=producer.producer_id,
        producer_epoch=producer.producer_epoch, base_sequence=producer.last_sequence + 1, batch_size=1000,
    )  # fmt: skip
    builder.append(0, int(time.time() * 1000), b"k", b"late", [])
    return bytes(builder.build())
