"""Doctor: what a profile reaches, with which rights, what stays undecided without them, and what to ask for."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import confluent_kafka

from workbench.config import Profile
from workbench.errors import AccessDenied, SourceError, WorkbenchError
from workbench.sources.access import sees_all_transactions
from workbench.sources.cluster import Cluster
from workbench.sources.described import describe_topics
from workbench.sources.formats import Registry
from workbench.sources.mapping import fault_of, reason
from workbench.sources.prometheus import METRICS, Prometheus
from workbench.sources.python_client import python_admin
from workbench.sources.traces import connect_traces

State = Literal["ok", "denied", "missing", "unreachable", "unknown"]

# What stays undecided without a right, when there is something to explain.
EVERYTHING = ("loss", "duplicates")
WITHOUT_TOPIC_CONFIGS = ("loss-retention-overtook", "loss-records-deleted", "loss-compacted")
WITHOUT_GROUP = ("loss-retention-overtook", "loss-records-deleted", "loss-consumer-dropped")
WITHOUT_CLUSTER = ("loss-records-deleted",)
WITHOUT_TRANSACTIONS = ("loss-hanging-transaction",)
WITHOUT_COMMIT_LOG = (
    "loss-offset-reset-latest", "loss-offset-skipped-forward", "loss-offsets-expired", "loss-new-partition-skipped",
    "loss-unclean-election", "loss-commit-before-processing", "loss-topic-recreated", "loss-shared-group",
    "duplicates-crash-before-commit", "duplicates-poll-interval-exceeded", "duplicates-rebalance",
    "duplicates-offset-rewind", "duplicates-commit-failed", "duplicates-second-group",
)  # fmt: skip

COMMIT_LOG = "__consumer_offsets"


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes:
        name: what, for example ``Read on topic orders``.
        state: ok, denied, missing (it does not exist), unreachable, or unknown (it could not be asked).
        detail: what was found, or why not.
        undecided: problems and rule codes that cannot be decided without it; empty when ok.
    """

    name: str
    state: State
    detail: str = ""
    undecided: tuple[str, ...] = ()


def diagnose_access(
    profile: Profile, topics: Sequence[str] = (), groups: Sequence[str] = (), timeout_seconds: float = 15
) -> list[Check]:
    """Tries everything a check would ask for, without reading a record.

    Args:
        profile: the cluster.
        topics: the topics of an integration; empty leaves the rights on topics untried.
        groups: its consumer groups.
        timeout_seconds: for each request.

    Returns:
        Checks in the order in which they were tried. Where the cluster cannot be reached, nothing more is asked of it.
        Prometheus is tried where the profile names one.

    Reads: DescribeCluster, Metadata and DescribeGroups with authorised operations, ListGroups, DescribeConfigs,
    DescribeAcls, DescribeLogDirs, ApiVersions; of Prometheus its version and the names of its series.
    """
    try:
        cluster = Cluster(profile, timeout_seconds)
        reached = _reach(cluster)
    except SourceError as error:
        state: State = "denied" if isinstance(error, AccessDenied) else "unreachable"
        unreached = Check("Reach the cluster", state, f"{error} {error.hint}".strip(), EVERYTHING)
        return [unreached, *_prometheus(profile), *_traces(profile), *_registry(profile)]
    versions, transactions = _through_python_client(cluster)
    checks = [reached, versions, *_cluster_rights(cluster)]
    checks += _topic_rights(cluster, list(dict.fromkeys(topics)))
    checks += [_group_right(cluster, group) for group in dict.fromkeys(groups)]
    checks += [transactions, _commit_log(cluster), *_prometheus(profile), *_traces(profile), *_registry(profile)]
    return checks


def _reach(cluster: Cluster) -> Check:
    info = cluster.info()
    brokers = ", ".join(f"{broker['id']} at {broker['host']}:{broker['port']}" for broker in info["brokers"])
    return Check("Reach the cluster", "ok", f"cluster {info['cluster_id']}: broker {brokers}")


def _through_python_client(cluster: Cluster) -> tuple[Check, Check]:
    """What only the second client can ask: protocol versions, and whether every transaction is visible."""
    clients = f"confluent-kafka {confluent_kafka.__version__}, librdkafka {confluent_kafka.libversion()[0]}"
    transactions = "Describe on transactional id *"
    try:
        with python_admin(cluster.profile.kafka, cluster.timeout_seconds) as admin:
            version = admin.get_broker_version_data(cluster.info()["brokers"][0]["id"]).broker_version
            proven, why = sees_all_transactions(admin, cluster.principal)
    except SourceError as error:
        return Check("Versions", "unknown", clients), Check(transactions, "unknown", str(error), WITHOUT_TRANSACTIONS)
    versions = f"brokers speak the protocol of Kafka {'.'.join(map(str, version))} or later; {clients}"
    seen = Check(transactions, "ok", "all transactions are visible")
    unseen = Check(transactions, "unknown", why, WITHOUT_TRANSACTIONS)
    return Check("Versions", "ok", versions), seen if proven else unseen


def _cluster_rights(cluster: Cluster) -> list[Check]:
    admin = cluster.admin
    found, errors = admin.each({"": admin.call("describe_cluster", include_authorized_operations=True)})
    if errors:
        return [Check("Describe on the cluster", "unknown", reason(errors[""], "Describe"), WITHOUT_CLUSTER)]
    allowed = found[""].authorized_operations
    return [
        _right("Describe", "the cluster", allowed, WITHOUT_CLUSTER, "sizes on disk, all groups, ACLs"),
        _right("DescribeConfigs", "the cluster", allowed, (), "broker settings"),
    ]


def _right(operation: str, resource: str, allowed: Any, without: tuple[str, ...], use: str = "") -> Check:
    # librdkafka gives None for "nothing at all", too; brokers tell since 2.3.
    name = f"{operation} on {resource}"
    wanted = "DESCRIBE_CONFIGS" if operation == "DescribeConfigs" else operation.upper()
    return (
        Check(name, "ok", use)
        if wanted in {right.name for right in allowed or ()}
        else Check(name, "denied", use, without)
    )


def _topic_rights(cluster: Cluster, topics: list[str]) -> list[Check]:
    if not topics:
        return []
    found, errors = describe_topics(cluster.admin, topics)
    checks = []
    for topic in topics:
        if topic in errors:
            checks.append(_failed("Describe", f"topic {topic}", errors[topic], EVERYTHING))
            continue
        allowed = found[topic].authorized_operations
        count = f"{len(found[topic].partitions)} partitions"
        checks.append(_right("Read", f"topic {topic}", allowed, EVERYTHING, count))
        checks.append(
            _right("DescribeConfigs", f"topic {topic}", allowed, WITHOUT_TOPIC_CONFIGS, "retention, compaction")
        )
    return checks


def _failed(operation: str, resource: str, error: Any, without: tuple[str, ...]) -> Check:
    kind = fault_of(error).kind
    state: State = "denied" if kind == "denied" else "missing" if kind == "missing" else "unknown"
    return Check(f"{operation} on {resource}", state, reason(error, operation, resource), without)


def _group_right(cluster: Cluster, group: str) -> Check:
    """Describe on the group is tried by reading its committed offsets: it allows just that."""
    name = f"Describe on group {group}"
    read = cluster.committed(group)
    if group in read.failures:
        state: State = "denied" if "denied" in read.failures[group] else "unknown"
        return Check(name, state, read.failures[group], WITHOUT_GROUP)
    if read.table.num_rows == 0:
        known = cluster.groups([group])
        if known.table.num_rows == 0:
            return Check(
                name,
                "missing",
                f"{known.failures.get(group, 'not known')}, and it has no committed offsets",
                WITHOUT_GROUP,
            )
    return Check(name, "ok", f"{read.table.num_rows} committed partitions")


def _commit_log(cluster: Cluster) -> Check:
    found, errors = describe_topics(cluster.admin, [COMMIT_LOG])
    if not errors:
        allowed = found[COMMIT_LOG].authorized_operations
        return _right("Read", f"topic {COMMIT_LOG}", allowed, WITHOUT_COMMIT_LOG, "history of commits and rebalances")
    if fault_of(errors[COMMIT_LOG]).kind == "missing":
        return Check(
            f"Read on topic {COMMIT_LOG}", "unknown", "no group has committed anything yet", WITHOUT_COMMIT_LOG
        )
    return _failed("Read", f"topic {COMMIT_LOG}", errors[COMMIT_LOG], WITHOUT_COMMIT_LOG)


def _traces(profile: Profile) -> list[Check]:
    """Whether the trace store answers; nothing depends on it, since no rule needs traces."""
    if not profile.traces:
        return []
    name = f"Reach the traces ({profile.traces.get('kind', 'no kind')})"
    try:
        store = connect_traces(profile.traces)
        said = store.check() if store else ""
    except AccessDenied as error:
        return [Check(name, "denied", f"{error} {error.hint}".strip())]
    except WorkbenchError as error:
        return [Check(name, "unreachable", f"{error} {error.hint}".strip())]
    if store:
        store.close()
    return [Check(name, "ok", f"{store.where}: {said}" if store else said)]


def _registry(profile: Profile) -> list[Check]:
    """Whether the schema registry answers; records that name a schema cannot be decoded without it."""
    if not profile.registry:
        return []
    name = "Reach the schema registry"
    try:
        registry = Registry(profile.registry)
        said = registry.check()
        registry.close()
    except AccessDenied as error:
        return [Check(name, "denied", f"{error} {error.hint}".strip())]
    except WorkbenchError as error:
        return [Check(name, "unreachable", f"{error} {error.hint}".strip())]
    return [Check(name, "ok", said)]


def _prometheus(profile: Profile) -> list[Check]:
    """Whether Prometheus answers, and whose metrics of the table it has."""
    if not profile.prometheus:
        return []
    name = "Reach Prometheus"
    try:
        with Prometheus(profile.prometheus) as prometheus:
            version = prometheus.version() or "of unknown version"
            exporters = sorted({metric.exporter for metric in METRICS if metric.name in prometheus.names()})
    except SourceError as error:
        state: State = "denied" if isinstance(error, AccessDenied) else "unreachable"
        return [Check(name, state, f"{error} {error.hint}".strip())]
    if not exporters:
        return [Check(name, "missing", f"{version}, but none of the known exporters")]
    return [Check(name, "ok", f"{version}, with metrics of {', '.join(exporters)}")]


def grants(
    bootstrap: str, topics: Iterable[str] = (), groups: Iterable[str] = (), principal: str = "", history: bool = True
) -> str:
    """The ``kafka-acls`` commands that give a principal what every rule can use, and nothing that writes.

    Args:
        bootstrap: of the cluster.
        topics: to read: source, sinks, retry topics, dead letters.
        groups: whose offsets and members to read.
        principal: ``User:name``; empty leaves ``User:NAME`` to be filled in.
        history: also Read on the commit log, which shows the client ids and hosts of all groups.

    Returns:
        One command a line, quoted for a shell, each with the resource it is for.
    """
    asked: list[tuple[Sequence[str], Sequence[str]]] = [
        (["--topic", topic], ["Read", "Describe", "DescribeConfigs"]) for topic in dict.fromkeys(topics)
    ]
    asked += [(["--group", group], ["Describe"]) for group in dict.fromkeys(groups)]
    asked.append((["--cluster"], ["Describe", "DescribeConfigs"]))
    asked.append((["--transactional-id", "*"], ["Describe"]))
    if history:
        asked.append((["--topic", COMMIT_LOG], ["Read", "Describe"]))
    command = _command(bootstrap, principal or "User:NAME")
    return "\n".join(command(resource, operations) for resource, operations in asked)


def _command(bootstrap: str, principal: str) -> Callable[[Sequence[str], Sequence[str]], str]:
    begin = ["kafka-acls", "--bootstrap-server", bootstrap, "--command-config", "admin.properties"]

    def command(resource: Sequence[str], operations: Sequence[str]) -> str:
        wanted = [part for operation in operations for part in ("--operation", operation)]
        return shlex.join([*begin, "--add", "--allow-principal", principal, *wanted, *resource])

    return command
