"""The folder of a schedule: a folder a run, the newest kept, one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.errors import UsageError

FAILED = "failed"  # where a run came to no verdict
_LOCK, _RECORD, _RUNS = ".lock", "run.json", "runs"
_STAMP = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Run:
    """What became of one run.

    Attributes:
        name: of its folder.
        started: UTC, ISO 8601.
        seconds: how long it took; None while it is on.
        verdict: of its report; ``failed`` where it came to none; None while it is on.
        exit_code: of its process; None where it was ended from here, or is on.
        error: why it failed, in a sentence; None where it did not.
        untold: webhooks that could not be told -> why.
    """

    name: str
    started: str
    seconds: float | None = None
    verdict: str | None = None
    exit_code: int | None = None
    error: str | None = None
    untold: Mapping[str, str] = field(default_factory=dict)


class Shelf:
    """The runs in a folder; open one with ``Shelf.opened``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Shelf]:
        """Makes the folder and holds its lock, which goes with the process, however that ends.

        Raises:
            UsageError: another process serves it, or it holds other files.
        """
        folder = folder.absolute()
        if folder.exists() and not (folder / _RUNS).is_dir() and any(folder.iterdir()):
            raise UsageError(f"{folder.name} holds other files.", hint="Name a folder that is new or empty.")
        (folder / _RUNS).mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(
                    f"Another schedule serves {folder.name}.", hint="End it, or name another folder with --out."
                ) from None
            shelf = cls(folder)
            shelf._close_open_runs()
            yield shelf
        finally:
            os.close(handle)

    def begin(self, at: datetime) -> Run:
        """A new run; its folder waits for what ``workbench run`` writes."""
        run = Run(
            name=at.astimezone(UTC).strftime(_STAMP), started=at.astimezone(UTC).isoformat(timespec="milliseconds")
        )
        self.write(run)
        return run

    def write(self, run: Run) -> None:
        """Keeps what is known of a run, whole or not at all."""
        target = self.path(run) / _RECORD
        target.parent.mkdir(exist_ok=True)
        partial = target.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(run), indent=1) + "\n", encoding="utf-8")
        partial.replace(target)

    def path(self, run: Run) -> Path:
        """The run's folder."""
        return self.folder / _RUNS / run.name

    def results(self, run: Run) -> Path:
        """Where the run's notebook, page and report lie; ``workbench run`` wants a folder of its own."""
        return self.path(run) / "results"

    def report(self, run: Run) -> dict[str, Any] | None:
        """The run's report; None where it has none that can be read."""
        try:
            found = json.loads((self.results(run) / "report.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "verdict" in found else None

    def runs(self) -> list[Run]:
        """All runs, oldest first; a folder whose record cannot be read is no run of ours."""
        found = []
        for path in sorted((self.folder / _RUNS).glob(f"*/{_RECORD}")):
            try:
                found.append(Run(**json.loads(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, TypeError):
                continue
        return found

    def last_start(self) -> datetime | None:
        """When the newest run began."""
        runs = self.runs()
        return datetime.fromisoformat(runs[-1].started) if runs else None

    def prune(self, keep: int) -> None:
        """Removes all but the newest runs."""
        for run in self.runs()[: -max(keep, 1)]:
            shutil.rmtree(self.path(run), ignore_errors=True)

    def _close_open_runs(self) -> None:
        """A run that is still open belongs to a process that is no more: nobody else can hold the lock."""
        for run in self.runs():
            if run.verdict is None:
                said = "the schedule ended before the run did"
                self.write(Run(run.name, run.started, None, FAILED, None, said))
