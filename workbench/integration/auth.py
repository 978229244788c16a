"""Who the integration is: API keys and OAuth 2.0 client credentials, for HTTP and for SASL/OAUTHBEARER.

Tokens live in memory only. One is fetched at a time, whoever waits for it: threads, asyncio and librdkafka share it.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2
from authlib.oauth2 import OAuth2Client, OAuth2Error

from workbench.errors import AccessDenied, ConfigError, SourceError, SourceUnavailable
from workbench.integration.config import OAuth

# Of a token whose endpoint does not say how long it lives (RFC 6749 lets it).
UNSAID_LIFETIME_SECONDS = 60.0
TIMEOUT_SECONDS = 10.0
LONGEST_TOKEN = 64 * 1024
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HINTS = {
    "invalid_client": "Check clientId and clientSecret.",
    "unauthorized_client": "Allow this client the grant client_credentials.",
    "unsupported_grant_type": "The endpoint has to offer the grant client_credentials.",
    "invalid_scope": "Check scope.",
    "invalid_request": "Check tokenEndpoint and scope.",
    "invalid_grant": "Check clientId and clientSecret.",
}


@dataclass(frozen=True)
class Token:
    """An access token.

    Attributes:
        value: the token itself; never shown.
        lifetime_seconds: from when it was asked for.
        fetched_at: monotonic seconds, taken before it was asked for.
        expires_at: epoch seconds, as librdkafka wants it.
    """

    value: str = field(repr=False)
    lifetime_seconds: float
    fetched_at: float
    expires_at: float

    def left(self, now: float) -> float:
        """Seconds until it expires, at a monotonic time."""
        return self.fetched_at + self.lifetime_seconds - now


class TokenSource:
    """Client credentials (RFC 6749, 4.4) at one endpoint, and the token that they gave.

    Args:
        oauth: endpoint, client id, secret, scope.
        margin_seconds: a token is replaced this long before it expires, a short-lived one after four fifths of its life.
        clock: monotonic seconds.
        transport: of httpx2; None is the network.

    Raises:
        ConfigError: the endpoint would get the secret in clear over a network.
    """

    def __init__(
        self,
        oauth: OAuth,
        *,
        margin_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        address = urlsplit(oauth.token_endpoint)
        if address.scheme != "https" and address.hostname not in _LOOPBACK:
            hint = "Use https; http is for a token endpoint on this machine."
            raise ConfigError(f"The token endpoint {oauth.token_endpoint} would get the secret in clear.", hint=hint)
        self.endpoint = oauth.token_endpoint
        self._oauth = oauth
        self._margin = margin_seconds
        self._clock = clock
        self._transport = transport
        self._token: Token | None = None
        self._one = threading.Lock()
        self._one_a_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            weakref.WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        return f"TokenSource({self.endpoint!r}, client_id={self._oauth.client_id!r})"

    def token(self, *, instead_of: Token | None = None) -> Token:
        """A token that is good for a while, fetched where there is none.

        Args:
            instead_of: one that was refused: it is not given again, but another that came since is.

        Raises:
            AccessDenied: the endpoint refused the client.
            SourceUnavailable: the endpoint did not answer.
            SourceError: it answered something that holds no bearer token.
        """
        return self._good(instead_of) or self._fetched_once(instead_of, self._margin_of)

    async def token_async(self, *, instead_of: Token | None = None) -> Token:
        """The same for asyncio; the loop goes on meanwhile, and one thread at most waits for the endpoint.

        Raises:
            SourceError: as ``token``.
        """
        found = self._good(instead_of)
        if found:
            return found
        loop = asyncio.get_running_loop()
        async with self._one_a_loop.setdefault(loop, asyncio.Lock()):
            return await asyncio.to_thread(self.token, instead_of=instead_of)

    def oauth_cb(self, _config: str = "") -> tuple[str, float]:
        """For librdkafka's ``oauth_cb``: the token and when it expires, in epoch seconds.

        librdkafka asks again after four fifths of what is left; a token in the second half of its life is replaced, so
        that it is not asked ever faster towards the end.

        Raises:
            SourceError: as ``token``; librdkafka reports an authentication error and asks again later.
        """
        found = self._good(None, _half) or self._fetched_once(None, _half)
        return found.value, found.expires_at

    def _margin_of(self, token: Token) -> float:
        return min(self._margin, token.lifetime_seconds / 5)

    def _good(self, instead_of: Token | None, margin: Callable[[Token], float] | None = None) -> Token | None:
        token = self._token
        if token is None or token is instead_of or token.left(self._clock()) <= (margin or self._margin_of)(token):
            return None
        return token

    def _fetched_once(self, instead_of: Token | None, margin: Callable[[Token], float]) -> Token:
        """Single flight: who waited for the lock finds what the one before fetched."""
        with self._one:
            found = self._good(instead_of, margin)
            if found is None:
                found = self._token = self._fetch()
            return found

    def _fetch(self) -> Token:
        at, wall = self._clock(), time.time()
        answer = self._ask()
        value, kind = answer.get("access_token"), answer.get("token_type", "")
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TOKEN or not _is_one_word(value):
            raise self._failed("answered without an access token")
        if str(kind).lower() != "bearer":
            raise self._failed("gave a token of another type than Bearer")
        lifetime = float(answer.get("expires_in") or UNSAID_LIFETIME_SECONDS)  # authlib read it as a number before
        if lifetime < 0:
            raise self._failed("gave a token that has expired already")
        return Token(value, lifetime, at, wall + lifetime)

    def _ask(self) -> dict[str, Any]:
        """The endpoint's answer."""
        oauth = self._oauth
        login = (oauth.client_id, oauth.client_secret.get_secret_value())
        # Redirects are not followed: the secret is for this endpoint alone.
        with httpx2.Client(timeout=TIMEOUT_SECONDS, transport=self._transport, follow_redirects=False) as http:
            client = OAuth2Client(http, oauth.client_id, scope=oauth.scope)
            return self._mapped(lambda: client.fetch_token(self.endpoint, grant_type="client_credentials", auth=login))

    def _mapped(self, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What goes wrong is mapped here alone; no request, which holds the secret, is left in a traceback."""
        try:
            return dict(ask())
        except OAuth2Error as error:
            raise self._refused(str(error.error)) from None
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            raise self._failed(f"answered {status}", retriable=status >= 500 or status == 429) from None
        except httpx2.HTTPError as error:
            raise SourceUnavailable(
                f"The token endpoint {self.endpoint} did not answer ({type(error).__name__}).",
                source="token endpoint",
                endpoint=self.endpoint,
                hint="Check that it runs and can be reached from here.",
                retriable=True,
            ) from None
        except (ValueError, TypeError, OverflowError):
            raise self._failed("answered something that is no token") from None

    def _refused(self, code: str) -> SourceError:
        """For the errors of RFC 6749, 5.2; what else the endpoint says may repeat what it was sent, and is not shown."""
        if code not in _HINTS:
            return self._failed("answered with an error that OAuth 2.0 does not know")
        return AccessDenied(
            f"The token endpoint {self.endpoint} refused the client {self._oauth.client_id!r}: {code}.",
            source="token endpoint",
            endpoint=self.endpoint,
            hint=_HINTS[code],
        )

    def _failed(self, what: str, *, retriable: bool = False) -> SourceError:
        hint = "Check that tokenEndpoint is the address of an OAuth 2.0 token endpoint."
        sentence = f"The token endpoint {self.endpoint} {what}."
        return SourceError(sentence, source="token endpoint", endpoint=self.endpoint, hint=hint, retriable=retriable)


class BearerAuth(httpx2.Auth):
    """A bearer token on each request of an httpx2 client; after a 401 once more, with a new token."""

    requires_request_body = True  # so that a body can be sent a second time

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """For ``httpx2.Client``."""
        request.read()
        token = self._source.token()
        response = yield _bearing(request, token)
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            yield _bearing(request, self._source.token(instead_of=token))

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """For ``httpx2.AsyncClient``."""
        await request.aread()
        token = await self._source.token_async()
        response = yield _bearing(request, token)
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            yield _bearing(request, await self._source.token_async(instead_of=token))


class ApiKeyAuth(httpx2.Auth):
    """An API key on each request, as ``Authorization: Bearer`` and as ``X-API-Key``.

    httpx2 drops ``Authorization`` when it follows a redirect to another host, but not ``X-API-Key``: leave redirects off.
    """

    def __init__(self, key: str) -> None:
        if not key or not key.isascii() or not key.isprintable():
            raise ConfigError("The API key must be printable ASCII text.", hint="Check apiKey.")
        self._key = key

    def __repr__(self) -> str:
        return "ApiKeyAuth(...)"

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """For both clients."""
        request.headers["Authorization"] = f"Bearer {self._key}"
        request.headers["X-API-Key"] = self._key
        yield request


def _bearing(request: httpx2.Request, token: Token) -> httpx2.Request:
    request.headers["Authorization"] = f"Bearer {token.value}"
    return request


def _half(token: Token) -> float:
    return token.lifetime_seconds / 2


def _is_one_word(value: str) -> bool:
    """Whether a text can stand in a header after ``Bearer``; a line break in it would begin another header."""
    return value.isascii() and value.isprintable() and " " not in value
