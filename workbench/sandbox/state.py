"""The sandbox that outlives its command: ``up``, ``down`` and ``status`` find it again through a state file.

A process counts as ours only when its pid, its start and its command line agree with what was noted: after a reboot
or once a pid has gone to somebody else, ``down`` leaves it alone.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from workbench.errors import SandboxError, UsageError
from workbench.sandbox import mock
from workbench.sandbox.jars import KAFKA_VERSION
from workbench.sandbox.kafka import Kafka, start
from workbench.sandbox.layout import NodePlan
from workbench.sandbox.paths import sandbox_dir
from workbench.sandbox.processes import end, find, seconds_since_boot
from workbench.sandbox.stack.running import Stack, add_parts, require_parts, start_stack
from workbench.sandbox.stack.service import ServicePlan

FORMAT = 1


@dataclass(frozen=True)
class Node:
    """A process of the sandbox as it was noted.

    Attributes:
        plan: its id, roles, ports and folder.
        pid: its process id, or None when it had been killed.
        started: seconds between the machine's boot and its start, or None.
    """

    plan: NodePlan
    pid: int | None
    started: float | None

    def process(self) -> psutil.Process | None:
        """The live process, or None when it is gone or its pid is another's now."""
        if self.pid is None or self.started is None:
            return None
        return find(self.pid, self.started, str(self.plan.properties_file))


@dataclass(frozen=True)
class Service:
    """A service beside Kafka as it was noted.

    Attributes:
        plan: its command line, folder and addresses.
        pid: its process id, or None when it had been killed.
        started: seconds between the machine's boot and its start, or None.
    """

    plan: ServicePlan
    pid: int | None
    started: float | None

    def process(self) -> psutil.Process | None:
        """The live process, or None when it is gone or its pid is another's now."""
        if self.pid is None or self.started is None:
            return None
        return find(self.pid, self.started, self.plan.mark)


@dataclass(frozen=True)
class Sandbox:
    """What ``up`` left running.

    Attributes:
        kind: ``kafka``, or ``mock`` for librdkafka's mock broker.
        version: of Kafka, or of librdkafka for the mock.
        bootstrap: ``host:port`` of the brokers, joined by commas.
        data: folder of the data and the logs.
        nodes: its processes.
        services: what runs beside it: Prometheus, Alertmanager, a trace store.
        already_running: whether ``up`` found it instead of starting it.
    """

    kind: str
    version: str
    bootstrap: str
    data: Path
    nodes: tuple[Node, ...]
    services: tuple[Service, ...] = ()
    already_running: bool = False

    @property
    def pids(self) -> list[int]:
        """Process ids of the nodes that are up, brokers first."""
        ordered = sorted(self.nodes, key=lambda node: node.plan.node_id)
        return [process.pid for node in ordered if (process := node.process())]

    @property
    def noted(self) -> tuple[Node | Service, ...]:
        """All its processes as they were noted, nodes first."""
        return (*self.nodes, *self.services)

    @property
    def addresses(self) -> dict[str, str]:
        """Where the services are: ``prometheus``, ``alertmanager``, ``jaeger``, ``otlp_http`` ...: those there are."""
        return {name: address for service in self.services for name, address in service.plan.addresses.items()}

    def to_environment(self) -> dict[str, str]:
        """The variables by which the profile ``sandbox`` of workbench.toml finds it."""
        found = self.addresses
        named = {
            "WORKBENCH_SANDBOX_BOOTSTRAP": self.bootstrap,
            "WORKBENCH_SANDBOX_PROMETHEUS": found.get("prometheus"),
            "WORKBENCH_SANDBOX_JAEGER": found.get("jaeger"),
            "WORKBENCH_SANDBOX_POSTGRES": found.get("postgres"),
            "WORKBENCH_SANDBOX_REGISTRY": found.get("registry"),
            "WORKBENCH_SANDBOX_TRACES": "otlp-file" if "otlp_file" in found else None,
            "WORKBENCH_SANDBOX_SPANS": found.get("otlp_file"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": found.get("otlp_http"),
        }
        return {name: value for name, value in named.items() if value}

    def to_json(self) -> dict[str, object]:
        """The document that ``--json`` prints."""
        return {
            "bootstrap": self.bootstrap,
            "pids": self.pids,
            "data": str(self.data),
            "version": self.version,
            "kind": self.kind,
            "services": self.addresses,
        }


@dataclass(frozen=True)
class Ended:
    """What ``down`` did.

    Attributes:
        pids: the processes it ended.
        spared: noted pids that belong to somebody else now.
    """

    pids: list[int]
    spared: list[int]


def up(
    nodes: int | None = None,
    *,
    version: str = KAFKA_VERSION,
    settings: Mapping[str, str] | None = None,
    use_mock: bool = False,
    parts: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> Sandbox:
    """Starts the sandbox in the background, or gives the one that runs; what died of that one is started again.

    Args:
        nodes: brokers; None means 1, or as many as run.
        version: of Kafka.
        settings: lines of server.properties, for a new sandbox only.
        use_mock: librdkafka's mock broker instead of Kafka.
        parts: services to run beside it: ``prometheus``, ``traces``.
        say: called with one sentence before something that takes long.

    Raises:
        UsageError: there is no such part, or the mock cannot have it.
        SandboxError: it could not start, or another kind of sandbox runs.
    """
    if use_mock and parts:
        raise UsageError("The mock broker runs alone.", hint="Leave out --mock or --with.")
    require_parts(parts, say=say)
    with _locked():
        found = _load()
        if found and found.pids:
            return _again(found, nodes, use_mock=use_mock, parts=parts, say=say)
        if found:
            end(_live(found), grace_seconds=0)
        _clear()
        if use_mock:
            return _note(_start_mock(nodes or 1))
        return _start_kafka(nodes or 1, version, settings, parts, say)


def down() -> Ended:
    """Ends the sandbox's own processes and removes its data; fine when there is none."""
    with _locked():
        found = _load()
        if found is None:
            return Ended([], [])
        ours = _live(found)
        end(ours, grace_seconds=0)
        pids = [process.pid for process in ours]
        noted = [one.pid for one in found.noted if one.pid is not None]
        _clear()
        return Ended(pids, [pid for pid in noted if pid not in pids and psutil.pid_exists(pid)])


def _live(found: Sandbox) -> list[psutil.Process]:
    """The processes of a sandbox that live, nodes first."""
    return [process for one in found.noted if (process := one.process())]


def status() -> Sandbox | None:
    """The sandbox that runs, wholly or in part, or None."""
    found = _load()
    return found if found and found.pids else None


def attach() -> Kafka:
    """A handle on the running sandbox, to kill and restart its nodes; leaving it alone leaves it running.

    Raises:
        SandboxError: no Kafka sandbox runs.
    """
    found = status()
    if found is None or found.kind != "kafka":
        raise SandboxError("No Kafka sandbox is running.", hint="workbench sandbox up")
    return _attached(found)


def _attached(found: Sandbox) -> Kafka:
    plans = tuple(node.plan for node in found.nodes)
    kafka = Kafka(plans, found.data, found.version, when_changed=lambda changed: _save(_noted(changed, found.services)))
    kafka.processes = {node.plan.node_id: process for node in found.nodes if (process := node.process())}
    return kafka


def attach_stack() -> Stack:
    """A handle on the services of the running sandbox; leaving it alone leaves them running.

    Raises:
        SandboxError: no sandbox runs, or it has no services.
    """
    found = status()
    if found is None or not found.services:
        raise SandboxError("No sandbox with services is running.", hint="workbench sandbox up --with prometheus,traces")
    return _attached_stack(found)


def _attached_stack(found: Sandbox) -> Stack:
    stack = Stack(_stack_dir())
    stack.plans = {service.plan.name: service.plan for service in found.services}
    stack.processes = {one.plan.name: process for one in found.services if (process := one.process())}
    return stack


def _again(
    found: Sandbox,
    nodes: int | None,
    *,
    use_mock: bool,
    parts: Sequence[str],
    say: Callable[[str], None] | None,
) -> Sandbox:
    """The sandbox that runs, made whole."""
    if found.kind == "mock" or use_mock:
        if (found.kind == "mock") is use_mock and not parts:
            return replace(found, already_running=True)
        raise SandboxError(f"A sandbox of kind {found.kind} is running already.", hint="workbench sandbox down")
    kafka = _attached(found)
    brokers = sum(plan.is_broker for plan in kafka.nodes)
    if nodes not in (None, brokers):
        raise SandboxError(f"A sandbox with {brokers} broker(s) is running already.", hint="workbench sandbox down")
    kafka.restart(*(plan.node_id for plan in kafka.nodes if not kafka.is_up(plan.node_id)))
    stack = _whole_stack(found, kafka, parts, say)
    sandbox = _note(_noted(kafka, _noted_services(stack)))
    stack.release()
    return replace(sandbox, already_running=True)


def _whole_stack(found: Sandbox, kafka: Kafka, parts: Sequence[str], say: Callable[[str], None] | None) -> Stack:
    """The services of a running sandbox: those that died started again, those that are asked for added."""
    stack = _attached_stack(found)
    for name in stack.plans:
        if not stack.is_up(name):
            stack.restart(name)
    if set(parts) - stack.parts:
        if "prometheus" in parts and not kafka.metrics_targets and say:
            say("The brokers that run carry no JMX exporter, so Prometheus has no metrics of theirs: down, then up.")
        # Services that start here die with us until they are noted.
        stack.guard()
        add_parts(stack, parts, kafka, say=say)
    return stack


def _start_kafka(
    nodes: int,
    version: str,
    settings: Mapping[str, str] | None,
    parts: Sequence[str],
    say: Callable[[str], None] | None,
) -> Sandbox:
    data = sandbox_dir() / "data"
    try:
        kafka = start(nodes, data, version, settings, metrics="prometheus" in parts, say=say)
    except KeyboardInterrupt:
        _clear()
        raise
    try:
        stack = start_stack(parts, kafka, _stack_dir(), say=say) if parts else Stack(_stack_dir())
    except BaseException:
        kafka.stop()
        raise
    # Noted first, released then: whoever is killed in between leaves no process behind.
    sandbox = _note(_noted(kafka, _noted_services(stack)))
    kafka.release()
    stack.release()
    return sandbox


def _start_mock(brokers: int) -> Sandbox:
    plan = NodePlan(1, "mock", 0, 0, sandbox_dir() / "data" / "mock")
    process, bootstrap = mock.start_process(brokers, plan)
    node = Node(plan, process.pid, seconds_since_boot(process))
    return Sandbox("mock", mock.version(), bootstrap, sandbox_dir() / "data", (node,))


def _noted_services(stack: Stack) -> tuple[Service, ...]:
    noted = []
    for name, plan in stack.plans.items():
        process = stack.processes.get(name) if stack.is_up(name) else None
        noted.append(Service(plan, process.pid, seconds_since_boot(process)) if process else Service(plan, None, None))
    return tuple(noted)


def _noted(kafka: Kafka, services: tuple[Service, ...] = ()) -> Sandbox:
    nodes = []
    for plan in kafka.nodes:
        process = kafka.processes.get(plan.node_id) if kafka.is_up(plan.node_id) else None
        nodes.append(Node(plan, process.pid, seconds_since_boot(process)) if process else Node(plan, None, None))
    return Sandbox("kafka", kafka.version, kafka.bootstrap, kafka.data_dir, tuple(nodes), services)


def _note(sandbox: Sandbox) -> Sandbox:
    _save(sandbox)
    return sandbox


def _state_file() -> Path:
    return sandbox_dir() / "state.json"


def _save(sandbox: Sandbox) -> None:
    document = asdict(sandbox)
    del document["already_running"]
    draft = _state_file().with_suffix(".draft")
    draft.write_text(json.dumps({"format": FORMAT, **document}, default=str, indent=1) + "\n")
    draft.replace(_state_file())


def _load() -> Sandbox | None:
    try:
        document = json.loads(_state_file().read_text())
        if document.pop("format") != FORMAT:
            raise ValueError("another format")
        nodes = tuple(_load_node(one) for one in document.pop("nodes"))
        services = tuple(_load_service(one) for one in document.pop("services", ()))
        return Sandbox(**{**document, "data": Path(document["data"]), "nodes": nodes, "services": services})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise SandboxError(
            f"The sandbox's state file cannot be read: {_state_file()}: {error}",
            hint="End what still runs by hand, then delete that file.",
        ) from error


def _load_node(document: dict[str, object]) -> Node:
    plan = document.pop("plan")
    if not isinstance(plan, dict):
        raise TypeError("a node without a plan")
    return Node(plan=NodePlan(**{**plan, "folder": Path(plan["folder"])}), **document)  # type: ignore[arg-type]


def _load_service(document: dict[str, object]) -> Service:
    plan = document.pop("plan")
    if not isinstance(plan, dict):
        raise TypeError("a service without a plan")
    typed = {**plan, "folder": Path(plan["folder"]), "command": tuple(plan["command"])}
    return Service(plan=ServicePlan(**typed), **document)  # type: ignore[arg-type]


def _stack_dir() -> Path:
    return sandbox_dir() / "stack"


def _clear() -> None:
    """Removes what an ended sandbox left behind."""
    shutil.rmtree(sandbox_dir() / "data", ignore_errors=True)
    shutil.rmtree(_stack_dir(), ignore_errors=True)
    _state_file().unlink(missing_ok=True)


@contextmanager
def _locked() -> Iterator[None]:
    """One ``up`` or ``down`` at a time; the kernel frees the lock of a process that dies."""
    sandbox_dir().mkdir(parents=True, exist_ok=True)
    with (sandbox_dir() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
