"""A session that gives up in time: answers are capped in size, and every failure is an error of ours.

prometheus-api-client reads whole answers into memory and knows failures only as texts, so both are settled below it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from workbench.config import hide_secrets
from workbench.errors import AccessDenied, ConfigError, SourceError, SourceUnavailable

LARGEST_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LONGEST_REASON = 300

T = TypeVar("T")


def session_for(settings: Mapping[str, Any], timeout_seconds: float) -> Any:
    """A ``requests.Session`` with a profile's authentication and TLS.

    Args:
        settings: the profile's table: url, and ``bearer_token``; ``api_key`` (in ``api_key_header``, by default
            X-API-Key); ``username`` and ``password``; or ``token_url``, ``client_id``, ``client_secret``, ``scope``;
            ``ca_file``.
        timeout_seconds: for each answer.

    Raises:
        ConfigError: the settings do not fit together.
    """
    import requests

    base = _oauth_session(settings) if settings.get("token_url") else requests.Session

    class Bounded(base):  # type: ignore[misc, valid-type]
        """Reads at most ``LARGEST_BYTES`` of an answer, and raises ours for what is no success."""

        def get_redirect_target(self, _: Any) -> None:
            """Nowhere: an API key would go along, and requests reads a redirect's body without a limit."""

        def send(self, request: Any, **options: Any) -> Any:
            options["timeout"] = options.get("timeout") or timeout_seconds
            response = super().send(request, **{**options, "stream": True, "allow_redirects": False})
            _read_bounded(response, timeout_seconds)
            if response.status_code >= 300 and request.url.startswith(str(settings["url"])):
                raise of_status(response, str(settings["url"]))
            return response

    made = Bounded()
    # A proxy or a .netrc of the environment is for other machines.
    made.trust_env = urlsplit(str(settings["url"])).hostname not in _LOOPBACK
    _authenticate(made, settings)
    return made


def _oauth_session(settings: Mapping[str, Any]) -> Any:
    """Authlib's session, which fetches a token by client credentials and a new one before that expires."""
    for key in ("client_id", "client_secret"):
        if not settings.get(key):
            raise ConfigError(f"prometheus.token_url needs prometheus.{key}.")
    try:
        from authlib.integrations.requests_client import OAuth2Session
    except ModuleNotFoundError:
        raise ConfigError("prometheus.token_url needs the package authlib.", hint="pip install authlib") from None

    class ClientCredentials(OAuth2Session):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(
                client_id=settings["client_id"],
                client_secret=settings["client_secret"],
                scope=settings.get("scope"),
                token_endpoint=settings["token_url"],
                grant_type="client_credentials",
                leeway=30,
            )

        def request(self, method: str, url: str, **options: Any) -> Any:
            if not self.token and url != settings["token_url"]:
                self.fetch_token(settings["token_url"], grant_type="client_credentials")
            return super().request(method, url, **options)

    return ClientCredentials


def _authenticate(made: Any, settings: Mapping[str, Any]) -> None:
    if settings.get("ca_file"):
        made.verify = settings["ca_file"]
    if settings.get("bearer_token"):
        made.headers["Authorization"] = f"Bearer {settings['bearer_token']}"
    if settings.get("api_key"):
        made.headers[settings.get("api_key_header") or "X-API-Key"] = settings["api_key"]
    if settings.get("username"):
        made.auth = (settings["username"], settings.get("password") or "")


def _read_bounded(response: Any, timeout_seconds: float) -> None:
    """Takes the body as far as it is not too large and not too late."""
    began, taken, size = time.monotonic(), [], 0
    for chunk in response.iter_content(_CHUNK_BYTES):
        taken.append(chunk)
        size += len(chunk)
        if size > LARGEST_BYTES:
            response.close()
            raise TooLarge
        if time.monotonic() - began > timeout_seconds:
            response.close()
            raise TimeoutError
    response._content = b"".join(taken)  # noqa: SLF001 - where requests itself keeps a body that was read
    response._content_consumed = True  # noqa: SLF001


class TooLarge(Exception):
    """An answer went beyond what is kept in memory."""


def within(seconds: float, url: str, call: Callable[[], T]) -> T:
    """What a call gives, or one of our errors; never later than this, whatever the other end does.

    Each read of a socket has a timeout of its own, but a server may drip bytes, and a name server may hang: so the call
    runs in a thread that is left behind when the time is up.

    Raises:
        SourceUnavailable, AccessDenied, SourceError: why there is no answer.
    """
    kept: dict[str, Any] = {}

    def run() -> None:
        try:
            kept["value"] = call()
        except BaseException as error:  # noqa: BLE001 - carried over into the caller's thread
            kept["error"] = error

    thread = threading.Thread(target=run, daemon=True, name="workbench-prometheus")
    thread.start()
    thread.join(seconds)
    if "value" in kept:
        value: T = kept["value"]
        return value
    if "error" in kept:
        raise mapped(kept["error"], url, seconds) from None
    raise _unavailable(url, f"did not answer within {seconds:.0f} s", "It may be overloaded: ask for a shorter time.")


def mapped(error: BaseException, url: str, seconds: float) -> BaseException:
    """An error of requests, of Authlib or of the client, as one of ours; what is a fault of ours stays as it is."""
    import requests

    if isinstance(error, SourceError | ConfigError):
        return error
    if isinstance(error, TooLarge):
        size = f"more than {LARGEST_BYTES // 2**20} MiB"
        return _unavailable(
            url, f"answered with {size}", "Ask for fewer series, a shorter time or a wider step.", False
        )
    if isinstance(error, requests.exceptions.SSLError):
        return _unavailable(url, "has a certificate that is not trusted", "Name its authority in prometheus.ca_file.")
    if isinstance(error, TimeoutError | requests.exceptions.Timeout):
        return _unavailable(url, f"did not answer within {seconds:.0f} s", "Ask for less, or raise timeout_seconds.")
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.RequestException):
        return no_prometheus(url)
    return _mapped_by_kind(error, url)


def _mapped_by_kind(error: BaseException, url: str) -> BaseException:
    import requests

    if isinstance(
        error, requests.exceptions.JSONDecodeError | LookupError | TypeError | AttributeError | RecursionError
    ):
        return no_prometheus(url)
    if isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return _unavailable(url, "cannot be reached", "Check prometheus.url, and that it runs.")
    if isinstance(error, requests.exceptions.RequestException | OSError):
        return _unavailable(
            url, f"could not be asked ({type(error).__name__})", "Check prometheus in the profile.", False
        )
    if type(error).__module__.startswith("prometheus_api_client"):
        return no_prometheus(url)
    if type(error).__module__.startswith("authlib"):
        hint = "Check token_url, client_id, client_secret and scope."
        return AccessDenied(
            f"No token for Prometheus at {shown(url)} was given.", source="prometheus", endpoint=shown(url), hint=hint
        )
    return error


def of_status(response: Any, url: str) -> SourceError:
    """The error for a status that is no success; Prometheus' own words where it gives some."""
    status, said = response.status_code, _reason(response)
    if status in {401, 403}:
        hint = "Check bearer_token, api_key, username and password, or the client's scope."
        return AccessDenied(
            f"Prometheus at {shown(url)} refused access (HTTP {status}).",
            source="prometheus",
            endpoint=shown(url),
            hint=hint,
        )
    if status in {400, 422} and said:
        return SourceError(
            f"Prometheus at {shown(url)} refused the query: {said}", source="prometheus", endpoint=shown(url)
        )
    if status == 404:
        return no_prometheus(url)
    if status < 400:
        where = urlsplit(str(response.headers.get("Location") or "")).netloc.rpartition("@")[2]
        where = "".join(char for char in where if char.isprintable())[:_LONGEST_REASON]
        hint = "Redirects are not followed: write that address in prometheus.url, or check the login."
        return _unavailable(url, f"sends us to {where or 'another page'}", hint, False)
    because = f": {said}" if said else ""
    return _unavailable(url, f"answered HTTP {status}{because}", "Try again; its own log says more.", status >= 429)


def no_prometheus(url: str) -> SourceUnavailable:
    """Something answers, but not as Prometheus does."""
    hint = "Check prometheus.url (without /api/v1); a login page answers like this too."
    return _unavailable(url, "does not answer as Prometheus does", hint, False)


def _unavailable(url: str, what: str, hint: str, retriable: bool = True) -> SourceUnavailable:
    return SourceUnavailable(
        f"Prometheus at {shown(url)} {what}.",
        source="prometheus",
        endpoint=shown(url),
        hint=hint,
        retriable=retriable,
    )


def shown(url: str) -> str:
    """An address as it may be printed."""
    return str(hide_secrets(url))


def _reason(response: Any) -> str:
    """What Prometheus says in an error's document, in one printable line."""
    try:
        said = json.loads(response.content)["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    line = " ".join("".join(char if char.isprintable() else " " for char in str(said)).split())
    return line[:_LONGEST_REASON].rstrip(".")
