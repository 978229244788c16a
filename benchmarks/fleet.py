"""Thousands of groups with a simulated past: kept by the watcher's store, judged one by one from it, and all at once.

``python -m benchmarks.fleet keep|each|all GROUPS FOLDER`` is one side. A third of the groups stands still with nothing to read, a
third keeps pace, a third reads less than is sent: these, and no others, have to come out with lag-throughput-deficit or (without
a past) lagging.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.cases import Result
from benchmarks.measure import Run, run
from workbench.evidence import Evidence
from workbench.problems import lag
from workbench.problems.scope import Scope
from workbench.report import Report
from workbench.sources.groups import COMMITTED_SCHEMA, GROUPS_SCHEMA, MEMBERS_SCHEMA
from workbench.sources.heads import HEADS_SCHEMA
from workbench.sources.history import Sample, samples_table
from workbench.sources.history.files import Row
from workbench.sources.history.store import HistoryStore
from workbench.sources.history.writer import HistoryWriter
from workbench.sources.times import OFFSETS_AT_SCHEMA
from workbench.sources.topics import OFFSETS_SCHEMA, PARTITIONS_SCHEMA
from workbench.tables import table_of

FEW, MANY, PARTITIONS = 500, 5_000, 12
ALONE = 500  # so many of them are judged one by one: each costs the same, and all of many would take minutes
LOOKS, APART_SECONDS = 30, 10
LATENCY_SECONDS = 5.0
NOW_MS = 1_780_000_000_000
BEGUN_MS = NOW_MS - LOOKS * APART_SECONDS * 1000
SENT, READ, AHEAD = 100, 60, 1_000_000  # a second; offsets before the window
MIB_AT_MOST = 1024
WHAT = {
    "keep": "history of groups x 12 partitions, kept by the watcher's store: a group and look",
    "each": "lag of one of groups x 12 partitions with its past out of that store: a group",
    "all": "lag of groups x 12 partitions, all at once: a group",
}


def many_against_few() -> list[Result]:
    """Cost per group at 5,000 groups against 500: it must not grow, and memory must stay bounded. One round."""
    runs: dict[tuple[str, int], Run] = {}
    for groups in (FEW, MANY):
        with tempfile.TemporaryDirectory() as folder:
            for what in WHAT:
                runs[what, groups] = run((sys.executable, "-m", "benchmarks.fleet", what, str(groups), folder))
    return [_result(what, runs[what, FEW], runs[what, MANY]) for what in WHAT]


def _result(what: str, few: Run, many: Run) -> Result:
    share = LOOKS if what == "keep" else 1
    counts = [ALONE if what == "each" else groups for groups in (FEW, MANY)]
    of_few, of_many = (one.cpu_seconds / count / share * 1000 for one, count in zip((few, many), counts, strict=True))
    ratio, peak = of_many / of_few, many.peak_mib
    return Result(
        name=WHAT[what].replace("groups", f"{MANY:,} groups", 1),
        workbench=of_many,
        other=of_few,
        unit="ms",
        ratio=ratio,
        goal=f"<= 1.2 of {FEW:,} groups, under {MIB_AT_MOST:,} MiB",
        met=ratio <= 1.2 and peak < MIB_AT_MOST,
        peak_mib=peak,
        other_peak_mib=few.peak_mib,
        rounds={"many": [round(many.seconds, 3)], "few": [round(few.seconds, 3)]},
        note=f"processor time; {many.output.strip()}",
    )


def _end(number: int, at_ms: int) -> int:
    return AHEAD + (0 if number % 3 == 0 else SENT * (at_ms - BEGUN_MS) // 1000)


def _committed(number: int, at_ms: int) -> int:
    behind = (SENT - READ) * (at_ms - BEGUN_MS) // 1000 if number % 3 == 2 else 0
    return _end(number, at_ms) - behind


def keep(groups: int, folder: Path) -> dict[str, Any]:
    """Writes the looks as ``workbench watch`` does."""
    with HistoryWriter(folder) as writer:
        for at_ms in range(BEGUN_MS, NOW_MS, APART_SECONDS * 1000):
            writer.add(at_ms, _look(groups, at_ms))
    return {"groups": groups, "looks": LOOKS, "files": len(list(folder.glob("*.parquet")))}


def _look(groups: int, at_ms: int) -> Iterator[Row]:
    for number in range(groups):
        end, committed = _end(number, at_ms), _committed(number, at_ms)
        for part in range(PARTITIONS):
            yield Row(f"group-{number:05}", f"topic-{number:05}", part, committed)
            yield Row(None, f"topic-{number:05}", part, None, 0, end, end)


def each(groups: int, folder: Path) -> dict[str, Any]:
    """Judges ``ALONE`` of the groups by what the store says of their past, as ``check lag --group G --history FOLDER`` does."""
    store, chosen = HistoryStore(folder), range(0, groups, groups // ALONE)
    reports = (lag.diagnose(_evidence([number], store.samples(f"group-{number:05}", BEGUN_MS))) for number in chosen)
    return _checked(reports, chosen, finding=True)


def together(groups: int) -> dict[str, Any]:
    """Judges all groups at once by where they stand, as ``check lag --all-groups`` does."""
    return _checked(lag.diagnose_all(_evidence(range(groups))), range(groups), finding=False)


def _checked(reports: Iterable[Report], judged: range, *, finding: bool) -> dict[str, Any]:
    """What came out; every third group has to be behind on all its partitions, and with its past for the planted reason."""
    behind = 0
    verdicts: Counter[str] = Counter()
    for report in reports:
        verdicts[report.verdict] += 1
        planted = int(report.facts["group"][-5:]) % 3 == 2
        found = {one.code for one in report.findings}
        expected = {"lag-throughput-deficit"} if planted and finding else set()
        if found != expected or (report.facts["lagging_partitions"] > 0) != planted:
            raise AssertionError(f"{report.facts['group']} came out with {found}, verdict {report.verdict}")
        behind += planted
    if behind != sum(number % 3 == 2 for number in judged):
        raise AssertionError(f"{behind} groups are behind")
    return {"judged": len(judged), "behind": behind, "verdicts": dict(verdicts)}


def _evidence(numbers: Iterable[int], past: Iterable[Sample] | None = None) -> Evidence:
    """What a check of some groups would have collected where their commits cannot be read."""
    chosen = list(numbers)
    names = [f"group-{number:05}" for number in chosen]
    places = [(number, f"topic-{number:05}", part) for number in chosen for part in range(PARTITIONS)]
    ends = {number: _end(number, NOW_MS) for number in chosen}
    at = {number: _committed(number, NOW_MS) for number in chosen}
    tables = {
        "groups": table_of(GROUPS_SCHEMA, [(name, "Stable", "classic", "range", 1, 2) for name in names]),
        "members": table_of(
            MEMBERS_SCHEMA, [(f"group-{n:05}", f"m{part % 2}", "c", "/h", None, topic, part) for n, topic, part in places]
        ),
        "committed": table_of(COMMITTED_SCHEMA, [(f"group-{n:05}", topic, part, at[n], None, "") for n, topic, part in places]),
        "offsets": table_of(OFFSETS_SCHEMA, [(topic, part, 0, ends[n], ends[n], NOW_MS, 1_000, None) for n, topic, part in places]),
        "cutoffs": table_of(OFFSETS_AT_SCHEMA, [(topic, part, ends[n]) for n, topic, part in places]),
        "heads": table_of(HEADS_SCHEMA, [
            (topic, part, at[n], at[n], BEGUN_MS + (at[n] - AHEAD) * 1000 // SENT, "CreateTime", None)
            for n, topic, part in places if at[n] < ends[n]
        ]),
    }  # fmt: skip
    missing = dict.fromkeys(("commit_history", "generations"), "Read denied on topic __consumer_offsets")
    if past is not None:
        now = [Sample(topic, part, NOW_MS, at[n], ends[n], "now") for n, topic, part in places]
        tables["samples"] = samples_table([*past, *now])
        rows = [(topic, "id", part, 1, 1, [1], [1]) for _, topic, part in places]
        tables["topics"] = table_of(PARTITIONS_SCHEMA, rows)
    facts = {
        **Scope(group=names[0] if past is not None else None, expected_latency_seconds=LATENCY_SECONDS).facts(),
        "collected_at": "2026-05-28T20:26:40.000+00:00", "groups": names, "group_failures": {}, "deleted_topics": [],
        "truncated": False, "history_from": "watch", "history_since": None,
    }  # fmt: skip
    return Evidence(tables, facts, missing)


if __name__ == "__main__":
    what, count, where = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    print(
        json.dumps(keep(count, where) if what == "keep" else each(count, where) if what == "each" else together(count))
    )
