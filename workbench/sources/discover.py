"""Discover: from one topic to a proposed integration, by what records, names, headers and commits show.

Ids are found in a sample of the topic; the same values are then looked for in samples of the other topics from the same
time on. What holds them later is a sink, a retry topic or dead letters; what held them earlier is upstream.
"""

from __future__ import annotations

import difflib
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.dialects import decode, looks_like_dead_letter_topic
from workbench.sources.cluster import Cluster
from workbench.sources.formats import Decoder
from workbench.sources.proposal import GroupUse, IdCandidate, Proposal, Related, Role
from workbench.sources.sampling import Place, Ranges, Sampled, Sampler
from workbench.sources.values import places_of

# Preferred where several places identify equally well; the order in which ``auto`` looks.
_PREFERRED = (
    "header:message-id",
    "header:ce_id",
    "json:$.messageId",
    "json:$.message_id",
    "json:$.eventId",
    "json:$.id",
)
_ID_NAME = re.compile(
    r"(^|[._:$-])(message|msg|event|record|request|correlation)?[_-]?id$|[a-z]Id$|uuid$", re.IGNORECASE
)
_RETRY_NAME = re.compile(r"(^|[._-])(retry|retries|delayed?|backoff)([._-]?\d*\w{0,2})?($|[._-])", re.IGNORECASE)
_ENOUGH_UNIQUE = 0.9
_ENOUGH_PRESENT = 0.5
_ENOUGH_SHARED = 0.05
_IS_TIME = re.compile(r"time|date|timestamp|[._:]at$|At$|_at$|[._:]ts$|trace_?parent|span", re.IGNORECASE)
_MOST_CANDIDATES = 5
_MOST_TOPICS = 100
_NEWEST = 20  # records a partition, for dead letters, which a sample by time would hardly meet
_SECONDS = 5.0  # a sample of one window
_NO_SERVICE = ("workbench-", "console-consumer-")
_LATENCIES = (
    (20, "1m"),
    (100, "5m"),
    (300, "15m"),
    (1200, "1h"),
    (20_000, "1d"),
)  # p99 seconds up to which it is enough


@dataclass(frozen=True)
class _Samples:
    own: list[Sampled]
    others: dict[str, list[Sampled]]  # topic -> from the same time on, and its newest
    notes: list[str]


def discover(cluster: Cluster, topic: str, sample: int = 200, profile: str = "") -> Proposal:
    """Proposes an integration for a topic; it is a beginning for a person to check, not a finding.

    Args:
        cluster: read only.
        topic: the source.
        sample: records of it to look at; five times as many are read of each other topic.
        profile: name of the profile, for the TOML text.

    Raises:
        NotFound, AccessDenied: the topic does not exist, or may not be described.

    Reads: Metadata, ListOffsets, Fetch, ListGroups, OffsetFetch, DescribeGroups; the schemas that records name.
    """
    cluster.require_topics([topic])
    samples = _decoded(_samples(cluster, topic, sample), cluster.profile.registry)
    places = [places_of(record) for record in samples.own]
    # Each record of the others is opened once: value -> where it is, and when the first one came.
    held = {name: _held(records) for name, records in samples.others.items()}
    ids = _id_candidates(places, held)
    related = _related_topics(topic, _own_times(samples.own, places, ids), samples.others, held)
    groups, why = _groups(cluster, topic)
    latency = _expected_latency(related)
    notes = (*samples.notes, *_about_ids(topic, samples.own, ids), *why)
    found = Proposal(topic, tuple(ids), tuple(related), tuple(groups), latency, len(samples.own), notes, profile)
    if not groups or found.group:
        return found
    return replace(found, notes=(*notes, f"{len(groups)} groups read {topic}; say which one is meant: group = NAME"))


def _samples(cluster: Cluster, topic: str, count: int) -> _Samples:
    seen = cluster.topics()
    names = sorted(set(seen.table.column("topic").to_pylist()) - {topic})
    notes = [f"{name}: {why}" for name, why in seen.failures.items()]
    if len(names) > _MOST_TOPICS:
        notes.append(f"only {_MOST_TOPICS} of {len(names)} other topics were looked at, those with the nearest names")
        names = sorted(names, key=lambda name: -_likeness(name, topic))[:_MOST_TOPICS]
    others: dict[str, list[Sampled]] = {name: [] for name in names}
    with Sampler(cluster.client_settings(), cluster.timeout_seconds) as sampler:
        windows = [sampler.read(ranges, count, _SECONDS) for ranges in _windows(_ends(cluster, [topic]), count)]
        ends = _ends(cluster, names)  # after the source was read, so that what it led to is inside
        for window in windows:
            ranges = _since(sampler, ends, window, count * 5)
            _sort_in(others, sampler.read(ranges, count * 5 * max(1, len(names)), _SECONDS * 3))
        newest = {place: (max(start, end - _NEWEST), end) for place, (start, end) in ends.items()}
        _sort_in(others, sampler.read(newest, _NEWEST * max(1, len(ends)), _SECONDS))
    return _Samples([record for window in windows for record in window], others, notes)


def _decoded(samples: _Samples, registry: Mapping[str, Any] | None) -> _Samples:
    """The samples with values that name a schema as JSON, where the registry has it."""
    decoder = Decoder(registry=registry)
    try:
        own = [replace(record, value=decoder.json(record.value)) for record in samples.own]
        others = {
            name: [replace(record, value=decoder.json(record.value)) for record in records]
            for name, records in samples.others.items()
        }
    finally:
        decoder.close()
    return _Samples(own, others, samples.notes)


def _likeness(name: str, topic: str) -> float:
    return difflib.SequenceMatcher(None, name, topic).ratio()


def _ends(cluster: Cluster, names: Sequence[str]) -> dict[Place, tuple[int, int]]:
    rows = cluster.offsets(names, sizes=False).rows()
    return {
        (row["topic"], row["partition"]): (row["log_start_offset"], row["high_watermark"])
        for row in rows
        if row["log_start_offset"] is not None and row["high_watermark"] is not None
    }


def _windows(ends: Ranges, count: int) -> list[Ranges]:
    """The newest records and some from the middle, which have had time to get anywhere."""
    each = max(1, math.ceil(count / max(1, len(ends)) / 2))
    newest = {place: (max(start, end - each), end) for place, (start, end) in ends.items()}
    middle = {}
    for place, (start, end) in ends.items():
        first = max(start, (start + end) // 2 - each // 2)
        middle[place] = (first, min(first + each, newest[place][0]))
    return [middle, newest]


def _since(sampler: Sampler, ends: Ranges, window: Sequence[Sampled], count: int) -> Ranges:
    times = [record.timestamp_ms for record in window if record.timestamp_ms is not None]
    if not times:
        return {}
    parts = Counter(topic for topic, _ in ends)
    starts = sampler.offsets_at(dict.fromkeys(ends, min(times)))
    return {
        place: (max(first, ends[place][0]), min(ends[place][1], first + math.ceil(count / parts[place[0]])))
        for place, first in starts.items()
    }


def _sort_in(others: dict[str, list[Sampled]], records: Iterable[Sampled]) -> None:
    for record in records:
        others[record.topic].append(record)


Held = dict[str, tuple[str, int | None]]  # value -> where it is, time of the first record


def _held(records: Sequence[Sampled]) -> Held:
    out: Held = {}
    for record in records:
        for place, value in places_of(record).items():
            before = out.get(value)
            if before is None or (record.timestamp_ms or 0) < (before[1] or 0):
                out[value] = (place, record.timestamp_ms)
    return out


def _id_candidates(places: Sequence[Mapping[str, str]], held: Mapping[str, Held]) -> list[IdCandidate]:
    values: dict[str, list[str]] = defaultdict(list)
    for record in places:
        for place, value in record.items():
            values[place].append(value)
    out = []
    for place, found in values.items():
        share, distinct = len(found) / len(places), len(set(found)) / len(found)
        if share >= _ENOUGH_PRESENT and distinct >= _ENOUGH_UNIQUE and len(found) > 1 and not _IS_TIME.search(place):
            matched = max((sum(value in one for value in set(found)) for one in held.values()), default=0)
            out.append(IdCandidate(place, round(share, 3), round(distinct, 3), round(matched / len(set(found)), 3)))
    return sorted(out, key=_rank)[:_MOST_CANDIDATES]


def _rank(one: IdCandidate) -> tuple[float, str]:
    """Best first: present and distinct, named like an id, and found again elsewhere."""
    named = 1.0 if one.id_from in _PREFERRED else 0.5 if _ID_NAME.search(one.id_from) else 0.0
    return -(one.share * one.distinct + named + one.matched), one.id_from


def _own_times(
    own: Sequence[Sampled], places: Sequence[Mapping[str, str]], ids: Sequence[IdCandidate]
) -> dict[str, int | None]:
    """Value of the proposed id -> time of its first record in the source."""
    out: dict[str, int | None] = {}
    for record, held in zip(own, places, strict=True):
        if ids and ids[0].id_from in held:
            out.setdefault(held[ids[0].id_from], record.timestamp_ms)
    return out


def _related_topics(
    topic: str, own: Mapping[str, int | None], others: Mapping[str, Sequence[Sampled]], held: Mapping[str, Held]
) -> list[Related]:
    found = [_related(topic, own, name, records, held[name]) for name, records in others.items()]
    return sorted((one for one in found if one), key=lambda one: (-one.share, one.topic))


def _related(
    topic: str, own: Mapping[str, int | None], name: str, records: Sequence[Sampled], held: Held
) -> Related | None:
    matched = {value: held[value] for value in own if value in held}
    share = len(matched) / len(own) if own else 0.0
    origins = _origins(records)
    if share < _ENOUGH_SHARED and not origins[topic] and not _named_after(name, topic):
        return None
    delays = sorted(
        (at - first) / 1000
        for value, (_, at) in matched.items()
        if at is not None and (first := own[value]) is not None
    )
    place = Counter(where for where, _ in matched.values()).most_common(1)
    role, why = _role(topic, name, share, delays, origins)
    median = statistics.median(delays) if delays else None
    p99 = delays[min(len(delays) - 1, int(len(delays) * 0.99))] if delays else None
    return Related(name, role, round(share, 3), place[0][0] if place else None, median, p99, why)


def _origins(records: Iterable[Sampled]) -> Counter[str]:
    """Topics that dead-letter headers or envelopes of these records name as their origin."""
    decoded = (decode(record.headers, record.value, record.topic) for record in records)
    return Counter(one.origin_topic for one in decoded if one is not None and one.origin_topic)


def _named_after(name: str, topic: str) -> bool:
    """``orders-dlq`` and ``orders.retry.1`` for ``orders``; names alone say nothing about sinks."""
    special = looks_like_dead_letter_topic(name) or _RETRY_NAME.search(name)
    return bool(special) and re.search(rf"(^|[^A-Za-z0-9]){re.escape(topic)}($|[^A-Za-z0-9])", name) is not None


def _role(topic: str, name: str, share: float, delays: Sequence[float], origins: Counter[str]) -> tuple[Role, str]:
    same = f"{share:.0%} of the sampled ids are there"
    if _RETRY_NAME.search(name) and not looks_like_dead_letter_topic(name):
        return "retry_topic", f"its name; {same}" if share else "its name"
    if looks_like_dead_letter_topic(name):
        said = f"{origins[topic]} records name {topic} as their origin" if origins[topic] else "its name"
        return "dead_letters", f"{said}; {same}" if share else said
    if origins[topic]:
        return "dead_letters", f"{origins[topic]} records name {topic} as their origin"
    if delays and statistics.median(delays) < 0:
        return "upstream", f"{same}, earlier"
    return "sink", same


def _groups(cluster: Cluster, topic: str) -> tuple[list[GroupUse], list[str]]:
    reading = cluster.groups_reading([topic])
    counts = {row["group"]: row["partitions"] for row in reading.rows()}
    described = cluster.groups(sorted(counts)) if counts else None
    states = {row["group"]: row for row in described.rows()} if described else {}
    uses = [
        GroupUse(name, states.get(name, {}).get("state", "Unknown"), states.get(name, {}).get("member_count"), count)
        for name, count in counts.items()
        if not name.startswith(_NO_SERVICE)
    ]
    uses.sort(key=lambda use: (-(use.members or 0), -use.partitions, use.group))
    return uses, [f"groups: {why}" for subject, why in reading.failures.items() if subject == "groups"]


def _expected_latency(related: Iterable[Related]) -> str:
    """A round duration with room above what the sinks' 99th percentile shows."""
    slowest = max((one.p99_seconds or 0.0 for one in related if one.role == "sink"), default=0.0)
    return next((text for most, text in _LATENCIES if slowest <= most), "3d")


def _about_ids(topic: str, own: Sequence[Sampled], ids: Sequence[IdCandidate]) -> list[str]:
    if not own:
        return [f"{topic} holds no records that could be read; ids and sinks are unknown"]
    return [] if ids else ["no header or JSON field has a different value in each record"]
