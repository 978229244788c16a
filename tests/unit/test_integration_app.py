"""The HTTP side without sockets: what it answers to good and to bad requests."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest

from workbench.integration.app import MOST_BYTES, bearer_key, bearer_token, events_app
from workbench.integration.formats import ErrorReply, Event

USER = {"userId": "123", "email": "test@example.com"}
JSON = {"content-type": "application/json"}


class Business(Exception):
    category = "business"


class Busy(Exception):
    category = "transient"
    retry_after = 29.2


def ask(app, method: str = "POST", path: str = "/events/user-created", **request) -> httpx2.Response:
    async def send() -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://s") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())


def taken() -> tuple[list[Event], object]:
    events: list[Event] = []
    return events, events_app(events.append)


def test_an_event_is_processed_before_the_answer():
    events, app = taken()
    answer = ask(app, json=USER)
    assert (answer.status_code, answer.json()) == (200, {"processed": True})
    assert (events[0].event_type, events[0].data) == ("user.created", USER)
    assert answer.headers["message-id"] == events[0].message_id


def test_who_sends_it_again_with_its_id_sends_the_same_message():
    events, app = taken()
    for _ in range(2):
        ask(app, json=USER, headers={"message-id": "m-1"})
    assert [event.message_id for event in events] == ["m-1", "m-1"]


def test_a_coroutine_may_process_too():
    async def process(event: Event) -> None:
        await asyncio.sleep(0)

    assert ask(events_app(process), json=USER).status_code == 200


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"{", "headers": JSON}, 400, "VALIDATION_ERROR"),
        ({"content": b"\xff", "headers": JSON}, 400, "VALIDATION_ERROR"),
        ({"json": {"userId": "1"}}, 422, "VALIDATION_ERROR"),
        ({"json": {"userId": "1", "email": "hush"}}, 422, "VALIDATION_ERROR"),
        ({"json": [USER]}, 422, "VALIDATION_ERROR"),
        ({"data": USER}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({"content": b" " * (MOST_BYTES + 1), "headers": JSON}, 413, "TOO_LONG"),
        ({"method": "GET"}, 405, "METHOD_NOT_ALLOWED"),
        ({"path": "/events/other", "json": USER}, 404, "NOT_FOUND"),
    ],
)
def test_what_does_not_fit_is_an_error_reply_and_nothing_is_processed(request_, status, code):
    events, app = taken()
    answer = ask(app, **request_)
    reply = ErrorReply.from_wire(answer.content)
    assert (answer.status_code, reply.error.code, reply.retryable) == (status, code, False)
    assert "hush" not in answer.text
    assert events == []


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (Busy("hush"), 503, "TEMPORARILY_UNAVAILABLE", 30),
        (ConnectionError("hush"), 503, "TEMPORARILY_UNAVAILABLE", 1),
        (Business("hush"), 422, "BUSINESS_RULE", None),
        (ValueError("hush"), 500, "INTERNAL_ERROR", None),
    ],
)
def test_what_processing_raises_tells_whether_to_come_again(error, status, code, retry_after):
    def process(event: Event) -> None:
        raise error

    answer = ask(events_app(process), json=USER, headers={"message-id": "m-1"})
    reply = ErrorReply.from_wire(answer.content)
    assert (answer.status_code, reply.error.code, reply.retry_after) == (status, code, retry_after)
    assert answer.headers.get("retry-after") == (str(retry_after) if retry_after else None)
    assert (reply.message_id, reply.retryable) == ("m-1", retry_after is not None)
    assert "hush" not in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic right"}, 401),
        ({"authorization": "Bearer right"}, 200),
        ({"x-api-key": "right"}, 200),
    ],
)
def test_credentials_are_checked_before_the_body_is_read(headers, status):
    events: list[Event] = []
    for authorize in (bearer_key("right"), bearer_token(lambda token: token == "right")):
        answer = ask(events_app(events.append, authorize=authorize), json=USER, headers=headers)
        assert answer.status_code == status
        assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert len(events) == (2 if status == 200 else 0)


@pytest.mark.parametrize(("holds", "status"), [(True, 200), (False, 503)])
def test_health_says_which_check_fails(holds, status):
    answer = ask(events_app(print, checks=lambda: {"kafka": holds, "other": True}), "GET", "/health")
    assert (answer.status_code, answer.json()["checks"]) == (status, {"kafka": holds, "other": True})


def test_the_reply_is_json_of_the_error_format():
    answer = ask(events_app(print), json={"userId": "1", "email": "x"})
    assert answer.headers["content-type"] == "application/json"
    details = json.loads(answer.content)["error"]["details"]
    assert details == {"field": "email", "value": "a text of 1 characters", "expected": "a valid e-mail address"}
