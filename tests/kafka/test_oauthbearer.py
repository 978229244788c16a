"""SASL/OAUTHBEARER end to end: a real token endpoint, a broker that checks its tokens, and clients made of integration.yml."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka import Consumer, Producer

from tests.kafka.secured import Secured, secured
from workbench.errors import AccessDenied
from workbench.integration.config import IntegrationConfig, parse_integration
from workbench.integration.librdkafka import consumer_settings, producer_settings
from workbench.sandbox.tokens import TokenEndpoint, token_endpoint

pytestmark = pytest.mark.kafka
PATIENCE_SECONDS = 90


@dataclass
class Place:
    kafka: Secured
    tokens: TokenEndpoint

    def config(self, group: str = "g", secret: str = "of-full") -> IntegrationConfig:
        client = {"tokenEndpoint": self.tokens.token_url, "clientId": "full", "clientSecret": secret, "scope": "events"}
        clients = {"brokers": self.kafka.bootstrap}
        flow = {"producer": clients, "consumer": {**clients, "groupId": group}}
        return parse_integration(
            {"integration": {**flow, "security": {"sasl": {"mechanism": "OAUTHBEARER", **client}}}}
        )


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with token_endpoint({"full": "of-full"}) as tokens, secured(tokens) as kafka:
        yield Place(kafka, tokens)


class Sender:
    """A producer with what it was told."""

    def __init__(self, place: Place) -> None:
        self.delivered: list[bytes] = []
        self.errors: set[str] = set()
        told = {
            "error_cb": lambda error: self.errors.add(error.name()),
            "log_level": 0,
            "reconnect.backoff.max.ms": 1000,
        }
        self.producer = Producer(producer_settings(place.config()) | told)

    def send(self, topic: str, value: bytes) -> None:
        self.producer.produce(topic, value, on_delivery=self._report)

    def _report(self, error, message) -> None:
        assert error is None
        self.delivered.append(message.value())

    def wait_for(self, condition) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < end, self.errors
            self.producer.poll(0.1)


def test_a_client_with_a_token_sends_and_reads(place, topic_name, unique):
    sender = Sender(place)
    sender.send(topic_name, b"1")
    sender.wait_for(lambda: sender.delivered == [b"1"])
    consumer = Consumer(consumer_settings(place.config(group=unique)) | {"log_level": 0})
    consumer.subscribe([topic_name])
    end, message = time.monotonic() + PATIENCE_SECONDS, None
    while message is None or message.error():
        assert time.monotonic() < end
        message = consumer.poll(1)
    consumer.close()
    assert message.value() == b"1"
    assert sender.errors == set()


def test_a_refused_client_is_told_before_anything_is_sent(place):
    with pytest.raises(AccessDenied, match="refused the client 'full': invalid_client") as caught:
        producer_settings(place.config(secret="hush-wrong"))
    assert "hush" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("fault", [{"lifetime_seconds": -60.0}, {"forging": True, "lifetime_seconds": 10.0}])
def test_a_bad_token_is_refused_by_the_broker_and_nothing_is_lost(place, topic_name, fault, monkeypatch):
    """Expired, or signed with a key that is not the endpoint's; when the endpoint is mended the message goes through."""
    with monkeypatch.context() as planted:
        for name, value in fault.items():
            planted.setattr(place.tokens, name, value)
        sender = Sender(place)
        sender.send(topic_name, b"1")
        sender.wait_for(lambda: "_AUTHENTICATION" in sender.errors)
        assert sender.delivered == []
    sender.wait_for(lambda: sender.delivered == [b"1"])


def test_tokens_are_renewed_while_messages_flow(place, topic_name, monkeypatch):
    monkeypatch.setattr(place.tokens, "lifetime_seconds", 6.0)
    sender, before, sent = Sender(place), place.tokens.issued, 0
    while place.tokens.issued < before + 3:
        sender.send(topic_name, str(sent).encode())
        sent += 1
        sender.wait_for(lambda expected=sent: len(sender.delivered) == expected)
    assert sender.delivered == [str(number).encode() for number in range(sent)]
