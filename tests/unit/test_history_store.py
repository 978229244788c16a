"""What a watcher keeps: whole after a crash, apart from other watchers, small, and no longer than asked."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from workbench.config import load_config
from workbench.errors import ConfigError, SourceUnavailable, UsageError
from workbench.sources.history import Sample
from workbench.sources.history.store import MOST_MOMENTS, HistoryStore, HistoryWriter, Row

START = 1_700_000_000_000
STEP = 10_000


def look(number: int, committed: int | None = None, end: int | None = None, group: str = "g") -> list[Row]:
    return [
        Row(group, "t", 0, 10 * number if committed is None else committed),
        Row(None, "t", 0, None, 0, 10 * number + 5 if end is None else end, 10 * number + 5),
    ]


def at(number: int) -> int:
    return START + number * STEP


def watched(folder: Path, looks: range, *, each: int = 4, group: str = "g") -> None:
    with HistoryWriter(folder, each) as writer:
        for number in looks:
            writer.add(at(number), look(number, group=group))


def points(folder: Path, group: str = "g", since: int = 0) -> list[tuple[int, int | None, int | None]]:
    return [
        ((one.at_ms - START) // STEP, one.committed_offset, one.log_end_offset)
        for one in HistoryStore(folder).samples(group, at(since))
    ]


@pytest.mark.parametrize("each", [1_000, 4, 2])
def test_what_was_seen_is_there_joined_or_not(tmp_path: Path, each: int) -> None:
    watched(tmp_path, range(11), each=each)
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(11)]
    assert points(tmp_path, since=8) == [(n, 10 * n, 10 * n + 5) for n in (8, 9, 10)]
    assert points(tmp_path, "other") == []
    assert HistoryStore(tmp_path).samples("g", 0)[0] == Sample("t", 0, START, 0, 5, "watch")


def test_only_changes_are_kept_and_values_last_until_the_next_one(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, 100) as writer:
        for number in range(50):
            writer.add(at(number), look(number, committed=7 if number < 30 else 8, end=9))
    (path,) = tmp_path.glob("*.parquet")
    assert pq.read_metadata(path).num_rows == 3 + 49  # the last stable offset of the log moves; the commit twice
    assert points(tmp_path)[29:31] == [(29, 7, 9), (30, 8, 9)]


def test_a_group_that_vanishes_and_comes_back(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, 100) as writer:
        for number in range(6):
            rows = look(number) if number not in {2, 3} else look(number)[1:]
            writer.add(at(number), rows)
    assert [offset for _, offset, _ in points(tmp_path)] == [0, 10, None, None, 40, 50]


def test_two_watchers_of_one_folder_are_two_sets_of_looks(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, 3) as one, HistoryWriter(tmp_path, 3) as other:
        for number in range(0, 10, 2):
            one.add(at(number), look(number))
            other.add(at(number + 1), look(number + 1))
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(10)]


def test_looks_that_were_joined_before_a_crash_count_once_and_are_removed(tmp_path: Path) -> None:
    watched(tmp_path, range(4), each=1_000)
    (segment,) = tmp_path.glob("segment-*")
    writer = segment.stem.rsplit("-", 1)[1]
    with HistoryWriter(tmp_path, 1_000) as again:
        again.name = writer
        again.add(at(2), look(99))  # as a joined look that was not removed yet
        assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(4)]
        again.name = "other"
    watched(tmp_path, range(20, 21))
    assert not list(tmp_path.glob(f"look-{at(2):013}-*"))


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.unit.test_history_store import at, look
from workbench.sources.history.store import HistoryWriter
with HistoryWriter(Path(sys.argv[1]), 3) as writer:
    for number in range(8):
        writer.add(at(number), look(number))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_watcher_that_is_killed_leaves_whole_looks_and_the_next_one_joins_them(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), root], check=False, timeout=60)
    assert done.returncode == -9
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(8)]
    assert len(list(tmp_path.glob("look-*"))) == 2
    watched(tmp_path, range(8, 10))
    assert not list(tmp_path.glob("look-*"))
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(10)]
    assert not list(tmp_path.glob(".watching-*"))


def test_a_watcher_that_is_at_work_keeps_its_looks(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, 100) as one:
        one.add(at(0), look(0))
        one.add(at(1), look(1))
        watched(tmp_path, range(2, 4))
        assert len(list(tmp_path.glob(f"look-*-{one.name}.parquet"))) == 2


def test_what_is_too_old_is_removed(tmp_path: Path) -> None:
    watched(tmp_path, range(9), each=3)
    with HistoryWriter(tmp_path) as writer:
        assert writer.forget(at(3)) == 1
    assert [number for number, _, _ in points(tmp_path)] == list(range(3, 9))


def test_a_diagnosis_gets_a_bounded_number_of_moments(tmp_path: Path) -> None:
    watched(tmp_path, range(1_000), each=500)
    found = points(tmp_path)
    assert len(found) == MOST_MOMENTS
    assert (found[-1][0], found[0][0] < 5) == (999, True)


def fleet(groups: int, partitions: int) -> Iterator[list[Row]]:
    """Groups of which half are busy; ends and commits move by varying amounts."""
    dice = random.Random(1)
    ends = {(g, p): dice.randrange(10**9) for g in range(groups) for p in range(partitions)}
    lags = dict.fromkeys(ends, 0)
    while True:
        rows = []
        for g, p in list(ends):
            if g % 2 == 0:
                ends[g, p] += dice.randrange(200)
                lags[g, p] = max(0, lags[g, p] + dice.randrange(-50, 51))
            rows += [
                Row(f"group-{g}", f"topic-{g}", p, ends[g, p] - lags[g, p]),
                Row(None, f"topic-{g}", p, None, 0, ends[g, p], ends[g, p]),
            ]
        yield rows


def test_a_day_of_five_hundred_groups_fits_in_two_hundred_megabytes(tmp_path: Path) -> None:
    """By the size of an hour of a tenth of the groups: segments are joined hour by hour, and groups do not share rows."""
    looks = fleet(50, 12)
    with HistoryWriter(tmp_path, 360) as writer:
        for number in range(360):
            writer.add(at(number), next(looks))
    size = sum(path.stat().st_size for path in tmp_path.glob("*.parquet"))
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    assert size * 10 * 24 < 200_000_000


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    watched(tmp_path, range(4))
    (path,) = tmp_path.glob("segment-*")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SourceUnavailable, match=path.name):
        points(tmp_path)


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.parquet").write_text("x")
    (tmp_path / "look-a-b-c.parquet").write_text("x")
    watched(tmp_path, range(4))
    assert len(points(tmp_path)) == 4


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        HistoryWriter(tmp_path / "file")


def test_a_profile_names_its_history(tmp_path: Path) -> None:
    path = tmp_path / "workbench.toml"
    path.write_text('[profiles.p]\nkafka = { "bootstrap.servers" = "h:1" }\nhistory = "looks"\n')
    assert load_config(path).profile("p").history == "looks"
    path.write_text('[profiles.p]\nkafka = { "bootstrap.servers" = "h:1" }\nhistory = 5\n')
    with pytest.raises(ConfigError, match="history"):
        load_config(path)
