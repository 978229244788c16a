"""Programs that are had by building their Go module, once, into the cache."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import SandboxError
from workbench.sandbox.paths import cache_dir

BUILD_SECONDS = 1800.0


@dataclass(frozen=True)
class GoProgram:
    """A command in a Go module.

    Attributes:
        name: of the executable in the cache.
        module: its path.
        version: its version.
        checksum: ``h1:`` of the module, as go.sum has it. The module's own go.sum, which it covers, pins all others.
        package: folder of the command in the module.
    """

    name: str
    module: str
    version: str
    checksum: str
    package: str


def go() -> Path | None:
    """The Go tool of this machine, or None."""
    found = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    return Path(found) if found else None


def build(program: GoProgram, *, say: Callable[[str], None] | None = None) -> Path | None:
    """The executable of a Go program: from the cache, or built into it.

    Returns:
        None where it is not in the cache and this machine has no Go.

    Raises:
        SandboxError: its module cannot be had or is not the pinned one, or it does not build.
    """
    folder = cache_dir() / "go" / f"{program.name}-{program.version}"
    target = folder / program.name
    if target.is_file():
        return target
    tool = go()
    if tool is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    # Two test processes that start together build once.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file():
            if say:
                say(f"Building {program.name} {program.version} with Go, once, into {folder}: takes some minutes")
            _build(tool, program, target)
    return target


def _build(tool: Path, program: GoProgram, target: Path) -> None:
    source = _download(tool, program)
    draft = target.with_suffix(".draft")
    # Without optimisation it builds in two thirds of the time, and is still fast enough for a sandbox.
    options = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-gcflags=all=-N -l")
    done = _run([str(tool), "build", "-C", source, *options, "-o", str(draft), f"./{program.package}"])
    if done.returncode:
        raise SandboxError(f"{program.name} {program.version} does not build: {_last_line(done.stderr)}")
    draft.replace(target)


def _download(tool: Path, program: GoProgram) -> str:
    """The folder of the module's source in Go's own cache, once its checksum is the pinned one."""
    wanted = f"{program.module}@{program.version}"
    done = _run([str(tool), "mod", "download", "-json", wanted])
    told: Mapping[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {}
    if done.returncode or "Dir" not in told:
        why = told.get("Error") or _last_line(done.stderr)
        hint = "Check GOPROXY and the network; without Go the spans go into an OTLP file."
        raise SandboxError(f"The Go module {wanted} cannot be fetched: {why}", hint=hint)
    if told["Sum"] != program.checksum:
        hint = "Something between here and the module proxy changes what it delivers; nothing was built."
        raise SandboxError(f"The Go module {wanted} is not the pinned one: {told['Sum']}.", hint=hint)
    return str(told["Dir"])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "on", "GOWORK": "off"},
        cwd=Path(command[0]).parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_SECONDS,
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason was given"
