"""integration.yml: brokers, topics, groups, security and limits of the integration, checked as a whole.

Every key is known or refused with the nearest valid one. Secrets are variables, ``${ENV}``, never text in the file. Times
are milliseconds, as in the clients' own settings. ``workbench.integration.librdkafka`` says what each key sets.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from workbench.config import check_addresses, expanded, nearest, refuse_clear_secrets
from workbench.errors import ConfigError

Milliseconds = Annotated[int, Field(ge=1, le=2**31 - 1)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Text = Annotated[str, Field(min_length=1)]
# How pydantic's sentences begin, after which ours name the key instead.
_SHOULD = re.compile(r"^[A-Z][a-z]+ should ")


class Section(BaseModel):
    """Base of the sections; the file has camelCase, Python snake_case."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )


def _brokers(value: object) -> object:
    """A list, or a text with commas such as an environment variable holds."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _acks(value: object) -> object:
    if str(value) not in {"all", "-1"}:
        raise ValueError("must be all: with less, a message that was acknowledged can be lost")
    return "all"


class Client(Section):
    """What producer and consumer have in common.

    Attributes:
        brokers: host:port of those to begin with.
        request_timeout, connection_timeout: milliseconds; None takes librdkafka's.
    """

    brokers: Annotated[tuple[str, ...], BeforeValidator(_brokers), Field(min_length=1)]
    topic: Topic | None = None
    client_id: Text | None = None
    request_timeout: Milliseconds | None = None
    connection_timeout: Milliseconds | None = None

    @field_validator("brokers")
    @classmethod
    def _addresses(cls, brokers: tuple[str, ...]) -> tuple[str, ...]:
        try:
            check_addresses(",".join(brokers), "a broker")
        except ConfigError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return brokers


class Backoff(Section):
    """How a client asks a broker again.

    Attributes:
        initial_retry_time, max_retry_time: milliseconds.
    """

    initial_retry_time: Milliseconds | None = None
    max_retry_time: Milliseconds | None = None
    retries: Count | None = None


class Producer(Client):
    """``integration.producer``: idempotent and acknowledged by all replicas, whatever else is set.

    Attributes:
        retries: how often a send is tried again; None means until ``delivery_timeout``.
        delivery_timeout: milliseconds until a send has failed for good.
        linger: milliseconds that a batch waits for more.
        max_buffered_messages: bound of the local queue; a full queue holds the sender back.
    """

    acks: Annotated[Literal["all"], BeforeValidator(_acks)] = "all"
    retries: Count | None = None
    retry: Backoff = Backoff()
    delivery_timeout: Milliseconds | None = None
    linger: Annotated[int, Field(ge=0, le=900_000)] | None = None
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] | None = None
    max_buffered_messages: Count | None = None

    @model_validator(mode="after")
    def _one_number_of_retries(self) -> Self:
        if self.retries and self.retry.retries and self.retries != self.retry.retries:
            raise ValueError("retries and retry.retries must say the same")
        return self


class Consumer(Client):
    """``integration.consumer``: commits by hand after processing, reads committed records only.

    Attributes:
        auto_offset_reset: where a group without a valid offset begins; ``none`` means it fails instead.
        group_protocol: ``consumer`` is KIP-848; the broker then sets session timeout and heartbeats.
        session_timeout, heartbeat_interval, max_poll_interval: milliseconds.
    """

    group_id: Text
    auto_offset_reset: Literal["earliest", "latest", "none"] = "earliest"
    group_protocol: Literal["classic", "consumer"] = "classic"
    session_timeout: Milliseconds | None = None
    heartbeat_interval: Milliseconds | None = None
    max_poll_interval: Milliseconds | None = None
    retry: Backoff = Backoff()

    @model_validator(mode="after")
    def _fits_the_protocol(self) -> Self:
        if self.group_protocol == "consumer" and (self.session_timeout or self.heartbeat_interval):
            raise ValueError(
                "no sessionTimeout and heartbeatInterval with groupProtocol consumer: the broker sets them"
            )
        return self


class Topics(Section):
    """``integration.topics``: what flows where."""

    user_events: Topic = "user.events"
    user_notifications: Topic = "user.notifications"
    dead_letters: Topic = "user.events.dlq"


class Ssl(Section):
    """``integration.security.ssl``: TLS to the brokers.

    Attributes:
        keystore: own certificate and key: PKCS#12, or PEM with both.
        truststore: whom to trust: PEM or PKCS#12; None takes the system's.
    """

    enabled: bool = True
    keystore: Path | None = None
    keystore_password: SecretStr | None = None
    truststore: Path | None = None
    truststore_password: SecretStr | None = None


class OAuth(Section):
    """Client credentials (RFC 6749, 4.4) at a token endpoint."""

    token_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    client_id: Text
    client_secret: SecretStr
    scope: Text | None = None


class Sasl(Section):
    """``integration.security.sasl``: who the clients are.

    Attributes:
        username, password: for PLAIN and SCRAM.
        token_endpoint, client_id, client_secret, scope: for OAUTHBEARER.
    """

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
    username: Text | None = None
    password: SecretStr | None = None
    token_endpoint: Text | None = None
    client_id: Text | None = None
    client_secret: SecretStr | None = None
    scope: Text | None = None

    @model_validator(mode="after")
    def _fits_the_mechanism(self) -> Self:
        login, oauth = ("username", "password"), ("token_endpoint", "client_id", "client_secret")
        needs, refuses = (oauth, login) if self.mechanism == "OAUTHBEARER" else (login, (*oauth, "scope"))
        missing = [to_camel(name) for name in needs if not getattr(self, name)]
        wrong = [to_camel(name) for name in refuses if getattr(self, name)]
        if missing:
            raise ValueError(f"{self.mechanism} needs {', '.join(missing)}")
        if wrong:
            raise ValueError(f"{self.mechanism} takes no {', '.join(wrong)}")
        return self

    @property
    def oauth(self) -> OAuth | None:
        """The client credentials; None with another mechanism."""
        if self.mechanism != "OAUTHBEARER":
            return None
        names = ("token_endpoint", "client_id", "client_secret", "scope")
        return OAuth.model_validate({name: getattr(self, name) for name in names})


class Security(Section):
    """``integration.security``."""

    ssl: Ssl = Ssl(enabled=False)
    sasl: Sasl | None = None

    @property
    def protocol(self) -> str:
        """Kafka's name for the two together, ``SASL_SSL``."""
        return ("SASL_" if self.sasl else "") + ("SSL" if self.ssl.enabled else "PLAINTEXT")


class Retry(Section):
    """``integration.retry``: how the service tries its own work again.

    Attributes:
        max_retries: after the first attempt.
        base_delay, max_delay: milliseconds; the delay doubles between them.
    """

    max_retries: Annotated[int, Field(ge=0, le=1000)] = 3
    base_delay: Milliseconds = 1000
    max_delay: Milliseconds = 30_000


class CircuitBreaker(Section):
    """``integration.circuitBreaker``: failures until it opens, and milliseconds until it tries again."""

    threshold: Count = 5
    timeout: Milliseconds = 60_000


class Batch(Section):
    """``integration.batch``: a batch is handed on when it is full or ``flush_interval`` milliseconds old."""

    batch_size: Count = 100
    flush_interval: Milliseconds = 5000


class Pool(Section):
    """``integration.pool``: connections to the HTTP endpoint."""

    max_connections: Count = 10


class Encryption(Section):
    """``integration.encryption``: AES-256-GCM of message values.

    Attributes:
        encryption_keys: key id -> 64 hex digits.
        active_key: id of the key that new messages get; the others only open old ones.
    """

    encryption_keys: Annotated[dict[str, SecretStr], Field(min_length=1)]
    active_key: Text

    @model_validator(mode="after")
    def _active_is_there(self) -> Self:
        if self.active_key not in self.encryption_keys:
            raise ValueError(f"activeKey must be one of {', '.join(sorted(self.encryption_keys))}")
        return self


class Integration(Section):
    """``integration``."""

    producer: Producer
    consumer: Consumer
    topics: Topics = Topics()
    security: Security = Security()
    retry: Retry = Retry()
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    batch: Batch = Batch()
    pool: Pool = Pool()
    encryption: Encryption | None = None


class Authentication(Section):
    """``protocol.authentication``: an API key, or a bearer token of a token endpoint."""

    type: Literal["Bearer", "ApiKey"]
    token_endpoint: Text | None = None
    client_id: Text | None = None
    client_secret: SecretStr | None = None
    scope: Text | None = None
    api_key: SecretStr | None = None

    @model_validator(mode="after")
    def _fits_the_type(self) -> Self:
        needs = ("api_key",) if self.type == "ApiKey" else ("token_endpoint", "client_id", "client_secret")
        missing = [to_camel(name) for name in needs if not getattr(self, name)]
        if missing:
            raise ValueError(f"{self.type} needs {', '.join(missing)}")
        return self


class Protocol(Section):
    """``protocol``: the HTTP side.

    Attributes:
        timeout: milliseconds for one answer.
        retries: after the first attempt.
    """

    type: Literal["REST"] = "REST"
    version: Annotated[str, BeforeValidator(str)] = "1.0"
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    authentication: Authentication | None = None
    timeout: Milliseconds = 30_000
    retries: Annotated[int, Field(ge=0, le=1000)] = 3
    backoff: Literal["exponential"] = "exponential"


class IntegrationConfig(Section):
    """A checked integration.yml, its variables looked up; no text of it shows a secret."""

    integration: Integration
    protocol: Protocol | None = None

    @model_validator(mode="after")
    def _topics_agree(self) -> Self:
        flow = self.integration
        for client, named in ((flow.producer, "producer"), (flow.consumer, "consumer")):
            if (
                client.topic
                and "user_events" in flow.topics.model_fields_set
                and client.topic != flow.topics.user_events
            ):
                raise ValueError(f"{named}.topic and topics.userEvents must name the same topic")
        if flow.producer.topic and flow.consumer.topic and flow.producer.topic != flow.consumer.topic:
            raise ValueError("producer.topic and consumer.topic must name the same topic")
        return self

    @property
    def source(self) -> str:
        """Topic of the events."""
        flow = self.integration
        return flow.producer.topic or flow.consumer.topic or flow.topics.user_events

    @property
    def sink(self) -> str:
        """Topic of the notifications."""
        return self.integration.topics.user_notifications

    @property
    def dead_letters(self) -> str:
        """Topic of what was given up."""
        return self.integration.topics.dead_letters

    @property
    def group(self) -> str:
        """The consumer group."""
        return self.integration.consumer.group_id


def load_integration(path: Path) -> IntegrationConfig:
    """The configuration of an integration.yml, checked, with its variables looked up.

    Raises:
        ConfigError: no YAML, an unknown key (with the nearest valid one), a wrong value, a secret in clear, or a
            variable that is not set; named by its key, never with a secret's text.
    """
    from workbench.integration.documents import read_yaml

    raw = read_yaml(path)
    try:
        for name, section in raw.items():
            refuse_clear_secrets(section, str(name), str(name))
        return parse_integration({str(name): expanded(section, str(name)) for name, section in raw.items()})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", hint=error.hint) from None


def parse_integration(raw: Mapping[str, Any]) -> IntegrationConfig:
    """The configuration of a mapping with the file's names, its variables already looked up.

    Raises:
        ConfigError: as for ``load_integration``.
    """
    try:
        return IntegrationConfig.model_validate(raw, by_alias=True, by_name=False)
    except ValidationError as error:
        raise _first_problem(error) from None


def _first_problem(error: ValidationError) -> ConfigError:
    """The first error; unknown keys first, since a misspelled key also leaves a required one missing."""
    items = sorted(
        error.errors(include_url=False, include_input=False), key=lambda item: item["type"] != "extra_forbidden"
    )
    item = items[0]
    where = ".".join(str(part) for part in item["loc"] if part != "[key]")
    if item["type"] == "extra_forbidden":
        return _unknown_key([str(part) for part in item["loc"]])
    if item["type"] == "missing":
        return ConfigError(f"{where} is missing.", hint="docs/integration.md lists the keys.")
    if item["type"] == "value_error":
        said = item["msg"].removeprefix("Value error, ")
        return ConfigError(f"{where}: {said}." if where else f"{said}.")
    return ConfigError(f"{where or 'the file'} {_SHOULD.sub('must ', item['msg'])}.")


def _unknown_key(path: list[str]) -> ConfigError:
    *place, key = path
    model = _model_at(place)
    allowed = [_alias(name, model) for name in model.model_fields]
    elsewhere = [".".join(known) for known in _paths(IntegrationConfig) if known[-1] == key]
    hint = nearest(key, allowed) or (f"It belongs to {elsewhere[0]}." if elsewhere else "")
    where = f"in {'.'.join(place)}" if place else "at the top"
    return ConfigError(f"unknown key {key!r} {where}.", hint=hint or f"Known are {', '.join(sorted(allowed))}.")


def _model_at(place: list[str]) -> type[BaseModel]:
    model: type[BaseModel] = IntegrationConfig
    for part in place:
        inner = {_alias(name, model): _model_of(field.annotation) for name, field in model.model_fields.items()}
        model = inner[part] or model
    return model


def _paths(model: type[BaseModel], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every key below a section."""
    for name, field in model.model_fields.items():
        path = (*before, _alias(name, model))
        yield path
        inner = _model_of(field.annotation)
        if inner:
            yield from _paths(inner, path)


def _alias(name: str, model: type[BaseModel]) -> str:
    return model.model_fields[name].alias or name


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The section in ``X`` or ``X | None``."""
    for option in (annotation, *typing.get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None
