"""workbench.toml: clusters (profiles) and flows (integrations) by name, plus the times and durations users write.

The file is checked as a whole when it is loaded: unknown keys and secrets in clear are refused. Variables are looked up
only for the profile or integration that is asked for, so a missing variable of one cluster does not block another.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, UsageError

CONFIG_VARIABLE = "WORKBENCH_CONFIG"
CONFIG_NAME = "workbench.toml"

# Named so by librdkafka, Java clients, HTTP tools or us. A file that holds a secret (ssl.key.location) is no secret.
_SECRET_KEY = re.compile(
    r"password|passwd|passphrase|secret|token(?!_?(url|endpoint))|credential|jaas|api[._-]?key(?!_header)"
    r"|key\.pem|user\.?info|oauthbearer\.config|authorization|encryption[._-]?keys?$",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(r"location$|_file$|\.url$|_url$|mechanism", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"//[^/@\s:]*:(?!\$\{)[^/@\s]+@")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}")

_AUTH = frozenset(
    {"username", "password", "bearer_token", "api_key", "api_key_header", "ca_file", "token_url", "client_id",
     "client_secret", "scope"}
)  # fmt: skip
_NESTED: Mapping[str, frozenset[str]] = {
    "prometheus": _AUTH | {"url", "timeout_seconds", "matchers"},
    "traces": _AUTH | {"kind", "url", "path", "timeout_seconds"},
    "logs": _AUTH | {"kind", "url", "path", "names", "timeout_seconds"},
    "registry": _AUTH | {"kind", "url", "timeout_seconds"},
    "limits": frozenset(
        {"timeout_seconds", "max_records", "max_bytes", "max_seconds", "max_bytes_per_second", "confirm_above"}
    ),
}
_ENDPOINTS = ("prometheus", "traces", "logs", "registry")
# Read by the rooms that own them; here only their names, variables and secrets are checked.
_OPEN_SECTIONS = ("sql", "files", "dialects", "webhooks", "logs")
_SECTIONS = ("profiles", "integrations", *_OPEN_SECTIONS)


@dataclass(frozen=True)
class Profile:
    """One cluster and what belongs to it; ``repr`` shows no secret.

    Attributes:
        name: as in ``[profiles.NAME]``; ``(options)`` when it came from ``--bootstrap``.
        kafka: librdkafka settings, verbatim.
        prometheus, traces, logs, registry: endpoints with their authentication; None where not configured, or where the
            variable that holds the address is empty.
        production: commands that write ask more carefully.
        redrive: whether redrives may be sent at all.
        audit_topic: where the audit of redrives goes besides the file; None for nowhere.
        history: folder of ``workbench watch``; None where nobody watches.
        limits: bounds of scans; see the keys in ``docs``.
    """

    name: str
    kafka: Mapping[str, str]
    prometheus: Mapping[str, Any] | None = None
    traces: Mapping[str, Any] | None = None
    logs: Mapping[str, Any] | None = None
    registry: Mapping[str, Any] | None = None
    production: bool = False
    redrive: bool = False
    audit_topic: str | None = None
    history: str | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        parts = (f"{item.name}={hide_secrets(getattr(self, item.name))!r}" for item in fields(self))
        return f"Profile({', '.join(parts)})"

    @property
    def bootstrap(self) -> str:
        """The brokers to begin with: host:port, comma-separated."""
        return self.kafka.get("bootstrap.servers", "")


@dataclass(frozen=True)
class Integration:
    """A named flow from a source topic to its sinks; times and rules as users write them.

    Attributes:
        expected_latency, horizon: durations such as ``5m``; None takes the check's default.
        formats: topic or role -> format name.
    """

    name: str
    profile: str
    source: str
    sinks: tuple[str, ...] = ()
    retry_topics: tuple[str, ...] = ()
    dead_letters: tuple[str, ...] = ()
    group: str | None = None
    through: tuple[str, ...] = ()
    id_from: str | None = None
    sink_id_from: str | None = None
    where: str | None = None
    expected_latency: str | None = None
    horizon: str | None = None
    formats: Mapping[str, str] = field(default_factory=dict)


_PROFILE_KEYS = frozenset(item.name for item in fields(Profile)) - {"name"}
_INTEGRATION_KEYS = frozenset(item.name for item in fields(Integration)) - {"name"}
_LISTS = ("sinks", "retry_topics", "dead_letters", "through")


@dataclass(frozen=True)
class Config:
    """A checked workbench.toml.

    Attributes:
        profiles, integrations: name -> table as written, variables not looked up; use ``profile`` and ``integration``.
        sections: the other tables (sql, files, dialects, webhooks, logs) as written.
        path: the file; None where there is none.
    """

    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    integrations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    path: Path | None = None

    def __repr__(self) -> str:
        return f"Config(profiles={sorted(self.profiles)}, integrations={sorted(self.integrations)}, path={self.path})"

    def reading(self) -> dict[str, Any]:
        """What ``scope_from`` takes of the rest: the user's own dialects, and the stores and clusters that can be named."""
        stores = {section: self.sections[section] for section in ("sql", "files") if section in self.sections}
        return {"dialects": self.sections.get("dialects"), "stores": stores, "profiles": self.profile}

    def profile(self, name: str = "") -> Profile:
        """A profile with its variables looked up.

        Args:
            name: ``""`` takes the only profile, or the one named ``default``.

        Raises:
            ConfigError: there is no such profile, or a variable it needs is not set.
        """
        name = name or self._only_profile()
        raw = self._table("profile", self.profiles, name)
        values = {key: expanded(value, f"profiles.{name}.{key}") for key, value in raw.items()}
        values["kafka"] = {key: _setting(value) for key, value in values["kafka"].items()}
        absent = [key for key in _ENDPOINTS if key in values and not _has_endpoint(values[key])]
        return Profile(name=name, **{key: value for key, value in values.items() if key not in absent})

    def integration(self, name: str) -> Integration:
        """An integration with its variables looked up.

        Raises:
            ConfigError: there is no such integration, or a variable it needs is not set.
        """
        raw = self._table("integration", self.integrations, name)
        values = {key: expanded(value, f"integrations.{name}.{key}") for key, value in raw.items()}
        for key in _LISTS:
            entry = values.get(key, ())
            values[key] = (entry,) if isinstance(entry, str) else tuple(entry)
        return Integration(name=name, **values)

    def _only_profile(self) -> str:
        if "default" in self.profiles:
            return "default"
        if len(self.profiles) == 1:
            return next(iter(self.profiles))
        where = f"{self.path} has {', '.join(sorted(self.profiles))}" if self.profiles else "no workbench.toml has one"
        raise ConfigError("No cluster was given.", hint=f"Add --bootstrap HOST:PORT or --profile NAME ({where}).")

    def _table(self, kind: str, tables: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
        if name in tables:
            return tables[name]
        where = f"in {self.path}" if self.path else f"and no {CONFIG_NAME} was found"
        known = f"It has {', '.join(sorted(tables))}." if tables else f"Write one under [{kind}s.{name}]."
        raise ConfigError(f"There is no {kind} {name!r} {where}.", hint=nearest(name, tables) or known)


def load_config(path: Path | None = None) -> Config:
    """The configuration of a file, checked.

    Args:
        path: the file; None takes the one that ``WORKBENCH_CONFIG`` names, else ``workbench.toml`` in the current
            folder, else an empty configuration.

    Raises:
        ConfigError: no TOML, an unknown key, a value of the wrong type, or a secret in clear; named by its key.
    """
    chosen = path or _default_path()
    if chosen is None:
        return Config()
    try:
        raw = tomllib.loads(chosen.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{chosen} cannot be read: {reason}.", hint=f"Check the path or {CONFIG_VARIABLE}.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{chosen} is not valid TOML: {error}.") from None
    try:
        return _checked(raw, chosen)
    except ConfigError as error:
        raise ConfigError(f"{chosen}: {error}", hint=error.hint) from None


def profile_from_options(bootstrap: str, settings: Mapping[str, str] | None = None) -> Profile:
    """A profile from ``--bootstrap HOST:PORT`` and ``-X key=value`` (librdkafka names; values may hold ``${ENV}``).

    Raises:
        ConfigError: the address is not HOST:PORT, or a variable is not set.
    """
    given = {key: expanded(value, f"-X {key}") for key, value in (settings or {}).items()}
    check_addresses(bootstrap, "--bootstrap")
    return Profile(name="(options)", kafka={**given, "bootstrap.servers": bootstrap})


def check_addresses(bootstrap: str, where: str) -> None:
    """Refuses what is no list of brokers.

    Raises:
        ConfigError: an address is not HOST:PORT; named with the place that holds it.
    """
    for server in bootstrap.split(","):
        if not re.fullmatch(r"([A-Za-z_+]+://)?(\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+)(:[0-9]{1,5})?", server.strip()):
            raise ConfigError(f"{where} takes HOST:PORT, not {server.strip()!r}.", hint="For example localhost:9092.")


def is_secret(key: str) -> bool:
    """Whether a setting's value must never be shown or stored, by its name."""
    return bool(_SECRET_KEY.search(key)) and not _NO_SECRET.search(key)


def hide_secrets(value: Any, key: str = "") -> Any:
    """The same value with secrets replaced by ``***``, at any depth."""
    if isinstance(value, Mapping):
        return {name: hide_secrets(inner, key if is_secret(key) else str(name)) for name, inner in value.items()}
    if value is not None and is_secret(key):
        return "***"
    return _URL_PASSWORD.sub("//***@", value) if isinstance(value, str) else value


def nearest(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?`` for the known name that is nearest, or an empty text."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"Did you mean {near[0]!r}?" if near else ""


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def parse_duration(text: str) -> float:
    """Seconds of ``15m``, ``2h``, ``3d``, ``90s``, ``500ms``, ``1w`` or sums such as ``1h30m``.

    Raises:
        UsageError: it is none of these.
    """
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|[smhdw])", text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != re.sub(r"\s", "", text):
        raise UsageError(f"{text!r} is no duration.", hint="Write 500ms, 90s, 15m, 2h or 3d.")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parse_when(text: str, now: datetime) -> datetime:
    """A moment in UTC: an ISO time (without a zone it is UTC), ``now``, or a duration before ``now``.

    Raises:
        UsageError: it is none of these.
    """
    text = text.strip()
    if text == "now":
        return now.astimezone(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is not None:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    try:
        return now.astimezone(UTC) - timedelta(seconds=parse_duration(text))
    except (UsageError, OverflowError):
        raise UsageError(
            f"{text!r} is no time.", hint="Write 2026-01-31T12:00:00Z, 2026-01-31, or how long ago: 15m, 2h, 3d."
        ) from None


def _default_path() -> Path | None:
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    here = Path(CONFIG_NAME)
    return here if here.is_file() else None


def _checked(raw: Mapping[str, Any], path: Path) -> Config:
    _known(raw, frozenset(_SECTIONS), "")
    for section in raw:
        for name, table in _tables(raw, section):
            where = f"{section}.{name}"
            refuse_clear_secrets(table, where)
            if section == "profiles":
                _check_profile(table, where)
            elif section == "integrations":
                _check_integration(table, where)
            elif section == "dialects":
                from workbench.dialects import check_dialect  # loaded where there are any

                check_dialect(name, table)
    rest = {name: raw[name] for name in _OPEN_SECTIONS if name in raw}
    return Config(raw.get("profiles", {}), raw.get("integrations", {}), rest, path)


def _tables(raw: Mapping[str, Any], section: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    tables = raw[section]
    if not isinstance(tables, Mapping):
        raise ConfigError(f"{section} must be tables, as in [{section}.NAME].")
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"{section}.{name} must be a table: [{section}.{name}].")
        yield name, table


def _check_profile(table: Mapping[str, Any], where: str) -> None:
    _known(table, _PROFILE_KEYS, where)
    for key in ("production", "redrive"):
        if not isinstance(table.get(key, False), bool):
            raise ConfigError(f"{where}.{key} must be true or false.")
    if not isinstance(table.get("audit_topic", ""), str):
        raise ConfigError(f"{where}.audit_topic must name a topic.")
    if not isinstance(table.get("history", ""), str):
        raise ConfigError(f"{where}.history must name a folder.")
    for key, allowed in _NESTED.items():
        inner = table.get(key, {})
        if not isinstance(inner, Mapping):
            raise ConfigError(f"{where}.{key} must be a table.")
        _known(inner, allowed, f"{where}.{key}")
    kafka = table.get("kafka")
    if not isinstance(kafka, Mapping) or not isinstance(kafka.get("bootstrap.servers"), str):
        raise ConfigError(f"{where}.kafka must hold bootstrap.servers.", hint='"bootstrap.servers" = "HOST:PORT"')
    for key, value in kafka.items():
        if not isinstance(value, str | int | float | bool):
            hint = f'Write the key in quotes: "{key}.NAME" = ...' if isinstance(value, Mapping) else ""
            raise ConfigError(f"{where}.kafka.{key} must be a text, number or boolean.", hint=hint)


def _check_integration(table: Mapping[str, Any], where: str) -> None:
    _known(table, _INTEGRATION_KEYS, where)
    for key in ("profile", "source"):
        if not isinstance(table.get(key), str) or not table[key]:
            raise ConfigError(f"{where}.{key} must name {'a profile' if key == 'profile' else 'a topic'}.")
    for key in _INTEGRATION_KEYS & table.keys():
        _check_integration_value(key, table[key], f"{where}.{key}")


def _check_integration_value(key: str, value: Any, where: str) -> None:
    if key == "formats":
        if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value.values()):
            raise ConfigError(f"{where} must be a table of names.", hint='For example formats = { orders = "avro" }.')
    elif key in _LISTS:
        entries = [value] if isinstance(value, str) else value
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise ConfigError(f"{where} must be a list of topic names.")
    elif not isinstance(value, str):
        raise ConfigError(f"{where} must be a text.", hint='Durations are texts: "5m".' if key in _TIMES else "")
    elif key in _TIMES and "${" not in value:
        _check_duration(value, where)


_TIMES = ("expected_latency", "horizon")


def _check_duration(value: str, where: str) -> None:
    try:
        parse_duration(value)
    except UsageError as error:
        raise ConfigError(f"{where}: {error}", hint=error.hint) from None


def _known(table: Mapping[str, Any], allowed: frozenset[str], where: str) -> None:
    for key in table:
        if key not in allowed:
            place = f"in [{where}]" if where else "at the top"
            hint = nearest(key, allowed) or f"Known are {', '.join(sorted(allowed))}."
            raise ConfigError(f"unknown key {key!r} {place}.", hint=hint)


def refuse_clear_secrets(value: Any, where: str, key: str = "") -> None:
    """Refuses secrets that are written down, at any depth; ``where`` is the place of the value in its file.

    Raises:
        ConfigError: a secret is not made of variables, or an address holds a password; named by its key.
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            refuse_clear_secrets(inner, f"{where}.{name}", key if is_secret(key) else str(name))
    elif isinstance(value, list):
        for inner in value:
            refuse_clear_secrets(inner, where, key)
    elif is_secret(key) and not _only_variables(value):
        variable = re.sub(r"[^A-Z0-9]+", "_", where.split(".", 1)[-1].upper())
        raise ConfigError(f"{where} holds a secret in clear.", hint=f'Write "${{{variable}}}" and set that variable.')
    elif isinstance(value, str) and _URL_PASSWORD.search(value):
        raise ConfigError(f"{where} holds a password inside an address.", hint='Use username and password = "${...}".')


def _only_variables(value: Any) -> bool:
    """Whether a text is made of variables without defaults, so that the file itself gives nothing away."""
    if not isinstance(value, str):
        return False
    defaults = [match[3] for match in _VARIABLE.finditer(value)]
    return value == "" or (bool(defaults) and not any(defaults) and _VARIABLE.sub("", value).strip() == "")


def expanded(value: Any, where: str) -> Any:
    """The same value with ``${ENV}`` and ``${ENV:-default}`` looked up, at any depth.

    Raises:
        ConfigError: a variable is not set; named with the place that needs it.
    """
    if isinstance(value, Mapping):
        return {key: expanded(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [expanded(inner, where) for inner in value]
    return _VARIABLE.sub(lambda match: _variable(match, where), value) if isinstance(value, str) else value


def _variable(match: re.Match[str], where: str) -> str:
    found = os.environ.get(match[1])
    if found or (found is not None and match[2] is None):
        return found
    if match[2] is None:
        hint = f"export {match[1]}=..., or write ${{{match[1]}:-DEFAULT}}."
        raise ConfigError(f"{where} needs the variable {match[1]}, which is not set.", hint=hint)
    return match[3]


def _has_endpoint(table: Mapping[str, Any]) -> bool:
    """Whether a table names an address or a file, or has neither key and so is not ours to judge."""
    named = [table[key] for key in ("url", "path") if key in table]
    return any(named) or not named


def _setting(value: Any) -> str:
    """A librdkafka setting as text: TOML's true is its ``true``."""
    return str(value).lower() if isinstance(value, bool) else str(value)
