"""Consumer groups: state, members, assignments and committed offsets, all groups at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
from confluent_kafka import ConsumerGroupState, ConsumerGroupType

from workbench.errors import SourceUnavailable
from workbench.sources.admin import Admin
from workbench.sources.answer import Answer, answer
from workbench.sources.mapping import reason
from workbench.sources.offset_fetch import Fetched, fetch_commits, fetch_with_consumers
from workbench.sources.topics import describe

COMMITTED_SCHEMA = pa.schema(
    [("group", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("committed_offset", pa.int64()),
     ("leader_epoch", pa.int32()), ("metadata", pa.string())]
)  # fmt: skip
GROUPS_SCHEMA = pa.schema(
    [("group", pa.string()), ("state", pa.string()), ("type", pa.string()), ("protocol", pa.string()),
     ("coordinator", pa.int32()), ("member_count", pa.int32())]
)  # fmt: skip
MEMBERS_SCHEMA = pa.schema(
    [("group", pa.string()), ("member_id", pa.string()), ("client_id", pa.string()), ("host", pa.string()),
     ("group_instance_id", pa.string()), ("topic", pa.string()), ("partition", pa.int32())]
)  # fmt: skip
# Connects kafka-python's admin client.
PythonAdmin = Callable[[], AbstractContextManager[Any]]

READING_SCHEMA = pa.schema([("group", pa.string()), ("topic", pa.string()), ("partitions", pa.int32())])

# librdkafka knows no Assigning and Reconciling yet: it says UNKNOWN, and the listing of the other client is taken.
_STATES = {
    ConsumerGroupState.UNKNOWN: "Unknown",
    ConsumerGroupState.PREPARING_REBALANCING: "PreparingRebalance",
    ConsumerGroupState.COMPLETING_REBALANCING: "CompletingRebalance",
    ConsumerGroupState.STABLE: "Stable",
    ConsumerGroupState.DEAD: "Dead",
    ConsumerGroupState.EMPTY: "Empty",
}
_TYPES = {ConsumerGroupType.CLASSIC: "classic", ConsumerGroupType.CONSUMER: "consumer"}


def committed(admin: Admin, client: PythonAdmin, groups: Sequence[str], topics: Sequence[str] | None) -> Answer:
    """The table of ``Cluster.committed``."""
    # Naming the partitions makes the broker say "denied"; asked for everything, it hides what it denies.
    places, failures = (None, {}) if topics is None else _places(admin, topics)
    if places == [] or not groups:
        return answer(COMMITTED_SCHEMA, [], failures)
    found = _fetched(admin, client, list(dict.fromkeys(groups)), places)
    failures |= {group: reason(error, "Describe", f"group {group}") for group, error in found.group_errors.items()}
    failures |= {topic: reason(error, "Describe", f"topic {topic}") for topic, error in found.topic_errors.items()}
    rows = [
        (group, item.topic, item.partition, item.offset, _epoch(item.leader_epoch), _metadata(item.metadata))
        for group, commits in sorted(found.commits.items())
        for item in sorted(commits, key=lambda item: (item.topic, item.partition))
    ]
    return answer(COMMITTED_SCHEMA, rows, failures)


def _fetched(admin: Admin, client: PythonAdmin, groups: Sequence[str], places: list[tuple[str, int]] | None) -> Fetched:
    try:
        if admin.has_controller:
            with client() as python:
                return fetch_commits(python, groups, places, admin.timeout_seconds)
    except SourceUnavailable:
        pass  # settings that only librdkafka takes, or a broker that only it understands
    if places is None:
        topics = admin.metadata().topics.values()
        places = [(topic.topic, number) for topic in topics for number in topic.partitions]
    return fetch_with_consumers(admin.reading_settings(), groups, places, admin.timeout_seconds)


def _places(admin: Admin, topics: Sequence[str]) -> tuple[list[tuple[str, int]], dict[str, str]]:
    found, failures = describe(admin, topics)
    return [(name, part.id) for name, topic in found.items() for part in topic.partitions], failures


def _epoch(epoch: int | None) -> int | None:
    return epoch if epoch is not None and epoch >= 0 else None


def _metadata(text: str | None) -> str:
    """The commit's text; confluent-kafka's commits store a NUL behind it."""
    return (text or "").removesuffix("\0")


def groups(admin: Admin, names: Sequence[str] | None, listed: Mapping[str, Mapping[str, str]], why: str) -> Answer:
    """The table of ``Cluster.groups``.

    Args:
        admin: the client.
        names: which groups; None is all.
        listed: group -> state and type by ListGroups, which alone knows share and streams groups.
        why: why ``listed`` may be incomplete; empty when it is not.
    """
    wanted = sorted(listed) if names is None else list(dict.fromkeys(names))
    plain = [name for name in wanted if listed.get(name, {}).get("type", "classic") in {"classic", "consumer"}]
    described, failures = _described(admin, plain)
    if why and names is None:
        failures["groups"] = why
    rows: list[tuple[Any, ...]] = []
    for name in wanted:
        row = _group_row(name, described.get(name), listed.get(name))
        if row:
            rows.append(row)
        else:
            failures.setdefault(name, f"not known ({why})" if why else f"group {name} does not exist")
    return answer(GROUPS_SCHEMA, rows, failures)


def _group_row(name: str, group: Any, listed: Mapping[str, str] | None) -> tuple[Any, ...] | None:
    if group is None or (listed is None and group.state is ConsumerGroupState.DEAD):
        return (name, listed["state"], listed["type"], None, None, None) if listed else None
    state = _STATES[group.state]
    if state == "Unknown" and listed:
        state = listed["state"]
    coordinator = group.coordinator.id if group.coordinator else None
    return name, state, _TYPES.get(group.type, "classic"), group.partition_assignor, coordinator, len(group.members)


def _described(admin: Admin, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    if not names:
        return {}, {}
    found, errors = admin.each(admin.call("describe_consumer_groups", list(names)))
    return found, {name: reason(error, "Describe", f"group {name}") for name, error in errors.items()}


def names_and_types(admin: Admin) -> tuple[dict[str, dict[str, str]], str]:
    """(group -> state and type of classic and consumer groups, why the list may be incomplete)."""
    if not admin.has_controller:
        return {}, "ListGroups is not offered by a cluster without a controller"
    asked = admin.call("list_consumer_groups")
    rights = admin.call("describe_cluster", include_authorized_operations=True)
    result = admin.one(asked, "Describe", "the cluster")
    found = {
        item.group_id: {"state": _STATES[item.state], "type": _TYPES.get(item.type, "classic")} for item in result.valid
    }
    why = [reason(error, "ListGroups") for error in result.errors]
    # The listing itself never says that it left groups out.
    allowed, _ = admin.each({"": rights})
    if not allowed or "DESCRIBE" not in {right.name for right in allowed[""].authorized_operations or ()}:
        why.append("Describe on the cluster is not granted, so groups that may not be described are left out")
    return found, "; ".join(dict.fromkeys(why))


def members(admin: Admin, names: Sequence[str]) -> Answer:
    """The table of ``Cluster.members``."""
    found, failures = _described(admin, list(dict.fromkeys(names)))
    rows: list[tuple[Any, ...]] = []
    for name, group in sorted(found.items()):
        for member in sorted(group.members, key=lambda member: member.member_id):
            assigned = member.assignment.topic_partitions if member.assignment else []
            places = sorted((item.topic, item.partition) for item in assigned) or [(None, None)]
            who = (name, member.member_id, member.client_id, member.host, member.group_instance_id)
            rows.extend((*who, *place) for place in places)
    return answer(MEMBERS_SCHEMA, rows, failures)


def reading(commits: Answer) -> Answer:
    """The table of ``Cluster.groups_reading`` from committed offsets."""
    names, topics = (commits.table.column(name).to_pylist() for name in ("group", "topic"))
    counts = Counter(zip(names, topics, strict=True))
    return answer(READING_SCHEMA, ((*place, count) for place, count in sorted(counts.items())), commits.failures)
