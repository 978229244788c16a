"""What the document is written from: the integration's topics, their readers, shapes and settings, as found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.errors import SourceError
from workbench.problems.draft import OWN_GROUPS
from workbench.services.document.shapes import shape_of
from workbench.sources.formats import Decoder
from workbench.sources.sampling import Sampled, Sampler

if TYPE_CHECKING:
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

SAMPLE = 200  # records of each topic, its newest
SECONDS = 10.0
_ENCRYPTION = ("encryption", "x-encryption", "key-id", "encrypted")


def observe(sources: Sources, scope: Scope, name: str) -> dict[str, Any]:
    """The facts of an integration, in JSON types.

    Args:
        sources: where to read.
        scope: of the integration.
        name: of the integration.

    Returns:
        ``integration`` (as configured), ``cluster``, ``topics`` (name -> role, partitions, replication, settings, headers,
        schema, sampled, not_json), ``readers`` (topic -> groups with commits on it), ``security``, ``signals`` and ``missing``
        (what could not be read, and why).

    Raises:
        SourceError: the cluster cannot be reached.

    Reads: Metadata, DescribeConfigs, ListOffsets, ListGroups, OffsetFetch, Fetch (at most 200 records a topic).
    """
    missing: dict[str, str] = {}
    stops = (stop.partition(":")[0] for stop in scope.through)
    names = list(dict.fromkeys((scope.source, *stops, *scope.topics())))
    info = sources.cluster.info()
    topics = _topics(sources, scope, names, missing)
    return {
        "integration": {
            "name": name,
            "source": scope.source,
            "group": scope.group,
            "through": list(scope.through),
            "sinks": list(scope.sinks),
            "retry_topics": list(scope.retry_topics),
            "dead_letters": list(scope.dead_letters),
            "id_from": scope.id_from,
            "expected_latency_seconds": scope.expected_latency_seconds,
        },
        "cluster": {"cluster_id": info["cluster_id"], "brokers": len(info["brokers"])},
        "topics": topics,
        "readers": _readers(sources, names, missing),
        "security": _security(sources, topics),
        "signals": {
            "prometheus": sources.prometheus is not None,
            "traces": sources.traces is not None,
            "registry": sources.registry is not None,
        },
        "missing": missing,
    }


def _role(scope: Scope, topic: str) -> str:
    if topic == scope.source:
        return "source"
    roles = (("sink", scope.sinks), ("retry topic", scope.retry_topics), ("dead letters", scope.dead_letters))
    return next((role for role, named in roles if topic in named), "on the way")


def _topics(sources: Sources, scope: Scope, names: Sequence[str], missing: dict[str, str]) -> dict[str, Any]:
    described = sources.cluster.topics(names)
    settings = sources.cluster.topic_configs(names)
    missing |= {f"topic {topic}": why for topic, why in described.failures.items()}
    missing |= {f"settings of {topic}": why for topic, why in settings.failures.items()}
    rows = described.rows()
    there = [name for name in names if any(row["topic"] == name for row in rows)]
    samples = _samples(sources, there, missing)
    out = {}
    for name in there:
        parts = [row for row in rows if row["topic"] == name]
        mine = [row for row in settings.rows() if row["topic"] == name and row["value"] is not None]
        out[name] = {
            "role": _role(scope, name),
            "partitions": len(parts),
            "replication": min(len(row["replicas"]) for row in parts),
            "settings": {row["name"]: row["value"] for row in mine},
            "changed": sorted(row["name"] for row in mine if not row["is_default"]),
            **_content(samples.get(name, []), sources.registry),
        }
    return out


def _samples(sources: Sources, names: Sequence[str], missing: dict[str, str]) -> dict[str, list[Sampled]]:
    ends = {
        (row["topic"], row["partition"]): (row["log_start_offset"], row["high_watermark"])
        for row in sources.cluster.offsets(names, sizes=False).rows()
        if row["log_start_offset"] is not None and row["high_watermark"] is not None
    }
    parts = Counter(topic for topic, _ in ends)
    newest = {place: (max(start, end - max(1, SAMPLE // parts[place[0]])), end) for place, (start, end) in ends.items()}
    out: dict[str, list[Sampled]] = {name: [] for name in names}
    try:
        with Sampler(sources.cluster.client_settings(), sources.cluster.timeout_seconds) as sampler:
            for record in sampler.read(newest, SAMPLE * max(1, len(names)), SECONDS):
                out[record.topic].append(record)
    except SourceError as error:
        missing["records"] = str(error).rstrip(".")
    return out


def _content(records: Sequence[Sampled], registry: Mapping[str, Any] | None) -> dict[str, Any]:
    decoder = Decoder(registry=registry)
    try:
        shape, others = shape_of(decoder.json(record.value) for record in records if record.value is not None)
    finally:
        decoder.close()
    headers = Counter(name for record in records for name in {name for name, _ in record.headers})
    return {
        "sampled": len(records),
        "not_json": others,
        "schema": shape.to_schema() if shape.seen else None,
        "headers": {
            name: "always" if count == len(records) else "sometimes" for name, count in sorted(headers.items())
        },
    }


def _readers(sources: Sources, names: Sequence[str], missing: dict[str, str]) -> dict[str, list[str]]:
    try:
        found = sources.cluster.groups_reading(names)
    except SourceError as error:
        missing["groups"] = str(error).rstrip(".")
        return {}
    missing |= {f"group {group}" if group != "groups" else group: why for group, why in found.failures.items()}
    out: dict[str, set[str]] = {}
    for row in found.rows():
        if not row["group"].startswith(OWN_GROUPS):
            out.setdefault(row["topic"], set()).add(row["group"])
    return {topic: sorted(groups) for topic, groups in sorted(out.items())}


def _security(sources: Sources, topics: Mapping[str, Any]) -> dict[str, Any]:
    settings = sources.cluster.profile.kafka
    headers = {name.lower() for topic in topics.values() for name in topic["headers"]}
    return {
        "protocol": settings.get("security.protocol", "plaintext").upper(),
        "mechanism": settings.get("sasl.mechanism") or settings.get("sasl.mechanisms"),
        "encrypted_values": any(word in name for name in headers for word in _ENCRYPTION),
    }
