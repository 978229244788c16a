"""What is measured, each against something people use instead or against its own goal."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import traffic
from benchmarks.measure import Run, alternate, median_seconds, peak_mib

HERE = Path(__file__).parent
MILLION = 1_000_000
# `check` ends with what it found: 0 ok, 3 undecided, 12 and 13 findings.
FOUND = (0, 3, 12, 13)
WORKBENCH = (sys.executable, "-c", "from workbench.cli import main; main()")


@dataclass(frozen=True)
class Result:
    """One comparison.

    Attributes:
        name: what was compared.
        workbench: median of the workbench, in ``unit``.
        other: median of what it is compared with, in ``unit``.
        unit: of both.
        ratio: how the two compare; ``goal`` says in which direction.
        goal: a sentence such as ">= 0.5".
        met: whether the goal was met.
        peak_mib: peak resident memory of all processes of the workbench's side.
        other_peak_mib: the same of the other side.
        rounds: seconds of every round, by side.
        note: what else came out.
    """

    name: str
    workbench: float
    other: float
    unit: str
    ratio: float
    goal: str
    met: bool
    peak_mib: float = 0.0
    other_peak_mib: float = 0.0
    rounds: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""


def readers_against_c(bootstrap: str, topic: str, rounds: int) -> list[Result]:
    """Full records with headers, into Arrow and to Parquet, against a C program that reads the same and keeps nothing.

    The C program runs twice: with librdkafka's defaults, and with a queue of a million messages. Which is faster depends on the
    machine; it is the yardstick.
    """
    reader = compiled_reader()
    module = (sys.executable, "-m")
    runs = alternate(
        {
            "c": (str(reader), bootstrap, topic),
            "c, long queue": (str(reader), bootstrap, topic, str(MILLION)),
            "read": (*module, "benchmarks.read_once", bootstrap, topic),
            "1": (*module, "benchmarks.capture_once", bootstrap, topic, "1"),
            "2": (*module, "benchmarks.capture_once", bootstrap, topic, "2"),
        },
        rounds,
    )
    best = max(("c", "c, long queue"), key=lambda side: _c_rate(runs[side]))
    return [
        _rates("reading into Arrow, 1 process", runs, "read", best, 2.5),
        _rates("capture to Parquet, 1 process", runs, "1", best, 1.5),
        _rates("capture to Parquet, 2 processes", runs, "2", best, 1.5),
    ]


def _c_rate(runs: Sequence[Run]) -> float:
    return statistics.median(int(run.output.split()[0]) / float(run.output.split()[3]) for run in runs)


def _rates(name: str, runs: dict[str, list[Run]], side: str, yardstick: str, goal: float) -> Result:
    """Rates while reading; what the whole program took is in the rounds and the note."""
    said = [json.loads(run.output) for run in runs[side]]
    counts = {one["records"] for one in said} | {int(run.output.split()[0]) for run in runs[yardstick]}
    if len(counts) != 1:
        raise AssertionError(f"the readers do not agree on the number of records: {counts}")
    rate, other = statistics.median(one["records"] / one["seconds"] for one in said), _c_rate(runs[yardstick])
    whole = median_seconds(runs[yardstick]) / median_seconds(runs[side])
    both = ", ".join(f"{name} {_c_rate(runs[name]):,.0f}" for name in ("c", "c, long queue"))
    return Result(
        name=f"{name}, against a C reader",
        workbench=rate,
        other=other,
        unit="records/s",
        ratio=rate / other,
        goal=f">= {goal}",
        met=rate / other >= goal,
        peak_mib=peak_mib(runs[side]),
        other_peak_mib=peak_mib(runs[yardstick]),
        rounds={"workbench": _seconds(runs[side]), "c": _seconds(runs[yardstick])},
        note=f"{both}; start of the program included: {whole:.2f}",
    )


def duplicates_against_shell(bootstrap: str, written: traffic.Traffic, rounds: int) -> list[Result]:
    """Duplicates from process start to JSON, against the pipeline that people type."""
    topic = shlex.quote(written.topic)
    pipeline = f"kcat -b {bootstrap} -C -t {topic} -e -q | jq -r .messageId | sort | uniq -d | wc -l"
    programs = {"workbench": check_duplicates(bootstrap, written.topic), "shell": ("bash", "-c", pipeline)}
    runs = alternate(programs, rounds, FOUND)
    ledger = json.loads(runs["workbench"][-1].output)["ledger"]
    found = {ledger["extra_copies"], int(runs["shell"][-1].output)}
    if found != {written.copies}:
        raise AssertionError(f"{written.copies} copies were written, found: {found}")
    ours, shell = median_seconds(runs["workbench"]), median_seconds(runs["shell"])
    goal = 3.5 if written.records <= MILLION else 7.0
    return [
        Result(
            name="check duplicates, against kcat | jq | sort | uniq -d",
            workbench=ours,
            other=shell,
            unit="s",
            ratio=shell / ours,
            goal=f">= {goal}",
            met=shell / ours >= goal,
            peak_mib=peak_mib(runs["workbench"]),
            other_peak_mib=peak_mib(runs["shell"]),
            rounds={side: _seconds(done) for side, done in runs.items()},
            note=f"both found the {written.copies} copies; the workbench's ledger: {json.dumps(ledger)}",
        )
    ]


def integration_against_bare(bootstrap: str, topic: str, count: int, rounds: int) -> list[Result]:
    """Producer and consumer of the integration, against the bare client with the same settings; and with traces."""
    results = []
    for action in ("produce", "consume"):
        programs = {
            side: (sys.executable, "-m", "benchmarks.integration_once", action, side, bootstrap, topic, str(count))
            for side in ("bare", "wrapped", "traced")
        }
        runs = alternate(programs, rounds)
        rates = {side: statistics.median(_rate(run) for run in done) for side, done in runs.items()}
        results.append(_wrapper(action, rates, runs))
    return results


def _rate(run: Run) -> float:
    said = json.loads(run.output)
    return float(said["records"] / said["seconds"])


def _wrapper(action: str, rates: dict[str, float], runs: dict[str, list[Run]]) -> Result:
    ratio = rates["wrapped"] / rates["bare"]
    cost = 1e6 / rates["traced"] - 1e6 / rates["wrapped"]
    return Result(
        name=f"integration: {action}, against the bare client",
        workbench=rates["wrapped"],
        other=rates["bare"],
        unit="records/s",
        ratio=ratio,
        goal=">= 0.6",
        met=ratio >= 0.6,
        peak_mib=peak_mib(runs["wrapped"]),
        other_peak_mib=peak_mib(runs["bare"]),
        rounds={side: _seconds(done) for side, done in runs.items()},
        note=f"with a span for each record {rates['traced']:,.0f} records/s: {cost:.0f} us more a record",
    )


def check_duplicates(bootstrap: str, topic: str) -> tuple[str, ...]:
    """The command that is measured; it may not ask before it begins."""
    asked = ("check", "duplicates", "--bootstrap", bootstrap, "--source", topic, "--format", "json", "--yes")
    return (*WORKBENCH, *asked)


def growth(bootstrap: str, small: traffic.Traffic, large: traffic.Traffic, rounds: int) -> list[Result]:
    """Cost per record on a topic ten times as large: it must not grow, and memory must stay bounded."""
    programs = {str(written.records): check_duplicates(bootstrap, written.topic) for written in (small, large)}
    runs = alternate(programs, rounds, FOUND)
    of_small, of_large = runs[str(small.records)], runs[str(large.records)]
    per_small = median_seconds(of_small) / small.records * 1e6
    per_large = median_seconds(of_large) / large.records * 1e6
    peak = peak_mib(of_large)
    return [
        Result(
            name=f"check duplicates, cost per record at {large.records:,} against {small.records:,}",
            workbench=per_large,
            other=per_small,
            unit="us/record",
            ratio=per_large / per_small,
            goal="<= 1.2, under 700 MiB",
            met=per_large / per_small <= 1.2 and peak < 700,
            peak_mib=peak,
            other_peak_mib=peak_mib(of_small),
            rounds={side: _seconds(done) for side, done in runs.items()},
        )
    ]


def start_up(rounds: int) -> list[Result]:
    """What it costs to import the package, and to ask for help."""
    python = (sys.executable, "-c")
    programs = {"bare": (*python, "pass"), "import": (*python, "import workbench"), "help": (*WORKBENCH, "--help")}
    runs = alternate(programs, rounds)
    bare, imported, helped = (median_seconds(runs[side]) for side in programs)
    over = imported - bare
    return [
        _started("import workbench", runs, "import", met=over <= 0.15, goal=f"<= 0.15 s over bare: {over:.3f}"),
        _started("workbench --help", runs, "help", met=helped < 0.5, goal="< 0.5 s"),
    ]


def _started(name: str, runs: dict[str, list[Run]], side: str, *, met: bool, goal: str) -> Result:
    ours, bare = median_seconds(runs[side]), median_seconds(runs["bare"])
    return Result(
        name=f"{name}, against bare python",
        workbench=ours,
        other=bare,
        unit="s",
        ratio=ours / bare,
        goal=goal,
        met=met,
        peak_mib=peak_mib(runs[side]),
        other_peak_mib=peak_mib(runs["bare"]),
        rounds={"workbench": _seconds(runs[side]), "bare": _seconds(runs["bare"])},
    )


def _seconds(runs: Sequence[Run]) -> list[float]:
    return [round(run.seconds, 3) for run in runs]


def compiled_reader() -> Path:
    """The C reader, compiled when its source is newer."""
    source, program = HERE / "reader.c", HERE / "out" / "reader"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(exist_ok=True)
        subprocess.run(("cc", "-O2", "-o", str(program), str(source), "-lrdkafka"), check=True)
    return program


def missing_tools() -> list[str]:
    """What must be installed before anything can be measured."""
    tools = [tool for tool in ("cc", "kcat", "jq", "sort", "bash") if shutil.which(tool) is None]
    headers = any(Path(root, "librdkafka", "rdkafka.h").exists() for root in _include_folders())
    return tools if headers else [*tools, "librdkafka-dev"]


def _include_folders() -> list[str]:
    return ["/usr/include", "/usr/local/include", *os.environ.get("CPATH", "").split(os.pathsep)]
