"""A reader process: ``python -m workbench.capture.worker``, its job as one JSON line on stdin.

It says how far it is as JSON lines on stdout. When stdin closes, because the parent wants it to stop or is dead, it
writes what it has read and ends; until then it holds the folder, so that nobody resumes under its hands.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, Self

REPORT_SECONDS = 0.2


def main() -> int:
    """Runs one lane; 0 when it ended as it should, also when it was told to stop."""
    # Ctrl-C goes to the parent, which closes stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = json.loads(sys.stdin.buffer.readline())
    stop = threading.Event()
    threading.Thread(target=_wait_for_end, args=(stop,), daemon=True).start()
    try:
        from workbench.tables import keep_pandas_out

        keep_pandas_out()
        _run(job, stop)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells the user
        _say({"error": _as_json(error)})
        return 1
    _say({"done": True})
    return 0


def _run(job: dict[str, Any], stop: threading.Event) -> None:
    from workbench.capture.lanes import Lane
    from workbench.capture.parts import working
    from workbench.capture.spec import CaptureSpec, PartitionRange
    from workbench.capture.work import Budget, run_lane
    from workbench.tables import keep_pandas_out

    keep_pandas_out()
    lane = Lane(tuple(tuple(PartitionRange(**part) for part in ranges) for ranges in job["rounds"]))
    folder, spec = Path(job["folder"]), CaptureSpec.from_json(job["spec"])
    budget = Budget.of(spec.limits, (), job["lanes"])
    with working(Path(job["owner"])), _Progress() as told:
        if os.getppid() == job["parent"]:  # else the parent died before the folder was held
            run_lane(
                job["settings"],
                spec,
                lane,
                kind=job["kind"],
                folder=folder,
                budget=budget,
                stopped=stop.is_set,
                told=told,
                registry=job["registry"],
            )


class _Progress:
    """Adds up what was read and says it from time to time."""

    def __init__(self) -> None:
        self._sums = [0, 0, 0]
        self._last = time.monotonic()

    def __call__(self, records: int, size: int, offsets: int) -> None:
        self._sums = [self._sums[0] + records, self._sums[1] + size, self._sums[2] + offsets]
        if time.monotonic() - self._last > REPORT_SECONDS:
            self._tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tell()

    def _tell(self) -> None:
        _say({"read": self._sums})
        self._sums, self._last = [0, 0, 0], time.monotonic()


def _wait_for_end(stop: threading.Event) -> None:
    # The raw descriptor: a buffered reader would still hold its lock when the interpreter ends.
    while os.read(0, 4096):
        pass
    stop.set()


def _say(message: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody listens any more; what was read is still written.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of this process


def _as_json(error: Exception) -> dict[str, Any]:
    return {
        "kind": type(error).__name__,
        "text": str(error),
        "hint": getattr(error, "hint", ""),
        "endpoint": getattr(error, "endpoint", ""),
        "trace": traceback.format_exc(),
    }


if __name__ == "__main__":
    sys.exit(main())
