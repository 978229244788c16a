"""A group whose partitions move by formulas, as evidence of lag would have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from tests.unit.builder import COMMITTED, CONFIGS, NOW, NOW_MS, OFFSETS, OPEN, RECORDS, SCAN
from workbench.evidence import Evidence
from workbench.problems.lag.past import EXPIRY
from workbench.problems.lag.unbegun import UNBEGUN
from workbench.problems.scope import Scope
from workbench.sources.commits import COMMITS, GENERATIONS, MEMBERS
from workbench.sources.groups import GROUPS_SCHEMA, MEMBERS_SCHEMA
from workbench.sources.heads import HEADS_SCHEMA
from workbench.sources.history import SAMPLES
from workbench.sources.logs import SERVICE_LOG_SCHEMA
from workbench.sources.times import OFFSETS_AT_SCHEMA
from workbench.sources.topics import PARTITIONS_SCHEMA
from workbench.tables import table_of

WINDOW = 60  # seconds
LATENCY = 5.0

Curve = Callable[[float], float]


def line(per_second: float, start: float = 0.0) -> Curve:
    """An offset that moves at a rate; time counts from the window's beginning."""
    return lambda at: start + per_second * at


class Group:
    """Partitions of topic ``in`` with a curve for the log's end and one for the commits."""

    def __init__(self, *curves: tuple[Curve, Curve], **facts: Any) -> None:
        self.curves = curves
        self.owners = dict.fromkeys(range(len(curves)), "m")
        self.members: tuple[str, ...] = ("m",)
        self.state = "Stable"
        self.without: set[str] = set()
        self.rows: dict[str, list[tuple[Any, ...]]] = {}
        self.generations: list[tuple[float, int]] = [(-3600.0, 1)]  # (seconds of the window, members)
        self.unbegun: dict[
            int, tuple[int, float]
        ] = {}  # partition -> first offset since its reader came, and when that was
        self.session_ms = 4_000
        self.left = 0  # members that each generation after the first had lost
        self.commit_times: list[float] = [float(at) for at in range(WINDOW + 1)]
        self.heads: dict[int, int] = {}  # partition -> age of the next record in ms, where it is not that of the curve
        self.open: list[tuple[Any, ...]] = []
        self.leaderless: set[int] = set()
        self.log: list[dict[str, Any]] | None = None
        self.records: list[dict[str, Any]] = []
        self.facts = facts

    def at(self, seconds: float) -> int:
        """Epoch ms of a moment of the window."""
        return NOW_MS - round((WINDOW - seconds) * 1000)

    def end(self, part: int, seconds: float = WINDOW) -> int:
        """The log's end."""
        return int(self.curves[part][0](seconds))

    def committed(self, part: int, seconds: float = WINDOW) -> int:
        """The commit."""
        return min(int(self.curves[part][1](seconds)), self.end(part, seconds))

    def head_ms(self, part: int) -> int:
        """When the record at the commit was written."""
        if part in self.heads:
            return NOW_MS - self.heads[part]
        at = next(step / 10 for step in range(WINDOW * 10 + 1) if self.end(part, step / 10) > self.committed(part))
        return self.at(at)

    def evidence(self) -> Evidence:
        """The evidence."""
        parts = range(len(self.curves))
        behind = [part for part in parts if self.end(part) > self.committed(part) and part not in self.leaderless]
        rows: dict[str, tuple[pa.Schema, list[tuple[Any, ...]]]] = {
            "groups": (GROUPS_SCHEMA, [("g", self.state, "classic", "range", 1, len(self.members))]),
            "members": (MEMBERS_SCHEMA, self._members()),
            "committed": (COMMITTED, [("g", "in", p, self.committed(p), None, "") for p in parts if p not in self.unbegun]),
            "unbegun": (UNBEGUN, [("g", "in", p, at, self.at(since)) for p, (at, since) in self.unbegun.items()]),
            "offsets": (OFFSETS, [self._offsets(part) for part in parts]),
            "cutoffs": (OFFSETS_AT_SCHEMA, [("in", part, self.end(part)) for part in parts]),
            "heads": (HEADS_SCHEMA, [self._head(part) for part in behind]),
            "topics": (PARTITIONS_SCHEMA, [("in", "id", p, None if p in self.leaderless else 1, 1, [1], [1]) for p in parts]),
            "configs": (CONFIGS, self.rows.get("configs", [("in", "retention.ms", "-1", False)])),
            "expiry": (EXPIRY, self.rows.get("expiry", [])),
            "samples": (SAMPLES, self._samples()),
            "commit_history": (COMMITS, self._commits()),
            "generations": (GENERATIONS, self._generations()),
            "group_members": (MEMBERS, self._held()),
        }  # fmt: skip
        tables = {name: table_of(schema, found) for name, (schema, found) in rows.items() if name not in self.without}
        if self.open:
            tables["open_transactions"] = table_of(OPEN, self.open)
        if self.log is not None:
            tables["service_log"] = pa.Table.from_pylist(
                [{"line": n, **one} for n, one in enumerate(self.log)], SERVICE_LOG_SCHEMA
            )
        if self.records:
            tables["records"] = pa.Table.from_pylist(self.records, RECORDS)
            tables["scan"] = pa.Table.from_pylist([], SCAN)
        scope = Scope(group="g", expected_latency_seconds=LATENCY).facts()
        more = {
            "collected_at": NOW.isoformat(),
            "groups": ["g"],
            "group_failures": {},
            "deleted_topics": [],
            "history_since": None,
        }
        return Evidence(tables, {**scope, **more, **self.facts}, dict.fromkeys(self.without, "Read denied"))

    def _members(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = [("g", owner, "c", "/h", None, "in", part) for part, owner in self.owners.items()]
        idle = set(self.members) - set(self.owners.values())
        return rows + [("g", one, "c", "/h", None, None, None) for one in sorted(idle)]

    def _offsets(self, part: int) -> tuple[Any, ...]:
        if part in self.leaderless:
            return ("in", part, None, None, None, None, None, "no leader")
        stable = min((row[3] for row in self.open if row[1] == part), default=self.end(part))
        return ("in", part, 0, self.end(part), stable, NOW_MS, 1000, None)

    def _head(self, part: int) -> tuple[Any, ...]:
        at = self.committed(part)
        if any(row[1] == part and row[3] <= at for row in self.open):
            return ("in", part, at, None, None, None, None)
        return ("in", part, at, at, self.head_ms(part), "CreateTime", None)

    def _samples(self) -> list[tuple[Any, ...]]:
        times = sorted({WINDOW - WINDOW * (step / 31) ** 2 for step in range(32)})
        return [
            ("in", part, self.at(at), self.committed(part, at), self.end(part, at), "commits")
            for part in range(len(self.curves))
            for at in times
        ]

    def _commits(self) -> list[tuple[Any, ...]]:
        return [
            (n, self.at(at), "g", "in", "id", part, self.committed(part, at), 0, False, len(self.members), 1)
            for n, at in enumerate(self.commit_times)
            for part in range(len(self.curves))
        ]

    def _generations(self) -> list[tuple[Any, ...]]:
        return [
            (n - 1000, self.at(at), "g", n, "range", members, members, self.left if n else 0, False)
            for n, (at, members) in enumerate(self.generations)
        ]

    def _held(self) -> list[tuple[Any, ...]]:
        known = {
            "session_timeout_ms": self.session_ms,
            "member_id": "m",
            "group": "g",
            "topic": "in",
            "partitions": [0],
        }
        return [
            tuple({**known, "log_offset": n - 1000, "at_ms": self.at(at)}.get(name) for name in MEMBERS.names)
            for n, (at, _) in enumerate(self.generations)
        ]

    def record(self, part: int, offset: int, **more: Any) -> None:
        """One of the records that were read."""
        row = {"role": "source", "topic": "in", "partition": part, "offset": offset, "timestamp_ms": NOW_MS, "decoded": True,
               "is_aborted": False, "key": f"k{offset}".encode(), "value_size": 100, "message_id": f"{part}-{offset}"}  # fmt: skip
        self.records.append({**row, **more})
