"""A small process that kills what we started when we die in whatever way, SIGKILL included.

Linux's PR_SET_PDEATHSIG would act when the *thread* that started a broker ends, and macOS has nothing like it.
This file is also the program of that process, so it may import the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pathlib import Path

POLL_SECONDS = 0.5


class Guard:
    """The guard of one parent: it is told pids, and kills those it still knows when the parent is gone.

    Args:
        temporary: a folder that goes with them.
    """

    def __init__(self, temporary: Path | None = None) -> None:
        # A session of its own: neither Ctrl-C nor a closing terminal may end the guard before its parent.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid()), *([str(temporary)] if temporary else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch(self, pid: int) -> None:
        """From now on this process dies with us."""
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """This process has ended, or may outlive us."""
        self._tell(f"-{pid}\n")

    def close(self) -> None:
        """Ends the guard; it spares whatever it still knew."""
        self._tell("!\n")
        with contextlib.suppress(OSError):
            self._stdin.close()
        self._process.wait()

    @property
    def _stdin(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            os.write(self._stdin.fileno(), line.encode())


def main(parent: int, *temporary: str) -> None:
    """Reads ``+pid``, ``-pid`` and ``!`` from stdin until it closes or the parent is gone; kills what is left.

    Args:
        parent: pid of the process that started this one.
        temporary: folders to remove after that.
    """
    watched: set[int] = set()
    pending = b""
    while True:
        ready, _, _ = select.select([0], [], [], POLL_SECONDS)
        if not ready:
            # A forked child of the parent may hold the pipe open after the parent's death.
            if os.getppid() == parent:
                continue
            break
        chunk = os.read(0, 65536)
        if not chunk:
            break
        *lines, pending = (pending + chunk).split(b"\n")
        if not all(_obey(line, watched) for line in lines):
            return
    for pid in watched:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    for folder in temporary:
        _remove(folder)


def _remove(folder: str) -> None:
    """A process that was just killed may still make a file: so look again."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):  # noqa: PTH110 - pathlib would double this program's start
            return
        time.sleep(POLL_SECONDS)


def _obey(line: bytes, watched: set[int]) -> bool:
    """Applies one line; False when the guard is released."""
    if line == b"!":
        return False
    pid = int(line[1:])
    (watched.add if line.startswith(b"+") else watched.discard)(pid)
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
