"""Connections to the endpoint are pooled by httpx2: bounded, and whoever waits for one gets it."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime

import httpx2
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from workbench.integration.auth import BearerAuth
from workbench.integration.config import Authentication, Pool, Protocol, parse_integration
from workbench.integration.endpoint import async_endpoint_client, endpoint_client
from workbench.integration.formats import Notification
from workbench.integration.metrics import Metrics
from workbench.integration.service import HttpDelivery
from workbench.integration.serving import serving
from workbench.sandbox.tokens import token_endpoint

MOST = 2


class Busy:
    """Answers slowly enough that requests overlap, and counts how many there are at a time, and over which connections."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.peers: set[int] = set()
        self.lock = threading.Lock()
        self.app = Starlette(routes=[Route("/", self.answer)])

    async def answer(self, request) -> JSONResponse:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.peers.add(request.client.port)
        await asyncio.sleep(0.02)
        with self.lock:
            self.now -= 1
        return JSONResponse({})


def test_many_requests_share_few_connections_and_all_are_answered():
    busy = Busy()

    async def many(url: str) -> list[int]:
        protocol = Protocol(endpoint=url, timeout=60_000)
        async with async_endpoint_client(protocol, Pool(max_connections=MOST), trust_env=False) as client:
            answers = await asyncio.gather(*(client.get("/") for _ in range(30)))
        return [answer.status_code for answer in answers]

    with serving(busy.app) as url:
        assert asyncio.run(many(url)) == [200] * 30
    assert busy.most <= MOST
    assert len(busy.peers) <= MOST


def test_notifications_are_delivered_with_the_credentials_of_the_file():
    seen = []

    async def answer(request) -> JSONResponse:
        seen.append((request.headers["x-api-key"], request.headers["idempotency-key"], (await request.json())["email"]))
        return JSONResponse({})

    with serving(Starlette(routes=[Route("/notify", answer, methods=["POST"])])) as url:
        endpoint = {"endpoint": f"{url}/notify", "authentication": {"type": "ApiKey", "apiKey": "hush"}}
        flow = {"producer": {"brokers": "b:1"}, "consumer": {"brokers": "b:1", "groupId": "g"}}
        delivery = HttpDelivery(parse_integration({"integration": flow, "protocol": endpoint}), Metrics())
        delivery(Notification(message_id="m-1", id="1", email="a@b.c", created_at=datetime.now(UTC)))
        delivery.close()
    assert seen == [("hush", "m-1", "a@b.c")]


def test_an_expired_token_is_replaced_at_a_real_endpoint():
    """The service refuses the first token, as after a rotation of keys; the client fetches another and goes on."""
    with token_endpoint({"svc": "hush"}) as tokens:

        async def answer(request) -> JSONResponse:
            good = tokens.accepts(request.headers["authorization"].removeprefix("Bearer "))
            return JSONResponse({}, 200 if good else 401)

        wanted = Authentication(type="Bearer", token_endpoint=tokens.token_url, client_id="svc", client_secret="hush")
        with serving(Starlette(routes=[Route("/", answer)])) as url:
            protocol = Protocol(endpoint=url, authentication=wanted)
            with endpoint_client(protocol, Pool(), trust_env=False) as client:
                assert isinstance(client.auth, BearerAuth)
                assert client.get("/").status_code == httpx2.codes.OK
                tokens.rotate()
                assert client.get("/").status_code == httpx2.codes.OK
        assert tokens.issued == 2
