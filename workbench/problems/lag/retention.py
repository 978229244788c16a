"""The risk that lag becomes loss: when retention removes records that the group has not read, at the present rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.problems.lag.past import retention_of
from workbench.problems.rules import RULED_OUT, Case, Ruling, rule
from workbench.report import Severity

GRID = 48


@dataclass(frozen=True)
class Forecast:
    """When a partition's unread records begin to be removed.

    Attributes:
        topic, partition: where.
        time_seconds: by age, at the earliest; None: not within the horizon, or no such limit.
        size_seconds: by size, at the earliest; None: the same.
        offsets: unread offsets that are gone by the horizon.
    """

    topic: str
    partition: int
    time_seconds: float | None
    size_seconds: float | None
    offsets: int

    @property
    def seconds(self) -> float | None:
        """The nearer of the two."""
        known = [value for value in (self.time_seconds, self.size_seconds) if value is not None]
        return min(known, default=None)


def forecasts(case: Case, standing: Sequence[Mapping[str, Any]]) -> list[Forecast]:
    """A forecast for each partition that is behind: rows of ``standing`` with their rates."""
    keeps = retention_of(case.rows("SELECT topic, name, value FROM configs"))
    expiry: dict[tuple[str, int], list[tuple[float, int | None]]] = {}
    for step in case.rows("SELECT * FROM expiry ORDER BY in_seconds") if case.has("expiry") else ():
        expiry.setdefault((step["topic"], step["partition"]), []).append((step["in_seconds"], step["offset"]))
    logs = {(row["topic"], row["partition"]): row for row in case.rows("SELECT * FROM offsets")}
    out = []
    for row in standing:
        place = (row["topic"], row["partition"])
        log = logs.get(place)
        if row["lag"] and log is not None and place[0] in keeps:
            out.append(
                _forecast(row, log, expiry.get(place, []), keeps[place[0]].size_bytes, case.facts["horizon_seconds"])
            )
    return out


def _forecast(
    row: Mapping[str, Any],
    log: Mapping[str, Any],
    expiry: Sequence[tuple[float, int | None]],
    most_bytes: float | None,
    horizon: float,
) -> Forecast:
    # Commits that went back in the window make a rate below zero; nobody reads backwards from now on.
    at, consumed = row["committed_offset"], max(0.0, row["consumed"] or 0.0)
    end, start = log["high_watermark"], log["log_start_offset"]
    by_time, lost = None, 0
    for ahead, offset in expiry:
        gone = (end if offset is None else offset) - min(at + consumed * ahead, end)
        if gone > 0:
            by_time = ahead if by_time is None else by_time
            lost = max(lost, round(min(gone, end - at)))
    by_size, lost_by_size = _by_size(row, log, most_bytes, horizon) if end > start else (None, 0)
    return Forecast(row["topic"], row["partition"], by_time, by_size, max(lost, lost_by_size))


def _by_size(
    row: Mapping[str, Any], log: Mapping[str, Any], most_bytes: float | None, horizon: float
) -> tuple[float | None, int]:
    """(seconds until the log outgrows its limit past the reader, unread offsets gone by the horizon)."""
    size, produced, consumed = log["log_size_bytes"], row["produced"], max(0.0, row["consumed"] or 0.0)
    if most_bytes is None or size is None or produced is None:
        return None, 0
    each = size / max(1, log["high_watermark"] - log["log_start_offset"])
    first, lost = None, 0
    for step in range(GRID + 1):
        ahead = horizon * step / GRID
        gone = log["log_start_offset"] + max(0.0, size + each * produced * ahead - most_bytes) / max(each, 1e-9)
        unread = gone - (row["committed_offset"] + consumed * ahead)
        if unread > 0:
            first = ahead if first is None else first
            lost = max(lost, round(unread))
    return first, min(lost, round((row["lag"] or 0) + produced * horizon))


@rule("lag-retention-risk", Severity.CRITICAL, needs=("configs", "offsets", "expiry"), kind="risk")
def retention_risk(case: Case) -> Ruling:
    """Records that the group has not read are removed within the horizon, if all goes on as it does.

    Confirmed where, at the rate at which the group reads now, a moment within the horizon comes at which retention by time
    or by size may remove an offset that it has not read by then. Segments go whole, so this is the earliest time. Undecided
    where the topic's settings are not known. Ruled out where the group stays ahead of retention, or the topic only
    compacts.
    """
    rows = case.rows("SELECT * FROM behind")
    found = [one for one in forecasts(case, rows) if one.seconds is not None]
    if not found:
        return RULED_OUT
    first = min(found, key=lambda one: one.seconds or 0.0)
    offsets = sum(one.offsets for one in found)
    when = "now" if not first.seconds else f"in about {first.seconds:,.0f} s"
    return Ruling(
        state="confirmed",
        upper_bound=offsets,
        confidence="medium",
        summary=f"At the present rates retention begins to remove unread records of {first.topic}-{first.partition} {when}; "
        f"up to {offsets:,} offsets on {len(found):,} partitions are gone within the horizon of "
        f"{case.facts['horizon_seconds']:,.0f} s.",
        subject={"topic": first.topic, "partition": first.partition, "group": case.facts["group"]},
        tables=("configs", "offsets", "expiry"),
        rows=tuple(f"{one.topic}/{one.partition}" for one in found[:10]),
    )
