"""integration.yml: the document's keys in librdkafka's words, and what is refused by name."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from workbench.errors import ConfigError
from workbench.integration.config import IntegrationConfig, load_integration
from workbench.integration.librdkafka import consumer_settings, producer_settings

# As in the document that describes the pattern, with the client's keys of its application configuration.
DOCUMENT = """
integration:
  producer:
    brokers: ["kafka-1:9092", "kafka-2:9092"]
    topic: "user.events"
    acks: "all"
    clientId: user-service-producer
    retry: { initialRetryTime: 100, retries: 8 }
  consumer:
    brokers: ${KAFKA_BROKERS}
    clientId: user-service-consumer
    groupId: "user-processor"
    autoOffsetReset: "earliest"
  topics: { userEvents: user.events, userNotifications: user.notifications }
  security:
    ssl: { enabled: false }
    sasl:
      mechanism: "PLAIN"
      username: "${KAFKA_USERNAME}"
      password: "${KAFKA_PASSWORD}"
protocol:
  type: REST
  version: 1.0
  endpoint: "https://api.example.com/v1/integration"
  authentication: { type: Bearer, tokenEndpoint: "https://auth.example.com/token", clientId: me, clientSecret: "${OAUTH}" }
  timeout: 30000
  retries: 3
  backoff: exponential
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "KAFKA_BROKERS": "b-1:9092, b-2:9092", "KAFKA_USERNAME": "svc", "KAFKA_PASSWORD": "hush-1", "OAUTH": "hush-2",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def write(old: str = "", new: str = "") -> IntegrationConfig:
        assert old in DOCUMENT
        path = tmp_path / "integration.yml"
        path.write_text(DOCUMENT.replace(old, new, 1) if old else DOCUMENT)
        return load_integration(path)

    return write


def test_the_documents_keys_become_librdkafkas(load):
    config = load()
    assert producer_settings(config) == {
        "bootstrap.servers": "kafka-1:9092,kafka-2:9092",
        "client.id": "user-service-producer",
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "svc",
        "sasl.password": "hush-1",
        "retry.backoff.ms": 100,
        "retries": 8,
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
    }
    consumer = consumer_settings(config)
    assert consumer["bootstrap.servers"] == "b-1:9092,b-2:9092"
    assert (consumer["group.id"], consumer["auto.offset.reset"]) == ("user-processor", "earliest")
    assert (consumer["enable.auto.commit"], consumer["isolation.level"]) == (False, "read_committed")
    assert (config.source, config.sink, config.group) == ("user.events", "user.notifications", "user-processor")
    assert config.protocol is not None
    assert (config.protocol.timeout, config.protocol.version) == (30_000, "1.0")


def test_librdkafka_takes_every_setting_that_can_be_named(load):
    """Its own check: an unknown or impossible setting raises; no broker is asked."""
    from confluent_kafka import Consumer, KafkaException, Producer

    config = load(
        "    acks:",
        "    requestTimeout: 5000\n    connectionTimeout: 3000\n    deliveryTimeout: 60000\n    linger: 5\n"
        "    compression: zstd\n    maxBufferedMessages: 1000\n    acks:",
    )
    quiet = {"log_level": 0}
    Producer(producer_settings(config) | quiet)
    with pytest.raises(KafkaException, match="No such configuration property"):
        Producer(producer_settings(config) | quiet | {"no.such.setting": "1"})
    timed = load(
        "    groupId:",
        "    sessionTimeout: 20000\n    heartbeatInterval: 2000\n    maxPollInterval: 90000\n    groupId:",
    )
    for chosen in (timed, load("    groupId:", "    groupProtocol: consumer\n    groupId:")):
        Consumer(consumer_settings(chosen) | quiet).close()


def test_no_text_of_a_config_shows_a_secret(load):
    assert "hush" not in f"{load()!r} {load()} {load().model_dump()} {load().model_dump_json()}"


@pytest.mark.parametrize(
    ("old", "new", "said", "hint"),
    [
        ("acks:", "aks:", "unknown key 'aks' in integration.producer", "Did you mean 'acks'?"),
        ("groupId:", "group_id:", "unknown key 'group_id' in integration.consumer", "Did you mean 'groupId'?"),
        ("topic:", "groupId:", "unknown key 'groupId'", "It belongs to integration.consumer.groupId."),
        ("integration:", "integraton:", "unknown key 'integraton' at the top", "Did you mean 'integration'?"),
        ("ssl: { enabled", "ssl: { enable", "unknown key 'enable' in integration.security.ssl", "Did you mean 'enabled'?"),
        ('"all"', '"1"', "producer.acks: must be all", ""),
        ('"earliest"', "first", "autoOffsetReset must be 'earliest', 'latest' or 'none'", ""),
        ("${KAFKA_PASSWORD}", "hush-3", "sasl.password holds a secret in clear", "${SECURITY_SASL_PASSWORD}"),
        ("${KAFKA_PASSWORD}", "${UNSET_1}", "needs the variable UNSET_1, which is not set", "export UNSET_1"),
        ("${OAUTH}", "${OAUTH:-hush-3}", "protocol.authentication.clientSecret holds a secret in clear", ""),
        ('"PLAIN"', '"OAUTHBEARER"', "sasl: OAUTHBEARER needs tokenEndpoint, clientId, clientSecret", ""),
        ('"PLAIN"', '"GSSAPI"', "sasl.mechanism must be 'PLAIN'", ""),
        ("kafka-1:9092", "kafka-1:x", "producer.brokers: a broker takes HOST:PORT, not 'kafka-1:x'.", ""),
        ("userEvents: user.events", "userEvents: other", "topic and topics.userEvents must name the same topic", ""),
        ("protocol:\n", "integration:\n", "'integration' is there twice", ""),
        ('groupId: "user-processor"', "groupProtocol: classic", "integration.consumer.groupId is missing", ""),
        ("type: REST", "type: AMQP", "protocol.type must be 'REST'", ""),
        ("timeout: 30000", "timeout: 0", "protocol.timeout must be greater than or equal to 1", ""),
        ("integration:\n", "- hush-4: {\n", "is not valid YAML", ""),
        ("type: Bearer,", "type: ApiKey,", "protocol.authentication: ApiKey needs apiKey", ""),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_the_next_step(load, old, new, said, hint):
    with pytest.raises(ConfigError) as caught:
        load(old, new)
    assert said in str(caught.value)
    assert hint in caught.value.hint
    assert "hush" not in f"{caught.value} {caught.value.hint} {caught.value!r}"
    assert caught.value.__cause__ is None


def test_encryption_keys_are_secrets_too(load):
    def keys(value: str) -> str:
        return f"  encryption: {{ activeKey: k1, encryptionKeys: {{ k1: '{value}' }} }}\nprotocol:\n"

    assert "hush" not in repr(load("protocol:\n", keys("${OAUTH}")))
    with pytest.raises(ConfigError, match=r"integration\.encryption\.encryptionKeys\.k1 holds a secret in clear"):
        load("protocol:\n", keys("hush-5"))


# ---- keystores ----


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real ones, made here: PEM with and without its key, PKCS#12, and the head of a JKS."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
        pkcs12,
    )

    folder = tmp_path_factory.mktemp("stores")
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + dt.timedelta(days=36500))
    certificate = builder.sign(key, hashes.SHA256())
    pem = certificate.public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "ca.pem").write_bytes(pem)
    (folder / "both.pem").write_bytes(pem + private)
    (folder / "own.p12").write_bytes(
        pkcs12.serialize_key_and_certificates(b"own", key, certificate, None, BestAvailableEncryption(b"hush-6"))
    )
    (folder / "trust").write_bytes(
        pkcs12.serialize_key_and_certificates(None, None, None, [certificate], BestAvailableEncryption(b"hush-6"))
    )
    (folder / "old.jks").write_bytes(b"\xfe\xed\xfe\xed\x00\x00\x00\x02")
    (folder / "text").write_text("hello")
    return folder


def ssl(folder: Path, keystore: str, truststore: str, password: str = "${STORE}") -> str:
    passwords = f'keystorePassword: "{password}", truststorePassword: "{password}"'
    return f"{{ enabled: true, keystore: {folder / keystore}, truststore: {folder / truststore}, {passwords} }}"


def test_stores_are_told_by_their_bytes_and_given_to_librdkafka(load, stores, monkeypatch):
    from confluent_kafka import KafkaException, Producer

    monkeypatch.setenv("STORE", "hush-6")
    pkcs12 = producer_settings(load("{ enabled: false }", ssl(stores, "own.p12", "trust")))
    assert pkcs12["security.protocol"] == "SASL_SSL"
    assert (pkcs12["ssl.keystore.location"], pkcs12["ssl.keystore.password"]) == (str(stores / "own.p12"), "hush-6")
    assert pkcs12["ssl.ca.pem"] == (stores / "ca.pem").read_text()
    pem = producer_settings(load("{ enabled: false }", ssl(stores, "both.pem", "ca.pem")))
    assert pem["ssl.certificate.location"] == pem["ssl.key.location"] == str(stores / "both.pem")
    assert pem["ssl.ca.location"] == str(stores / "ca.pem")
    for settings in (pkcs12, pem):  # librdkafka opens the stores here
        Producer(settings | {"log_level": 0})
    with pytest.raises(KafkaException):
        Producer(pkcs12 | {"log_level": 0, "ssl.keystore.password": "wrong"})


@pytest.mark.parametrize(
    "case",
    [
        (("none.p12", "ca.pem"), "hush-6", "keystore .*none.p12 cannot be read: No such file"),
        (("old.jks", "ca.pem"), "hush-6", "is a JKS"),
        (("ca.pem", "ca.pem"), "hush-6", "holds no private key"),
        (("text", "ca.pem"), "hush-6", "neither PEM nor PKCS#12"),
        (("own.p12", "trust"), "hush-7", "damaged, or a wrong password"),
        (("own.p12", "old.jks"), "hush-6", "is a JKS"),
    ],
)
def test_a_store_that_cannot_be_used_is_named(load, stores, monkeypatch, case):
    names, password, said = case
    monkeypatch.setenv("STORE", password)
    config = load("{ enabled: false }", ssl(stores, *names))
    with pytest.raises(ConfigError, match=said) as caught:
        producer_settings(config)
    assert "hush" not in f"{caught.value} {caught.value.hint}"
