"""Real Apache Kafka on free loopback ports: ``with start(nodes=1) as kafka: kafka.bootstrap``."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from workbench.errors import SandboxError
from workbench.sandbox.guard import Guard
from workbench.sandbox.jars import KAFKA_VERSION, jmx_agent, kafka_jars
from workbench.sandbox.java import find_java
from workbench.sandbox.jmx import agent_option
from workbench.sandbox.layout import NodePlan, lay_out, properties
from workbench.sandbox.node import format_broker, format_controller, jvm, launch, new_id, port_was_taken
from workbench.sandbox.ports import free_ports
from workbench.sandbox.processes import end, is_alive, uninterrupted
from workbench.sandbox.ready import wait_until_ready

if TYPE_CHECKING:
    import psutil

ATTEMPTS = 3
MOST_NODES = 9


class Kafka:
    """A running sandbox cluster; leaving its ``with`` block ends it, and so does the death of this process.

    Attributes:
        nodes: the plan of each process: node_id, roles, port, folder, log_file.
        data_dir: folder that holds one folder a node.
        version: of Kafka, for example ``4.4.0``.
        java_options: more of the JVM's options, for what is launched from now on.
    """

    def __init__(
        self,
        nodes: tuple[NodePlan, ...],
        data_dir: Path,
        version: str,
        *,
        temporary: bool = False,
        guard: Guard | None = None,
        when_changed: Callable[[Kafka], None] | None = None,
    ) -> None:
        self.nodes = nodes
        self.data_dir = data_dir
        self.version = version
        self.java_options: tuple[str, ...] = ()
        self.processes: dict[int, psutil.Process] = {}
        self._temporary = temporary
        self._guard = guard
        self._when_changed = when_changed
        self._owner = os.getpid()

    @property
    def bootstrap(self) -> str:
        """``host:port`` of every broker, joined by commas, whether or not it is up."""
        return ",".join(f"127.0.0.1:{plan.port}" for plan in self.nodes if plan.is_broker)

    @property
    def controller_bootstrap(self) -> str:
        """``host:port`` of the controller's listener."""
        return ",".join(f"127.0.0.1:{plan.controller_port}" for plan in self.nodes if plan.controller_port)

    @property
    def metrics_targets(self) -> dict[int, str]:
        """Node id -> ``host:port`` of its JMX exporter, of the nodes that were started with one."""
        return {plan.node_id: f"127.0.0.1:{plan.metrics_port}" for plan in self.nodes if plan.metrics_port}

    @property
    def pids(self) -> list[int]:
        """Process ids of the nodes that are up, brokers first, in the order of their ids."""
        return [self.processes[node_id].pid for node_id in sorted(self.processes) if self.is_up(node_id)]

    def is_up(self, node_id: int) -> bool:
        """Whether the process of a node runs."""
        process = self.processes.get(node_id)
        return process is not None and is_alive(process)

    @functools.cached_property
    def command(self) -> list[str]:
        """Command line of a Java with Kafka's classes; the class to run comes next."""
        return jvm(find_java(self.version), kafka_jars(self.version), self.data_dir)

    def kill(self, node_id: int) -> None:
        """Kills a node with SIGKILL, as a crash would, and waits until the process is gone."""
        self._end(self._plan(node_id), grace_seconds=0)

    def stop_node(self, node_id: int, *, grace_seconds: float = 30) -> None:
        """Shuts a node down in order: it hands its partitions over before it ends."""
        self._end(self._plan(node_id), grace_seconds=grace_seconds)

    def restart(self, *node_ids: int) -> None:
        """Starts nodes on the data they have, shutting down first those that are up; returns when they answer.

        After ``kill`` this takes up to 6 s more: the controller lets a broker back in when the session of the
        one that died has run out.
        """
        plans = [self._plan(node_id) for node_id in node_ids]
        for plan in plans:
            self._end(plan, grace_seconds=30)
        for plan in plans:
            self.launch(plan)
        wait_until_ready(plans, self.processes)

    def launch(self, plan: NodePlan) -> None:
        """Starts the process of a node whose folder is formatted; does not wait for it."""
        with uninterrupted():
            process = launch([*self.command, *self.java_options, *agent_option(plan, self.data_dir)], plan)
            self.processes[plan.node_id] = process
            if self._guard:
                self._guard.watch(process.pid)
        self._changed()

    def release(self) -> None:
        """Lets the nodes outlive this process."""
        atexit.unregister(self.stop_at_exit)
        if self._guard:
            self._guard.close()
            self._guard = None

    def stop(self, *, grace_seconds: float = 0) -> None:
        """Ends all nodes, brokers before the controller; without grace they are killed, for data nobody wants."""
        for brokers in (True, False):
            chosen = [plan.node_id for plan in self.nodes if plan.is_broker is brokers]
            end([self.processes[i] for i in chosen if i in self.processes], grace_seconds=grace_seconds)
        self.processes.clear()
        self.release()
        atexit.unregister(self.stop_at_exit)
        if self._temporary:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def clean_up_failure(self) -> None:
        """Ends what started of a cluster that did not; keeps the logs, drops the data."""
        self._temporary = False
        self.stop()
        for plan in self.nodes:
            shutil.rmtree(plan.data, ignore_errors=True)

    def stop_at_exit(self) -> None:
        """``stop`` for a program that ends without it; a forked child that ends is not that program."""
        if os.getpid() == self._owner:
            self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _plan(self, node_id: int) -> NodePlan:
        for plan in self.nodes:
            if plan.node_id == node_id:
                return plan
        raise SandboxError(f"There is no node {node_id}; there are {[plan.node_id for plan in self.nodes]}.")

    def _end(self, plan: NodePlan, *, grace_seconds: float) -> None:
        process = self.processes.pop(plan.node_id, None)
        if process is None:
            return
        end([process], grace_seconds=grace_seconds)
        if self._guard:
            self._guard.forget(process.pid)
        self._changed()

    def _changed(self) -> None:
        if self._when_changed:
            self._when_changed(self)


def start(
    nodes: int = 1,
    data_dir: Path | None = None,
    version: str = KAFKA_VERSION,
    settings: Mapping[str, str] | None = None,
    *,
    metrics: bool = False,
    say: Callable[[str], None] | None = None,
) -> Kafka:
    """Starts a KRaft cluster on free ports of 127.0.0.1 and returns when every broker answers.

    The nodes die with this process, however it ends; ``Kafka.release`` lets them live on.

    Args:
        nodes: brokers, 1 to 9. One broker is its own controller; several get a controller (node 100) of their own,
            so that any broker can be killed while the metadata stays up.
        data_dir: an empty or missing folder that is kept; by default a temporary one that goes with the cluster.
        version: of Kafka, a pinned one.
        settings: lines of server.properties that win over the sandbox's own.
        metrics: whether each node carries the JMX exporter, for Prometheus (``Kafka.metrics_targets``).
        say: called with one sentence before something that takes long.

    Raises:
        SandboxError: no Java, no jars, or the cluster did not start (the hint names the log, which is kept).
    """
    if not 1 <= nodes <= MOST_NODES:
        raise SandboxError(f"A sandbox has 1 to {MOST_NODES} nodes, not {nodes}.")
    if data_dir:
        data_dir = _empty_folder(data_dir)
    kafka_jars(version, say=say)
    if metrics:
        jmx_agent(say=say)
    for _ in range(ATTEMPTS - 1):
        try:
            return _start_once(nodes, data_dir, version, settings or {}, metrics=metrics)
        except _PortTakenError as error:
            # Other ports, same settings: what this try left behind goes.
            shutil.rmtree(error.data_dir, ignore_errors=True)
    return _start_once(nodes, data_dir, version, settings or {}, metrics=metrics)


def _empty_folder(folder: Path) -> Path:
    """The absolute path of a folder that is made when missing and refused when it holds anything."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SandboxError(f"The data folder {folder} is not empty.", hint="Name an empty or a new folder.")
    return folder.absolute()


class _PortTakenError(SandboxError):
    """Somebody bound a port between our look and the broker's."""

    def __init__(self, data_dir: Path, error: SandboxError) -> None:
        super().__init__(str(error), hint=error.hint)
        self.data_dir = data_dir


def _start_once(
    nodes: int, data_dir: Path | None, version: str, settings: Mapping[str, str], *, metrics: bool
) -> Kafka:
    folder = data_dir or Path(tempfile.mkdtemp(prefix="workbench-kafka-"))
    folder.mkdir(parents=True, exist_ok=True)
    plans = lay_out(nodes, folder, free_ports((nodes + 1) * (2 if metrics else 1)))
    kafka = Kafka(plans, folder, version, temporary=data_dir is None, guard=Guard(None if data_dir else folder))
    atexit.register(kafka.stop_at_exit)
    try:
        _prepare(kafka, settings)
        for plan in plans:
            kafka.launch(plan)
        wait_until_ready(plans, kafka.processes)
    except SandboxError as error:
        kafka.clean_up_failure()
        if any(port_was_taken(plan) for plan in plans):
            raise _PortTakenError(folder, error) from error
        raise
    except BaseException:
        kafka.stop()
        raise
    return kafka


def _prepare(kafka: Kafka, settings: Mapping[str, str]) -> None:
    """Writes each node's properties and formats its folder."""
    cluster_id = new_id()
    for plan in kafka.nodes:
        plan.folder.mkdir(parents=True, exist_ok=True)
        plan.properties_file.write_text(properties(plan, kafka.nodes, settings))
        if plan.controller_port:
            format_controller(
                jvm(find_java(kafka.version), kafka_jars(kafka.version), kafka.data_dir), plan, cluster_id
            )
        else:
            format_broker(plan, cluster_id)
