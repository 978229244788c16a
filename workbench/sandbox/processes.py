"""Processes that are surely ours: whether they live, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

import psutil

GRACE_SECONDS = 15.0


def is_alive(process: psutil.Process) -> bool:
    """Whether this very process still runs; a zombie and another process with its pid do not count."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end(processes: Iterable[psutil.Process], *, grace_seconds: float = GRACE_SECONDS) -> None:
    """Ends processes and waits until all are gone.

    Args:
        processes: those to end; ones that are gone already are fine.
        grace_seconds: how long SIGTERM may take before SIGKILL; 0 kills at once.
    """
    remaining = list(processes)
    if grace_seconds > 0:
        _signal(remaining, signal.SIGTERM)
        _, remaining = psutil.wait_procs(remaining, timeout=grace_seconds)
    _signal(remaining, signal.SIGKILL)
    psutil.wait_procs(remaining, timeout=GRACE_SECONDS)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def seconds_since_boot(process: psutil.Process) -> float:
    """When a process started, on a clock that a correction of the wall clock does not move.

    Linux counts ticks from boot. Elsewhere it is the creation time less the boot time, both on the wall clock.
    """
    stat = Path(f"/proc/{process.pid}/stat")
    if not stat.is_file():
        return float(process.create_time() - psutil.boot_time())
    # After the name, which may hold anything: the state is field 3, the start field 22.
    fields = stat.read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[22 - 3]) / os.sysconf("SC_CLK_TCK")


def find(pid: int, started: float, argument: str) -> psutil.Process | None:
    """The process that was noted earlier, or None when it is gone or its pid is another's now.

    Args:
        pid: its process id.
        started: its ``seconds_since_boot``.
        argument: one of its command line's words; after a reboot, pid and time alone could agree by chance.
    """
    try:
        process = psutil.Process(pid)
        # Where the time of boot is needed, it is in whole seconds, rounded anew after a clock correction.
        same = abs(seconds_since_boot(process) - started) < 2.5 and argument in process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError, ProcessLookupError):
        return None
    return process if same and is_alive(process) else None


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Holds Ctrl-C back while a process is started and noted down, so that none is started and forgotten."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        pressed.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
