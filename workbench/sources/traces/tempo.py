"""Grafana Tempo: traces by id, and TraceQL for what carries a message's id, its coordinates, or a link to its trace."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from workbench.errors import NotFound
from workbench.sources.http import Endpoint, NotJson
from workbench.sources.traces import otlp
from workbench.sources.traces.model import MOST_TRACES, Found, Place, SpanQuery, dotted
from workbench.sources.traces.spans import ATTRIBUTES
from workbench.sources.traces.store import HttpStore

# One query holds so many conditions; more are asked in further ones.
CONDITIONS = 20


class Tempo(HttpStore):
    """A Tempo query frontend.

    Reads: GET /api/v2/traces/ID, /api/traces/ID before Tempo 2.7, /api/search?q=, /api/echo.
    """

    kind, name = "tempo", "Tempo"

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._window: dict[str, int] = {}

    def check(self) -> str:
        """That its search answers: the echo endpoint is no JSON."""
        self.endpoint.get("/api/search", {"q": "{}", "limit": 1})
        return "its search answers"

    def find(self, query: SpanQuery) -> Found:
        """The spans of a query; what could not be had is told in ``failures``, never raised."""
        bounds = {"start": query.since, "end": query.until}
        self._window = {name: int(at.timestamp()) for name, at in bounds.items() if at is not None}
        if "end" in self._window:
            self._window["end"] += 1
        return super().find(query)

    def trace(self, trace_id: str, found: Found) -> None:
        """Takes one trace."""
        try:
            answer = self.endpoint.get(f"/api/v2/traces/{trace_id}")
        except (NotFound, NotJson):
            answer = self.endpoint.get(f"/api/traces/{trace_id}")
        document = answer.get("trace", answer) if isinstance(answer, dict) else None
        found.add(*otlp.rows_of(document, found.skipped))
        if isinstance(answer, dict) and str(answer.get("status")).upper() in ("PARTIAL", "1"):
            found.truncated = True
            found.failures.setdefault(trace_id, "Tempo answered a part of this trace only")

    def search(self, query: SpanQuery, found: Found) -> Iterable[str]:
        """Traces with spans that carry an id or coordinates of the message."""
        return self._all(list(_conditions(query)), found)

    def linking(self, trace_ids: list[str], found: Found) -> Iterable[str]:
        """Traces whose spans link to the given ones, as consumers do that begin a trace of their own."""
        return self._all([f"link:traceID = {_literal(one)}" for one in trace_ids], found)

    def _all(self, conditions: list[str], found: Found) -> list[str]:
        out: list[str] = []
        for at in range(0, len(conditions), CONDITIONS):
            spans = " || ".join(conditions[at : at + CONDITIONS])
            answer = self.endpoint.get("/api/search", {"q": f"{{ {spans} }}", "limit": MOST_TRACES, **self._window})
            traces = answer.get("traces") if isinstance(answer, dict) else None
            ids = [_id(one) for one in traces or ()]
            found.truncated = found.truncated or len(ids) >= MOST_TRACES
            out += [one for one in ids if one]
        return list(dict.fromkeys(out))


def _id(trace: Any) -> str | None:
    return otlp.id_text(trace.get("traceID"), otlp.TRACE_BYTES) if isinstance(trace, dict) else None


def _conditions(query: SpanQuery) -> Iterator[str]:
    for one in dict.fromkeys((*query.message_ids, *map(dotted, query.places))):
        yield from (f"span.{name} = {_literal(one)}" for name in ATTRIBUTES["message_id"])
    for place in query.places:
        yield _at(place)


def _at(place: Place) -> str:
    """The partition stays out: it is a text under one name and a number under another, and is looked at afterwards."""
    topic, _, offset = place
    where = " || ".join(f"span.{name} = {_literal(topic)}" for name in ATTRIBUTES["destination"])
    at = " || ".join(f"span.{name} = {offset}" for name in ATTRIBUTES["offset"])
    return f"(({where}) && ({at}))"


def _literal(text: str) -> str:
    """A TraceQL text: escaped as in Go and JSON alike."""
    return json.dumps(text, ensure_ascii=False)
