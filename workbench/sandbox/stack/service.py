"""One service beside Kafka: what it is started with, and waiting until it answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil

from workbench.errors import SandboxError
from workbench.sandbox.processes import is_alive

START_SECONDS = 90.0
POLL_SECONDS = 0.05
_LAST_WORDS = 300


@dataclass(frozen=True)
class ServicePlan:
    """A process that is no broker.

    Attributes:
        name: ``prometheus``, ``alertmanager``, ``jaeger``, ``otlp-file`` or ``postgres``.
        command: its command line.
        mark: a word of that command line that no other process has.
        folder: where its configuration, data and log are.
        ready: an address that answers 200 once the service works, or one of a database.
        addresses: what users are told: name -> address.
        environment: variables it gets besides ours.
        user: the account it runs as; None is ours.
    """

    name: str
    command: tuple[str, ...]
    mark: str
    folder: Path
    ready: str
    addresses: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None

    @property
    def log_file(self) -> Path:
        """What the process prints."""
        return self.folder / f"{self.name}.log"


def require_program(names: tuple[str, ...], package: str) -> Path:
    """The first of these programs that is on the search path.

    Raises:
        SandboxError: none is; the hint names Debian's package.
    """
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise SandboxError(f"{names[0]} is not installed.", hint=f"Debian and Ubuntu: apt-get install {package}")


def launch(plan: ServicePlan) -> psutil.Popen:
    """Starts the process in a session of its own, so that Ctrl-C in a terminal reaches only us."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    with plan.log_file.open("ab") as log:
        return psutil.Popen(
            list(plan.command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=plan.folder,
            env={**os.environ, **plan.environment},
            user=plan.user,
        )


def wait_until_ready(plan: ServicePlan, process: psutil.Process, *, seconds: float = START_SECONDS) -> None:
    """Waits until a service answers.

    Raises:
        SandboxError: its process ended, or the time was not enough; the hint names its log.
    """
    _wait(lambda: _listens(process, plan.ready) and _answers(plan.ready), plan, process, seconds)


def _wait(ready: Callable[[], bool], plan: ServicePlan, process: psutil.Process, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        answered = ready()
        if not is_alive(process):
            raise failure(plan, "ended while it started")
        if answered:
            return
        if time.monotonic() > deadline:
            raise failure(plan, f"did not answer within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)


def _listens(process: psutil.Process, address: str) -> bool:
    """Whether the process itself holds the port: somebody else's service may have taken it before ours could."""
    port = urlsplit(address).port
    try:
        connections = process.net_connections("inet")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


def _answers(address: str) -> bool:
    if address.startswith("postgresql:"):
        return _takes_logins(address)
    try:
        # On loopback no proxy of the environment is asked.
        return httpx2.get(address, timeout=2, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def _takes_logins(address: str) -> bool:
    """Whether a database takes connections; it listens some time before it does."""
    import adbc_driver_postgresql.dbapi as driver

    try:
        driver.connect(address).close()
    except driver.Error:
        return False
    return True


def failure(plan: ServicePlan, what: str) -> SandboxError:
    """The error for a service that failed: what happened, its last words, and in the hint its log."""
    text = plan.log_file.read_text(errors="replace") if plan.log_file.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if any(mark in line for mark in ("level=error", '"level":"fatal"', "Error"))]
    # The first error is the cause, those after it are consequences.
    said = errors[0] if errors else lines[-1] if lines else "its log is empty"
    cause = re.search(r'err="(.+)"', said)
    words = (cause[1].replace('\\"', '"') if cause else said)[:_LAST_WORDS]
    return SandboxError(f"{plan.name} {what}: {words}", hint=f"Its log: {plan.log_file}")


def port_was_taken(plan: ServicePlan) -> bool:
    """Whether a service ended because it could not bind its port."""
    return plan.log_file.exists() and b"address already in use" in plan.log_file.read_bytes()
