"""What a service shows over HTTP: ``/metrics`` for Prometheus, ``/health`` for those who decide whether it lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from workbench.integration.metrics import Metrics
from workbench.integration.serving import serving

if TYPE_CHECKING:
    from starlette.requests import Request

Check = Callable[[], bool]


@dataclass
class Health:
    """Named checks; all of them must hold.

    Attributes:
        checks: name -> whether it holds now; cheap, and asked at each request.
    """

    checks: dict[str, Check] = field(default_factory=dict)

    def now(self) -> Mapping[str, bool]:
        """Each check's answer; one that fails does not hold."""
        return {name: _holds(check) for name, check in self.checks.items()}


def _holds(check: Check) -> bool:
    try:
        return bool(check())
    except Exception:  # noqa: BLE001 - a check that cannot tell is no good news
        return False


def routes(metrics: Metrics, health: Health) -> list[Route]:
    """The two pages, for any Starlette application."""

    def show_metrics(_: Request) -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    def show_health(_: Request) -> Response:
        found = health.now()
        good = all(found.values())
        return JSONResponse({"status": "ok" if good else "failing", "checks": found}, status_code=200 if good else 503)

    return [Route("/metrics", show_metrics), Route("/health", show_health)]


@contextmanager
def monitored(metrics: Metrics, health: Health, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serves both pages in a thread while the block runs; yields the address.

    Args:
        metrics: what ``/metrics`` shows.
        health: what ``/health`` answers.
        host: address to listen at.
        port: 0 takes a free one.

    Raises:
        WorkbenchError: the port cannot be had.
    """
    with serving(Starlette(routes=routes(metrics, health)), host=host, port=port) as address:
        yield address
