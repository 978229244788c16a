"""What to capture: topics, offsets, identities, expressions and limits; it goes as JSON to worker processes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.capture.expressions import check_json_path
from workbench.capture.match import Match
from workbench.errors import UsageError

Role = Literal["source", "sink", "retry", "dead_letters"]

# Optional parts of a record; the columns of parts that nobody asks for are null.
WANTABLE = frozenset(
    {"key", "value_hash", "headers", "event", "origin", "leader_epoch", "aborted", "business_key", "compare"}
)


@dataclass(frozen=True, slots=True)
class IdFrom:
    """How a record's message id is found.

    Attributes:
        kind: ``header``, ``json``, ``key`` or ``coordinates``; ``auto`` until a sample has decided.
        name: header name or JSON path; empty for the others.
    """

    kind: Literal["auto", "header", "json", "key", "coordinates"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @classmethod
    def parse(cls, text: str) -> IdFrom:
        """Reads ``auto``, ``key``, ``coordinates``, ``header:NAME`` or ``json:$.path``.

        Raises:
            UsageError: it is none of them, or the path is none.
        """
        kind, _, name = text.strip().partition(":")
        if kind == "header" and name:
            return cls("header", name)
        if kind == "json" and name:
            check_json_path(name)
            return cls("json", name)
        plain: dict[str, IdFrom] = {"auto": cls("auto"), "key": cls("key"), "coordinates": cls("coordinates")}
        if text.strip() in plain:
            return plain[text.strip()]
        raise UsageError(
            f"{text!r} does not say where ids are found.",
            hint="Use auto, header:NAME, json:$.path, key or coordinates.",
        )


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """Offsets of one partition to read.

    Attributes:
        topic: its topic.
        partition: its number.
        start_offset: first offset to read.
        end_offset: the first that is not read; at most the high watermark when the scan was planned.
        last_stable_offset: at the same moment; at and above it transactions may be open.
    """

    topic: str
    partition: int
    start_offset: int
    end_offset: int
    last_stable_offset: int

    @property
    def offsets(self) -> int:
        """How many offsets the range spans; an upper bound of its records."""
        return max(0, self.end_offset - self.start_offset)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic of a capture.

    Attributes:
        topic: its name.
        role: what it is in the integration.
        id_from: where its ids are.
        partitions: what to read of it.
        others: where to look for the id of a record that has none there, in this order.
        value_format, key_format: what its records are written with; see ``sources.formats``.
    """

    topic: str
    role: Role
    id_from: IdFrom
    partitions: tuple[PartitionRange, ...]
    others: tuple[IdFrom, ...] = ()
    value_format: str = "auto"
    key_format: str = "auto"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a scan; None is no limit.

    Attributes:
        max_records: records read, over all topics.
        max_bytes: bytes of keys, values and headers read, over all topics.
        max_seconds: wall time of reading.
        max_bytes_per_second: pace of reading, over all processes.
    """

    max_records: int | None = None
    max_bytes: int | None = None
    max_seconds: float | None = None
    max_bytes_per_second: int | None = None


@dataclass(frozen=True, slots=True)
class CaptureSpec:
    """A whole capture.

    Attributes:
        topics: what to read.
        where: DuckDB predicate over records of the source; those that fail it are not due.
        business_key: expression whose hash becomes ``business_key_hash``.
        compare: expression whose hash becomes ``compare_hash``.
        include_values: add the columns ``value`` and ``headers``.
        want: optional parts, of ``WANTABLE``.
        limits: bounds.
        processes: reader processes; None chooses by the machine and the size.
        reader: ``wire`` reads record batches, ``client`` through the client library; ``auto`` is wire where it can be.
        dialects: the user's own dead-letter dialects, as in ``[dialects.NAME]``.
        match: keep only the records that fit it; None keeps all.
    """

    topics: tuple[TopicSpec, ...]
    where: str | None = None
    business_key: str | None = None
    compare: str | None = None
    include_values: bool = False
    want: frozenset[str] = WANTABLE
    limits: Limits = field(default_factory=Limits)
    processes: int | None = None
    reader: Literal["auto", "wire", "client"] = "auto"
    dialects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    match: Match | None = None

    def __post_init__(self) -> None:
        unknown = sorted(self.want - WANTABLE)
        if unknown:
            raise UsageError(f"A capture has no part {unknown[0]!r}.", hint=f"Known: {', '.join(sorted(WANTABLE))}.")
        for topic in self.topics:
            if topic.id_from.kind == "auto":
                raise UsageError(f"Where topic {topic.topic} has its ids is not decided.", hint="Resolve auto first.")

    def ranges(self) -> list[PartitionRange]:
        """All ranges, in the order of the topics."""
        return [part for topic in self.topics for part in topic.partitions]

    def to_json(self) -> dict[str, Any]:
        """JSON types only; ``from_json`` reads it back."""
        return {**dataclasses.asdict(self), "want": sorted(self.want)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CaptureSpec:
        """The spec that ``to_json`` wrote."""
        topics = tuple(
            TopicSpec(
                item["topic"],
                item["role"],
                IdFrom(**item["id_from"]),
                tuple(PartitionRange(**part) for part in item["partitions"]),
                tuple(IdFrom(**one) for one in item["others"]),
                item["value_format"],
                item["key_format"],
            )
            for item in data["topics"]
        )
        rest = {key: value for key, value in data.items() if key not in ("topics", "want", "limits", "match")}
        match = Match.from_json(data["match"]) if data["match"] else None
        return cls(topics=topics, want=frozenset(data["want"]), limits=Limits(**data["limits"]), match=match, **rest)

    def fingerprint(self) -> str:
        """Equal for specs that ask for the same rows; how, how fast or how far to read does not matter."""
        rows = {key: value for key, value in self.to_json().items() if key not in ("limits", "processes", "reader")}
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
