"""A token endpoint to try OAuth 2.0 on: client credentials for signed JWTs, and the keys that they are checked with.

It answers as RFC 6749 and RFC 7517 say, on loopback, and knows only the clients it is given. Its faults are planted: tokens
that have expired, or that another key signed.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workbench.integration.serving import serving

if TYPE_CHECKING:
    from starlette.requests import Request

AUDIENCE = "kafka"


def _new_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": uuid.uuid4().hex}, private=True)


@dataclass
class TokenEndpoint:
    """The endpoint; what is changed here holds for the next request.

    Attributes:
        clients: client id -> secret.
        lifetime_seconds: of the tokens it issues; below 0 they have expired when they come, and the answer denies it.
        url: of the server, without a path.
        issued: how many tokens it gave.
        failing: status that it answers with instead of a token; None when it works.
        forging: signs with a key that its JWKS does not show.
    """

    clients: Mapping[str, str] = field(repr=False)
    lifetime_seconds: float = 300.0
    url: str = ""
    issued: int = 0
    failing: int | None = None
    forging: bool = False
    _key: RSAKey = field(default_factory=_new_key, repr=False)
    _other: RSAKey = field(default_factory=_new_key, repr=False)

    @property
    def token_url(self) -> str:
        """Where tokens are asked for."""
        return f"{self.url}/token"

    @property
    def jwks_url(self) -> str:
        """Where the public keys are."""
        return f"{self.url}/jwks.json"

    def rotate(self) -> None:
        """Signs with a new key from now on; tokens of the old one are no longer good."""
        self._key = _new_key()

    def accepts(self, token: str) -> bool:
        """Whether a token is one of this endpoint's and has not expired."""
        try:
            claims = jwt.decode(token, self._key, algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return False
        return bool(claims["iss"] == self.url and claims["exp"] > time.time())

    def app(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[Route("/token", self._token, methods=["POST"]), Route("/jwks.json", self._jwks, methods=["GET"])]
        )

    async def _jwks(self, _request: Request) -> Response:
        return JSONResponse({"keys": [{**self._key.as_dict(private=False), "use": "sig", "alg": "RS256"}]})

    async def _token(self, request: Request) -> Response:
        if self.failing:
            return Response(status_code=self.failing)
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
        client = self._client(request, form)
        if client is None:
            return _error("invalid_client", 401)
        if form.get("grant_type") != "client_credentials":
            return _error("unsupported_grant_type", 400)
        self.issued += 1
        answer = {
            "access_token": self._signed(client, form.get("scope", "")),
            "token_type": "Bearer",
            "expires_in": int(self.lifetime_seconds) if self.lifetime_seconds > 0 else 10,
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    def _client(self, request: Request, form: Mapping[str, str]) -> str | None:
        """The client that said who it is, in the header or in the form; None where it did not, or not rightly."""
        client, secret = _basic(request.headers.get("authorization", "")) or (
            form.get("client_id", ""),
            form.get("client_secret", ""),
        )
        known = self.clients.get(client)
        return client if known and secrets.compare_digest(known.encode(), secret.encode()) else None

    def _signed(self, client: str, scope: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": client,
            "aud": AUDIENCE,
            **({"scope": scope} if scope else {}),  # Kafka refuses an empty one
            "iat": now,
            "exp": now + int(self.lifetime_seconds),
            "jti": uuid.uuid4().hex,
        }
        key = self._other if self.forging else self._key
        # A forged token claims to be signed with the key that everybody knows.
        return jwt.encode({"alg": "RS256", "kid": self._key.kid}, claims, key)


@contextlib.contextmanager
def token_endpoint(clients: Mapping[str, str], *, lifetime_seconds: float = 300.0) -> Iterator[TokenEndpoint]:
    """A running endpoint on a free port of loopback.

    Args:
        clients: client id -> secret.
        lifetime_seconds: of its tokens.
    """
    endpoint = TokenEndpoint(clients, lifetime_seconds)
    with serving(endpoint.app()) as url:
        endpoint.url = url
        yield endpoint


def _basic(header: str) -> tuple[str, str] | None:
    kind, _, text = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        client, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return None
    return client, secret


def _error(code: str, status: int) -> Response:
    return JSONResponse({"error": code}, status_code=status, headers={"Cache-Control": "no-store"})
