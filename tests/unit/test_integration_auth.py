"""Credentials on requests: single flight, expiry, one more try after a 401, and that no secret shows."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from workbench.errors import AccessDenied, ConfigError, SourceError, SourceUnavailable
from workbench.integration.auth import ApiKeyAuth, BearerAuth, TokenSource
from workbench.integration.config import OAuth

URL = "https://auth.example.com/token"
OAUTH = OAuth(token_endpoint=URL, client_id="svc", client_secret="hush-secret", scope="kafka")


class Endpoint(httpx2.MockTransport):
    """Answers as told and counts; ``tokens`` it gives are t-1, t-2, and so on."""

    def __init__(self, **answer) -> None:
        super().__init__(self.answer)
        self.requests: list[httpx2.Request] = []
        self.extra = answer

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return httpx2.Response(
            200, json={"access_token": f"t-{len(self.requests)}", "token_type": "Bearer"} | self.extra
        )


class Clock:
    """Monotonic seconds that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_request_is_client_credentials_with_basic_authentication():
    endpoint = Endpoint(expires_in=300)
    assert TokenSource(OAUTH, transport=endpoint).token().value == "t-1"
    (request,) = endpoint.requests
    assert request.headers["authorization"] == httpx2.BasicAuth("svc", "hush-secret")._auth_header
    assert httpx2.QueryParams(request.content.decode()) == httpx2.QueryParams(
        grant_type="client_credentials", scope="kafka"
    )


@pytest.mark.parametrize(
    ("lifetime", "good_for"), [(300, 270), (20, 16), (None, 48), ("300", 270)], ids=["long", "short", "unsaid", "text"]
)
def test_a_token_is_replaced_before_it_expires(lifetime, good_for):
    clock, endpoint = Clock(), Endpoint(**({} if lifetime is None else {"expires_in": lifetime}))
    source = TokenSource(OAUTH, clock=clock, transport=endpoint)
    source.token()
    clock.now += good_for - 0.5
    assert source.token().value == "t-1"
    clock.now += 1
    assert source.token().value == "t-2"


def test_threads_and_loops_that_wait_share_one_flight():
    gate, endpoint = threading.Event(), Endpoint(expires_in=300)
    answer, endpoint.handler = endpoint.handler, lambda request: (gate.wait(30), answer(request))[1]
    source = TokenSource(OAUTH, transport=endpoint)

    async def many() -> list[str]:
        waiting = [asyncio.create_task(source.token_async()) for _ in range(50)]
        await asyncio.sleep(0.05)
        gate.set()
        return [token.value for token in await asyncio.gather(*waiting)]

    with ThreadPoolExecutor(8) as pool:
        others = [pool.submit(lambda: source.token().value) for _ in range(8)]
        loops = [pool.submit(asyncio.run, many()) for _ in range(1)]
        found = {future.result(60) for future in others} | set(loops[0].result(60))
    assert found == {"t-1"}
    assert len(endpoint.requests) == 1


def test_a_failure_is_not_kept_and_the_next_who_asks_tries_again():
    endpoint = Endpoint(expires_in=300)
    answer, down = endpoint.handler, httpx2.MockTransport(lambda request: httpx2.Response(503))
    endpoint.handler = down.handler
    source = TokenSource(OAUTH, transport=endpoint)
    with pytest.raises(SourceError, match="answered 503") as caught:
        source.token()
    assert caught.value.retriable
    endpoint.handler = answer
    assert source.token().value == "t-1"


def test_librdkafka_gets_a_token_with_half_its_life_and_its_expiry():
    clock, endpoint = Clock(), Endpoint(expires_in=300)
    source = TokenSource(OAUTH, clock=clock, transport=endpoint)
    first = source.oauth_cb("")
    clock.now += 149
    assert source.oauth_cb("") == first
    clock.now += 2
    value, expires_at = source.oauth_cb("")
    assert value == "t-2"
    assert expires_at > first[1] - 1


def service(accepted: set[str], seen: list[httpx2.Request]) -> httpx2.MockTransport:
    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        good = request.headers["authorization"].removeprefix("Bearer ") in accepted
        return httpx2.Response(200 if good else 401)

    return httpx2.MockTransport(answer)


@pytest.mark.parametrize(("accepted", "status", "asked"), [({"t-1"}, 200, 1), ({"t-2"}, 200, 2), (set(), 401, 2)])
def test_after_a_401_there_is_one_more_try_with_a_new_token(accepted, status, asked):
    for run in ("sync", "async"):
        endpoint, seen = Endpoint(expires_in=300), []
        auth, transport = BearerAuth(TokenSource(OAUTH, transport=endpoint)), service(accepted, seen)
        if run == "sync":
            with httpx2.Client(auth=auth, transport=transport) as client:
                response = client.post("https://s/events", content=b"body")
        else:
            response = asyncio.run(posted(auth, transport))
        assert (response.status_code, len(seen), len(endpoint.requests)) == (status, asked, asked)
        assert {request.content for request in seen} == {b"body"}


async def posted(auth: httpx2.Auth, transport: httpx2.MockTransport) -> httpx2.Response:
    async def body():
        yield b"bo"
        yield b"dy"

    async with httpx2.AsyncClient(auth=auth, transport=transport) as client:
        return await client.post("https://s/events", content=body())


def test_many_refused_at_once_fetch_one_new_token():
    source = TokenSource(OAUTH, transport=(endpoint := Endpoint(expires_in=300)))
    refused = source.token()
    found = {source.token(instead_of=refused).value for _ in range(10)}
    assert (found, len(endpoint.requests)) == ({"t-2"}, 2)


def answering(status: int, content: bytes) -> httpx2.MockTransport:
    return httpx2.MockTransport(lambda request: httpx2.Response(status, content=content))


def refusing(error: Exception) -> httpx2.MockTransport:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise error

    return httpx2.MockTransport(answer)


@pytest.mark.parametrize(
    ("transport", "kind", "said"),
    [
        (
            answering(401, b'{"error": "invalid_client", "error_description": "hush-secret"}'),
            AccessDenied,
            "invalid_client",
        ),
        (answering(400, b'{"error": "hush-secret"}'), SourceError, "does not know"),
        (answering(500, b"oops hush-secret"), SourceError, "answered 500"),
        (answering(404, b"not here"), SourceError, "answered 404"),
        (answering(302, b""), SourceError, "answered 302"),
        (answering(200, b"<html>hush-secret"), SourceError, "no token"),
        (answering(200, b"[]"), SourceError, "no token"),
        (answering(200, b"{}"), SourceError, "without an access token"),
        (answering(200, b'{"access_token": 5}'), SourceError, "without an access token"),
        (answering(200, b'{"access_token": "a\\nb", "token_type": "Bearer"}'), SourceError, "without an access token"),
        (answering(200, b'{"access_token": "t", "token_type": "mac"}'), SourceError, "another type than Bearer"),
        (answering(200, b'{"access_token": "t", "token_type": "bearer", "expires_in": "x"}'), SourceError, "no token"),
        (
            answering(200, b'{"access_token": "t", "token_type": "bearer", "expires_in": -5}'),
            SourceError,
            "expired already",
        ),
        (refusing(httpx2.ConnectError("hush-secret")), SourceUnavailable, "did not answer .ConnectError"),
        (refusing(httpx2.ReadTimeout("hush-secret")), SourceUnavailable, "did not answer .ReadTimeout"),
    ],
)
def test_what_goes_wrong_is_one_sentence_without_a_secret(transport, kind, said):
    source = TokenSource(OAUTH, transport=transport)
    with pytest.raises(kind, match=said) as caught:
        source.token()
    assert type(caught.value) is kind
    assert caught.value.hint
    chain = f"{caught.value} {caught.value!r} {caught.value.__cause__!r} {caught.value.hint} {source!r} {OAUTH!r}"
    assert "hush" not in chain


def test_a_secret_is_sent_in_clear_to_this_machine_only():
    with pytest.raises(ConfigError, match="in clear"):
        TokenSource(OAUTH.model_copy(update={"token_endpoint": "http://auth.example.com/token"}))
    TokenSource(OAUTH.model_copy(update={"token_endpoint": "http://127.0.0.1:1/token"}))


def test_an_api_key_goes_into_both_headers_and_nowhere_else():
    seen: list[httpx2.Request] = []
    auth = ApiKeyAuth("hush-key")
    with httpx2.Client(auth=auth, transport=service({"hush-key"}, seen)) as client:
        assert client.get("https://s/").status_code == 200
    assert (seen[0].headers["authorization"], seen[0].headers["x-api-key"]) == ("Bearer hush-key", "hush-key")
    assert "hush" not in repr(auth)
    with pytest.raises(ConfigError):
        ApiKeyAuth("two\nlines")


def test_nothing_of_a_token_shows():
    source = TokenSource(OAUTH, transport=Endpoint(expires_in=300, access_token="hush-token"))
    assert "hush" not in f"{source.token()!r} {source!r} {json.dumps(OAUTH.model_dump(mode='json'))}"
