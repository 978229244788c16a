"""Topics, their configs and offsets, each for all partitions in a handful of bulk requests."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka import admin as _untyped

from workbench.sources.admin import Admin
from workbench.sources.answer import Answer, answer
from workbench.sources.described import describe_topics
from workbench.sources.mapping import reason

TOPIC_CONFIGS = (
    "cleanup.policy", "retention.ms", "retention.bytes", "segment.ms", "segment.bytes", "min.insync.replicas",
    "max.message.bytes", "message.timestamp.type", "message.timestamp.before.max.ms", "message.timestamp.after.max.ms",
    "unclean.leader.election.enable", "compression.type", "delete.retention.ms", "min.compaction.lag.ms",
)  # fmt: skip
BROKER_CONFIGS = (
    "auto.create.topics.enable", "broker.rack", "default.replication.factor", "group.initial.rebalance.delay.ms",
    "group.consumer.session.timeout.ms",
    "group.max.session.timeout.ms", "log.retention.check.interval.ms", "message.max.bytes", "min.insync.replicas",
    "offsets.retention.minutes", "offsets.topic.replication.factor", "transaction.max.timeout.ms",
    "transactional.id.expiration.ms", "unclean.leader.election.enable",
)  # fmt: skip

PARTITIONS_SCHEMA = pa.schema(
    [("topic", pa.string()), ("topic_id", pa.string()), ("partition", pa.int32()), ("leader", pa.int32()),
     ("leader_epoch", pa.int32()), ("replicas", pa.list_(pa.int32())), ("isr", pa.list_(pa.int32()))]
)  # fmt: skip
TOPIC_CONFIGS_SCHEMA = pa.schema(
    [("topic", pa.string()), ("name", pa.string()), ("value", pa.string()), ("is_default", pa.bool_())]
)
BROKER_CONFIGS_SCHEMA = pa.schema([("broker", pa.int32()), ("name", pa.string()), ("value", pa.string())])
OFFSETS_SCHEMA = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("log_start_offset", pa.int64()),
     ("high_watermark", pa.int64()), ("last_stable_offset", pa.int64()), ("max_timestamp_ms", pa.int64()),
     ("log_size_bytes", pa.int64()), ("error", pa.string())]
)  # fmt: skip


client: Any = _untyped  # its re-exports are not part of its types

Place = tuple[str, int]  # topic, partition
Sizes = Callable[[Iterable[str]], tuple[Mapping[tuple[int | None, str, int], int], Mapping[str, str]]]


def describe(admin: Admin, names: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, str]]:
    """(topic -> librdkafka's description, topic -> why there is none)."""
    if names is None:
        names = sorted(admin.metadata().topics)
    found, errors = describe_topics(admin, names)
    return found, {name: reason(error, "Describe", f"topic {name}") for name, error in errors.items()}


def partitions(admin: Admin, names: Sequence[str] | None, include_internal: bool) -> Answer:
    """The table of ``Cluster.topics``."""
    found, failures = describe(admin, names)
    # Asked by name, an internal topic is meant; asked for all, the coordinators' own topics are in the way.
    wanted = {name: topic for name, topic in found.items() if names or include_internal or not topic.is_internal}
    places = [
        (name, part.id) for name, topic in wanted.items() for part in topic.partitions if _id(part.leader) is not None
    ]
    latest, _ = list_offsets(admin, places, client.OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
    rows = [
        (
            name,
            topic_id(topic.topic_id),
            part.id,
            _id(part.leader),
            latest[name, part.id].leader_epoch if (name, part.id) in latest else None,
            [node.id for node in part.replicas],
            [node.id for node in part.isr],
        )
        for name, topic in sorted(wanted.items())
        for part in sorted(topic.partitions, key=lambda part: part.id)
    ]
    return answer(PARTITIONS_SCHEMA, rows, failures)


def topic_id(uuid: Any) -> str | None:
    """A topic id as Kafka's own tools print it: base64 for URLs, without padding; null before Kafka 2.8."""
    if uuid is None:
        return None
    raw = uuid.get_most_significant_bits().to_bytes(8, "big", signed=True)
    raw += uuid.get_least_significant_bits().to_bytes(8, "big", signed=True)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=") if any(raw) else None


def _id(node: Any) -> int | None:
    return None if node is None or node.id < 0 else int(node.id)


def list_offsets(
    admin: Admin, places: Sequence[Place], spec: Any, isolation: Any
) -> tuple[dict[Place, Any], dict[Place, Any]]:
    """(place -> offset result, place -> error): one ListOffsets request a leader, whatever the number of partitions."""

    def ask(keys: list[Place]) -> dict[Place, Any]:
        wanted = {TopicPartition(*place): spec for place in keys}
        futures = admin.call("list_offsets", wanted, isolation_level=isolation)
        return {(item.topic, item.partition): future for item, future in futures.items()}

    return admin.settled(ask, list(places))


def offsets(admin: Admin, names: Sequence[str], sizes: Sizes | None) -> Answer:
    """The table of ``Cluster.offsets``."""
    found, failures = describe(admin, names)
    leaders = {(name, part.id): _id(part.leader) for name, topic in found.items() for part in topic.partitions}
    places = sorted(leaders)
    uncommitted, committed = IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED
    # The end is asked first: a stable end that is then still below it means an open transaction, not a growing log.
    end, end_errors = list_offsets(admin, places, client.OffsetSpec.latest(), uncommitted)
    alive = [place for place in places if place in end]
    stable, stable_errors = list_offsets(admin, alive, client.OffsetSpec.latest(), committed)
    start, start_errors = list_offsets(admin, alive, client.OffsetSpec.earliest(), uncommitted)
    newest, newest_errors = list_offsets(admin, alive, client.OffsetSpec.max_timestamp(), uncommitted)
    on_disk, size_failures = sizes(found) if sizes and alive else ({}, {})
    errors = {**newest_errors, **start_errors, **stable_errors, **end_errors}
    rows = [
        (
            *place,
            _offset(start, place),
            _offset(end, place),
            min(stable[place].offset, end[place].offset) if place in stable else None,
            newest[place].timestamp if place in newest and newest[place].timestamp >= 0 else None,
            on_disk.get((leaders[place], *place)),
            reason(errors[place], "Describe", f"topic {place[0]} partition {place[1]}") if place in errors else None,
        )
        for place in places
    ]
    return answer(OFFSETS_SCHEMA, rows, {**failures, **size_failures})


def _offset(results: Mapping[Place, Any], place: Place) -> int | None:
    return results[place].offset if place in results else None


def topic_configs(admin: Admin, names: Sequence[str], wanted: Sequence[str] = TOPIC_CONFIGS) -> Answer:
    """The table of ``Cluster.topic_configs``."""
    found, failures = _configs(admin, client.ConfigResource.Type.TOPIC, names, "topic")
    rows = [
        (name, key, entry.value, entry.is_default)
        for name, entries in sorted(found.items())
        for key, entry in sorted(entries.items())
        if key in wanted
    ]
    return answer(TOPIC_CONFIGS_SCHEMA, rows, failures)


def broker_configs(admin: Admin, brokers: Sequence[int], wanted: Sequence[str] = BROKER_CONFIGS) -> Answer:
    """The table of ``Cluster.broker_configs``."""
    found, failures = _configs(admin, client.ConfigResource.Type.BROKER, [str(broker) for broker in brokers], "broker")
    rows = [
        (int(name), key, entry.value)
        for name, entries in sorted(found.items(), key=lambda item: int(item[0]))
        for key, entry in sorted(entries.items())
        if key in wanted and not entry.is_sensitive
    ]
    return answer(BROKER_CONFIGS_SCHEMA, rows, failures)


def _configs(admin: Admin, kind: Any, names: Sequence[str], word: str) -> tuple[dict[str, Any], dict[str, str]]:
    if not names:
        return {}, {}
    if not admin.has_controller:
        return {}, dict.fromkeys(names, "DescribeConfigs has no controller to ask")
    resources = [client.ConfigResource(kind, name) for name in dict.fromkeys(names)]
    asked = admin.call("describe_configs", resources)
    found, errors = admin.each({resource.name: future for resource, future in asked.items()})
    for entries in found.values():
        for entry in entries.values():
            entry.is_default = entry.source == client.ConfigSource.DEFAULT_CONFIG.value
    return found, {name: reason(error, "DescribeConfigs", f"{word} {name}") for name, error in errors.items()}
