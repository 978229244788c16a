"""The topics that copies go to: what they are now, who reads them, and whether they may be written to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import AccessDenied, SourceError
from workbench.problems.draft import OWN_GROUPS
from workbench.redrive.plan import PREFIX, Topic

if TYPE_CHECKING:
    from workbench.sources import Cluster

PROGRESS_TOPIC = PREFIX + "progress"


@dataclass(frozen=True)
class Target:
    """A target as it is now.

    Attributes:
        name: the topic.
        topic_id: null before Kafka 2.8.
        ends: partition -> last stable offset; one for each partition.
        largest_bytes: the largest batch that it takes; null when its settings may not be read.
        compacted: its policy has ``compact``; null when not known.
    """

    name: str
    topic_id: str | None
    ends: Mapping[int, int]
    largest_bytes: int | None
    compacted: bool | None

    @property
    def partitions(self) -> int:
        """How many partitions it has."""
        return len(self.ends)

    def planned(self) -> Topic:
        """The target as a plan keeps it."""
        return Topic(self.topic_id, self.ends)


@dataclass(frozen=True)
class Readers:
    """Who reads the targets.

    Attributes:
        committed: (group, topic, partition) -> offset; the workbench's own groups are left out.
        unknown: why there may be more; empty when there are not.
    """

    committed: Mapping[tuple[str, str, int], int]
    unknown: str

    def groups(self, topic: str) -> list[str]:
        """The groups that have read a topic, by name."""
        return sorted({group for group, name, _ in self.committed if name == topic})


def usable(name: str | None, dead_letters: Collection[str]) -> bool:
    """Whether a topic that a message names may be a target: names in headers are anybody's."""
    return bool(name) and not str(name).startswith(("__", PREFIX)) and name not in dead_letters


def targets_of(cluster: Cluster, names: Iterable[str]) -> dict[str, Target]:
    """The targets that exist; the others are left out.

    Raises:
        SourceError: the cluster does not answer.

    Reads: Metadata, ListOffsets, DescribeConfigs.
    """
    wanted = sorted(set(names))
    if not wanted:
        return {}
    ids = {row["topic"]: row["topic_id"] for row in cluster.topics(wanted).rows()}
    found = [name for name in wanted if name in ids]
    ends: dict[str, dict[int, int]] = {name: {} for name in found}
    for row in cluster.offsets(found, sizes=False).rows() if found else ():
        if row["last_stable_offset"] is not None:
            ends[row["topic"]][row["partition"]] = row["last_stable_offset"]
    configs: dict[str, dict[str, str | None]] = {name: {} for name in found}
    for row in cluster.topic_configs(found).rows() if found else ():
        configs[row["topic"]][row["name"]] = row["value"]
    return {name: _target(name, ids[name], ends[name], configs[name]) for name in found if ends[name]}


def _target(name: str, topic_id: str | None, ends: Mapping[int, int], configs: Mapping[str, Any]) -> Target:
    largest, policy = configs.get("max.message.bytes"), configs.get("cleanup.policy")
    return Target(
        name, topic_id, ends, int(largest) if largest else None, None if policy is None else "compact" in policy
    )


def readers_of(cluster: Cluster, names: Sequence[str]) -> Readers:
    """The consumer groups with commits on topics, and where they are.

    Reads: ListGroups, OffsetFetch.
    """
    if not names:
        return Readers({}, "")
    try:
        reading = cluster.groups_reading(names)
        groups = sorted({row["group"] for row in reading.rows() if not row["group"].startswith(OWN_GROUPS)})
        committed = cluster.committed(groups, names) if groups else None
    except SourceError as error:
        return Readers({}, str(error))
    rows = committed.rows() if committed else []
    offsets = {(row["group"], row["topic"], row["partition"]): row["committed_offset"] for row in rows}
    return Readers(offsets, reading.why_incomplete())


def require_write(cluster: Cluster, names: Sequence[str]) -> None:
    """Checks that topics may be written to, as far as the brokers tell it before anything is sent.

    Raises:
        AccessDenied: Write is not granted on one.

    Reads: DescribeTopics with authorised operations.
    """
    from workbench.sources.described import describe_topics

    found, _ = describe_topics(cluster.admin, names)
    for name, topic in found.items():
        allowed = topic.authorized_operations
        if allowed is not None and not {"WRITE", "ALL"} & {right.name for right in allowed}:
            raise AccessDenied(
                f"{cluster.bootstrap} denies Write on topic {name}; nothing was sent.",
                source="cluster",
                endpoint=cluster.bootstrap,
                hint=f"Ask for Write on topic {name}; the plan's output lists every grant that it needs.",
            )


def grants(plan_targets: Iterable[str], principal: str) -> list[str]:
    """The ``kafka-acls`` options that a run needs beyond reading."""
    who = f"--add --allow-principal {principal or 'User:NAME'}"
    prefixed = f"--resource-pattern-type prefixed {who}"
    return [
        *(f"{who} --operation Write --topic {name}" for name in sorted(set(plan_targets))),
        f"{prefixed} --operation Write --operation Describe --transactional-id {PREFIX}",
        f"{who} --operation Create --operation Write --operation Read --operation DescribeConfigs --topic {PROGRESS_TOPIC}",
    ]
