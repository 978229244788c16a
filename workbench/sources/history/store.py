"""What ``workbench watch`` kept, read: where a group stood at the looks that were taken."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import SourceUnavailable
from workbench.sources.history.files import LookFile, files_of, looks_of, rows_of
from workbench.sources.history.table import Sample

if TYPE_CHECKING:
    import pyarrow as pa

MOST_MOMENTS = 400  # samples of a partition that a diagnosis gets; more say nothing new
_TRIES = 3
_WHERE = ("topic", "partition", "look")

Place = tuple[str, int]


class HistoryStore:
    """The looks in a folder, for reading.

    Args:
        folder: of ``workbench watch --out``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def samples(self, group: str, since_ms: int) -> list[Sample]:
        """Where a group stood at the looks since a moment; [] where nobody watched it.

        Of each partition at most ``MOST_MOMENTS``, each as the watcher saw it that looked then, and only of watchers that
        ever saw the group there.

        Raises:
            SourceUnavailable: a file cannot be read.

        Reads: the files.
        """
        for _ in range(_TRIES):
            files = [one for one in files_of(self.folder) if one.last_ms >= since_ms]
            try:
                return _told(files, group, since_ms)
            except SourceUnavailable:
                # A watcher at work joins looks and removes old ones; what they became is there already.
                if all(one.path.exists() for one in files):
                    raise
        raise SourceUnavailable(
            f"The files in {self.folder} change faster than they can be read.", source="history", retriable=True
        )


def _told(files: Iterable[LookFile], group: str, since_ms: int) -> list[Sample]:
    watchers: dict[str, _Watcher] = {}
    for one in files:
        watchers.setdefault(one.writer, _Watcher(group)).take(one)
    by_place: dict[Place, list[_Watcher]] = {}
    for watcher in watchers.values():
        for place in watcher.commits:
            by_place.setdefault(place, []).append(watcher)
    chosen = _Moments(since_ms)
    return [sample for place in sorted(by_place) for sample in _samples(place, chosen.of(by_place[place]))]


class _Watcher:
    """What one watcher saw of a group: its looks, and the values of the group's partitions as they changed."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.looks: list[int] = []
        self.commits: dict[Place, _Steps] = {}
        self.ends: dict[Place, _Steps] = {}

    def take(self, file: LookFile) -> None:
        """Adds a file; those of a watcher in the order of time."""
        import pyarrow.compute as pc

        times = looks_of(file.path)
        self.looks += times
        mine = rows_of(file.path, pc.field("group") == self.group, (*_WHERE, "committed_offset"))
        topics = sorted({topic for topic, _ in self.commits} | set(mine["topic"].to_pylist()))
        _add(self.commits, mine, "committed_offset", times)
        if topics:
            logs = rows_of(
                file.path, pc.field("group").is_null() & pc.field("topic").isin(topics), (*_WHERE, "log_end_offset")
            )
            _add(self.ends, logs, "log_end_offset", times)


class _Steps:
    """A value as it changed: from each time on until the next one."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._values: list[int | None] = []

    def add(self, at_ms: int, value: int | None) -> None:
        self._times.append(at_ms)
        self._values.append(value)

    def at(self, at_ms: int) -> int | None:
        """The value at a moment; None where there was none, or none yet."""
        before = bisect_right(self._times, at_ms)
        return self._values[before - 1] if before else None


def _add(out: dict[Place, _Steps], rows: pa.Table, column: str, times: Sequence[int]) -> None:
    """Adds a file's steps; what was there and is not at the file's first look is gone from then on."""
    begun = set()
    names = (*_WHERE, column)
    found: dict[Place, list[tuple[int, int | None]]] = {}
    for topic, partition, look, value in zip(*(rows[name].to_pylist() for name in names), strict=True):
        found.setdefault((topic, partition), []).append((look, value))
        if not look:
            begun.add((topic, partition))
    for place in out.keys() - begun:
        out[place].add(times[0], None)
    for place, steps in found.items():
        known = out.setdefault(place, _Steps())
        for look, value in sorted(steps, key=itemgetter(0)):
            known.add(times[look], value)


class _Moments:
    """The looks at which a partition is sampled, by the watchers that saw the group there; computed once for each set of them."""

    def __init__(self, since_ms: int) -> None:
        self._since_ms = since_ms
        self._known: dict[tuple[int, ...], list[tuple[int, _Watcher]]] = {}

    def of(self, watchers: Sequence[_Watcher]) -> list[tuple[int, _Watcher]]:
        """(moment, who looked then), oldest first; of two that looked in the same millisecond one."""
        key = tuple(map(id, watchers))
        if key not in self._known:
            by_time = {at: one for one in watchers for at in one.looks if at >= self._since_ms}
            self._known[key] = [(at, by_time[at]) for at in _thinned(sorted(by_time))]
        return self._known[key]


def _samples(place: Place, moments: Iterable[tuple[int, _Watcher]]) -> Iterator[Sample]:
    unknown = _Steps()
    for at, watcher in moments:
        end = watcher.ends.get(place, unknown).at(at)
        yield Sample(*place, at, watcher.commits[place].at(at), end, "watch")


def _thinned(moments: Sequence[int]) -> Sequence[int]:
    """Evenly chosen moments, the last one among them."""
    if len(moments) <= MOST_MOMENTS:
        return moments
    step = len(moments) / MOST_MOMENTS
    return [moments[len(moments) - 1 - round(number * step)] for number in range(MOST_MOMENTS)][::-1]
