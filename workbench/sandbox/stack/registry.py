"""Apicurio Registry beside Kafka: a schema registry with Confluent's API, on the same Java."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from workbench.sandbox.jars import KAFKA_VERSION, registry_archive
from workbench.sandbox.java import find_java
from workbench.sandbox.stack.service import ServicePlan

# Its API as Confluent's clients speak it.
API = "apis/ccompat/v7"
_PROGRAM = "quarkus-run.jar"


def plan_registry(folder: Path, port: int, *, say: Callable[[str], None] | None = None) -> ServicePlan:
    """Plans the registry; what it holds is in memory and goes with it.

    Args:
        folder: of the stack.
        port: a free one.
        say: called with one sentence before a download begins.
    """
    mine, address = folder / "registry", f"http://127.0.0.1:{port}"
    program = _unpacked(registry_archive(say=say)) / _PROGRAM
    mark = f"-Dquarkus.http.port={port}"
    options = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1", mark, "-Dquarkus.log.level=WARN")
    command = (str(find_java(KAFKA_VERSION).path), *options, "-jar", str(program))
    return ServicePlan("registry", command, mark, mine, f"{address}/{API}/subjects", {"registry": f"{address}/{API}"})


def _unpacked(archive: Path) -> Path:
    """The folder beside an archive with what is in it, made once."""
    folder = archive.parent / "program"
    if not (folder / _PROGRAM).is_file():
        # Others may unpack it at the same time: whoever is first wins, a draft is never taken for the whole.
        with tempfile.TemporaryDirectory(dir=archive.parent, ignore_cleanup_errors=True) as draft:
            with tarfile.open(archive) as packed:
                packed.extractall(draft, filter="data")
            try:
                Path(draft).replace(folder)
            except OSError:
                if not (folder / _PROGRAM).is_file():
                    raise
    return folder
