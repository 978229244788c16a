"""Topics as librdkafka describes them; from plain metadata where no controller can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, TopicCollection

from workbench.sources.admin import Admin


@dataclass(frozen=True)
class _Node:
    id: int


@dataclass(frozen=True)
class _Partition:
    id: int
    leader: _Node
    replicas: list[_Node]
    isr: list[_Node]


@dataclass(frozen=True)
class _Topic:
    """The part of librdkafka's TopicDescription that metadata can fill."""

    partitions: list[_Partition]
    is_internal: bool
    topic_id: None = None
    authorized_operations: None = None


def describe_topics(admin: Admin, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(topic -> description, topic -> error, for ``mapping``); names that do not exist are not made by asking.

    Reads: DescribeTopics with authorised operations; Metadata of all topics where there is no controller.
    """
    names = list(dict.fromkeys(names))
    if not names:
        return {}, {}
    if admin.has_controller:
        return admin.each(admin.call("describe_topics", TopicCollection(names), include_authorized_operations=True))
    known = admin.metadata().topics
    missing = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    return {name: _of(name, known[name]) for name in names if name in known}, {
        name: missing for name in names if name not in known
    }


def _of(name: str, topic: Any) -> _Topic:
    parts = [
        _Partition(
            part.id, _Node(part.leader), [_Node(one) for one in part.replicas], [_Node(one) for one in part.isrs]
        )
        for part in topic.partitions.values()
    ]
    return _Topic(parts, name.startswith("__"))
