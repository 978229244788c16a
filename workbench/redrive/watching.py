"""Looks what became of what was sent: back in a dead-letter topic (by headers, coordinates or id), or in a sink (by id)."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workbench.capture import CaptureSpec, IdFrom, TopicSpec
from workbench.capture.identity import ALTERNATIVES
from workbench.dialects import redrive_of
from workbench.redrive.candidates import Place
from workbench.redrive.dead_letters import Dialects
from workbench.redrive.plan import Plan
from workbench.redrive.reading import Raw, committed_batches, ranges_since, records_of
from workbench.redrive.spool import Spool

if TYPE_CHECKING:
    from workbench.capture.spec import Role
    from workbench.sources import Cluster


def message_ids(plan: Plan, topic: str, batch: Any, role: Role) -> list[str | None]:
    """The message ids of raw records, found as they were when the plan was made."""
    from workbench.capture.derive import Deriver

    chosen = IdFrom.parse(plan.ids.get(topic, "json:$.messageId"))
    others = tuple(one for one in ALTERNATIVES if one != chosen)
    deriver = Deriver(
        CaptureSpec(topics=(), want=frozenset(), dialects=plan.dialects), TopicSpec(topic, role, chosen, (), others)
    )
    try:
        found: list[str | None] = deriver([batch])["message_id"].to_pylist()
    finally:
        deriver.close()
    return found


def ids_of(plan: Plan, spool: Spool) -> dict[Place, str]:
    """Dead letter -> its message id, for those that have one."""
    out: dict[Place, str] = {}
    for _, topic, batch in spool.batches():
        places = zip(batch["partition"].to_pylist(), batch["offset"].to_pylist(), strict=True)
        for (partition, offset), found in zip(places, message_ids(plan, topic, batch, "dead_letters"), strict=True):
            if found is not None:
                out[topic, partition, offset] = found
    return out


@dataclass
class Watch:
    """What came back of a plan's copies.

    Attributes:
        cluster: where to look.
        plan: whose copies.
        ids: dead letter -> message id.
        back: numbers of the rows that came back.
        read_to: dead-letter topic -> partition -> how far it was looked at.
        arrived: numbers of the rows whose message was seen in a sink since the watch began.
        sunk_to: sink -> partition -> how far it was looked at.
    """

    cluster: Cluster
    plan: Plan
    ids: Mapping[Place, str]
    back: set[int] = field(default_factory=set)
    read_to: dict[str, dict[int, int]] = field(default_factory=dict)
    arrived: set[int] = field(default_factory=set)
    sunk_to: dict[str, dict[int, int]] = field(default_factory=dict)
    _sent: dict[tuple[str, int], tuple[list[int], list[int]]] = field(
        default_factory=lambda: defaultdict(lambda: ([], []))
    )

    def __post_init__(self) -> None:
        self.read_to = {topic: dict(found.ends) for topic, found in self.plan.dead_letters.items()}
        self._dialects = Dialects(self.plan.dialects)

    # Made when they are first asked for: a run that does not look needs none of them.
    @cached_property
    def _by_letter(self) -> dict[str, int]:
        return {row.letter: number for number, row in enumerate(self.plan.rows)}

    @cached_property
    def _by_origin(self) -> dict[str, int]:
        return {row.origin: number for number, row in enumerate(self.plan.rows) if row.origin}

    @cached_property
    def _by_id(self) -> dict[str, int]:
        ids = self.ids
        return {ids[row[:3]]: number for number, row in enumerate(self.plan.rows) if row[:3] in ids}

    def note(self, number: int, topic: str, partition: int, offset: int) -> None:
        """Remembers where the copy of a row is; offsets of a partition come rising."""
        offsets, numbers = self._sent[topic, partition]
        offsets.append(offset)
        numbers.append(number)

    def where(self, first: int, end: int) -> dict[tuple[str, int], int]:
        """(target, partition) -> the offset behind the last copy of the rows from first to end, as far as noted."""
        out = {}
        for place, (offsets, numbers) in self._sent.items():
            inside = [offset for offset, number in zip(offsets, numbers, strict=True) if first <= number < end]
            if inside:
                out[place] = max(inside) + 1
        return out

    def look(self) -> set[int]:
        """Reads what is new in the dead-letter topics; returns all rows that came back so far.

        Reads: Metadata, ListOffsets, Fetch.
        """
        settings = self.cluster.client_settings()
        for topic, ranges in ranges_since(self.cluster, list(self.read_to), self.read_to).items():
            for batch in committed_batches(settings, ranges):
                for raw, found in zip(
                    records_of(batch), message_ids(self.plan, topic, batch, "dead_letters"), strict=True
                ):
                    number = self._row_of(raw, topic, found)
                    if number is not None:
                        self.back.add(number)
            self.read_to[topic] = {one.partition: one.end_offset for one in ranges}
        return self.back

    def watch_sinks(self) -> None:
        """Begins to watch the plan's sinks, from their ends on.

        Reads: Metadata, ListOffsets.
        """
        sinks = list(self.plan.sinks)
        found = ranges_since(self.cluster, sinks) if sinks else {}
        self.sunk_to = {topic: {one.partition: one.end_offset for one in ranges} for topic, ranges in found.items()}

    def absent(self, first: int, end: int) -> set[int]:
        """Rows of a step that have an id, did not come back, and are in no sink; none where no sink is watched.

        Reads: Metadata, ListOffsets, Fetch.
        """
        if not self.sunk_to:
            return set()
        settings = self.cluster.client_settings()
        for topic, ranges in ranges_since(self.cluster, list(self.sunk_to), self.sunk_to).items():
            for batch in committed_batches(settings, ranges):
                found = message_ids(self.plan, topic, batch, "sink")
                self.arrived.update(self._by_id[one] for one in found if one in self._by_id)
            self.sunk_to[topic] = {one.partition: one.end_offset for one in ranges}
        due = {number for number in range(first, end) if self.plan.rows[number][:3] in self.ids}
        return due - self.arrived - self.back

    def _row_of(self, raw: Raw, topic: str, message_id: str | None) -> int | None:
        """The row whose copy a dead letter is."""
        redrive = redrive_of(raw.headers)
        if redrive and redrive.plan == self.plan.id and redrive.letter in self._by_letter:
            return self._by_letter[redrive.letter]
        letter = self._dialects.decode(raw, topic)
        for hop in letter.hops if letter else ():
            if None not in (hop.topic, hop.partition, hop.offset):
                number = self._copy_at(str(hop.topic), int(hop.partition or 0), int(hop.offset or 0))
                if number is not None:
                    return number
        return self._by_id.get(message_id) if message_id is not None else None

    def _copy_at(self, topic: str, partition: int, offset: int) -> int | None:
        offsets, numbers = self._sent.get((topic, partition), ((), ()))
        at = bisect_left(offsets, offset)
        if at < len(offsets) and offsets[at] == offset:
            return numbers[at]
        return self._by_origin.get(f"{topic}/{partition}/{offset}")


def seen_ids(cluster: Cluster, plan: Plan, topics: Sequence[str], at_ms: int, wanted: set[str]) -> Iterator[str]:
    """Those of the wanted message ids that stand in topics from a time on.

    Reads: Metadata, ListOffsets (for a timestamp), Fetch.
    """
    settings = cluster.client_settings()
    for topic in topics:
        ends = {one.partition: one.end_offset for one in ranges_since(cluster, [topic])[topic]}
        starts = {
            row["partition"]: ends.get(row["partition"], 0) if row["offset"] is None else row["offset"]
            for row in cluster.offsets_at([topic], at_ms).rows()
        }
        for batch in committed_batches(settings, ranges_since(cluster, [topic], {topic: starts})[topic]):
            yield from (one for one in message_ids(plan, topic, batch, "sink") if one in wanted)
