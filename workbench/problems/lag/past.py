"""How a group came to where it is: its history, samples of its standing at past moments, and when retention gets there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.errors import SourceError
from workbench.problems.lag.partitions import EARLIEST_MS, FUTURE_MS
from workbench.problems.standing import epoch_ms
from workbench.sources.commits import commit_history
from workbench.sources.history import Sample, committed_at, moments, sampled, samples_table, scraped
from workbench.tables import table_of

if TYPE_CHECKING:
    from workbench.problems.draft import Draft
    from workbench.problems.scope import Scope
    from workbench.sources import Sources
    from workbench.sources.commits import History

WINDOW_SECONDS = 3600.0
LATENCIES = 20  # the window is at least so many expected latencies long
MOST_COMMITS = 20_000  # rows that are kept as evidence, the newest
MOST_GENERATIONS = 2_000
SECOND_LOOK_SECONDS = 2.0
STEPS = 8

Place = tuple[str, int]

EXPIRY = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("in_seconds", pa.float64()), ("offset", pa.int64())]
)


def read_history(sources: Sources, scope: Scope, draft: Draft) -> History | None:
    """The group's history; None where it cannot be read, and ``draft.missing`` says why.

    Reads: Fetch on the group's partition of ``__consumer_offsets``.
    """
    try:
        return commit_history(sources.cluster.client_settings(), str(scope.group))
    except SourceError as error:
        draft.missing["commit_history"] = str(error).rstrip(".")
        return None


def read_past(
    sources: Sources, scope: Scope, draft: Draft, rows: Sequence[Mapping[str, Any]], found: History | None
) -> None:
    """Adds ``commit_history``, ``generations``, ``group_members`` and ``samples``, or says why they are missing.

    Args:
        sources: where to read.
        scope: the group, and the window.
        draft: gets the tables.
        rows: the group's commits, and of partitions without any what stands in their place.
        found: the group's history, where it could be read.

    Reads: ListOffsets (by timestamp); where there is no history, Prometheus.
    """
    now_ms = epoch_ms(draft.facts["collected_at"])
    if found is not None:
        _keep(draft, found)
        since = _since(scope, now_ms, found)
        made = _known_commits(draft, found, rows)
        draft.tables["samples"] = samples_table(
            sampled(made | _present(rows, now_ms, made), _past_ends(sources, draft, since, now_ms))
        )
        draft.facts["history_from"] = "commits"
        return
    watched = _told(sources, scope, draft, now_ms)
    if watched:
        draft.tables["samples"] = samples_table([*watched, *_now(rows, draft, now_ms)])
        draft.facts["history_from"] = watched[0].history
    else:
        draft.tables["samples"] = samples_table([*_now(rows, draft, now_ms), *_second_look(sources, scope, draft)])
        draft.facts["history_from"] = "snapshots"


def _told(sources: Sources, scope: Scope, draft: Draft, now_ms: int) -> Sequence[Sample]:
    """What was kept of the group's past outside Kafka: the watcher's segments, else the metrics in Prometheus."""
    group, since_ms = str(scope.group), now_ms - round(_window_seconds(scope) * 1000)
    watched: Sequence[Sample] = ()
    try:
        watched = sources.history.samples(group, since_ms) if sources.history else ()
    except SourceError as error:
        draft.missing["watched"] = str(error).rstrip(".")
    watched = [one for one in watched if one.at_ms < now_ms]
    if watched or sources.prometheus is None:
        return watched
    try:
        found, why = scraped(sources.prometheus, group, since_ms, now_ms)
    except SourceError as error:
        found, why = [], str(error).rstrip(".")
    if why:
        draft.missing["metrics" if not found else "metrics (part)"] = why
    known = {(row["topic"], row["partition"]) for row in _rows(draft, "offsets")}
    return [one for one in found if (one.topic, one.partition) in known and one.at_ms < now_ms]


def _window_seconds(scope: Scope) -> float:
    return max(WINDOW_SECONDS, LATENCIES * scope.expected_latency_seconds)


def _since(scope: Scope, now_ms: int, found: History) -> int:
    """Where the window begins: as asked, else an hour back, but not before the group is known."""
    asked = now_ms - round(_window_seconds(scope) * 1000)
    if scope.since is not None:
        asked = round(scope.since.timestamp() * 1000)
    known = [at for name in ("commit_history", "generations") for at in found.tables[name]["at_ms"].to_pylist()]
    begun = min(known, default=asked) - 1000
    return min(max(asked, begun, found.since_ms or asked), now_ms)


def _keep(draft: Draft, found: History) -> None:
    most = {"commit_history": MOST_COMMITS, "generations": MOST_GENERATIONS, "group_members": MOST_GENERATIONS}
    for name, table in found.tables.items():
        draft.tables[name] = table.slice(max(0, table.num_rows - most[name]))
    since = None if found.since_ms is None else datetime.fromtimestamp(found.since_ms / 1000, UTC)
    draft.facts["history_since"] = None if since is None else since.isoformat(timespec="milliseconds")
    if found.unknown:
        draft.facts["history_unknown"] = dict(found.unknown)


def _known_commits(draft: Draft, found: History, rows: Sequence[Mapping[str, Any]]) -> dict[Place, list[Any]]:
    ids = {row["topic"]: row["topic_id"] for row in _rows(draft, "topics")}
    made = committed_at(found.tables["commit_history"].to_pylist(), ids)
    places = {(row["topic"], row["partition"]) for row in rows}
    begun = [(row["topic"], row["partition"], row) for row in rows if "joined_ms" in row]
    return {place: made.get(place, []) for place in places} | {
        (topic, part): [(row["joined_ms"], row["committed_offset"])] for topic, part, row in begun
    }


def _present(rows: Iterable[Mapping[str, Any]], now_ms: int, made: Mapping[Place, list[Any]]) -> dict[Place, list[Any]]:
    """The commits with those that the coordinator says are the present ones, and without those that came later."""
    out: dict[Place, list[Any]] = {}
    for row in rows:
        place = (row["topic"], row["partition"])
        if place in made:
            before = [one for one in made[place] if one[0] < now_ms]
            out[place] = [*before, (now_ms, row["committed_offset"])]
    return out


def _now(rows: Iterable[Mapping[str, Any]], draft: Draft, now_ms: int) -> list[Sample]:
    ends = {(row["topic"], row["partition"]): row["high_watermark"] for row in _rows(draft, "offsets")}
    kept = [row for row in rows if (row["topic"], row["partition"]) in ends]
    return [
        Sample(
            row["topic"], row["partition"], now_ms, row["committed_offset"], ends[row["topic"], row["partition"]], "now"
        )
        for row in kept
    ]


def _past_ends(sources: Sources, draft: Draft, since: int, now_ms: int) -> dict[int, dict[Place, int | None]]:
    """Moment -> place -> the log's end at that moment; null where the timestamps cannot be trusted."""
    seen = {(row["topic"], row["partition"]): row for row in _rows(draft, "offsets")}
    names = sorted({topic for topic, _ in seen})
    out: dict[int, dict[Place, int | None]] = {}
    for moment in moments(since, now_ms) if names else ():
        at = {
            (row["topic"], row["partition"]): row["offset"] for row in sources.cluster.offsets_at(names, moment).rows()
        }
        out[moment] = {
            # Records that came after the ends were taken are no news of this moment.
            place: row["high_watermark"] if at[place] is None else min(at[place], row["high_watermark"])
            for place, row in seen.items()
            if place in at and row["high_watermark"] is not None and trusted(row, now_ms)
        }
    return out


def trusted(row: Mapping[str, Any], now_ms: int) -> bool:
    """Whether a partition's timestamps can be times at all; with one in the future, all later records hide behind it."""
    newest = row["max_timestamp_ms"]
    return newest is None or EARLIEST_MS <= newest <= now_ms + FUTURE_MS


def _second_look(sources: Sources, scope: Scope, draft: Draft) -> list[Sample]:
    """Where the group stands a moment later: commits first, then ends, as the first time."""
    time.sleep(SECOND_LOOK_SECONDS)
    rows = sources.cluster.committed(str(scope.group), [scope.source] if scope.source else None).rows()
    known = {(row["topic"], row["partition"]) for row in _rows(draft, "offsets")}
    names = sorted({topic for topic, _ in known})
    ends = {
        (r["topic"], r["partition"]): r["high_watermark"] for r in sources.cluster.offsets(names, sizes=False).rows()
    }
    now_ms = round(time.time() * 1000)
    places = [(row["topic"], row["partition"], row["committed_offset"]) for row in rows]
    return [
        Sample(topic, part, now_ms, at, ends.get((topic, part)), "snapshots")
        for topic, part, at in places
        if (topic, part) in known
    ]


def read_expiry(sources: Sources, scope: Scope, draft: Draft, now_ms: int) -> None:
    """Adds ``expiry``: at some times to come, the offset below which retention by time may have removed everything.

    Retention removes whole segments, so this is when it may happen at the earliest.

    Reads: ListOffsets (by timestamp).
    """
    if "configs" not in draft.tables:
        draft.missing["expiry"] = draft.missing.get("configs", "the topics' configuration is not known")
        return
    keeps = retention_of(_rows(draft, "configs"))
    rows: list[tuple[Any, ...]] = []
    for topic, kept in keeps.items():
        if kept.seconds is None:
            continue
        reach = min(scope.horizon_seconds, kept.seconds)
        for step in range(STEPS + 1):
            ahead = reach * step / STEPS
            at = sources.cluster.offsets_at([topic], max(0, now_ms + round((ahead - kept.seconds) * 1000)))
            rows += [(row["topic"], row["partition"], ahead, row["offset"]) for row in at.rows()]
    draft.tables["expiry"] = table_of(EXPIRY, rows)


class Retention:
    """What a topic keeps: ``seconds`` and ``size_bytes`` a partition; None is no such limit."""

    def __init__(self, values: Mapping[str, str | None]) -> None:
        deletes = "delete" in (values.get("cleanup.policy") or "delete")
        self.seconds = _limit(values.get("retention.ms"), 1000) if deletes else None
        self.size_bytes = _limit(values.get("retention.bytes"), 1) if deletes else None


def _limit(text: str | None, unit: int) -> float | None:
    return None if text is None or int(text) < 0 else int(text) / unit


def retention_of(configs: Iterable[Mapping[str, Any]]) -> dict[str, Retention]:
    """Topic -> what it keeps."""
    by_topic: dict[str, dict[str, str | None]] = {}
    for row in configs:
        by_topic.setdefault(row["topic"], {})[row["name"]] = row["value"]
    return {topic: Retention(values) for topic, values in by_topic.items()}


def _rows(draft: Draft, table: str) -> list[dict[str, Any]]:
    found = draft.tables.get(table)
    return found.to_pylist() if isinstance(found, pa.Table) else []
