"""Kafka's jars: fetched once through jgo's Maven client, checked against the pinned SHA-256 at every start."""

from __future__ import annotations

import functools
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import SandboxError
from workbench.sandbox.paths import cache_dir
from workbench.sandbox.pinned import AGENT, PINNED, REGISTRY, TOOLS

KAFKA_VERSION = "4.4.0"
PARALLEL_DOWNLOADS = 6
TIMEOUT_SECONDS = 10
OFFLINE_HINT = (
    "Check the network or a proxy, or copy the folder of a machine that has it and point WORKBENCH_CACHE there. "
    "Without Kafka, `workbench sandbox up --mock` offers librdkafka's mock broker; rules that need the admin plane "
    "then stay undecided."
)


def kafka_jars(version: str = KAFKA_VERSION, *, say: Callable[[str], None] | None = None) -> list[Path]:
    """Gives the jars of a Kafka version, fetching them first where the cache has none.

    Args:
        version: a version in ``pinned.PINNED``.
        say: called with one sentence before a download begins.

    Returns:
        Absolute paths, in the order of the pinned list.

    Raises:
        SandboxError: the version is not pinned, a jar differs from its checksum, or they cannot be fetched.
    """
    pinned = PINNED.get(version)
    if pinned is None:
        raise SandboxError(f"Kafka {version} is not pinned.", hint=f"Pinned versions: {', '.join(PINNED)}.")
    return _jars(cache_dir() / "kafka" / version, pinned, f"Kafka {version}: {len(pinned)} jars, about 45 MB", say)


def jmx_agent(*, say: Callable[[str], None] | None = None) -> Path:
    """Gives the jar of the JMX exporter's Java agent, fetching it first where the cache has none.

    Raises:
        SandboxError: it differs from its checksum, or cannot be fetched.
    """
    (jar,) = _jars(cache_dir() / "jmx-exporter", AGENT, "the JMX exporter: 1 jar, about 3 MB", say)
    return jar


def registry_archive(*, say: Callable[[str], None] | None = None) -> Path:
    """Gives the archive of Apicurio Registry, fetching it first where the cache has none.

    Raises:
        SandboxError: it differs from its checksum, or cannot be fetched.
    """
    (archive,) = _jars(cache_dir() / "registry", REGISTRY, "Apicurio Registry: 1 archive, about 160 MB", say)
    return archive


def kafka_tools(*, say: Callable[[str], None] | None = None) -> Path:
    """Gives the jar of Kafka's command line tools, fetching it first where the cache has none; they run beside Kafka's jars.

    Raises:
        SandboxError: it differs from its checksum, or cannot be fetched.
    """
    (jar,) = _jars(cache_dir() / "kafka-tools", TOOLS, "Kafka's command line tools: 1 jar, about 2 MB", say)
    return jar


def _jars(folder: Path, pinned: Mapping[str, str], what: str, say: Callable[[str], None] | None) -> list[Path]:
    """The pinned jars in a folder, in their order; fetched where one is missing or is not what was pinned."""
    if _missing_or_changed(folder, pinned):
        if say:
            say(f"Fetching {what}, into {folder}")
        _fetch_into(folder, pinned)
    return [folder / _file_name(coordinate) for coordinate in pinned]


def _file_name(coordinate: str) -> str:
    _, artifact, version, *rest = coordinate.split(":")
    packaging, classifier = rest or ("jar", "")
    return f"{artifact}-{version}{'-' + classifier if classifier else ''}.{packaging}"


def _missing_or_changed(folder: Path, pinned: Mapping[str, str]) -> list[str]:
    """Coordinates whose file is absent, or is not what was pinned."""
    return [
        coordinate for coordinate, expected in pinned.items() if _sha256(folder / _file_name(coordinate)) != expected
    ]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def _fetch_into(folder: Path, pinned: Mapping[str, str]) -> None:
    """Downloads beside the folder, checks, then renames file by file: no reader ever sees half a jar."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = _missing_or_changed(folder, pinned)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as staging, _quiet_jgo():
        for coordinate, path in _downloads(Path(staging), wanted):
            _refuse_changed(coordinate, path, pinned[coordinate])
            path.replace(folder / _file_name(coordinate))


def _downloads(staging: Path, wanted: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Each coordinate with its downloaded file; the first alone, so that being offline is told once and soon."""
    yield wanted[0], _download(staging, wanted[0])
    pool = ThreadPoolExecutor(PARALLEL_DOWNLOADS)
    try:
        yield from zip(wanted[1:], pool.map(functools.partial(_download, staging), wanted[1:]), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _download(staging: Path, coordinate: str) -> Path:
    try:
        from jgo.maven import MavenContext
    except ModuleNotFoundError as error:
        hint = "pip install 'kafka-integration-workbench[sandbox]'"
        raise SandboxError(f"Fetching Kafka needs the package {error.name}.", hint=hint) from error
    group, artifact, version, *rest = coordinate.split(":")
    last: Exception | None = None
    for attempt in range(3):
        # jgo writes straight to the final name: with a repository of its own a retry starts clean.
        repository = staging / f"{artifact}-{attempt}"
        try:
            context = MavenContext(repo_cache=repository, timeout=TIMEOUT_SECONDS)
            return Path(context.project(group, artifact).at_version(version).artifact(*reversed(rest)).resolve())
        # jgo lets through whatever requests, the file system or its parser raise.
        except Exception as error:  # noqa: BLE001
            last = error
            shutil.rmtree(repository, ignore_errors=True)
    raise SandboxError(
        f"Kafka's jars cannot be fetched from Maven Central ({type(last).__name__} at {coordinate}).", hint=OFFLINE_HINT
    ) from last


def _refuse_changed(coordinate: str, path: Path, expected: str) -> None:
    actual = _sha256(path)
    if actual != expected:
        raise SandboxError(
            f"The jar fetched for {coordinate} is not the pinned one: SHA-256 {actual[:16]}, expected {expected[:16]}.",
            hint="Something between here and Maven Central changes what it delivers; nothing was installed.",
        )


@contextmanager
def _quiet_jgo() -> Iterator[None]:
    """Keeps jgo's own log lines off the terminal; our errors tell its failures."""
    logger = logging.getLogger("jgo")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
