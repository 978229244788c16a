"""Pact contracts of ``user.created``: by message and by HTTP, each held by its consumer and verified at its provider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pact import Pact, Verifier, match

from workbench.integration.app import events_app
from workbench.integration.config import Pool, Protocol
from workbench.integration.endpoint import endpoint_client
from workbench.integration.formats import CONTENT_TYPE, Event
from workbench.integration.serving import serving

SOURCE, SERVICE = "user-service", "notification-service"
CREATED = "a user created event"
USER = {"userId": "123", "email": "test@example.com"}
EVENT = {
    "messageId": match.regex("5f1c7a52-7f6c-4d53-9a34-6f5d0f2a9f11", regex=r"^.{1,256}$"),
    "timestamp": match.regex("2024-01-15T10:30:00.000Z", regex=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,6}Z$"),
    "source": match.str("user-service"),
    "eventType": "user.created",
    "version": match.regex("1.0", regex=r"^1\.\d+$"),
    "data": {"userId": match.str("123"), "email": match.regex("test@example.com", regex=r"^\S+@\S+$")},
}


@pytest.fixture(scope="module")
def message_contract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the notification service needs of an event; written only if it can read the example itself."""
    folder, read = tmp_path_factory.mktemp("messages"), []
    pact = Pact(SERVICE, SOURCE).with_specification("V4")
    pact.upon_receiving(CREATED, "Async").given("a user was created").with_body(EVENT, CONTENT_TYPE).with_metadata(
        {"contentType": CONTENT_TYPE}
    )
    pact.verify(lambda body, _: read.append(Event.from_wire(body).typed_data()), "Async")
    assert read[0].email == "test@example.com"
    pact.write_file(folder)
    return folder


def verified(folder: Path, event: bytes) -> None:
    sent = {"contents": event, "metadata": None, "content_type": CONTENT_TYPE}
    verifier = Verifier(SOURCE).message_handler({CREATED: lambda: sent}).add_source(folder)
    verifier.state_handler({"a user was created": lambda **_: None}, teardown=False).verify()


def test_the_source_sends_what_the_service_can_read(message_contract):
    verified(message_contract, Event.new("user-service", "user.created", USER).to_wire())


@pytest.mark.parametrize("change", [{"version": "2.0"}, {"data": {"userId": "123"}}, {"eventType": "user.left"}])
def test_a_source_that_breaks_the_contract_is_found_out(message_contract, change):
    wire = json.loads(Event.new("user-service", "user.created", USER).to_wire()) | change
    with pytest.raises(RuntimeError, match="Failed to execute verifier"):
        verified(message_contract, json.dumps(wire).encode())


@pytest.fixture(scope="module")
def http_contract(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the source relies on when it posts an event; written only if its own client keeps to it."""
    folder = tmp_path_factory.mktemp("http")
    pact = Pact(SOURCE, SERVICE).with_specification("V4")
    request = pact.upon_receiving(CREATED).given("the service works").with_request("POST", "/events/user-created")
    request = request.with_body(json.dumps(USER), CONTENT_TYPE, "Request")
    request.will_respond_with(200).with_body(json.dumps({"processed": True}), CONTENT_TYPE, "Response")
    with pact.serve() as server, client(str(server.url)) as http:
        assert http.post("/events/user-created", json=USER).json() == {"processed": True}
    pact.write_file(folder)
    return folder


def client(url: str) -> httpx2.Client:
    return endpoint_client(Protocol(endpoint=url), Pool(max_connections=2), trust_env=False)


def http_verified(folder: Path, app: Any) -> None:
    with serving(app) as url:
        verifier = Verifier(SERVICE, "127.0.0.1").add_transport(url=url).add_source(folder)
        verifier.state_handler({"the service works": lambda **_: None}, teardown=False).verify()


def test_the_running_service_answers_as_the_source_relies_on(http_contract):
    processed: list[Event] = []
    http_verified(http_contract, events_app(processed.append))
    assert [event.data for event in processed] == [USER]


def test_a_service_that_breaks_the_contract_is_found_out(http_contract):
    def refuse(_: Event) -> None:
        raise ConnectionError

    with pytest.raises(RuntimeError, match="Failed to execute verifier"):
        http_verified(http_contract, events_app(refuse))
