"""From decoded records to the three tables of a group's history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from workbench.sources.commits.records import (
    Assigned,
    Commit,
    Epoch,
    Event,
    Generation,
    GroupRemoved,
    Joined,
    Member,
    Unknown,
)
from workbench.tables import table_of

COMMITS = pa.schema(
    [
        ("log_offset", pa.int64()), ("at_ms", pa.int64()), ("group", pa.string()), ("topic", pa.string()),
        ("topic_id", pa.string()), ("partition", pa.int32()), ("committed_offset", pa.int64()),
        ("leader_epoch", pa.int32()), ("removed", pa.bool_()), ("members", pa.int32()), ("generation", pa.int32()),
    ]
)  # fmt: skip
GENERATIONS = pa.schema(
    [
        ("log_offset", pa.int64()), ("at_ms", pa.int64()), ("group", pa.string()), ("generation", pa.int32()),
        ("protocol", pa.string()), ("members", pa.int32()), ("joined", pa.int32()), ("left", pa.int32()),
        ("removed", pa.bool_()),
    ]
)  # fmt: skip
MEMBERS = pa.schema(
    [
        ("log_offset", pa.int64()), ("at_ms", pa.int64()), ("group", pa.string()), ("generation", pa.int32()),
        ("member_id", pa.string()), ("client_id", pa.string()), ("client_host", pa.string()),
        ("session_timeout_ms", pa.int32()), ("topic", pa.string()), ("partitions", pa.list_(pa.int32())),
        ("rebalance_timeout_ms", pa.int32()), ("subscribed", pa.list_(pa.string())), ("instance_id", pa.string()),
    ]
)  # fmt: skip


@dataclass
class Rows:
    """The rows of one group while its records are read in order; ``names``: topic id -> topic, as far as known."""

    group: str
    commits: list[tuple[Any, ...]] = field(default_factory=list)
    generations: list[tuple[Any, ...]] = field(default_factory=list)
    members: list[tuple[Any, ...]] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    _present: dict[str, Member] | None = None
    _generation: int | None = None

    def add(self, log_offset: int, at_ms: int, event: Event) -> None:
        """Takes the next record."""
        match event:
            case Commit():
                self._commit(log_offset, at_ms, event)
            case Generation():
                self._change(
                    log_offset, at_ms, event.generation, {one.member_id: one for one in event.members}, event.protocol
                )
            case GroupRemoved():
                self._change(log_offset, at_ms, None, {}, None, removed=True)
            case Epoch():
                self._generation = event.epoch
                if event.epoch is None:
                    self._change(log_offset, at_ms, None, {}, None, removed=True)
            case Joined():
                self._joined(log_offset, at_ms, event)
            case Assigned():
                self._assigned(log_offset, at_ms, event)
            case Unknown():
                self.unknown[event.why] = self.unknown.get(event.why, 0) + 1

    def _commit(self, log_offset: int, at_ms: int, event: Commit) -> None:
        present = None if self._present is None else len(self._present)
        if event.topic_id:
            self.names.setdefault(event.topic_id, event.topic)
        self.commits.append(
            (log_offset, at_ms, event.group, event.topic, event.topic_id, event.partition, event.offset,
             event.leader_epoch, event.offset is None, present, self._generation)
        )  # fmt: skip

    def _joined(self, log_offset: int, at_ms: int, event: Joined) -> None:
        members = dict(self._present or {})
        if event.left:
            members.pop(event.member.member_id, None)
        else:
            held = members.get(event.member.member_id)
            members[event.member.member_id] = replace(event.member, assignment=held.assignment if held else ())
        self._change(log_offset, at_ms, self._generation, members, "consumer")

    def _change(
        self, log_offset: int, at_ms: int, generation: int | None, members: dict[str, Member], protocol: str | None,
        *, removed: bool = False,
    ) -> None:  # fmt: skip
        before = self._present
        joined = None if before is None else len(members.keys() - before.keys())
        left = None if before is None else len(before.keys() - members.keys())
        self._present, self._generation = members, generation
        self.generations.append(
            (log_offset, at_ms, self.group, generation, protocol, len(members), joined, left, removed)
        )
        for one in members.values():
            self._member(log_offset, at_ms, one)

    def _assigned(self, log_offset: int, at_ms: int, event: Assigned) -> None:
        """A member of a KIP-848 group got or gave back partitions, which needs no new epoch of the group."""
        present = self._present or {}
        member = replace(present.get(event.member_id, Member(event.member_id)), assignment=event.assignment)
        if self._present is not None and event.member_id in self._present:
            self._present = {**present, event.member_id: member}
        self._member(log_offset, at_ms, member)

    def _member(self, log_offset: int, at_ms: int, one: Member) -> None:
        for topic, partitions in one.assignment or (("", ()),):
            self.members.append(
                (log_offset, at_ms, self.group, self._generation, one.member_id, one.client_id, one.client_host,
                 one.session_timeout_ms, topic or None, list(partitions), one.rebalance_timeout_ms, list(one.subscribed),
                 one.instance_id)
            )  # fmt: skip

    def tables(self) -> dict[str, pa.Table]:
        """``commit_history``, ``generations``, ``group_members``; topic ids in assignments become names where known."""
        topic = MEMBERS.get_field_index("topic")
        named = [(*row[:topic], self.names.get(row[topic], row[topic]), *row[topic + 1 :]) for row in self.members]
        return {
            "commit_history": table_of(COMMITS, self.commits),
            "generations": table_of(GENERATIONS, self.generations),
            "group_members": table_of(MEMBERS, named),
        }


def rows_of(
    group: str, events: Iterable[tuple[int, int, Event]], *, whole: bool, names: Mapping[str, str] | None = None
) -> Rows:
    """The rows of (log offset, time in epoch ms, event) in log order.

    Args:
        group: theirs.
        events: what was read.
        whole: from the group's beginning: it had no members before.
        names: topic id -> topic.
    """
    rows = Rows(group, names=dict(names or {}), _present={} if whole else None)
    for log_offset, at_ms, event in events:
        rows.add(log_offset, at_ms, event)
    return rows
