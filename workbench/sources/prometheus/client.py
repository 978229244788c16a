"""Prometheus as tables: instant and range queries, and the names it has."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa

from workbench.errors import ConfigError, SourceUnavailable
from workbench.sources.prometheus.session import session_for, shown, within
from workbench.tables import table_of

# Prometheus refuses a range query that would give a series more points than this.
MOST_POINTS = 11_000
FINEST_STEP_SECONDS = 15.0
DEFAULT_TIMEOUT_SECONDS = 20.0
RETRIES = 2

SAMPLES = pa.schema(
    [("name", pa.string()), ("labels", pa.string()), ("at_ms", pa.int64()), ("value", pa.float64())]
)  # fmt: skip

T = TypeVar("T")


class Prometheus:
    """A Prometheus server, or anything that answers its HTTP API (Thanos, Mimir, VictoriaMetrics).

    A call ends within ``timeout_seconds``, retries and the fetching of a token included, and holds at most 64 MiB of an
    answer in memory.

    Args:
        settings: a profile's ``prometheus`` table; ``matchers`` in it choose the profile's cluster among several.
        timeout_seconds: where the table has none.

    Raises:
        ConfigError: the settings do not fit.
    """

    def __init__(self, settings: Mapping[str, Any], timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self.url = str(settings.get("url") or "").rstrip("/")
        if urlsplit(self.url).scheme not in {"http", "https"}:
            raise ConfigError("prometheus.url must begin with http:// or https://.")
        self.timeout_seconds = _seconds(settings.get("timeout_seconds"), timeout_seconds)
        self.matchers = str(settings.get("matchers") or "").strip().strip(",{}")
        self._settings = {**settings, "url": self.url}
        self._names: frozenset[str] | None = None

    def __repr__(self) -> str:
        return f"Prometheus({shown(self.url)!r})"

    @functools.cached_property
    def _client(self) -> Any:
        """The client library, loaded when it is first needed: a check that asks nothing here should not wait for it."""
        try:
            from prometheus_api_client import PrometheusConnect
            from urllib3.util.retry import Retry
        except ModuleNotFoundError as error:
            hint = "pip install 'kafka-integration-workbench[notebooks]'"
            raise SourceUnavailable(
                f"Asking Prometheus needs the package {error.name}.", source="prometheus", hint=hint
            ) from None
        retry = Retry(
            total=RETRIES,
            backoff_factor=0.2,
            status_forcelist=(429, 502, 503, 504),
            raise_on_status=False,
            # Whoever asks us to come back in an hour is told no.
            respect_retry_after_header=False,
        )
        session = session_for(self._settings, self.timeout_seconds)
        return PrometheusConnect(self.url, session=session, retry=retry, timeout=self.timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        if "_client" in self.__dict__:
            self._client.close()

    def names(self) -> frozenset[str]:
        """Names of all series it has, asked for once.

        Raises:
            SourceUnavailable, AccessDenied: it cannot be asked.

        Reads: ``/api/v1/label/__name__/values``.
        """
        if self._names is None:
            self._names = frozenset(self._ask(lambda: _texts(self._client.all_metrics())))
        return self._names

    def version(self) -> str:
        """What it says it is; empty where it does not tell, as servers that only speak its API may.

        Raises:
            SourceUnavailable, AccessDenied: it cannot be asked.

        Reads: ``/api/v1/query``, ``/api/v1/status/buildinfo``.
        """
        self._ask(lambda: _rows(self._client.custom_query("vector(1)")))
        try:
            return str(self._ask(lambda: self._build_info()["version"]))
        except SourceUnavailable:
            return ""

    def _build_info(self) -> Mapping[str, Any]:
        told = self._client._session.get(  # noqa: SLF001 - the client has no call for it
            f"{self.url}/api/v1/status/buildinfo", timeout=self.timeout_seconds
        )
        found: Mapping[str, Any] = told.json()["data"]
        return found

    def query(self, promql: str, at: datetime | None = None) -> pa.Table:
        """The answer to an instant query.

        Args:
            promql: a query; its text goes to the server as it is.
            at: the moment; by default now, by the server's clock.

        Returns:
            name string (null: an expression), labels string (JSON, sorted by name), at_ms int64, value float64 (null: NaN
            or infinite). No rows: nothing matches.

        Raises:
            SourceUnavailable, AccessDenied, SourceError: it cannot be asked, or the query is refused.

        Reads: ``/api/v1/query``.
        """
        moment = {"time": at.timestamp()} if at else None
        return self._ask(lambda: _table(_rows(self._client.custom_query(promql, params=moment))))

    def query_range(self, promql: str, since: datetime, until: datetime, step_seconds: float | None = None) -> pa.Table:
        """The answer to a range query; columns as of ``query``, a row a sample.

        Args:
            promql: a query.
            since: begin of the window.
            until: its end, included.
            step_seconds: between samples; by default 15, and never less than what keeps a series at 11,000 points.

        Raises:
            SourceUnavailable, AccessDenied, SourceError: it cannot be asked, or the query is refused.

        Reads: ``/api/v1/query_range``.
        """
        step = step_for(since, until, step_seconds)
        return self._ask(lambda: _table(_rows(self._client.custom_query_range(promql, since, until, f"{step:.3f}"))))

    def _ask(self, call: Callable[[], T]) -> T:
        _ = self._client  # a missing package is said as such
        return within(self.timeout_seconds, self.url, call)


def step_for(since: datetime, until: datetime, wanted: float | None = None) -> float:
    """Seconds between samples: what is wanted, or more where a series would have above 11,000 points."""
    seconds = max(0.0, (until - since).total_seconds())
    # In whole milliseconds, rounded up: rounding down could bring the points above the limit again.
    least = math.ceil(seconds / (MOST_POINTS - 1) * 1000) / 1000
    return max(wanted or FINEST_STEP_SECONDS, least, 0.001)


def _seconds(given: Any, default: float) -> float:
    if given is None:
        return default
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        raise ConfigError(f"prometheus.timeout_seconds must be a number, not {given!r}.") from None
    if not 0 < seconds < math.inf:
        raise ConfigError("prometheus.timeout_seconds must be above 0.")
    return seconds


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError("no list of names")
    return value


def _rows(result: Any) -> list[tuple[Mapping[str, str], Iterable[Any]]]:
    """(labels, samples) of a vector, a matrix, a scalar or a text.

    Raises:
        TypeError, ValueError: it is none of these, so what answered is no Prometheus.
    """
    if not isinstance(result, list):
        raise TypeError("no result")
    if result and not isinstance(result[0], Mapping):
        return [({}, [result])]
    return [(_labels(one["metric"]), one["values"] if "values" in one else [one["value"]]) for one in result]


def _labels(metric: Any) -> Mapping[str, str]:
    if not isinstance(metric, Mapping):
        raise TypeError("no labels")
    return metric


def _table(rows: list[tuple[Mapping[str, str], Iterable[Any]]]) -> pa.Table:
    found = []
    for labels, samples in rows:
        name = labels.get("__name__")
        others = json.dumps({key: labels[key] for key in sorted(labels) if key != "__name__"}, ensure_ascii=False)
        found += [(name, others, round(float(at) * 1000), _number(value)) for at, value in samples]
    return table_of(SAMPLES, found)


def _number(text: Any) -> float | None:
    if not isinstance(text, str):
        raise TypeError("Prometheus writes values as texts")
    value = float(text)
    return value if math.isfinite(value) else None
