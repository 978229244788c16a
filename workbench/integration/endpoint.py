"""HTTP clients for the ``protocol`` section of integration.yml: pooled, authenticated, with timeouts (httpx2)."""

from __future__ import annotations

from typing import Any

import httpx2

from workbench.integration.auth import ApiKeyAuth, BearerAuth, TokenSource
from workbench.integration.config import Authentication, OAuth, Pool, Protocol


def endpoint_client(protocol: Protocol, pool: Pool, **more: Any) -> httpx2.Client:
    """A client for the endpoint; share one, it is the pool of connections.

    A request that finds all connections in use waits for one, up to ``timeout``.

    Args:
        protocol: endpoint, authentication and timeout.
        pool: how many connections.
        more: of ``httpx2.Client``.

    Raises:
        ConfigError: the credentials cannot be used.
    """
    return httpx2.Client(**_settings(protocol, pool), **more)


def async_endpoint_client(protocol: Protocol, pool: Pool, **more: Any) -> httpx2.AsyncClient:
    """The same for asyncio.

    Raises:
        ConfigError: the credentials cannot be used.
    """
    return httpx2.AsyncClient(**_settings(protocol, pool), **more)


def _settings(protocol: Protocol, pool: Pool) -> dict[str, Any]:
    most = pool.max_connections
    return {
        "base_url": protocol.endpoint,
        "auth": _auth(protocol.authentication) if protocol.authentication else None,
        "timeout": httpx2.Timeout(protocol.timeout / 1000),
        "limits": httpx2.Limits(max_connections=most, max_keepalive_connections=most),
        "follow_redirects": False,  # credentials are for this endpoint alone
    }


def _auth(wanted: Authentication) -> httpx2.Auth:
    if wanted.type == "ApiKey":
        return ApiKeyAuth(wanted.api_key.get_secret_value() if wanted.api_key else "")
    names = ("token_endpoint", "client_id", "client_secret", "scope")
    return BearerAuth(TokenSource(OAuth.model_validate({name: getattr(wanted, name) for name in names})))
