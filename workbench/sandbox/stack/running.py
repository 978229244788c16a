"""The services beside Kafka as one thing: ``with start_stack(("prometheus", "traces"), kafka) as stack``."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from workbench.errors import SandboxError, UsageError
from workbench.sandbox.guard import Guard
from workbench.sandbox.kafka import Kafka
from workbench.sandbox.ports import free_ports
from workbench.sandbox.processes import end, is_alive, uninterrupted
from workbench.sandbox.stack.postgres import plan_postgres, require_postgres
from workbench.sandbox.stack.prometheus import name_targets, plan_prometheus, require_prometheus
from workbench.sandbox.stack.registry import plan_registry
from workbench.sandbox.stack.service import ServicePlan, launch, port_was_taken, wait_until_ready
from workbench.sandbox.stack.traces import PORTS, jaeger_program, plan_traces

if TYPE_CHECKING:
    import psutil

PARTS = ("prometheus", "traces", "postgres", "registry")
DEFAULT_PARTS = ("prometheus", "traces")
ATTEMPTS = 3
_PART_OF = {"alertmanager": "prometheus", "jaeger": "traces", "otlp-file": "traces"}


class Stack:
    """Running services; leaving its ``with`` block ends them, and so does the death of this process.

    Attributes:
        folder: of their configuration, data and logs.
        plans: the services by name.
        processes: their processes by name.
    """

    def __init__(self, folder: Path, *, temporary: bool = False, guard: Guard | None = None) -> None:
        self.folder = folder
        self.plans: dict[str, ServicePlan] = {}
        self.processes: dict[str, psutil.Process] = {}
        self._temporary = temporary
        self._guard = guard
        self._owner = os.getpid()

    @property
    def addresses(self) -> dict[str, str]:
        """``prometheus``, ``alertmanager``, ``jaeger``, ``otlp_http``, ``otlp_grpc``, ``otlp_file``, ``postgres``, ``registry``."""
        return {name: address for plan in self.plans.values() for name, address in plan.addresses.items()}

    @property
    def parts(self) -> set[str]:
        """Which of ``PARTS`` it has."""
        return {_PART_OF.get(name, name) for name in self.plans}

    def scrape_kafka(self, kafka: Kafka) -> None:
        """Prometheus scrapes the nodes that carry the JMX exporter."""
        name_targets(self.folder, "kafka", {target: str(node) for node, target in kafka.metrics_targets.items()})

    def scrape_integration(self, *targets: str) -> None:
        """Prometheus scrapes ``/metrics`` of these ``host:port`` within a second or two, and no others."""
        name_targets(self.folder, "integration", {target: target for target in targets})

    def start(self, plan: ServicePlan) -> None:
        """Starts a service and returns when it answers.

        Raises:
            SandboxError: it did not.
        """
        with uninterrupted():
            process = launch(plan)
            self.plans[plan.name], self.processes[plan.name] = plan, process
            if self._guard:
                self._guard.watch(process.pid)
        wait_until_ready(plan, process)

    def is_up(self, name: str) -> bool:
        """Whether the process of a service runs."""
        process = self.processes.get(name)
        return process is not None and is_alive(process)

    def kill(self, name: str) -> None:
        """Kills a service with SIGKILL, as a crash would, and waits until the process is gone."""
        process = self.processes.pop(name, None)
        if process:
            end([process], grace_seconds=0)

    def restart(self, name: str) -> None:
        """Starts a service again on the data it has; returns when it answers."""
        self.kill(name)
        self.start(self.plans[name])

    def forget(self, plan: ServicePlan) -> None:
        """Drops a service that did not start, with its folder."""
        self.kill(plan.name)
        self.plans.pop(plan.name, None)
        shutil.rmtree(plan.folder, ignore_errors=True)

    def guard(self) -> None:
        """From now on services that are started die with this process, until ``release``."""
        self._guard = self._guard or Guard()

    def release(self) -> None:
        """Lets the services outlive this process."""
        atexit.unregister(self.stop_at_exit)
        if self._guard:
            self._guard.close()
            self._guard = None

    def stop(self, *, keep_logs: bool = False) -> None:
        """Ends all services; a temporary folder goes with them unless its logs are wanted."""
        end(self.processes.values(), grace_seconds=0)
        self.processes.clear()
        self.release()
        if self._temporary and not keep_logs:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop_at_exit(self) -> None:
        """``stop`` for a program that ends without it; a forked child that ends is not that program."""
        if os.getpid() == self._owner:
            self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def require_parts(parts: Sequence[str], *, say: Callable[[str], None] | None = None) -> None:
    """Checks that the parts can be had here, before anything is started; builds Jaeger where that is still to do.

    Raises:
        UsageError: there is no such part.
        SandboxError: its program is not installed or does not build.
    """
    for part in parts:
        if part not in PARTS:
            raise UsageError(f"The sandbox has no part {part!r}.", hint=f"It has {', '.join(PARTS)}.")
    if "prometheus" in parts:
        require_prometheus()
    if "traces" in parts:
        jaeger_program(say=say)
    if "postgres" in parts:
        require_postgres()


def start_stack(
    parts: Sequence[str] = DEFAULT_PARTS,
    kafka: Kafka | None = None,
    folder: Path | None = None,
    settings: Mapping[str, str] | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> Stack:
    """Starts services on free ports of 127.0.0.1 and returns when all of them answer.

    They die with this process, however it ends; ``Stack.release`` lets them live on.

    Args:
        parts: ``prometheus`` (with Alertmanager), ``traces`` (Jaeger; an OTLP file where there is no Go), ``postgres``,
            ``registry`` (Apicurio).
        kafka: the cluster whose nodes Prometheus scrapes, started with ``metrics=True``.
        folder: kept; by default a temporary one that goes with the services.
        settings: ``rules``: a folder of rule files instead of the repository's.
        say: called with one sentence where something takes long or is not as asked for.

    Raises:
        UsageError: there is no such part.
        SandboxError: a program is missing, or a service did not start (the hint names its log, which is kept).
    """
    require_parts(parts, say=say)
    chosen = folder or Path(tempfile.mkdtemp(prefix="workbench-stack-"))
    stack = Stack(chosen, temporary=folder is None, guard=Guard(None if folder else chosen))
    atexit.register(stack.stop_at_exit)
    add_parts(stack, parts, kafka, settings, say=say)
    return stack


def add_parts(
    stack: Stack,
    parts: Sequence[str],
    kafka: Kafka | None,
    settings: Mapping[str, str] | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> None:
    """Starts the parts that a stack does not have yet; ends the whole stack where one does not start.

    Raises:
        SandboxError: a service did not start; its log is kept.
    """
    try:
        for part in sorted(set(parts) - stack.parts):
            _start_part(stack, part, settings or {}, say)
        if kafka and "prometheus" in stack.parts:
            stack.scrape_kafka(kafka)
    except BaseException as error:
        stack.stop(keep_logs=isinstance(error, SandboxError))
        raise


def _start_part(stack: Stack, part: str, settings: Mapping[str, str], say: Callable[[str], None] | None) -> None:
    for attempt in range(ATTEMPTS):
        plans = _plans(stack.folder, part, settings, say)
        try:
            for plan in plans:
                stack.start(plan)
            return
        except SandboxError:
            if attempt + 1 == ATTEMPTS or not any(port_was_taken(plan) for plan in plans):
                raise
            # Somebody bound a port between our look and the service's: other ports, then.
            for plan in plans:
                stack.forget(plan)


def _plans(
    folder: Path, part: str, settings: Mapping[str, str], say: Callable[[str], None] | None
) -> Sequence[ServicePlan]:
    if part == "prometheus":
        return plan_prometheus(folder, free_ports(2), settings)
    if part == "postgres":
        return [plan_postgres(folder, *free_ports(1))]
    if part == "registry":
        return [plan_registry(folder, *free_ports(1), say=say)]
    return [plan_traces(folder, free_ports(PORTS), say=say)]
