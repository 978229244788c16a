"""Progress on the terminal: on stderr, only when that is a terminal, so that stdout stays clean."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from workbench.capture import Estimate, ScanProgress
from workbench.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


class TerminalProgress:
    """What ``collect`` calls with each step, the cost of the scan, and how far it is."""

    def __init__(self, confirm_above_bytes: int, *, yes: bool) -> None:
        self._limit = confirm_above_bytes
        self._yes = yes
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._total: int | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, progress: str | Estimate | ScanProgress) -> None:
        """Shows a step or how far the scan is; asks before a scan above the limit."""
        if isinstance(progress, Estimate):
            self._total = progress.records
            self._confirm(progress)
        elif self._bar:
            self._show(progress)

    def _show(self, progress: str | ScanProgress) -> None:
        bar = self._bar
        if bar is None:
            return
        if isinstance(progress, str):
            if self._task is not None:
                bar.remove_task(self._task)
            self._task = bar.add_task(progress.replace("[", r"\["), total=self._total)
        elif self._task is not None:
            bar.update(self._task, completed=progress.records)

    def _confirm(self, cost: Estimate) -> None:
        if self._yes or cost.bytes is None or cost.bytes <= self._limit:
            return
        size = f"about {cost.bytes / 1e9:.1f} GB ({cost.records:,} offsets, {max(cost.seconds / 60, 0.1):.1f} minutes)"
        if self._bar and sys.stdin.isatty():
            self._bar.stop()
            print(f"This reads {size}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
            if sys.stdin.readline().strip().lower() in ("y", "yes"):
                self._bar.start()
                return
        raise UsageError(
            f"This would read {size}.", hint="Add --yes, narrow it with --since, or raise --confirm-above."
        )
