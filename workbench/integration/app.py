"""The HTTP side of the notification service: takes events that come without Kafka, and says how it is.

POST /events/user-created   the data of a ``user.created`` event      200 {"processed": true}
GET  /health                whether it can work                       200 or 503 {"status": ..., "checks": {...}}

Whatever else it answers is an ``ErrorReply``: 400 no JSON, 401 who are you, 404, 405, 413 too long, 415 no JSON by its type,
422 JSON that does not fit or that a rule refuses, 503 try again (with Retry-After), 500 our fault.
"""

from __future__ import annotations

import hmac
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from workbench.integration.formats import CONTENT_TYPE, ErrorBody, ErrorReply, Event, InvalidMessage, UserCreated

MOST_BYTES = 1_000_000
SOURCE = "http"
MESSAGE_ID = "message-id"
_CODES = {
    401: "UNAUTHORIZED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "TOO_LONG",
    415: "UNSUPPORTED_MEDIA_TYPE",
}

Process = Callable[[Event], Any]
Authorize = Callable[[Request], bool]
Checks = Callable[[], Mapping[str, bool]]


def events_app(
    process: Process,
    *,
    authorize: Authorize | None = None,
    checks: Checks | None = None,
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """The application.

    Args:
        process: takes each event, and returns when it is safe; a function or a coroutine function. What it raises becomes
            the answer: with an attribute ``category`` of ``transient`` 503, ``business`` 422, else 500.
        authorize: whether a request may post; None lets everybody.
        checks: name -> whether it holds, for ``/health``; None leaves that page to ``routes``.
        routes: more pages.
    """
    service = _Service(process, authorize, checks or dict)
    own: list[BaseRoute] = [Route("/events/user-created", service.user_created, methods=["POST"])]
    own += [] if checks is None else [Route("/health", service.health, methods=["GET"])]
    handlers: dict[Any, Any] = {HTTPException: _http_error, InvalidMessage: _invalid, Exception: _unexpected}
    return Starlette(routes=[*own, *routes], exception_handlers=handlers)


def bearer_key(key: str) -> Authorize:
    """Lets in who brings the API key, as ``X-API-Key`` or as a bearer token; compared in constant time."""
    return bearer_token(lambda given: hmac.compare_digest(given.encode(), key.encode()))


def bearer_token(accepts: Callable[[str], bool]) -> Authorize:
    """Lets in who brings a token that is accepted."""

    def authorize(request: Request) -> bool:
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        token = given if kind.lower() == "bearer" else request.headers.get("x-api-key", "")
        return bool(token) and accepts(token)

    return authorize


class _Service:
    """The pages."""

    def __init__(self, process: Process, authorize: Authorize | None, checks: Checks) -> None:
        self._process = process
        self._authorize = authorize
        self._checks = checks

    async def user_created(self, request: Request) -> Response:
        if self._authorize is not None and not await run_in_threadpool(self._authorize, request):
            raise HTTPException(401, "The credentials are missing, wrong or expired.", {"WWW-Authenticate": "Bearer"})
        event = _event("user.created", UserCreated.from_wire(await _json_body(request)), request)
        try:
            await self._run(event)
        except InvalidMessage:
            raise
        except Exception as error:  # noqa: BLE001 - whoever posted must learn whether to come again
            return _failed(event, error)
        return JSONResponse({"processed": True}, headers={MESSAGE_ID: event.message_id})

    async def _run(self, event: Event) -> None:
        if inspect.iscoroutinefunction(self._process):
            await self._process(event)
        else:
            await run_in_threadpool(self._process, event)

    async def health(self, _request: Request) -> Response:
        found = dict(self._checks())
        good = all(found.values())
        return JSONResponse({"status": "ok" if good else "failing", "checks": found}, 200 if good else 503)


def _event(kind: str, data: UserCreated, request: Request) -> Event:
    """The event of a request; who sends it again with the same id sends the same message."""
    event = Event.new(SOURCE, kind, json.loads(data.to_wire()))
    given = request.headers.get(MESSAGE_ID, "")
    return event.model_copy(update={"message_id": given}) if 0 < len(given) <= 256 else event


async def _json_body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != CONTENT_TYPE:
        raise HTTPException(415, f"Content-Type has to be {CONTENT_TYPE}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"The body is longer than {MOST_BYTES} bytes.")
    return bytes(body)


def _failed(event: Event, error: Exception) -> Response:
    """The answer for what processing raised; the error's own text may hold content and stays here."""
    category = str(getattr(error, "category", ""))
    if category == "transient" or isinstance(error, ConnectionError | TimeoutError):
        wait = math.ceil(getattr(error, "retry_after", None) or 1)
        body = ErrorBody(code="TEMPORARILY_UNAVAILABLE", message="The event was not processed; send it again.")
        return _reply(503, body, event.message_id, retry_after=wait)
    if category == "business":
        body = ErrorBody(code="BUSINESS_RULE", message="A rule of the business refuses the event.")
        return _reply(422, body, event.message_id)
    return _reply(500, ErrorBody(code="INTERNAL_ERROR", message="The event was not processed."), event.message_id)


def _reply(
    status: int,
    body: ErrorBody,
    message_id: str | None = None,
    *,
    retry_after: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    reply = ErrorReply(
        message_id=message_id,
        timestamp=datetime.now(UTC),
        error=body,
        retryable=retry_after is not None,
        retry_after=retry_after,
    )
    wait = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Response(reply.to_wire(), status, {**(headers or {}), **wait}, CONTENT_TYPE)


def _http_error(_request: Request, error: HTTPException) -> Response:
    body = ErrorBody(code=_CODES.get(error.status_code, "REFUSED"), message=error.detail)
    return _reply(error.status_code, body, headers=error.headers)


def _invalid(request: Request, error: InvalidMessage) -> Response:
    """400 for what is no JSON at all, 422 for JSON that does not fit."""
    unreadable = any(item.field == "the message" and "Invalid JSON" in item.expected for item in error.details)
    reply = error.reply(request.headers.get(MESSAGE_ID, "")[:256] or None, now=datetime.now(UTC))
    return Response(reply.to_wire(), 400 if unreadable else 422, media_type=CONTENT_TYPE)


def _unexpected(_request: Request, _error: Exception) -> Response:
    return _reply(500, ErrorBody(code="INTERNAL_ERROR", message="The event was not processed."))
