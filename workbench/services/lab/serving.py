"""The server: JupyterLab as it comes, on this machine alone, with a token of its own making."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from workbench.errors import UsageError
from workbench.services.kernel import kernel_environment

# A page of Markdown is to be read, and nothing is fetched from outside.
_OVERRIDES = {
    "@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Markdown Preview"}},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


def serve(folder: Path, first: Path, *, port: int | None, browser: bool) -> int:
    """Runs JupyterLab until it is stopped; its exit code. Ctrl-C stops it without asking.

    Args:
        folder: the root of what it shows.
        first: what it shows first, a file below the folder.
        port: None for Jupyter's own choice.
        browser: whether it opens one.

    Raises:
        UsageError: JupyterLab is not installed.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise UsageError("JupyterLab is not installed.", hint="pip install 'kafka-integration-workbench[notebooks]'")
    shown = first.relative_to(folder).as_posix()
    # Jupyter refuses root unless it is told; in a container there is often nobody else.
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [
        sys.executable, "-m", "jupyterlab", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{shown}", *([f"--port={port}"] if port else []),
        *([] if browser else ["--no-browser"]), *root,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="workbench-lab-") as settings:
        return _until_stopped(command, folder, kernel_environment(_settings(Path(settings))))


def _settings(folder: Path) -> dict[str, str]:
    """The environment that leads to settings of this server alone; those of the user come before them."""
    overrides = folder / "labconfig" / "default_setting_overrides.json"
    overrides.parent.mkdir()
    overrides.write_text(json.dumps(_OVERRIDES), encoding="utf-8")
    paths = (str(folder), os.environ.get("JUPYTER_CONFIG_PATH", ""))
    return {"JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths))}


def _until_stopped(command: list[str], folder: Path, environment: dict[str, str]) -> int:
    server = subprocess.Popen(command, env=environment, cwd=folder)
    try:
        return server.wait()
    except KeyboardInterrupt:
        server.terminate()  # a second interrupt would only answer Jupyter's question; this is its orderly end
        return 0 if server.wait() in {0, -signal.SIGTERM} else 1
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait()
