"""How far behind each partition is: offsets, what of them can still be read, and the age of the next record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.evidence import Evidence

if TYPE_CHECKING:
    import pyarrow as pa

EARLIEST_MS = 946_684_800_000  # the year 2000: nothing in Kafka was written before, such a time is a wrong one
FUTURE_MS = 5_000  # a clock this far ahead is skew, and the age counts as 0

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """One partition of a group; unknown is None, with ``why``.

    Attributes:
        topic, partition: where.
        committed_offset: the next offset that the group would read; read before ``log_end_offset``.
        log_end_offset: the high watermark.
        lag: offsets between the two.
        expired: of them, below the log's start: removed unread.
        hidden: of them, at or above the last stable offset (0 for read_uncommitted readers).
        time_lag_seconds: age of the first record that the group has not committed past; 0 where nothing is behind. The
            error is that of the producer's clock (CreateTime) or the broker's (LogAppendTime).
        head_ms: that record's timestamp.
        lagging: whether that age exceeds the expected latency.
        why: why something is unknown.
    """

    topic: str
    partition: int
    committed_offset: int
    log_end_offset: int | None = None
    lag: int | None = None
    expired: int | None = None
    hidden: int | None = None
    time_lag_seconds: float | None = None
    head_ms: int | None = None
    lagging: bool | None = None
    why: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON types, as in the report's facts."""
        return dict(vars(self))


@dataclass(frozen=True)
class Index:
    """The cluster's part of lag evidence, by place; shared by all groups of one collection.

    Brought together once: with thousands of groups nothing that is asked of one may go over what is known of all.
    """

    offsets: Mapping[tuple[str, int], Row]
    cutoffs: Mapping[tuple[str, int], int | None]
    heads: Mapping[tuple[str, int, int], Row]
    facts: Mapping[str, Any]
    collected_ms: int = field(default=0)
    open: Mapping[tuple[str, int], list[Row]] = field(default_factory=dict)
    leaderless: frozenset[tuple[str, int]] = frozenset()
    by_topic: Mapping[str, list[Row]] = field(default_factory=dict)

    @classmethod
    def of(cls, evidence: Evidence, collected_ms: int) -> Index:
        """The index of some evidence."""
        offsets = rows_of(evidence, "offsets")
        return cls(
            {(row["topic"], row["partition"]): row for row in offsets},
            {(row["topic"], row["partition"]): row["offset"] for row in rows_of(evidence, "cutoffs")},
            {(row["topic"], row["partition"], row["offset"]): row for row in rows_of(evidence, "heads")},
            evidence.facts,
            collected_ms,
            _by_place(rows_of(evidence, "open_transactions")),
            frozenset((row["topic"], row["partition"]) for row in rows_of(evidence, "topics") if row["leader"] is None),
            grouped(offsets, "topic"),
        )

    def heads_of(self, committed: Iterable[Row]) -> list[Row]:
        """The heads that were read for some commits."""
        asked = ((row["topic"], row["partition"], row["committed_offset"]) for row in committed)
        return [self.heads[one] for one in asked if one in self.heads]


def rows_of(evidence: Evidence, name: str) -> list[dict[str, Any]]:
    """A small table's rows; none where it is missing."""
    table = evidence.table(name)
    found: list[dict[str, Any]] = table.to_pylist() if table is not None else []
    return found


@dataclass(frozen=True)
class Slices:
    """A table in the order of its groups, to give each group's rows without copying them."""

    table: pa.Table | None
    spans: Mapping[str, tuple[int, int]]

    @classmethod
    def by_group(cls, table: pa.Table | None) -> Slices:
        """The slices of a table with a column ``group``."""
        if table is None:
            return cls(None, {})
        names = table["group"].to_pylist()
        order = sorted(range(len(names)), key=names.__getitem__)
        spans: dict[str, tuple[int, int]] = {}
        for at, number in enumerate(order):
            first, count = spans.get(names[number], (at, 0))
            spans[names[number]] = (first, count + 1)
        return cls(table.take(order) if order else table, spans)

    def of(self, group: str) -> pa.Table | None:
        """One group's rows; None where there is no table."""
        return None if self.table is None else self.table.slice(*self.spans.get(group, (0, 0)))


def grouped(rows: Iterable[Row], name: str) -> dict[str, list[Row]]:
    """Rows by a column."""
    out: dict[str, list[Row]] = {}
    for row in rows:
        out.setdefault(row[name], []).append(row)
    return out


def _by_place(rows: Iterable[Row]) -> dict[tuple[str, int], list[Row]]:
    out: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        out.setdefault((row["topic"], row["partition"]), []).append(row)
    return out


def standings(index: Index, committed: Iterable[Row]) -> list[Standing]:
    """One standing for each commit on a topic that still exists."""
    deleted = set(index.facts.get("deleted_topics") or ())
    return [_standing(index, row) for row in committed if row["topic"] not in deleted]


def _standing(index: Index, commit: Row) -> Standing:
    place, at = (commit["topic"], commit["partition"]), commit["committed_offset"]
    seen = index.offsets.get(place)
    if seen is None or seen["high_watermark"] is None or seen["log_start_offset"] is None:
        if place in index.leaderless:
            return Standing(*place, at, lagging=True, why="the partition has no leader: nobody can read it")
        return Standing(*place, at, why=(seen or {}).get("error") or "the log's offsets are not known")
    end = seen["high_watermark"]
    if at > end:
        beyond = f"the commit {at:,} lies beyond the log's end {end:,}: the topic was truncated or made anew"
        return Standing(*place, at, end, why=beyond)
    start, stable = min(seen["log_start_offset"], end), seen["last_stable_offset"]
    hidden: int | None = 0
    if index.facts["isolation"] == "read_committed":
        hidden = None if stable is None else end - min(max(stable, at, start), end)
    expired = max(0, start - at)
    age, head_ms, lagging, why = _age(index, commit, seen)
    return Standing(*place, at, end, end - at, expired, hidden, age, head_ms, lagging, why)


def _age(index: Index, commit: Row, seen: Row) -> tuple[float | None, int | None, bool | None, str | None]:
    """(time lag, timestamp of the next record, lagging, why unknown)."""
    place, at = (commit["topic"], commit["partition"]), commit["committed_offset"]
    if at >= seen["high_watermark"]:
        return 0.0, None, False, None
    head = index.heads.get((*place, at))
    if head is None:
        if waits(index.cutoffs, place, at):
            return None, None, None, "the next record was not read"
        return None, None, False, "every waiting record is younger than the expected latency; none was read"
    if head["error"]:
        return None, None, None, f"the next record could not be read: {head['error']}"
    if head["first_offset"] is None:
        stable = seen["last_stable_offset"]
        stuck = stable is not None and stable < seen["high_watermark"] and waits(index.cutoffs, place, max(at, stable))
        if stuck and any(row["hanging"] for row in index.open.get(place, ())):
            return None, None, True, "what is behind is hidden by a transaction that hangs"
        why = "what is behind is hidden by an open transaction" if stuck else "nothing readable is behind"
        return None, None, None if stuck else False, why
    return _from_time(index, head["timestamp_ms"])


def _from_time(index: Index, head_ms: int | None) -> tuple[float | None, int | None, bool | None, str | None]:
    if head_ms is None or head_ms < EARLIEST_MS or head_ms > index.collected_ms + FUTURE_MS:
        return None, head_ms, None, "the next record's timestamp cannot be right: none, before 2000, or in the future"
    age = max(0, index.collected_ms - head_ms) / 1000
    return age, head_ms, age > index.facts["expected_latency_seconds"], None


def waits(cutoffs: Mapping[tuple[str, int], int | None], place: tuple[str, int], at: int) -> bool:
    """Whether a record at or after an offset may be older than the expected latency; unknown counts as yes.

    A cutoff is the first offset whose timestamp is younger; all before it are older, and None means all are.
    """
    cutoff = cutoffs.get(place)
    return cutoff is None or at < cutoff
