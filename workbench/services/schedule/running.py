"""One run as a process: started, watched, ended when it takes too long, and recorded however it ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from workbench.services.schedule.page import write_page
from workbench.services.schedule.plan import Plan
from workbench.services.schedule.shelf import FAILED, Run, Shelf
from workbench.services.schedule.telling import tell

_GRACE_SECONDS = 10.0  # between asking a run to end and ending it
_MOST_ERROR = 2_000  # characters of its last words


class Runner:
    """Runs a plan's notebook, one at a time."""

    def __init__(self, plan: Plan, shelf: Shelf, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.shelf = shelf
        self.say = say
        self._process: subprocess.Popen[str] | None = None
        self._stopping = threading.Event()

    def run(self, at: datetime) -> int:
        """One run; the exit code of its process, 1 where it was ended or its process could not start."""
        if self._stopping.is_set():
            return 1
        before = self._reported()
        run = self.shelf.begin(at)
        started = time.monotonic()
        code, error = self._process_of(run, before)
        run = self._ended(run, code, error, time.monotonic() - started)
        if not self._stopping.is_set():
            run = replace(run, untold=tell(self.plan.webhooks, self.shelf, run))
        self.shelf.write(run)
        self.shelf.prune(self.plan.keep)
        write_page(self.plan, self.shelf)
        self.say(f"{run.started[:19]}: {run.verdict}" + (f" ({run.error})" if run.error else ""))
        for name, why in run.untold.items():
            self.say(f"{run.started[:19]}: webhook {name} could not be told: {why}")
        return 1 if code is None else code

    def stop(self) -> None:
        """Ends the run that is on; no other begins."""
        self._stopping.set()
        self._end()

    def _reported(self) -> Run | None:
        """The newest run that has a report."""
        return next((run for run in reversed(self.shelf.runs()) if self.shelf.report(run) is not None), None)

    def _process_of(self, run: Run, before: Run | None) -> tuple[int | None, str]:
        """(exit code, its last words); None: it was ended from here, with the reason."""
        command = [
            sys.executable,
            "-m",
            "workbench",
            "run",
            self.plan.notebook,
            "--yes",
            "--out",
            str(self.shelf.results(run)),
        ]
        for text in self.plan.parameters:
            command += ["-p", text]
        if before is not None and self.plan.notebook == "health":
            command += ["-p", f"previous={self.shelf.results(before)}"]
        # A session of its own: its kernel must end with it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )  # fmt: skip
        try:
            _, said = self._process.communicate(timeout=self.plan.timeout_seconds)
        except subprocess.TimeoutExpired:
            self._end()
            return None, f"it took longer than {self.plan.timeout_seconds:,.0f} s and was ended"
        if self._stopping.is_set():
            return None, "the schedule was stopped during the run"
        return self._process.returncode, said

    def _end(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(_GRACE_SECONDS)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue
            return

    def _ended(self, run: Run, code: int | None, said: str, seconds: float) -> Run:
        report = self.shelf.report(run)
        if code is not None and report is not None:
            return replace(run, seconds=round(seconds, 3), verdict=str(report["verdict"]), exit_code=code)
        error = said if code is None else _last_words(said) or f"its process ended with {code}"
        return replace(run, seconds=round(seconds, 3), verdict=FAILED, exit_code=code, error=error)


def _last_words(said: str) -> str:
    """The sentence in which the command line says why it failed, else the last line it wrote."""
    lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line).strip() for line in said.splitlines() if line.strip()]
    told = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return (told or lines[-1:] or [""])[-1][:_MOST_ERROR]
