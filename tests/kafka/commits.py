"""Committed offsets, planted as an administrator."""

from __future__ import annotations

import time

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient


def commit(admin: AdminClient, group: str, *places: TopicPartition) -> None:
    """Until it is stored: the first commits of a cluster are refused while the coordinator's topic is made."""
    asked = [ConsumerGroupTopicPartitions(group, list(places))]
    while True:
        result = admin.alter_consumer_group_offsets(asked)[group].result()
        if all(item.error is None for item in result.topic_partitions) and len(stored(admin, group)) >= len(places):
            return
        time.sleep(0.1)


def stored(admin: AdminClient, group: str) -> list[tuple[str, int, int]]:
    """(topic, partition, offset) of each commit of a group."""
    found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result()
    return [(item.topic, item.partition, item.offset) for item in found.topic_partitions]
