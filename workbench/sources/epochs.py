"""Leader epochs: where each leader of a partition began to write, and so what those before it had that is gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from workbench.sources.answer import Answer, answer
from workbench.sources.mapping import reason

EPOCHS_SCHEMA = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("leader_epoch", pa.int32()), ("end_offset", pa.int64())]
)
MOST_EPOCHS = 200  # a partition's newest ones

Place = tuple[str, int]  # topic, partition


def epochs(admin: Any, partitions: Iterable[Mapping[str, Any]]) -> Answer:
    """The table of ``Cluster.epochs``.

    Args:
        admin: a ``kafka.KafkaAdminClient``.
        partitions: rows of ``Cluster.topics``.
    """
    wanted: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for row in partitions:
        newest = row["leader_epoch"]
        if newest is not None and row["leader"] is not None:
            first = max(0, newest + 1 - MOST_EPOCHS)
            wanted[row["leader"]] += [(row["topic"], row["partition"], epoch) for epoch in range(first, newest + 1)]
    rows: list[tuple[Any, ...]] = []
    failures: dict[str, str] = {}
    for leader, asked in sorted(wanted.items()):
        try:
            rows += _ends(admin, leader, asked)
        except Exception as error:  # noqa: BLE001 - kafka-python raises many kinds; each ends as a reason
            failures[f"broker {leader}"] = reason(error, "Describe", "the source")
    return answer(EPOCHS_SCHEMA, sorted(set(rows)), failures)


def _ends(admin: Any, leader: int, asked: Sequence[tuple[str, int, int]]) -> list[tuple[Any, ...]]:
    """(topic, partition, epoch, end) of the epochs in which something was written; an answer may be of an earlier epoch."""
    from kafka.protocol.consumer import OffsetForLeaderEpochRequest as Request

    by_topic: dict[str, list[Any]] = defaultdict(list)
    part = Request.OffsetForLeaderTopic.OffsetForLeaderPartition
    for topic, partition, epoch in asked:
        by_topic[topic].append(part(partition=partition, current_leader_epoch=-1, leader_epoch=epoch))
    named = [Request.OffsetForLeaderTopic(topic=topic, partitions=parts) for topic, parts in by_topic.items()]
    manager = admin._manager  # noqa: SLF001 - no public way to send one
    response = manager.run(_sent, manager, Request(replica_id=-1, topics=named), leader)
    return [
        (topic.topic, one.partition, one.leader_epoch, one.end_offset)
        for topic in response.topics
        for one in topic.partitions
        if one.error_code == 0 and one.leader_epoch >= 0 and one.end_offset >= 0
    ]


async def _sent(manager: Any, request: Any, node: int) -> Any:
    return await manager.send(request, node_id=node)
