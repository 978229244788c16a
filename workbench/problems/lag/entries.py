"""The lagging partitions as a table that rules ask: one row each, with what tells causes apart."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.problems.lag.partitions import Index, Row, Standing, rows_of
from workbench.problems.lag.situation import Situation, came_ms
from workbench.problems.lag.trends import Motion
from workbench.tables import table_of

if TYPE_CHECKING:
    from workbench.evidence import Evidence

FLAT = 0.05  # of the larger rate: rates closer than this are equal
HOT_LAG, HOT_SHARE, HOT_TRAFFIC = 3.0, 2.0, 1.5
STORM = 3

Place = tuple[str, int]

ENTRIES = pa.schema(
    [
        ("entry", pa.int64()), ("topic", pa.string()), ("partition", pa.int32()), ("committed_offset", pa.int64()),
        ("lag", pa.int64()), ("time_lag_seconds", pa.float64()), ("head_ms", pa.int64()),
        ("sampled", pa.bool_()), ("alive", pa.bool_()), ("stands", pa.bool_()), ("still", pa.bool_()), ("others_move", pa.bool_()),
        ("standing_seconds", pa.float64()), ("last_advance_ms", pa.int64()), ("trend", pa.string()),
        ("slope_low", pa.float64()), ("produced", pa.float64()), ("consumed", pa.float64()), ("burst", pa.bool_()),
        ("hot", pa.bool_()), ("hot_traffic", pa.float64()), ("assigned", pa.bool_()), ("overloaded", pa.bool_()),
        ("storm", pa.bool_()), ("leaderless", pa.bool_()), ("shrunk", pa.bool_()), ("hanging", pa.bool_()),
        ("came_ms", pa.int64()), ("rewound", pa.bool_()), ("behind_since_ms", pa.int64()),
        ("produced_recently", pa.float64()), ("consumed_recently", pa.float64()),
    ]
)  # fmt: skip


def entries_table(evidence: Evidence, now: Situation, index: Index) -> pa.Table:
    """The table ``entries``; a cell is null where its evidence is missing."""
    world = _World(evidence, now, index)
    lagging = [item for item in now.seen if item.lagging]
    return table_of(ENTRIES, [world.row(number, item) for number, item in enumerate(lagging)])


class _World:
    """What all rows of one group share."""

    def __init__(self, evidence: Evidence, now: Situation, index: Index) -> None:
        self.now, self.open = now, index.open
        self.topics = {(row["topic"], row["partition"]): row for row in rows_of(evidence, "topics")}
        self.traffic = _traffic(index, now)
        self.members = [row for row in rows_of(evidence, "members") if row["group"] == now.group]
        self.has_members = "members" in evidence.tables and bool(self.members)
        self.owners = {(row["topic"], row["partition"]): row["member_id"] for row in self.members if row["topic"]}
        self.storm = _storm(now)
        self.direction = _direction(now)

    def row(self, number: int, item: Standing) -> tuple[Any, ...]:
        place, moved = (item.topic, item.partition), self.now.motion(item)
        sampled, still = moved.samples > 1, self.now.stands(item)
        stands = still and not self.now.serves_in_turns(item)
        came = came_ms(self.now, item)
        return (
            number, *place, item.committed_offset, item.lag, item.time_lag_seconds, item.head_ms,
            sampled, self.now.alive, stands if sampled else None, still if sampled else None,
            self.now.others_move(item),
            moved.standing_seconds, moved.last_advance_ms, _trend(moved, self.direction), moved.slope_low,
            moved.produced_per_second,
            moved.consumed_per_second, _is_burst(moved), self._is_hot(item), self.traffic.get(place),
            place in self.owners if self.has_members else None, self._is_overloaded(place), self.storm,
            place in self.topics and self.topics[place]["leader"] is None, self._is_shrunk(place),
            any(row["hanging"] for row in self.open.get(place, ())), None if came is None else round(came),
            moved.state == "rewound", moved.behind_since_ms, moved.produced_recently, moved.consumed_recently,
        )  # fmt: skip

    def _is_shrunk(self, place: Place) -> bool:
        found = self.topics.get(place)
        return found is not None and len(found["isr"]) < len(found["replicas"])

    def _is_hot(self, item: Standing) -> bool | None:
        """More than three times the median lag of the topic's partitions, and more than twice its fair share."""
        lags = [one.lag for one in self.now.seen if one.topic == item.topic and one.lag is not None]
        if len(lags) < 2 or not item.lag:
            return None
        share = min(HOT_SHARE / len(lags), (1 + 1 / len(lags)) / 2)
        return item.lag > HOT_LAG * median(lags) and item.lag > share * sum(lags)

    def _is_overloaded(self, place: Place) -> bool | None:
        """Its member has at least two partitions more than another member of the group."""
        if not self.has_members:
            return None
        counts = dict.fromkeys((row["member_id"] for row in self.members), 0)
        for owner in self.owners.values():
            counts[owner] += 1
        owner = self.owners.get(place)
        return owner is not None and counts[owner] >= min(counts.values()) + 2


def _traffic(index: Index, now: Situation) -> dict[Place, float]:
    """Place -> its share of what its topic was sent: in the window, or where that has nothing, in the whole log."""
    sent: dict[str, dict[Place, float]] = {item.topic: {} for item in now.seen}
    for place, moved in now.motions.items():
        sent[place[0]][place] = moved.produced_per_second or 0.0
    out: dict[Place, float] = {}
    for topic, by_rate in sent.items():
        known = by_rate if sum(by_rate.values()) > 0 else _held(index.by_topic.get(topic, ()))
        total = sum(known.values())
        out |= {place: value / total for place, value in known.items() if total}
    return out


def _held(logs: Iterable[Row]) -> dict[Place, float]:
    """Place -> how many offsets its log spans."""
    return {
        (row["topic"], row["partition"]): float(row["high_watermark"] - row["log_start_offset"])
        for row in logs
        if row["high_watermark"] is not None and row["log_start_offset"] is not None
    }


def is_more_than_its_share(traffic: float | None, partitions: int) -> bool:
    """Whether a share of the traffic is well above one among so many."""
    return traffic is not None and partitions > 1 and traffic > min(HOT_TRAFFIC / partitions, (1 + 1 / partitions) / 2)


def _direction(now: Situation) -> str | None:
    """Where the lag of all lagging partitions that move goes, in the last third of the time that they are behind.

    Taken together, because one reader serves its partitions in turns.
    """
    moving = [
        now.motion(item)
        for item in now.seen
        if item.lagging and not (now.stands(item) and not now.serves_in_turns(item))
    ]
    produced = sum(moved.produced_recently or 0.0 for moved in moving)
    consumed = sum(moved.consumed_recently or 0.0 for moved in moving)
    if not any(moved.samples > 1 for moved in moving):
        return None
    if abs(produced - consumed) <= FLAT * max(produced, consumed):
        return "flat"
    return "falling" if produced < consumed else "growing"


def _trend(moved: Motion, direction: str | None) -> str | None:
    """The group's direction, unless the partition's own trend contradicts it for certain."""
    if direction == "growing" and moved.slope_high is not None and moved.slope_high <= 0:
        return "falling" if moved.slope_high < 0 else "flat"
    if direction == "growing" and moved.slope_low is not None and moved.slope_low <= 0:
        return "flat"
    return direction


def _is_burst(moved: Motion) -> bool | None:
    """Much more was sent at some time of the window than is sent now."""
    if moved.produced_at_most is None or moved.produced_recently is None:
        return None
    return moved.produced_at_most > 0 and moved.produced_at_most >= 2 * moved.produced_recently


def _storm(now: Situation) -> bool | None:
    """Three generations or more since it is behind, and less than half of what was to be done since then is done."""
    since = min((m.behind_since_ms for m in now.motions.values() if m.behind_since_ms), default=None)
    if since is None or not now.habits.generations:
        return None
    return now.habits.rebalances(since, now.now_ms) >= STORM and _progress(now, since) < 0.5


def _progress(now: Situation, since_ms: int) -> float:
    """What was committed since a moment, as a share of that and what waits."""
    seconds = (now.now_ms - since_ms) / 1000
    # A rate over a moment, as of a partition with its first commit, must not count for more than was ever committed.
    done = sum(min(seconds * (now.motion(item).consumed_per_second or 0.0), item.committed_offset) for item in now.seen)
    waits = sum(item.lag or 0 for item in now.seen)
    return done / (done + waits) if done + waits > 0 else 1.0
