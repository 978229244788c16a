"""Scope: what a check is about, as the command line, notebooks and incidents all name it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from workbench.config import Integration, Profile, parse_duration, parse_when
from workbench.errors import UsageError
from workbench.problems.hops.route import places_of
from workbench.remotes import is_remote, profile_of
from workbench.stores import Store, is_store, store_of

ISOLATION_LEVELS = ("read_committed", "read_uncommitted")
FORMATS = ("auto", "json", "avro", "protobuf", "json-schema", "text", "integer", "raw")
Reader = Literal["auto", "wire", "client"]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """One check's subject and limits; options of ``workbench check`` with underscores.

    Attributes:
        source: the topic or store whose messages are due; "" where the problem needs none (lag, dlq).
        sinks: the topics and stores where they are due.
        any_sink: one of the sinks is enough; otherwise each of them is due a copy.
        retry_topics: where a message waits for another try.
        dead_letters: where it goes when it cannot be processed.
        group: the consumer group between source and sink; None is "not given".
        through: ``TOPIC:GROUP`` of each topic on the way to the sinks, in order; ``group`` then is the source's reader.
        id_from: how a record's message id is found: auto, header:NAME, json:$.path, key, coordinates.
        sink_id_from: the same for sinks, retry topics and dead letters.
        since, until: the window of source timestamps that are due, UTC; None is open.
        expected_latency_seconds: how long a message may take before it is missing.
        horizon_seconds: how late after ``until`` a copy may still come.
        isolation: what the sink's readers use.
        where: DuckDB predicate over source records; those that fail it are not due.
        business_key: expression that is equal for the same business event under different ids.
        compare: expression that must agree between source and sink.
        sent_log, service_log: JSON Lines files that users bring.
        producer_config, consumer_config: what the clients ran with (librdkafka or Java names).
        limit: at most so many records are read; None is no limit.
        max_bytes_per_second: at most so many bytes a second are read from the brokers.
        processes: reader processes; None chooses by the machine.
        reader: what reads records: auto, wire (record batches) or client (the client library).
        message_id, key, trace, at: what ``message`` is asked about: an id, a record key, 32 hex digits, TOPIC:PARTITION:OFFSET.
        around: about when that was, UTC; topics are searched near it first.
        topics_named: topics to search that have no role yet.
        include_values: keep keys, values and exception texts in the evidence.
        show_ids: do not hash ids that look like personal data.
        dialects: the user's own dead-letter dialects, as in ``[dialects.NAME]``.
        stores: the source and sinks that are no topics, by their names.
        remotes: the clusters of sinks that are topics of another one, by the sinks' names.
        value_format, key_format: what records are written with: auto, json, avro, avro:FILE, protobuf, json-schema, text,
            integer, raw.
        formats: topic -> value format, and ``TOPIC:key`` -> key format, where a topic differs.
    """

    source: str = ""
    sinks: tuple[str, ...] = ()
    any_sink: bool = False
    retry_topics: tuple[str, ...] = ()
    dead_letters: tuple[str, ...] = ()
    group: str | None = None
    through: tuple[str, ...] = ()
    id_from: str = "auto"
    sink_id_from: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    expected_latency_seconds: float = 300.0
    horizon_seconds: float = 86_400.0
    isolation: str = "read_committed"
    where: str | None = None
    business_key: str | None = None
    compare: str | None = None
    sent_log: Path | None = None
    service_log: Path | None = None
    producer_config: Mapping[str, str] = field(default_factory=dict)
    consumer_config: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    max_bytes_per_second: int | None = None
    processes: int | None = None
    reader: Reader = "auto"
    message_id: str | None = None
    key: str | None = None
    trace: str | None = None
    at: str | None = None
    around: datetime | None = None
    topics_named: tuple[str, ...] = ()
    include_values: bool = False
    show_ids: bool = False
    dialects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    stores: Mapping[str, Store] = field(default_factory=dict)
    remotes: Mapping[str, Profile] = field(default_factory=dict)
    value_format: str = "auto"
    key_format: str = "auto"
    formats: Mapping[str, str] = field(default_factory=dict)

    def formats_of(self, topic: str) -> tuple[str, str]:
        """What a topic's values and keys are written with."""
        return self.formats.get(topic, self.value_format), self.formats.get(f"{topic}:key", self.key_format)

    def topics(self) -> tuple[str, ...]:
        """All topics of the scope on its own cluster, the source first, each once."""
        named = (self.source, *self.sinks, *self.retry_topics, *self.dead_letters)
        return tuple(topic for topic in dict.fromkeys(named) if topic and _is_here(topic))

    def sink_topics(self) -> tuple[str, ...]:
        """The sinks that are topics on the scope's own cluster."""
        return tuple(sink for sink in self.sinks if _is_here(sink))

    def facts(self) -> dict[str, Any]:
        """The scope as JSON facts of the evidence; file names without their folders."""
        return {
            "source": self.source,
            "sinks": list(self.sinks),
            "any_sink": self.any_sink,
            "retry_topics": list(self.retry_topics),
            "dead_letters": list(self.dead_letters),
            "group": self.group,
            **({"through": list(self.through)} if self.through else {}),
            "since": _iso(self.since),
            "until": _iso(self.until),
            "expected_latency_seconds": self.expected_latency_seconds,
            "horizon_seconds": self.horizon_seconds,
            "isolation": self.isolation,
            "where": self.where,
            "business_key": self.business_key,
            "compare": self.compare,
            "sent_log": self.sent_log.name if self.sent_log else None,
            "service_log": self.service_log.name if self.service_log else None,
            "producer_config": dict(self.producer_config),
            "consumer_config": dict(self.consumer_config),
            "include_values": self.include_values,
            "show_ids": self.show_ids,
        }


def _is_here(name: str) -> bool:
    return not is_store(name) and not is_remote(name)


# Option names of the command line -> how their values become fields of Scope.
_RENAMED = {"sink": "sinks", "retry_topic": "retry_topics", "topic": "topics_named"}
_LISTS = frozenset({"sinks", "retry_topics", "dead_letters", "topics_named", "through"})
_DURATIONS = {"expected_latency": "expected_latency_seconds", "horizon": "horizon_seconds"}
_SETTINGS = frozenset({"producer_config", "consumer_config"})
_FILES = frozenset({"sent_log", "service_log"})
_WHOLE = frozenset({"limit", "max_bytes_per_second", "processes"})
_KNOWN = frozenset(item.name for item in fields(Scope)) | frozenset(_RENAMED) | frozenset(_DURATIONS)

# Client settings are kept as evidence; whatever may be a secret is refused there.
_SECRET = re.compile(
    r"password|secret|token|jaas|credential|\.key|^key|apikey|api\.key|username|user\.info", re.IGNORECASE
)
_ALLOWED_SETTINGS = frozenset({"key.serializer", "key.deserializer"})


def scope_from(integration: Integration | None = None, *, now: datetime | None = None, **options: Any) -> Scope:
    """Builds a scope from an integration of workbench.toml, overridden by options as users write them.

    Args:
        integration: its topics, group and rules are the defaults.
        now: what relative times ("2h") are measured from.
        **options: option names with underscores; "", 0, [], None and False mean not given. ``dialects``, ``stores`` and
            ``profiles`` come from workbench.toml (``Config.reading``).

    Raises:
        UsageError: an unknown option, or a value that does not fit.
        ConfigError: a store has no entry, or one that does not fit.
    """
    given = {name: value for name, value in options.items() if value not in ("", 0, [], (), {}, None, False)}
    sections, profiles = given.pop("stores", {}), given.pop("profiles", None)
    for name in given:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, 1)
            raise UsageError(f"There is no option {name!r}.", hint=f"Did you mean {near[0]!r}?" if near else "")
    merged = {**(_from_integration(integration) if integration else {}), **given}
    now = now or datetime.now(UTC)
    values = dict(_field(name, value, now) for name, value in merged.items())
    named = (values.get("source", ""), *values.get("sinks", ()))
    scope = Scope(
        **values,
        stores={name: store_of(name, sections) for name in named if is_store(name)},
        remotes={name: profile_of(name, profiles) for name in values.get("sinks", ()) if is_remote(name)},
    )
    _check(scope)
    return scope


def _from_integration(integration: Integration) -> dict[str, Any]:
    raw = {
        "source": integration.source,
        "sinks": integration.sinks,
        "retry_topics": integration.retry_topics,
        "dead_letters": integration.dead_letters,
        "group": integration.group,
        "through": integration.through,
        "id_from": integration.id_from,
        "sink_id_from": integration.sink_id_from,
        "where": integration.where,
        "expected_latency": integration.expected_latency,
        "horizon": integration.horizon,
        "formats": integration.formats,
    }
    return {name: value for name, value in raw.items() if value not in ("", (), None, {})}


def _field(name: str, value: Any, now: datetime) -> tuple[str, Any]:
    name = _RENAMED.get(name, name)
    if name in _LISTS:
        return name, tuple(dict.fromkeys([value] if isinstance(value, str) else value))
    if name in _DURATIONS or name in _DURATIONS.values():
        seconds = parse_duration(value) if isinstance(value, str) else float(value)
        return _DURATIONS.get(name, name), seconds
    if name in ("since", "until", "around"):
        return name, value if isinstance(value, datetime) else parse_when(str(value), now)
    if name in _SETTINGS:
        return name, _settings(name, value)
    if name in _FILES:
        return name, _readable(name, Path(value))
    if name in _WHOLE:
        return name, _positive(name, value)
    return name, value


def require_source(scope: Scope) -> None:
    """Refuses a scope without a source.

    Raises:
        UsageError: none was given.
    """
    if not scope.source:
        raise UsageError("No source topic was given.", hint="Add --source TOPIC, or name an integration.")


def _settings(name: str, value: Mapping[str, str] | Iterable[str]) -> dict[str, str]:
    pairs = value.items() if isinstance(value, Mapping) else [_pair(name, text) for text in value]
    out = {}
    for key, text in pairs:
        if _SECRET.search(key) and key not in _ALLOWED_SETTINGS:
            raise UsageError(
                f"--{name.replace('_', '-')} {key} may be a secret and is not needed.",
                hint="Leave it out; give only settings such as acks, retries or isolation.level.",
            )
        out[str(key)] = str(text)
    return out


def _pair(name: str, text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found or not key.strip():
        raise UsageError(f"--{name.replace('_', '-')} takes KEY=VALUE, not {text!r}.")
    return key.strip(), value.strip()


def _readable(name: str, path: Path) -> Path:
    if not path.is_file():
        raise UsageError(
            f"--{name.replace('_', '-')} {path} is not a file.", hint="Give the path of a JSON Lines file."
        )
    return path


def _positive(name: str, value: Any) -> int:
    if int(value) <= 0:
        raise UsageError(f"--{name.replace('_', '-')} must be above 0, not {value}.")
    return int(value)


def _check(scope: Scope) -> None:
    if scope.isolation not in ISOLATION_LEVELS:
        raise UsageError(f"--isolation is {scope.isolation!r}.", hint="Use read_committed or read_uncommitted.")
    if scope.reader not in get_args(Reader):
        raise UsageError(f"--reader is {scope.reader!r}.", hint=f"Use {', '.join(get_args(Reader))}.")
    if scope.since and scope.until and scope.since >= scope.until:
        raise UsageError(
            f"--since {_iso(scope.since)} is not before --until {_iso(scope.until)}.", hint="Swap the two times."
        )
    if scope.expected_latency_seconds < 0 or scope.horizon_seconds < 0:
        raise UsageError("--expected-latency and --horizon must not be negative.")
    for option in ("value_format", "key_format"):
        _check_format(getattr(scope, option), f"--{option.replace('_', '-')}")
    for topic, name in scope.formats.items():
        _check_format(name, f"formats.{topic}")
    roles: dict[str, str] = {}
    stops = tuple(topic for topic, _ in places_of(scope.through))
    named = (
        ("source", (scope.source,)),
        ("through", stops),
        ("sink", scope.sinks),
        ("retry-topic", scope.retry_topics),
    )
    for role, topics in (*named, ("dead-letters", scope.dead_letters)):
        for topic in filter(None, topics):
            if roles.setdefault(topic, role) != role:
                raise UsageError(
                    f"Topic {topic} is given as --{roles[topic]} and as --{role}.", hint="Give each topic one role."
                )
    _check_stores(scope)


def _check_format(name: str, option: str) -> None:
    if name in FORMATS or re.fullmatch(r"avro:.+", name):
        return
    near = difflib.get_close_matches(name, FORMATS, 1)
    hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(FORMATS)}, and avro:FILE.avsc."
    raise UsageError(f"{option} is {name!r}.", hint=hint)


def _check_stores(scope: Scope) -> None:
    """Refuses what only records have, of a source or sink that has none."""
    for name in (scope.source, *scope.retry_topics, *scope.dead_letters):
        if is_remote(name):
            raise UsageError(
                f"{name} is on another cluster, and only a sink may be.",
                hint="Begin at the source's cluster: --profile.",
            )
    for name in (*scope.retry_topics, *scope.dead_letters):
        if is_store(name):
            raise UsageError(f"{name} cannot hold retries or dead letters.", hint="Give it as --source or --sink.")
    if not scope.stores:
        return
    if scope.compare or scope.business_key:
        option = "--compare" if scope.compare else "--business-key"
        raise UsageError(f"{option} looks into records; {next(iter(scope.stores))} has none.", hint="Leave it out.")
    if is_store(scope.source) and scope.group:
        raise UsageError(f"{scope.source} is read by no consumer group.", hint="Leave out --group.")
    if is_store(scope.source) and scope.where:
        raise UsageError(f"--where looks into records; {scope.source} has none.", hint="Write it into its query.")
    if not scope.topics():
        raise UsageError("Neither the source nor a sink is a topic.", hint="One side of a check is a topic.")


def _iso(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None
