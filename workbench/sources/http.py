"""HTTP for sources: bounded in time, size and tries, and every failure one sentence.

Answers come from services that may be down, slow, wrong or much larger than memory. A call ends within its time whatever
the other side does, and never follows a redirect, which could carry credentials elsewhere.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.config import hide_secrets
from workbench.errors import AccessDenied, ConfigError, NotFound, SourceError, SourceUnavailable

if TYPE_CHECKING:
    import httpx2

TIMEOUT_SECONDS = 15.0
MAX_BYTES = 128 << 20
ATTEMPTS = 3
API_KEY_HEADER = "X-API-Key"
_MIB = 1 << 20
_LOOPBACK = re.compile(r"https?://(?:localhost|127\.[\d.]+|\[::1\])(?:[:/]|\Z)", re.IGNORECASE)

# A retry that is under way is no news for the user's terminal.
logging.getLogger("stamina").addHandler(logging.NullHandler())

Params = Mapping[str, str | int]


class NotJson(SourceError):
    """The service answered, but not with JSON: another service, or a page of its user interface."""


class Endpoint:
    """One HTTP service of a profile; ``get`` is all it does. A lock-step client: one call at a time.

    Args:
        source: what errors call it, for example ``Jaeger``.
        settings: of the profile: ``url``, and any of ``bearer_token``; ``api_key`` with ``api_key_header``;
            ``username`` with ``password``; ``token_url`` with ``client_id``, ``client_secret`` and ``scope`` (OAuth 2.0
            client credentials); ``ca_file``, ``timeout_seconds``.
        transport: in place of the network, for tests.

    Raises:
        ConfigError: there is no address, or authentication that does not fit together.
    """

    def __init__(
        self, source: str, settings: Mapping[str, Any], *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.source = source
        self.url = str(settings.get("url") or "").rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ConfigError(f'{source} needs url = "http://HOST:PORT".', hint="Write it into the profile.")
        self.timeout_seconds = float(settings.get("timeout_seconds") or TIMEOUT_SECONDS)
        self.max_bytes = MAX_BYTES
        self._settings, self._transport = settings, transport
        self._client: Any = None

    def __repr__(self) -> str:
        return f"Endpoint({self.source!r}, {hide_secrets(self.url)!r})"

    def close(self) -> None:
        """Frees the connections."""
        if self._client is not None:
            self._client.close()

    def get(self, path: str, params: Params | None = None, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON document that a GET answers, tried a few times within ``timeout_seconds`` in all.

        Raises:
            NotJson: it answered something else.
            NotFound: it answered 404.
            AccessDenied: it refused the credentials.
            SourceUnavailable: it cannot be reached, is too slow, too large, or fails.
        """
        import stamina

        deadline = time.monotonic() + self.timeout_seconds
        retrying = stamina.retry_context(
            on=_may_pass, attempts=ATTEMPTS, timeout=self.timeout_seconds, wait_initial=0.1, wait_max=1.0
        )
        last: SourceUnavailable | None = None
        for attempt in retrying:
            with attempt:
                if last is not None and time.monotonic() >= deadline:
                    raise last.with_traceback(None)  # what it said says more than that there is no time left
                try:
                    return self._once(path, params or {}, headers or {}, deadline)
                except SourceUnavailable as error:
                    last = error
                    raise
        raise AssertionError("a retry context ends with a result or an error")

    def _once(self, path: str, params: Params, headers: Mapping[str, str], deadline: float) -> Any:
        import httpx2

        left = deadline - time.monotonic()
        if left <= 0:
            raise self._slow()
        try:
            client = self._connected()
            with client.stream("GET", path, params=dict(params), headers=dict(headers), timeout=left) as answer:
                self._check(answer, path)
                return self._document(self._body(answer, deadline), path)
        except httpx2.TimeoutException:
            raise self._slow() from None
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError) as error:
            raise self._unreachable(error) from None

    def _body(self, answer: httpx2.Response, deadline: float) -> bytes:
        parts, size = [], 0
        for part in answer.iter_bytes():  # as it comes: a full chunk of a slow answer would be waited for
            size += len(part)
            if size > self.max_bytes:
                raise self._failed(
                    f"answered more than {self.max_bytes // _MIB} MiB", hint="Ask for less: narrow the time or the ids."
                )
            if time.monotonic() > deadline:
                raise self._slow()
            parts.append(part)
        return b"".join(parts)

    def _document(self, body: bytes, path: str) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise NotJson(
                f"{self.source} at {self.url} answered {path} with something that is not JSON.",
                source=self.source,
                endpoint=self.url,
                hint="Check that the address is that of its HTTP API.",
            ) from None

    def _check(self, answer: httpx2.Response, path: str) -> None:
        code = answer.status_code
        if code < 300:
            return
        if code in (401, 403):
            raise AccessDenied(
                f"{self.source} at {self.url} refuses these credentials ({code}).",
                source=self.source,
                endpoint=self.url,
                hint="Check bearer_token, api_key, username or client_id of the profile.",
            )
        if code == 404:
            raise NotFound(f"{self.source} at {self.url} does not know {path}.", source=self.source, endpoint=self.url)
        if code < 400:
            raise self._failed(f"redirects ({code}), which is not followed", hint="Give the address it redirects to.")
        raise self._failed(f"answered with HTTP status {code}", retriable=code >= 500 or code == 429)

    def _slow(self) -> SourceUnavailable:
        return self._failed(
            f"did not answer within {self.timeout_seconds:g} s", hint="Raise timeout_seconds of the profile."
        )

    def _unreachable(self, error: Exception) -> SourceUnavailable:
        why = str(error).strip().rstrip(".") or type(error).__name__
        return self._failed(f"cannot be reached: {hide_secrets(why)}", hint="Check its address.", retriable=True)

    def _failed(self, what: str, *, hint: str = "", retriable: bool = False) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self.source} at {self.url} {what}.",
            source=self.source,
            endpoint=self.url,
            hint=hint,
            retriable=retriable,
        )

    def _connected(self) -> httpx2.Client:
        if self._client is None:
            self._client = _client(self.source, self._settings, self._transport)
        client: httpx2.Client = self._client
        return client


def _may_pass(error: Exception) -> bool:
    return isinstance(error, SourceUnavailable) and error.retriable


def _client(source: str, settings: Mapping[str, Any], transport: httpx2.BaseTransport | None) -> Any:
    import httpx2

    given: dict[str, Any] = {
        "base_url": str(settings["url"]).rstrip("/"),
        "headers": {"Accept": "application/json", **_key_headers(settings)},
        "verify": _trust(source, settings),
        "follow_redirects": False,
        # A proxy of the environment is for what lies outside this machine.
        "trust_env": not _LOOPBACK.match(str(settings["url"])),
        "transport": transport,
    }
    if settings.get("token_url"):
        return _oauth2(source, settings, given)
    if settings.get("username"):
        given["auth"] = httpx2.BasicAuth(settings["username"], settings.get("password") or "")
    return httpx2.Client(**given)


def _key_headers(settings: Mapping[str, Any]) -> dict[str, str]:
    if settings.get("bearer_token"):
        return {"Authorization": f"Bearer {settings['bearer_token']}"}
    if settings.get("api_key"):
        return {str(settings.get("api_key_header") or API_KEY_HEADER): str(settings["api_key"])}
    return {}


def _trust(source: str, settings: Mapping[str, Any]) -> ssl.SSLContext | bool:
    if not settings.get("ca_file"):
        return True
    try:
        return ssl.create_default_context(cafile=str(settings["ca_file"]))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file of {source} cannot be read: {error}.", hint="Give a PEM file.") from None


def _oauth2(source: str, settings: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """A client that fetches a token with its first request, and another before that one expires."""
    try:
        from authlib.integrations.base_client.errors import OAuthError
        from authlib.integrations.httpx_client import OAuth2Client
    except ImportError:
        raise ConfigError(
            f"token_url of {source} needs the package authlib.", hint="Install workbench with its extra integration."
        ) from None

    client = OAuth2Client(
        client_id=settings.get("client_id"),
        client_secret=settings.get("client_secret"),
        scope=settings.get("scope"),
        token_endpoint=settings["token_url"],
        grant_type="client_credentials",
        **given,
    )
    _login(source, settings, lambda: client.fetch_token(timeout=TIMEOUT_SECONDS), OAuthError)
    return client


def _login(source: str, settings: Mapping[str, Any], fetch: Callable[[], Any], refused: type[Exception]) -> None:
    import httpx2

    try:
        fetch()
    except httpx2.TransportError:
        raise  # told like any other way of not being reached
    except (refused, httpx2.HTTPError, ValueError, KeyError) as error:
        raise AccessDenied(
            f"{source} gets no token from {hide_secrets(settings['token_url'])}: {type(error).__name__}.",
            source=source,
            endpoint=str(settings["token_url"]),
            hint="Check client_id, client_secret and scope of the profile.",
        ) from None
