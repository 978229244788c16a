"""The search: one message's records over all topics of the scope, in few passes, each keeping only what fits.

First the message itself (source, or the one offset that was named), then everything that carries its id or says that it comes
from one of its records. With ``--around`` topics are read near that time first, and the rest only where it could still decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.capture import CaptureSpec, Match, PartitionRange, TopicSpec, capture, estimate
from workbench.capture.schema import BATCHES, OUTCOME
from workbench.evidence import Parquet
from workbench.problems.message.records import record_rows, write_records
from workbench.problems.message.subject import Place, Subject

if TYPE_CHECKING:
    import pyarrow as pa

    from workbench.problems.draft import Draft, Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

WINDOW = timedelta(minutes=15)
MOST_COPIES = 20_000
MOST_ORIGINS = 5_000
MOST_TRACES = 50


@dataclass
class Search:
    """A search while it goes on.

    Attributes:
        settings: client settings.
        plan: every range that may be read.
        match: what is looked for; grows with what is found.
        rows: what was found, of ``RECORDS``, without content.
        scans: outcomes of the passes.
        batches: files of record batches.
        readers: who read.
        registry: where the schemas are that records name.
        every: whatever fits is what was asked for (a key, a trace), not only what belongs to the first that was found.
        why_client: why the client library was used, where it was.
        seconds: wall time of reading.
    """

    settings: dict[str, Any]
    plan: CaptureSpec
    match: Match
    folder: Path
    draft: Draft
    progress: Progress
    rows: list[dict[str, Any]] = field(default_factory=list)
    scans: list[pa.Table] = field(default_factory=list)
    batches: list[Path] = field(default_factory=list)
    readers: set[str] = field(default_factory=set)
    why_client: str = ""
    seconds: float = 0.0
    truncated: bool = False
    every: bool = False
    registry: Mapping[str, Any] | None = None

    def read(self, topics: Iterable[TopicSpec], step: str) -> None:
        """Reads ranges and keeps what fits; ranges that were read before are not counted again."""
        chosen = tuple(topic for topic in topics if any(part.offsets for part in topic.partitions))
        if not chosen:
            return
        spec = replace(self.plan, topics=chosen, match=self.match)
        self.progress(estimate(spec, self.draft.tables["offsets"]))
        self.progress(step)
        found = capture(self.settings, spec, self.folder / f"pass-{len(self.scans)}", self.progress, self.registry)
        self._take(found)

    def _take(self, found: Any) -> None:
        known = {_place(row) for row in self.rows}
        for row in record_rows(found.files, self.plan.dialects):
            if _place(row) not in known and len(self.rows) < MOST_COPIES:
                self.rows.append({**row, "matched": self.every})
        self.truncated = self.truncated or found.truncated or len(self.rows) >= MOST_COPIES
        self.scans.append(found.outcome)
        self.batches += found.batches
        self.readers.add(found.reader)
        self.why_client = found.why_client if "client" in found.reader else self.why_client
        self.seconds += found.seconds

    def learn(self) -> None:
        """Tells the message's own records from those of its traces, and looks from now on for what belongs to them."""
        ids, places = set(self.match.ids), {*self.match.places, *self.match.origins}
        before = -1
        while before != len(places) + len(ids):
            before = len(places) + len(ids)
            for row in self.rows:
                origin = (row["origin_topic"], row["origin_partition"], row["origin_offset"])
                if row["matched"] or row["message_id"] in ids or _place(row) in places or origin in places:
                    row["matched"] = True
                    ids |= {row["message_id"]} - {None}
                    places |= {_place(row)}
        traces = [one for row in self.rows if row["matched"] for one in row["trace_ids"]]
        self.match = replace(
            self.match,
            ids=tuple(dict.fromkeys((*self.match.ids, *sorted(ids)))),
            trace_ids=tuple(dict.fromkeys((*self.match.trace_ids, *traces)))[:MOST_TRACES],
            origins=tuple(dict.fromkeys((*self.match.origins, *sorted(places))))[:MOST_ORIGINS],
        )


def find_records(
    sources: Sources,
    scope: Scope,
    plan: CaptureSpec,
    subject: Subject,
    *,
    draft: Draft,
    work_dir: Path,
    progress: Progress,
) -> None:
    """Puts ``records``, ``scan`` and, where the wire reader read, ``batches`` into a draft.

    Reads: ListOffsets, Fetch.
    """
    search = Search(
        settings=sources.cluster.client_settings(),
        registry=sources.registry,
        plan=replace(plan, include_values=True),
        match=_match(subject),
        folder=work_dir,
        draft=draft,
        progress=progress,
        every=subject.key is not None or subject.trace_id is not None,
    )
    near = _near(sources, scope, plan, draft)
    _passes(search, near, scope, subject)
    draft.tables["records"] = write_records(search.rows, work_dir / "found.parquet")
    draft.tables["scan"] = joined(search.scans)
    if search.batches or "wire" in "".join(search.readers):
        draft.tables["batches"] = Parquet(tuple(search.batches), BATCHES)
    if search.why_client:
        draft.missing["batches"] = f"the client library read, which does not show them: {search.why_client}"
    draft.facts |= {
        "reader": "+".join(sorted({part for one in search.readers for part in one.split("+") if part}, reverse=True)),
        "truncated": search.truncated,
        "scan_seconds": round(search.seconds, 3),
    }


def _match(subject: Subject) -> Match:
    return Match(
        ids=(subject.message_id,) if subject.message_id is not None else (),
        keys=(subject.key,) if subject.key is not None else (),
        trace_ids=(subject.trace_id,) if subject.trace_id else (),
        places=(subject.place,) if subject.place else (),
        origins=(subject.place,) if subject.place else (),
    )


def _passes(search: Search, near: dict[str, TopicSpec], scope: Scope, subject: Subject) -> None:
    whole = {topic.topic: topic for topic in search.plan.topics}
    first = [near[scope.source]] if scope.source in near else []
    if subject.place:
        search.read(_only(whole, subject.place), f"looking at {'/'.join(map(str, subject.place))}")
        search.learn()
        search.read(near.values(), "searching " + ", ".join(near))
    else:
        search.read(first, f"searching {scope.source}")
        search.learn()
        others = [topic for name, topic in near.items() if name != scope.source]
        search.read(others, "searching " + ", ".join(topic.topic for topic in others))
    search.learn()
    if _open(search.rows, scope):
        search.read(_rest(whole, near, scope.source), "searching what lies outside the window")
    failed = [row for row in search.rows if row["role"] in ("dead_letters", "retry")]
    unnamed = tuple(_place(row) for row in failed if row["matched"] and not row["message_id"])
    if unnamed:
        search.match = Match(origins=unnamed[:MOST_ORIGINS])
        again = [topic for topic in near.values() if topic.role in ("source", "sink")]
        search.read(again, "looking for what was sent back")
        search.learn()


def _open(rows: Sequence[dict[str, Any]], scope: Scope) -> bool:
    """Whether what was found near a time leaves open what became of the message."""
    if not rows:
        return False
    there = {row["topic"] for row in rows if row["role"] == "sink"}
    done = bool(there) if scope.any_sink else set(scope.sinks) <= there
    return not done and not any(row["role"] == "dead_letters" for row in rows)


def _only(whole: dict[str, TopicSpec], place: Place) -> list[TopicSpec]:
    topic = whole.get(place[0])
    if topic is None:
        return []
    parts = [_cut(part, place[2], place[2] + 1) for part in topic.partitions if part.partition == place[1]]
    return [replace(topic, partitions=tuple(parts))]


def _cut(part: PartitionRange, start: int, end: int) -> PartitionRange:
    low = min(max(part.start_offset, start), part.end_offset)
    return replace(part, start_offset=low, end_offset=max(low, min(part.end_offset, end)))


def _near(sources: Sources, scope: Scope, plan: CaptureSpec, draft: Draft) -> dict[str, TopicSpec]:
    """The topics with the ranges near ``around``; whole where no time was given, or a time cannot be looked up."""
    if scope.around is None:
        return {topic.topic: topic for topic in plan.topics}
    late = WINDOW + timedelta(seconds=scope.expected_latency_seconds)
    draft.facts["window"] = [(scope.around - WINDOW).isoformat(), (scope.around + WINDOW).isoformat()]
    names = [topic.topic for topic in plan.topics]
    low, high = (_offsets_at(sources, names, at) for at in (scope.around - WINDOW, scope.around + WINDOW))
    later = _offsets_at(sources, names, scope.around + late)
    out = {}
    for topic in plan.topics:
        ends = high if topic.role == "source" else later
        out[topic.topic] = replace(topic, partitions=tuple(_window(part, low, ends) for part in topic.partitions))
    return out


def _offsets_at(sources: Sources, names: list[str], at: datetime) -> dict[tuple[str, int], int | None]:
    found = sources.cluster.offsets_at(names, max(0, round(at.timestamp() * 1000)))
    return {(row["topic"], row["partition"]): row["offset"] for row in found.rows()}


def _window(
    part: PartitionRange, low: dict[tuple[str, int], int | None], high: dict[tuple[str, int], int | None]
) -> PartitionRange:
    """Null: no record is that young. A partition that was not answered is read whole."""
    place = (part.topic, part.partition)
    start = low.get(place, part.start_offset)
    end = high.get(place)
    return _cut(part, part.end_offset if start is None else start, part.end_offset if end is None else end)


def _rest(whole: dict[str, TopicSpec], near: dict[str, TopicSpec], source: str) -> list[TopicSpec]:
    """What lies outside the window in all topics but the source: copies may come late, and stamped by other clocks."""
    out = []
    for name, topic in whole.items():
        if name != source:
            pairs = list(zip(topic.partitions, near[name].partitions, strict=True))
            before = [_cut(part, part.start_offset, done.start_offset) for part, done in pairs]
            after = [_cut(part, done.end_offset, part.end_offset) for part, done in pairs]
            out += [replace(topic, partitions=tuple(one for one in parts if one.offsets)) for parts in (before, after)]
    return out


def joined(scans: Sequence[pa.Table]) -> pa.Table:
    """One row a partition over all passes: from the first offset that was read to the last, and what went wrong."""
    from workbench.tables import table_of

    by_place: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in (row for scan in scans for row in scan.to_pylist()):
        by_place.setdefault((row["topic"], row["partition"]), []).append(row)
    return table_of(OUTCOME, [tuple(_one(rows).values()) for rows in by_place.values()])


def _one(rows: list[dict[str, Any]]) -> dict[str, Any]:
    cut = next((row for row in rows if row["truncated"]), None)
    errors = dict.fromkeys(row["error"] for row in rows if row["error"])
    end = max(row["end_offset"] for row in rows)
    return {
        "topic": rows[0]["topic"],
        "partition": rows[0]["partition"],
        "start_offset": min(row["start_offset"] for row in rows),
        "end_offset": end,
        "next_offset": cut["next_offset"] if cut else end,
        "records": sum(row["records"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
        "error": "; ".join(errors) or None,
        "truncated": cut is not None,
    }


def _place(row: dict[str, Any]) -> Place:
    return row["topic"], row["partition"], row["offset"]
