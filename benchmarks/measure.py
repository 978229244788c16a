"""Run programs side by side and keep what they cost: seconds, processor seconds, memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import psutil

SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Run:
    """One run of a program, its children included.

    Attributes:
        seconds: from start to end.
        cpu_seconds: processor time.
        peak_mib: peak resident memory, the sum over its processes (sampled; shared pages count in each), but never
            less than what its largest process used (resource usage, exact).
        output: what it printed.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


class Failed(Exception):
    """A measured program ended with an exit code that it should not have."""


def run(command: Sequence[str], allowed: Sequence[int] = (0,), env: Mapping[str, str] | None = None) -> Run:
    """Run a program to its end and measure it."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = perf_counter()
        process = subprocess.Popen(
            list(command), stdout=out, stderr=err, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}
        )
        peak = _Peak(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        seconds = perf_counter() - began
        total = peak.end()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode not in allowed:
            said = err.read().decode(errors="replace")[-2000:]
            raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
        cpu = used.ru_utime + used.ru_stime
        return Run(seconds, cpu, max(total, _exact(used.ru_maxrss / 1024)), out.read().decode(errors="replace"))


def _exact(largest_mib: float) -> float:
    """Linux counts what a child held before exec, a copy of this process: up to that size it says nothing."""
    own = psutil.Process().memory_info().rss / 2**20
    return largest_mib if largest_mib > own * 1.1 else 0.0


class _Peak:
    """Samples the memory of a process and its descendants until told to end."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._most = max(self._most, _resident(self._pid))

    def end(self) -> float:
        self._ended.set()
        self._thread.join()
        return self._most / 2**20


def _resident(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    total = 0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def alternate(
    programs: Mapping[str, Sequence[str]], rounds: int, allowed: Sequence[int] = (0,)
) -> dict[str, list[Run]]:
    """Run each program once a round, in turn (A B A B ...): what drifts on the machine meets all of them."""
    runs: dict[str, list[Run]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, command in programs.items():
            runs[name].append(run(command, allowed))
    return runs


def median_seconds(runs: Sequence[Run]) -> float:
    """Median of the time from start to end."""
    return statistics.median(run.seconds for run in runs)


def peak_mib(runs: Sequence[Run]) -> float:
    """The highest peak of all runs, all processes of a run together."""
    return max(run.peak_mib for run in runs)
