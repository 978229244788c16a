"""The engine papermill runs our notebooks with: a kernel of this interpreter, with its own environment.

Papermill alone takes whichever ``python3`` kernel specification it finds first (possibly another interpreter's), and
gives every kernel the environment of the calling process, so that two runs at once could read each other's settings.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.paths import jupyter_runtime_dir
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from traitlets import Instance, default

# A socket's path may have about 100 bytes; names in the runtime folder take 50 of them.
_LONGEST_SOCKET_FOLDER = 50

ENGINE = "workbench"
KERNEL = "python3"


class _ThisInterpreter(KernelSpecManager):
    """Knows one kernel: the interpreter that runs this process; nothing of what it runs is kept as history."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(
            argv=[*launch, "--HistoryManager.enabled=False"], display_name=f"Python ({kernel_name})", language="python"
        )


class OwnKernelManager(AsyncKernelManager):
    """Starts kernels of this interpreter that only this user's processes can talk to."""

    kernel_spec_manager = Instance(KernelSpecManager)

    @default("transport")
    def _nobody_else_listens(self) -> str:
        # Sockets in the user's runtime folder instead of ports that every user of the machine can reach.
        return "ipc" if os.name == "posix" and len(jupyter_runtime_dir()) < _LONGEST_SOCKET_FOLDER else "tcp"

    @default("ip")
    def _same_place_for_both(self) -> str:
        # Jupyter's default is relative to the working directory, and the kernel may have another one than we.
        if self.transport != "ipc":
            return "127.0.0.1"
        folder = Path(jupyter_runtime_dir())
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return str(folder / f"wb-{secrets.token_hex(8)}")

    @default("kernel_spec_manager")
    def _only_this_interpreter(self) -> KernelSpecManager:
        return _ThisInterpreter(parent=self)


class TextSink:
    """A file-like object that hands each complete line to a function; papermill writes a notebook's streams to it."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._rest = ""

    def write(self, text: str) -> int:
        """Takes some text; lines are handed on when they are complete."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if line.strip():
                self._on_line(line)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back but an incomplete line."""


class _Engine(Engine):  # type: ignore[misc]  # papermill ships no types
    """Papermill's engine, but the kernel is this interpreter's and gets its own environment and time limit."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
        client = PapermillNotebookClient(
            nb_man,
            kernel_name=kernel_name,
            kernel_manager_class=OwnKernelManager,
            startup_timeout=options["start_timeout"],
            timeout=options["cell_timeout_seconds"],
            stderr_file=options["stderr_file"],
        )
        return client.execute(env=dict(options["kernel_env"]))


papermill_engines.register(ENGINE, _Engine)


def kernel_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment for a kernel, plus ``extra``, able to import this very workbench."""
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH", "")) if part)
    # Jupyter's debugger support warns about frozen modules on stderr; nobody debugs a headless run.
    return {**os.environ, "PYTHONPATH": path, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **extra}
