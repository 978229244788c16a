"""Committed offsets of groups: all groups of one coordinator in one request.

Through kafka-python. Where a coordinator has moved or still loads, librdkafka's admin call ends the whole process (its issue
5040), and a look at a cluster must survive exactly such moments. Where kafka-python cannot connect, consumers of librdkafka
ask, one a group; they never join.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_SETTLING = {14, 15, 16}  # COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
_PAUSE_SECONDS = 0.25
_GROUPS_A_REQUEST = 200  # an answer of all partitions of many groups stays far below what a client takes
_MANY_GROUPS_VERSION = 8  # KIP-709
_MANY_KEYS_VERSION = 4  # KIP-699

Places = Sequence[tuple[str, int]] | None


class Commit(NamedTuple):
    """A group's committed offset on a partition."""

    topic: str
    partition: int
    offset: int
    leader_epoch: int | None
    metadata: str | None


@dataclass
class Fetched:
    """What the coordinators said.

    Attributes:
        commits: group -> its commits.
        group_errors: group -> the client's exception, for ``mapping.reason``.
        topic_errors: topic -> the same.
    """

    commits: dict[str, list[Commit]] = field(default_factory=dict)
    group_errors: dict[str, Exception] = field(default_factory=dict)
    topic_errors: dict[str, Exception] = field(default_factory=dict)


def fetch_commits(admin: Any, groups: Sequence[str], places: Places, seconds: float) -> Fetched:
    """Asks for the commits of groups; again, until the deadline, where a coordinator is not there yet.

    Args:
        admin: a connected ``kafka.KafkaAdminClient``.
        groups: their names, each once.
        places: topic and partition; None is all that a group committed and this principal may describe.
        seconds: after this a group whose coordinator does not answer is an error.

    Reads: FindCoordinator, OffsetFetch.
    """
    found, deadline = Fetched(), time.monotonic() + seconds
    manager = admin._manager  # noqa: SLF001 - the client's own call gives up a whole answer for one error in it
    left = list(groups)
    while left:
        manager.run(_round, manager, left, places, found)
        left = [name for name, error in found.group_errors.items() if getattr(error, "errno", 0) in _SETTLING]
        if left and time.monotonic() + _PAUSE_SECONDS > deadline:
            break
        time.sleep(_PAUSE_SECONDS if left else 0)
    return found


def fetch_with_consumers(
    settings: Mapping[str, Any], groups: Sequence[str], places: Sequence[tuple[str, int]], seconds: float
) -> Fetched:
    """The same by one consumer a group, which neither subscribes nor commits.

    Args:
        settings: librdkafka's, of a consumer that only reads.
        groups: their names.
        places: topic and partition.
        seconds: for each group.

    Reads: FindCoordinator, OffsetFetch.
    """
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    found = Fetched()
    for group in groups:
        consumer = Consumer({**settings, "group.id": group})
        try:
            answered = consumer.committed([TopicPartition(*place) for place in places], timeout=seconds)
        except KafkaException as error:
            found.group_errors[group] = error
            continue
        finally:
            consumer.close()
        rows = found.commits.setdefault(group, [])
        for item in answered:
            if item.error is not None:
                found.topic_errors[item.topic] = KafkaException(item.error)
            elif item.offset >= 0:
                rows.append(Commit(item.topic, item.partition, item.offset, item.leader_epoch, item.metadata))
    return found


async def _round(manager: Any, groups: Sequence[str], places: Places, found: Fetched) -> None:
    for name in groups:
        found.group_errors.pop(name, None)
    by_coordinator: dict[int, list[str]] = defaultdict(list)
    for name, coordinator in (await _coordinators(manager, groups)).items():
        if isinstance(coordinator, Exception):
            found.group_errors[name] = coordinator
        else:
            by_coordinator[coordinator].append(name)
    for node, names in by_coordinator.items():
        for asked, request in _requests(manager, names, places):
            try:
                response = await manager.send(request, node_id=node)
            except Exception as error:  # noqa: BLE001 - the library's own; what they mean is judged by code
                found.group_errors |= dict.fromkeys(asked, error)
            else:
                _take(response, asked, found)


async def _coordinators(manager: Any, groups: Sequence[str]) -> dict[str, int | Exception]:
    """Group -> the node that coordinates it now, asked anew each time: what is remembered may have moved."""
    from kafka.protocol.metadata import CoordinatorType, FindCoordinatorRequest

    out: dict[str, int | Exception] = {}
    many = manager.broker_version_data.api_version(FindCoordinatorRequest) >= _MANY_KEYS_VERSION
    group = CoordinatorType.GROUP
    requests = (
        [FindCoordinatorRequest(key_type=group.value, coordinator_keys=list(groups), min_version=_MANY_KEYS_VERSION)]
        if many
        else [
            FindCoordinatorRequest(key=name, key_type=group.value, max_version=_MANY_KEYS_VERSION - 1)
            for name in groups
        ]
    )
    for number, request in enumerate(requests):
        asked = list(groups) if many else [groups[number]]
        try:
            answered = await manager.send(request)
            for row in answered.coordinators if many else [answered]:
                out[row.key if many else asked[0]] = _known(manager.cluster, row, group, row.key if many else asked[0])
        except Exception as error:  # noqa: BLE001 - as above
            out |= dict.fromkeys(asked, error)
    return out


def _known(cluster: Any, row: Any, kind: Any, key: str) -> int | Exception:
    try:
        return int(cluster.add_coordinator(row, kind, key, synthesize_node_id=False))
    except Exception as error:  # noqa: BLE001 - the answer's own error code as an exception
        return error


def _requests(manager: Any, groups: Sequence[str], places: Places) -> Iterator[tuple[Sequence[str], Any]]:
    """(groups, the request for them): many in one where the broker takes it."""
    from kafka.protocol.consumer import OffsetFetchRequest

    if manager.broker_version_data.api_version(OffsetFetchRequest) < _MANY_GROUPS_VERSION:
        topics = _topics(OffsetFetchRequest.OffsetFetchRequestTopic, places)
        for name in groups:
            yield [name], OffsetFetchRequest(group_id=name, topics=topics, min_version=2, max_version=7)
        return
    one = OffsetFetchRequest.OffsetFetchRequestGroup
    topics = _topics(one.OffsetFetchRequestTopics, places)
    for start in range(0, len(groups), _GROUPS_A_REQUEST):
        names = groups[start : start + _GROUPS_A_REQUEST]
        wanted = [one(group_id=name, topics=topics) for name in names]
        # Later versions name topics by id.
        yield (
            names,
            OffsetFetchRequest(groups=wanted, min_version=_MANY_GROUPS_VERSION, max_version=_MANY_GROUPS_VERSION),
        )


def _topics(make: Any, places: Places) -> list[Any] | None:
    if places is None:
        return None
    partitions: dict[str, list[int]] = defaultdict(list)
    for topic, partition in places:
        partitions[topic].append(partition)
    return [make(name=name, partition_indexes=indexes) for name, indexes in partitions.items()]


def _take(response: Any, asked: Sequence[str], found: Fetched) -> None:
    from kafka.errors import for_code

    if response.API_VERSION < _MANY_GROUPS_VERSION:
        answers = [(asked[0], response)]
    else:
        answers = [(group.group_id, group) for group in response.groups]
    for name, group in answers:
        if group.error_code:
            found.group_errors[name] = for_code(group.error_code)()
            continue
        rows = found.commits.setdefault(name, [])
        for topic in group.topics:
            for part in topic.partitions:
                if part.error_code:
                    found.topic_errors[topic.name] = for_code(part.error_code)()
                elif part.committed_offset >= 0:
                    rows.append(
                        Commit(
                            topic.name,
                            part.partition_index,
                            part.committed_offset,
                            part.committed_leader_epoch,
                            part.metadata,
                        )
                    )
