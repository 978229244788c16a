"""A proposed integration: what discovery found about one topic, and what it rests on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

Role = Literal["sink", "retry_topic", "dead_letters", "upstream"]


@dataclass(frozen=True)
class IdCandidate:
    """A place in which ids may be.

    Attributes:
        id_from: as ``--id-from`` takes it.
        share: of the sampled records that have it, 0 to 1.
        distinct: different values among those that have it, 0 to 1.
        matched: of the sampled values, how many turned up in another topic, 0 to 1.
    """

    id_from: str
    share: float
    distinct: float
    matched: float = 0.0


@dataclass(frozen=True)
class Related:
    """Another topic with the same messages.

    Attributes:
        role: what it looks like; upstream holds them earlier than the topic itself.
        share: of the sampled ids that were found there, 0 to 1; 0 where only headers or the name point to it.
        id_from: where they were found; null where none was.
        median_seconds, p99_seconds: from the record in the topic to the one here; null without matches.
        why: in words.
    """

    topic: str
    role: Role
    share: float
    id_from: str | None
    median_seconds: float | None
    p99_seconds: float | None
    why: str


@dataclass(frozen=True)
class GroupUse:
    """A group with commits on the topic; ``members`` is null where it could not be asked."""

    group: str
    state: str
    members: int | None
    partitions: int


@dataclass(frozen=True)
class Proposal:
    """A proposed integration, with what it rests on.

    Attributes:
        topic: the source.
        ids: candidates, the proposed one first.
        related: other topics, the strongest first.
        groups: those that read the topic, the likeliest first.
        expected_latency: a duration such as ``5m``.
        sampled: records looked at in the topic.
        notes: what could not be found out, and why.
        profile: its name in workbench.toml; empty leaves it to be filled in.
    """

    topic: str
    ids: tuple[IdCandidate, ...]
    related: tuple[Related, ...]
    groups: tuple[GroupUse, ...]
    expected_latency: str
    sampled: int
    notes: tuple[str, ...]
    profile: str = ""

    def topics(self, role: Role) -> list[str]:
        """Names of the related topics of one role, the strongest first."""
        return [one.topic for one in self.related if one.role == role]

    @property
    def group(self) -> str | None:
        """The one group that can be meant; null where none or several can."""
        active = [use for use in self.groups if use.members]
        meant = active or self.groups
        return meant[0].group if len(meant) == 1 else None

    @property
    def toml(self) -> str:
        """The integration for workbench.toml."""
        id_from = self.ids[0].id_from if self.ids else None
        elsewhere = {one.id_from for one in self.related if one.role == "sink" and one.id_from} - {id_from}
        entries = {
            "profile": self.profile or "PROFILE",
            "source": self.topic,
            "sinks": self.topics("sink"),
            "retry_topics": self.topics("retry_topic"),
            "dead_letters": self.topics("dead_letters"),
            "group": self.group,
            "id_from": id_from,
            "sink_id_from": next(iter(elsewhere)) if len(elsewhere) == 1 else None,
            "expected_latency": self.expected_latency,
        }
        # JSON's texts and lists are TOML's, too, as long as they are ASCII.
        lines = [f"{name} = {json.dumps(value)}" for name, value in entries.items() if value]
        return "\n".join([f"[integrations.{_table_name(self.topic)}]", *lines]) + "\n"


def _table_name(topic: str) -> str:
    return topic if re.fullmatch(r"[A-Za-z0-9_-]+", topic) else json.dumps(topic)
