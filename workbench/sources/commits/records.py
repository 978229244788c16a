"""Records of ``__consumer_offsets``: pure functions over key and value, by their type and version.

Field lists: the JSON schemas in Kafka's group coordinator (OffsetCommit, GroupMetadata, ConsumerGroup*). A version that is not
known, or bytes that do not fit theirs, become an ``Unknown``, never an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from workbench.sources.commits.fields import Damaged, Fields

OFFSET_COMMIT = frozenset({0, 1})
CLASSIC_GROUP, GROUP_EPOCH, MEMBER, TARGET, TARGET_MEMBER, CURRENT = 2, 3, 5, 6, 7, 8
LATEST_OFFSET_COMMIT, LATEST_CLASSIC_GROUP, LATEST_MEMBER, LATEST_CURRENT = 4, 4, 0, 0


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed offset; ``offset`` is None where it was removed (deleted, expired, or its topic was deleted)."""

    group: str
    topic: str
    partition: int
    offset: int | None = None
    leader_epoch: int | None = None
    metadata: str | None = None
    commit_ms: int | None = None
    topic_id: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group as its coordinator wrote it down."""

    member_id: str
    client_id: str | None = None
    client_host: str | None = None
    instance_id: str | None = None
    session_timeout_ms: int | None = None
    rebalance_timeout_ms: int | None = None
    assignment: tuple[tuple[str, tuple[int, ...]], ...] = ()
    subscribed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """A completed generation of a classic group; without members the group is empty."""

    group: str
    generation: int
    protocol: str | None = None
    state_ms: int | None = None
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupRemoved:
    """The group itself was removed: deleted, or expired."""

    group: str


@dataclass(frozen=True, slots=True)
class Epoch:
    """A new epoch of a KIP-848 group; None where it was removed."""

    group: str
    epoch: int | None


@dataclass(frozen=True, slots=True)
class Joined:
    """A member of a KIP-848 group joined or changed; ``member.client_id`` is None where ``left``."""

    group: str
    member: Member
    left: bool = False


@dataclass(frozen=True, slots=True)
class Assigned:
    """What a member of a KIP-848 group holds now: topic ids with their partitions."""

    group: str
    member_id: str
    assignment: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Unknown:
    """A record that was not understood, and why."""

    group: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Other:
    """A record of the group that tells nothing here (targets, assignments in progress, share groups)."""

    group: str | None = field(default=None)


Event = Commit | Generation | GroupRemoved | Epoch | Joined | Assigned | Unknown | Other


def group_of(key: bytes | None) -> str | None:
    """The group that a record is about; None where its key is not understood."""
    try:
        fields = Fields(key or b"")
        fields.int16()
        return fields.text()
    except Damaged:
        return None


def decoded(key: bytes | None, value: bytes | None) -> Event:
    """What a record says."""
    group = group_of(key)
    try:
        fields = Fields(key or b"")
        kind = fields.int16()
        group = fields.text()
        return _decoded(kind, group or "", fields, value)
    except Damaged as error:
        return Unknown(group, str(error))


def _decoded(kind: int, group: str, key: Fields, value: bytes | None) -> Event:
    if kind in OFFSET_COMMIT:
        topic, partition = key.text() or "", key.int32()
        return _commit(group, topic, partition, value)
    if kind == CLASSIC_GROUP:
        return GroupRemoved(group) if value is None else _generation(group, value)
    if kind == GROUP_EPOCH:
        return Epoch(group, None) if value is None else _epoch(group, value)
    if kind == MEMBER:
        return _joined(group, key.text() or "", value)
    if kind == CURRENT and value is not None:
        return _assigned(group, key.text() or "", value)
    return Other(group)


def _versioned(value: bytes, latest: int, flexible_from: int) -> tuple[int, Fields]:
    fields = Fields(value)
    version = fields.int16()
    if not 0 <= version <= latest:
        raise Damaged(f"unknown version {version}")
    fields.flexible = version >= flexible_from
    return version, fields


def _commit(group: str, topic: str, partition: int, value: bytes | None) -> Commit:
    if value is None:
        return Commit(group, topic, partition)
    version, fields = _versioned(value, LATEST_OFFSET_COMMIT, flexible_from=4)
    offset = fields.int64()
    epoch = fields.int32() if version >= 3 else -1
    metadata, at = fields.text(), fields.int64()
    if version == 1:
        fields.int64()  # when it expires: brokers of old
    topic_id = fields.tagged({0: Fields.uuid}).get(0)
    # librdkafka through Python ends metadata with a NUL.
    return Commit(group, topic, partition, offset, epoch, (metadata or "").rstrip("\0"), at, topic_id)


def _generation(group: str, value: bytes) -> Generation:
    version, fields = _versioned(value, LATEST_CLASSIC_GROUP, flexible_from=4)
    protocol_type = fields.text()
    generation = fields.int32()
    protocol, _leader = fields.text(), fields.text()
    at = fields.int64() if version >= 2 else None
    members = fields.array(lambda inner: _classic_member(inner, version, protocol_type == "consumer"))
    return Generation(group, generation, protocol, at, tuple(members))


def _classic_member(fields: Fields, version: int, consumer: bool) -> Member:
    member_id = fields.text() or ""
    instance = fields.text() if version >= 3 else None
    client, host = fields.text(), fields.text()
    rebalance = fields.int32() if version >= 1 else None
    session = fields.int32()
    subscription, assignment = fields.blob(), fields.blob()
    fields.tagged({})
    assigned = _assignment(assignment) if consumer and assignment else ()
    subscribed = _subscription(subscription) if consumer and subscription else ()
    return Member(member_id, client, host, instance, session, rebalance, assigned, subscribed)


def _subscription(data: bytes) -> tuple[str, ...]:
    """ConsumerProtocolSubscription: its topics; nothing where a client of its own kind wrote something else."""
    try:
        fields = Fields(data)
        fields.int16()
        return tuple(topic or "" for topic in fields.array(Fields.text))
    except Damaged:
        return ()


def _assignment(data: bytes) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """ConsumerProtocolAssignment: topic -> partitions; nothing where a client of its own kind wrote something else."""
    try:
        fields = Fields(data)
        fields.int16()
        return tuple(fields.array(lambda inner: (inner.text() or "", tuple(inner.array(Fields.int32)))))
    except Damaged:
        return ()


def _epoch(group: str, value: bytes) -> Epoch:
    _, fields = _versioned(value, 0, flexible_from=0)
    return Epoch(group, fields.int32())


def _joined(group: str, member_id: str, value: bytes | None) -> Joined:
    if value is None:
        return Joined(group, Member(member_id), left=True)
    _, fields = _versioned(value, LATEST_MEMBER, flexible_from=0)
    instance, _rack = fields.text(), fields.text()
    client, host = fields.text(), fields.text()
    subscribed = tuple(topic or "" for topic in fields.array(Fields.text))
    fields.text()  # its pattern of topics
    rebalance = fields.int32()
    return Joined(group, Member(member_id, client, host, instance, None, rebalance, subscribed=subscribed))


def _assigned(group: str, member_id: str, value: bytes) -> Assigned:
    _, fields = _versioned(value, LATEST_CURRENT, flexible_from=0)
    fields.int32()  # its epoch
    fields.int32()  # the one before
    fields.int8()  # whether it still gives partitions back
    return Assigned(group, member_id, tuple(fields.array(_partitions)))


def _partitions(fields: Fields) -> tuple[str, tuple[int, ...]]:
    found = fields.uuid(), tuple(fields.array(Fields.int32))
    fields.tagged({})
    return found
