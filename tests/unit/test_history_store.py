"""What a watcher keeps: whole after a crash, apart from other watchers, small, and no longer than asked."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.config import load_config
from workbench.errors import ConfigError, SourceUnavailable, UsageError
from workbench.sources.history import Sample, store
from workbench.sources.history import writer as writer_module
from workbench.sources.history.files import ROWS, LookFile, Row, files_of, looks_of
from workbench.sources.history.store import MOST_MOMENTS, HistoryStore
from workbench.sources.history.writer import HistoryWriter

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


def test_a_group_that_comes_back_with_the_commit_it_had(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, 100) as writer:
        for number in range(5):
            writer.add(at(number), look(number, committed=7, end=9)[number == 2 :])
    assert [offset for _, offset, _ in points(tmp_path)] == [7, 7, None, 7, 7]


def test_two_watchers_of_one_folder_are_two_sets_of_looks(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, 3) as one, HistoryWriter(tmp_path, 3) as other:
        for number in range(0, 10, 2):
            one.add(at(number), look(number))
            other.add(at(number + 1), look(number + 1))
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(10)]


def rows_at(number: int, *groups: str, topic: str = "t") -> list[Row]:
    """A look that saw these groups on a topic, and its log."""
    commits = [Row(group, topic, 0, 10 * number) for group in groups]
    return [*commits, Row(None, topic, 0, None, 0, 10 * number + 5, 10 * number + 5)]


@pytest.mark.parametrize("each", [1_000, 3])
def test_a_group_that_is_in_no_later_file_is_gone_from_there_on(tmp_path: Path, each: int) -> None:
    with HistoryWriter(tmp_path, each) as writer:
        for number in range(9):
            writer.add(at(number), rows_at(number, "other", *(["g"] if number < 3 else [])))
    assert points(tmp_path) == [(n, 10 * n if n < 3 else None, 10 * n + 5) for n in range(9)]
    assert points(tmp_path, "other") == [(n, 10 * n, 10 * n + 5) for n in range(9)]


def test_what_a_watcher_of_other_groups_saw_says_nothing_of_a_group(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, 3) as one, HistoryWriter(tmp_path, 3) as other:
        for number in range(4):
            one.add(at(number), rows_at(number, "g"))
        for number in range(10):
            other.add(at(number) + 1, rows_at(100 + number, "other"))
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(4)]


def test_each_partition_is_sampled_when_somebody_looked_at_it(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, 3) as one, HistoryWriter(tmp_path, 3) as other:
        for number in range(0, 2 * MOST_MOMENTS, 200):
            one.add(at(number), rows_at(number, "g", topic="t"))
            other.add(at(number + 1), rows_at(number, "g", topic="u"))
    samples = HistoryStore(tmp_path).samples("g", 0)
    seen = {topic: [one.at_ms for one in samples if one.topic == topic] for topic in "tu"}
    assert seen["t"] == [at(number) for number in range(0, 2 * MOST_MOMENTS, 200)]
    assert seen["u"] == [at(number + 1) for number in range(0, 2 * MOST_MOMENTS, 200)]


def test_two_that_looked_in_the_same_millisecond_are_one_sample(tmp_path: Path) -> None:
    for _ in range(2):
        watched(tmp_path, range(3))
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(3)]


Seen = dict[
    int, tuple[int | None, int | None]
]  # partition -> (the group's commit or none at all, the log's end or none)
_offsets = st.none() | st.integers(0, 1)
_look = st.dictionaries(st.integers(0, 1), st.tuples(_offsets, _offsets), max_size=2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(_look, min_size=1, max_size=7), min_size=1, max_size=2), st.integers(2, 4), st.integers(1, 12))
def test_the_past_is_what_each_watcher_saw_however_it_was_joined(
    watchers: list[list[Seen]], looks: int, rows: int
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for first, seen in enumerate(watchers):
            with HistoryWriter(folder, looks, rows) as writer:
                for number, partitions in enumerate(seen):
                    writer.add(START + 2 * number + first, list(as_rows(partitions)))
        found = HistoryStore(folder).samples("g", 0)
    commits = {(one.partition, one.at_ms - START): one.committed_offset for one in found}
    ends = {(one.partition, one.at_ms - START): one.log_end_offset for one in found if one.committed_offset is not None}
    expected: dict[tuple[int, int], tuple[int | None, int | None]] = {}
    for first, seen in enumerate(watchers):
        known = {part for partitions in seen for part, (commit, _) in partitions.items() if commit is not None}
        expected |= {
            (part, 2 * number + first): partitions.get(part, (None, None))
            for number, partitions in enumerate(seen)
            for part in known
        }
    assert commits == {place: commit for place, (commit, _) in expected.items()}
    assert ends == {place: end for place, (commit, end) in expected.items() if commit is not None}


def as_rows(partitions: Seen) -> Iterator[Row]:
    for part, (commit, end) in partitions.items():
        if commit is not None:
            yield Row("g", "t", part, commit)
        if end is not None:
            yield Row(None, "t", part, None, 0, end, end)


def test_looks_with_many_rows_are_joined_early(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, 1_000, rows_a_segment=8) as writer:
        for number in range(9):
            writer.add(at(number), look(number))
        assert [len(list(tmp_path.glob(f"{kind}-*"))) for kind in ("segment", "look")] == [2, 1]
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(9)]


def test_a_look_that_alone_holds_too_many_rows_stays_as_it_is(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, 1_000, rows_a_segment=1) as writer:
        for number in range(3):
            writer.add(at(number), look(number))
    assert len(list(tmp_path.glob("look-*"))) == 3
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(3)]


def test_what_a_dead_watcher_left_is_joined_in_portions(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), root, "1000"], check=False, timeout=60)
    assert len(list(tmp_path.glob("look-*"))) == 8
    with HistoryWriter(tmp_path, rows_a_segment=6):
        assert [len(list(tmp_path.glob(f"{kind}-*"))) for kind in ("segment", "look")] == [3, 0]
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(8)]


def test_what_a_dead_watcher_left_is_joined_by_one_of_those_that_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), root, "1000"], check=False, timeout=60)
    portions = HistoryWriter._portions

    def meeting(self: HistoryWriter, loose: list[LookFile]) -> Iterator[list[LookFile]]:
        monkeypatch.setattr(HistoryWriter, "_portions", portions)
        for portion in portions(self, loose):
            with HistoryWriter(tmp_path):  # another that comes when this one has begun
                assert len(list(tmp_path.glob("look-*"))) == 8
            yield portion

    monkeypatch.setattr(HistoryWriter, "_portions", meeting)
    with HistoryWriter(tmp_path):
        assert not list(tmp_path.glob("look-*"))
    assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(8)]


def test_files_that_are_joined_while_they_are_read_are_read_as_what_they_became(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HistoryWriter(tmp_path, 100) as writer:
        for number in range(4):
            writer.add(at(number), look(number))

        def joining(path: Path) -> list[int]:
            writer.join(writer.name)
            return looks_of(path)

        monkeypatch.setattr(store, "looks_of", joining)
        assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(4)]
    assert not list(tmp_path.glob("look-*"))


def test_a_look_that_comes_while_another_watcher_begins_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HistoryWriter(tmp_path, 100) as one:
        one.add(at(0), look(0))

        def adding(folder: Path) -> list[LookFile]:
            found = files_of(folder)
            monkeypatch.setattr(writer_module, "files_of", files_of)
            one.add(at(1), look(1))
            return found

        monkeypatch.setattr(writer_module, "files_of", adding)
        with HistoryWriter(tmp_path, 100):
            assert points(tmp_path) == [(n, 10 * n, 10 * n + 5) for n in range(2)]


def test_one_groups_past_is_read_without_the_others(tmp_path: Path) -> None:
    """Row groups say which groups and topics they hold, logs before commits: most are passed over."""
    rows = [
        row
        for number in range(4_000)
        for row in (
            *(Row(f"g{number:05}", f"t{number:05}", part, 1) for part in range(12)),
            *(Row(None, f"t{number:05}", part, None, 0, 2, 2) for part in range(12)),
        )
    ]
    with HistoryWriter(tmp_path) as writer:
        writer.add(at(0), rows)
    (path,) = tmp_path.glob("*.parquet")
    found, topic = pq.read_metadata(path), ROWS.get_field_index("topic")
    columns = [found.row_group(number).column(topic).statistics for number in range(found.num_row_groups)]
    spans = [(column.min, column.max) for column in columns]
    holding = [span for span in spans if span[0] <= "t03000" <= span[1]]
    assert len(spans) >= 3
    assert len(holding) <= 2
    assert HistoryStore(tmp_path).samples("g03000", 0)[0] == Sample("t03000", 0, at(0), 1, 2, "watch")


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
from workbench.sources.history.writer import HistoryWriter
with HistoryWriter(Path(sys.argv[1]), int(sys.argv[3])) as writer:
    for number in range(8):
        writer.add(at(number), look(number))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_watcher_that_is_killed_leaves_whole_looks_and_the_next_one_joins_them(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), root, "3"], check=False, timeout=60)
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
