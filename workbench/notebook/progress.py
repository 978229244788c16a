"""Progress of a collection, in the form its reader can bear.

A terminal gets one line that is rewritten, JupyterLab one output that is updated in place, and a headless run a plain
line on stderr every few seconds: a bar there would fill the executed notebook with its own past.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import UsageError
from workbench.notebook.escaping import html_text
from workbench.notebook.headless import RUN_FOLDER, YES

if TYPE_CHECKING:
    from workbench.capture import Estimate, ScanProgress

Face = Literal["headless", "jupyter", "terminal", "silent"]

# Above this a scan asks first, like `workbench check` does.
CONFIRM_ABOVE_BYTES = 5_000_000_000

_EVERY_SECONDS: dict[Face, float] = {"headless": 5.0, "jupyter": 0.25, "terminal": 0.25, "silent": 0.0}


class ProgressDisplay:
    """What ``collect`` calls with each step, the cost of the scan, and how far it is; ``finish`` ends it.

    Args:
        problem: stands before each line.
        face: where it shows; found out by default.
        clock: seconds, for tests.
    """

    def __init__(self, problem: str, face: Face | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._problem = problem
        self._face: Face = face or _face()
        self._clock = clock
        self._started = clock()
        self._shown_at = self._started
        self._handle: Any = None

    def __call__(self, progress: str | Estimate | ScanProgress) -> None:
        """Shows a step at once, how far a scan is every now and then; asks before a large scan."""
        from workbench.capture import Estimate

        if isinstance(progress, str):
            self._shown_at = self._clock()
            self._show(progress, None)
        elif isinstance(progress, Estimate):
            self._announce(progress)
        else:
            self._scanned(progress)

    def finish(self, said: str) -> None:
        """The last word: what was collected, and in how many seconds."""
        self._show(f"{said} in {self._clock() - self._started:,.1f} s", 1.0)
        if self._face == "terminal":
            sys.stderr.write("\n")

    def _announce(self, cost: Estimate) -> None:
        said = cost_line(cost.records, cost.bytes, cost.seconds)
        self._show(f"about to read {said}", None)
        if cost.bytes is not None and cost.bytes > CONFIRM_ABOVE_BYTES and os.environ.get(YES) != "1":
            self._confirm(said)

    def _confirm(self, said: str) -> None:
        if self._face == "jupyter" and input(f"This reads {said}. Go on? [y/N] ").strip().lower() in ("y", "yes"):
            return
        hint = "Narrow it with since=..., or run it with `workbench run --yes`."
        raise UsageError(f"This would read {said}.", hint=hint)

    def _scanned(self, progress: ScanProgress) -> None:
        now = self._clock()
        if now - self._shown_at >= _EVERY_SECONDS[self._face]:
            self._shown_at = now
            share = min(1.0, progress.offsets / progress.total_offsets) if progress.total_offsets else None
            self._show(scan_line(progress.records, share, progress.seconds), share)

    def _show(self, said: str, share: float | None) -> None:
        line = f"{self._problem}: {said}"
        if self._face == "headless":
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
        elif self._face == "terminal":
            sys.stderr.write(f"\r\x1b[2K{line}")
            sys.stderr.flush()
        elif self._face == "jupyter":
            self._update(line, share)

    def _update(self, line: str, share: float | None) -> None:
        from IPython import display

        value = f' value="{share:.3f}"' if share is not None else ""
        bar = f'<progress max="1"{value} style="width:16em;vertical-align:middle"></progress>'
        bundle = display.HTML(f"{bar} {html_text(line)}")  # type: ignore[no-untyped-call]
        if self._handle is None:
            self._handle = display.display(bundle, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle)


def cost_line(records: int, size_bytes: int | None, seconds: float | None) -> str:
    """What a scan will cost, in words; offsets are an upper bound of records."""
    parts = [f"at most {records:,} records"]
    parts += [f"about {size_bytes / 1e6:,.1f} MB"] if size_bytes is not None else []
    parts += [f"{max(seconds / 60, 0.1):,.1f} minutes"] if seconds is not None else []
    return ", ".join(parts)


def scan_line(records: int, share: float | None, seconds: float) -> str:
    """How many records, which part of the whole, how fast, how long still."""
    parts = [f"read {records:,} records"]
    parts += [f"{share:.0%}"] if share is not None else []
    parts += [f"{records / seconds:,.0f} a second"] if seconds > 0 else []
    parts += [f"about {seconds / share - seconds:,.0f} s left"] if share and 0 < share < 1 else []
    return ", ".join(parts)


def _face() -> Face:
    if os.environ.get(RUN_FOLDER):
        return "headless"
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if type(shell).__name__ == "ZMQInteractiveShell":
        return "jupyter"
    return "terminal" if sys.stderr.isatty() else "silent"
