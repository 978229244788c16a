"""Which nodes a sandbox has, and what each one's server.properties says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CONTROLLER_ID = 100


@dataclass(frozen=True)
class NodePlan:
    """One Kafka process.

    Attributes:
        node_id: 1, 2, 3 are brokers; 100 is a controller that is no broker.
        roles: ``broker``, ``controller`` or ``broker,controller``.
        port: of the clients' listener on 127.0.0.1, or 0 for a pure controller.
        controller_port: of the controllers' listener, or 0 for a pure broker.
        folder: where its properties, data and log are.
        metrics_port: where its JMX exporter answers Prometheus, or 0 where it has none.
    """

    node_id: int
    roles: str
    port: int
    controller_port: int
    folder: Path
    metrics_port: int = 0

    @property
    def is_broker(self) -> bool:
        """Whether clients can talk to it."""
        return "broker" in self.roles

    @property
    def properties_file(self) -> Path:
        """Its server.properties; on the command line, so it also tells the process from others."""
        return self.folder / "server.properties"

    @property
    def data(self) -> Path:
        """Where its partitions are."""
        return self.folder / "data"

    @property
    def log_file(self) -> Path:
        """What the process prints: Kafka's log and the JVM's last words."""
        return self.folder / "server.log"


def lay_out(brokers: int, data_dir: Path, ports: list[int]) -> tuple[NodePlan, ...]:
    """Plans the processes of a sandbox.

    One broker is its own controller. Several get a controller of their own, so that any of them can be
    killed without touching the metadata quorum.

    Args:
        brokers: how many brokers.
        data_dir: folder that holds one folder a node.
        ports: ``brokers + 1`` free ports, the first is the controller's; as many again where each node has a JMX
            exporter.
    """
    controller, *clients = ports[: brokers + 1]
    own, *metrics = ports[brokers + 1 :] or [0] * (brokers + 1)
    if brokers == 1:
        return (NodePlan(1, "broker,controller", clients[0], controller, data_dir / "node-1", own),)
    first = NodePlan(CONTROLLER_ID, "controller", 0, controller, data_dir / f"node-{CONTROLLER_ID}", own)
    rest = (
        NodePlan(i, "broker", port, 0, data_dir / f"node-{i}", extra)
        for i, (port, extra) in enumerate(zip(clients, metrics, strict=True), start=1)
    )
    return (first, *rest)


def properties(plan: NodePlan, plans: tuple[NodePlan, ...], settings: Mapping[str, str]) -> str:
    """Text of a node's server.properties; ``settings`` win over everything the sandbox chose."""
    controller = next(one for one in plans if one.controller_port)
    brokers = sum(one.is_broker for one in plans)
    merged = {**_identity(plan, controller), **_replication(brokers), **QUICK, **settings}
    return "".join(f"{name}={value}\n" for name, value in merged.items())


def _identity(plan: NodePlan, controller: NodePlan) -> dict[str, str]:
    listeners = {"PLAINTEXT": plan.port, "CONTROLLER": plan.controller_port}
    own = [f"{name}://127.0.0.1:{port}" for name, port in listeners.items() if port]
    identity = {
        "node.id": str(plan.node_id),
        "process.roles": plan.roles,
        "listeners": ",".join(own),
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"{controller.node_id}@127.0.0.1:{controller.controller_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(plan.data),
    }
    if plan.is_broker:
        identity["advertised.listeners"] = f"PLAINTEXT://127.0.0.1:{plan.port}"
        identity["inter.broker.listener.name"] = "PLAINTEXT"
    return identity


def _replication(brokers: int) -> dict[str, str]:
    copies = min(brokers, 3)
    in_sync = min(brokers, 2)
    return {
        "default.replication.factor": str(copies),
        "offsets.topic.replication.factor": str(copies),
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(in_sync),
        "share.coordinator.state.topic.replication.factor": str(copies),
        "share.coordinator.state.topic.min.isr": str(in_sync),
    }


QUICK: dict[str, str] = {
    # Few partitions: the first commit, transaction and share group wait for these topics to be made.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    # Groups form and notice a dead member in seconds.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    # Retention, compaction and deletion act within seconds, so that a fault can be planted while one waits.
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "1000",
    "log.segment.delete.delay.ms": "500",
    "log.cleaner.backoff.ms": "500",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "offsets.retention.check.interval.ms": "5000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A killed broker is fenced, and its partitions get new leaders, within seconds.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "6000",
    "replica.lag.time.max.ms": "10000",
    "unclean.leader.election.interval.ms": "1000",
    # A small machine.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
}
