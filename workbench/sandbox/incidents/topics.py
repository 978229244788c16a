"""Topics, offsets and groups of a scene: small administrative acts, each waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import confluent_kafka.admin
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from workbench.errors import SandboxError

HEARTBEAT_MS = 500
TIMEOUT_SECONDS = 20.0
# The library types this module, but does not export by name what it documents.
_kafka: Any = confluent_kafka.admin
_QUIET = logging.getLogger("workbench.sandbox.incidents")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


_COORDINATOR_COMES = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


def client_settings(bootstrap: str, **more: Any) -> dict[str, Any]:
    """Settings of every client here: its log lines are nobody's business, a fault is planted on purpose."""
    return {"bootstrap.servers": bootstrap, "logger": _QUIET, **more}


def admin(bootstrap: str) -> AdminClient:
    """An admin client; what it was asked fails when it is collected, so each caller keeps a name for it."""
    return AdminClient(client_settings(bootstrap))


def create(
    bootstrap: str, topic: str, partitions: int, config: Mapping[str, str] | None = None, replicas: int = -1
) -> None:
    """Makes a topic and waits until its partitions have leaders; -1 replicas: as many as the broker makes by default."""
    client = admin(bootstrap)
    future = client.create_topics([_kafka.NewTopic(topic, partitions, replicas, config=dict(config or {}))])[topic]
    _done(future, f"create topic {topic}")
    wait_until(lambda: _has_leaders(client, topic, partitions), f"leaders of {topic}")


def delete(bootstrap: str, topic: str) -> None:
    """Deletes a topic and waits until it is gone."""
    client = admin(bootstrap)
    _done(client.delete_topics([topic])[topic], f"delete topic {topic}")
    wait_until(lambda: topic not in client.list_topics(timeout=TIMEOUT_SECONDS).topics, f"{topic} is gone")


def committed(bootstrap: str, group: str) -> dict[int, int]:
    """Partition -> offset that a group has committed there, on all of its topics; nothing where it has none."""
    client = admin(bootstrap)
    request = ConsumerGroupTopicPartitions(group)
    found = _done(client.list_consumer_group_offsets([request])[group], f"list offsets of {group}")
    return {place.partition: place.offset for place in found.topic_partitions if place.offset >= 0}


def add_partition(bootstrap: str, topic: str, partitions: int) -> None:
    """Gives a topic one partition more: that many in all."""
    client = admin(bootstrap)
    _done(client.create_partitions([_kafka.NewPartitions(topic, partitions)])[topic], f"add a partition to {topic}")
    wait_until(lambda: _has_leaders(client, topic, partitions), f"leaders of {topic}")


def configure(bootstrap: str, topic: str, **config: str) -> None:
    """Sets configs of a topic; dots are written as underscores."""
    entries = [
        _kafka.ConfigEntry(name.replace("_", "."), value, incremental_operation=_kafka.AlterConfigOpType.SET)
        for name, value in config.items()
    ]
    resource = _kafka.ConfigResource(_kafka.ResourceType.TOPIC, topic, incremental_configs=entries)
    client = admin(bootstrap)
    _done(client.incremental_alter_configs([resource])[resource], f"configure {topic}")


@contextmanager
def with_setting(bootstrap: str, name: str, value: str) -> Iterator[None]:
    """Sets a dynamic setting of the sandbox's one broker, and takes it back."""
    client = admin(bootstrap)
    broker = str(next(iter(client.list_topics(timeout=TIMEOUT_SECONDS).brokers)))
    for kind, text in ((_kafka.AlterConfigOpType.SET, value), (_kafka.AlterConfigOpType.DELETE, "")):
        entry = _kafka.ConfigEntry(name, text, incremental_operation=kind)
        resource = _kafka.ConfigResource(_kafka.ResourceType.BROKER, broker, incremental_configs=[entry])
        _done(client.incremental_alter_configs([resource])[resource], f"configure {name}")
        if kind is _kafka.AlterConfigOpType.SET:
            time.sleep(1.0)  # brokers take it over from the metadata log
            yield


def delete_records(bootstrap: str, topic: str, before: Mapping[int, int]) -> None:
    """Deletes the records below the given offsets: partition -> first offset that stays."""
    spots = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
    client = admin(bootstrap)
    for future in client.delete_records(spots).values():
        _done(future, f"delete records of {topic}")


def log_starts(bootstrap: str, topic: str) -> dict[int, int]:
    """Partition -> log start offset."""
    return _offsets(bootstrap, topic, _kafka.OffsetSpec.earliest())


def ends(bootstrap: str, topic: str, *, committed: bool = False) -> dict[int, int]:
    """Partition -> high watermark, or last stable offset with ``committed``."""
    return _offsets(bootstrap, topic, _kafka.OffsetSpec.latest(), committed=committed)


def commit(bootstrap: str, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """Sets a group's offsets from outside; the group must have no members."""
    spots = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
    request = ConsumerGroupTopicPartitions(group, spots)
    client = admin(bootstrap)

    def stored() -> bool:
        """The first commits of a cluster are refused, a partition each, while the coordinator's topic is made."""
        found = _done(client.alter_consumer_group_offsets([request])[group], f"alter offsets of {group}")
        return all(place.error is None for place in found.topic_partitions)

    wait_until(stored, f"offsets of {group} are stored")


def leaders(bootstrap: str, topic: str) -> dict[int, int]:
    """Partition -> the broker that leads it; -1: none does."""
    found = admin(bootstrap).list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions
    return {number: partition.leader for number, partition in found.items()}


def replicas(bootstrap: str, topic: str) -> dict[int, list[int]]:
    """Partition -> the brokers that hold it, the one that leads now first."""
    found = admin(bootstrap).list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions
    return {number: sorted(part.replicas, key=lambda node: node != part.leader) for number, part in found.items()}


def all_in_sync(bootstrap: str) -> bool:
    """Whether every partition of every topic has a leader and all its replicas in sync."""
    found = admin(bootstrap).list_topics(timeout=TIMEOUT_SECONDS).topics.values()
    parts = [partition for topic in found for partition in topic.partitions.values()]
    return all(part.leader >= 0 and sorted(part.isrs) == sorted(part.replicas) for part in parts)


def coordinator(bootstrap: str, group: str) -> int:
    """The broker that coordinates a group."""
    return int(_described(bootstrap, group).coordinator.id)


def commits(bootstrap: str, group: str) -> dict[int, int]:
    """Partition -> committed offset, of a group that reads one topic; none where it has committed nothing."""
    client = admin(bootstrap)
    found = _done(
        client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group], f"offsets of {group}"
    )
    return {place.partition: place.offset for place in found.topic_partitions if place.offset >= 0}


def members(bootstrap: str, group: str) -> int:
    """How many members a group has; 0 while there is no such group."""
    return len(_described(bootstrap, group).members)


def delete_group(bootstrap: str, group: str) -> None:
    """Deletes a group that has no members."""
    client = admin(bootstrap)
    _done(client.delete_consumer_groups([group])[group], f"delete {group}")


def short_session_ms(bootstrap: str) -> int:
    """A short session timeout that the broker allows its members: six times their heartbeat, so that none is lost by a pause."""
    return max(int(broker_setting(bootstrap, "group.min.session.timeout.ms")), 6 * HEARTBEAT_MS)


def broker_setting(bootstrap: str, name: str) -> str:
    """A setting of the first broker that is known."""
    client = admin(bootstrap)
    broker = next(iter(client.list_topics(timeout=TIMEOUT_SECONDS).brokers))
    resource = _kafka.ConfigResource(_kafka.ResourceType.BROKER, str(broker))
    config = _done(client.describe_configs([resource])[resource], "describe the broker")
    return str(config[name].value)


def wait_until(true: Callable[[], bool], what: str, seconds: float = 40.0) -> None:
    """Waits for a condition.

    Raises:
        SandboxError: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise SandboxError(f"The broker did not get to this in {seconds:.0f} s: {what}.", hint="Read its log.")
        time.sleep(0.1)


def _described(bootstrap: str, group: str) -> Any:
    """A group as its coordinator describes it, once there is one: on a fresh broker it is only being made."""
    client, deadline = admin(bootstrap), time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            return client.describe_consumer_groups([group])[group].result(timeout=TIMEOUT_SECONDS)
        except (KafkaException, TimeoutError) as error:
            if not _passes(error) or time.monotonic() > deadline:
                raise SandboxError(f"The broker would not describe {group}: {error}.", hint="Read its log.") from error
        time.sleep(0.1)


def _passes(error: Exception) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _COORDINATOR_COMES


def _offsets(bootstrap: str, topic: str, spec: Any, *, committed: bool = False) -> dict[int, int]:
    client = admin(bootstrap)
    partitions = client.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    asked = {TopicPartition(topic, partition): spec for partition in partitions}
    found = client.list_offsets(asked, isolation_level=level)
    return {spot.partition: int(_done(future, f"offsets of {topic}").offset) for spot, future in found.items()}


def _has_leaders(client: AdminClient, topic: str, partitions: int) -> bool:
    found = client.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions
    return len(found) == partitions and all(partition.leader >= 0 for partition in found.values())


def _done(future: Any, what: str) -> Any:
    try:
        return future.result(timeout=TIMEOUT_SECONDS)
    except (KafkaException, TimeoutError) as error:
        raise SandboxError(f"The broker would not {what}: {error}.", hint="Read its log.") from error
