"""Jaeger: its HTTP API v3 (OTLP), and the JSON of its user interface where v3 is off and for searches by attribute."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from workbench.errors import NotFound
from workbench.sources.http import Endpoint, NotJson
from workbench.sources.traces import otlp
from workbench.sources.traces.model import Found, SpanQuery, dotted
from workbench.sources.traces.spans import ATTRIBUTES, KINDS, EventRow, SpanRow, messaging, text, whole
from workbench.sources.traces.store import HttpStore

MOST_SERVICES = 40
MOST_SEARCHES = 200
TRACES_A_SEARCH = 20
LOOK_BACK = timedelta(days=14)


class Jaeger(HttpStore):
    """A Jaeger query service.

    Reads: GET /api/v3/traces/ID, /api/v3/services; /api/traces/ID, /api/traces?tags=, /api/services.
    """

    kind, name = "jaeger", "Jaeger"

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self._services: list[str] | None = None

    def check(self) -> str:
        """How many services it knows."""
        return f"{len(self.services())} services"

    def services(self) -> list[str]:
        """The services that have sent spans."""
        if self._services is None:
            try:
                listed = self.endpoint.get("/api/v3/services")
                names = listed.get("services") if isinstance(listed, dict) else None
            except (NotFound, NotJson):
                listed = self.endpoint.get("/api/services")
                names = listed.get("data") if isinstance(listed, dict) else None
            self._services = [name for name in names or () if isinstance(name, str)]
        return self._services

    def trace(self, trace_id: str, found: Found) -> None:
        """Takes one trace, by v3 or, where that is off, by the older API."""
        try:
            answer = self.endpoint.get(f"/api/v3/traces/{trace_id}")
        except (NotFound, NotJson):
            take_older(self.endpoint.get(f"/api/traces/{trace_id}"), found)
            return
        found.add(*otlp.rows_of(answer.get("result") if isinstance(answer, dict) else None, found.skipped))

    def search(self, query: SpanQuery, found: Found) -> Iterable[str]:
        """Asks each service for each name that an attribute may have; Jaeger joins attributes by "and" only."""
        services = self.services()
        if len(services) > MOST_SERVICES:
            found.failures["services"] = f"{len(services)} services are known, {MOST_SERVICES} of them were asked"
        asked = list(product(_tags(query), services[:MOST_SERVICES]))
        for number, (tags, service) in enumerate(asked):
            if number >= MOST_SEARCHES or self.is_late():
                found.failures["searches"] = f"{number} of {len(asked):,} searches were made; then it was given up"
                break
            self._search_one(service, tags, query, found)
        return ()

    def _search_one(self, service: str, tags: Mapping[str, str], query: SpanQuery, found: Found) -> None:
        since, until = query.since or datetime.now(UTC) - LOOK_BACK, query.until or datetime.now(UTC)
        here = {span.trace_id for span in found.spans}
        part = Found()
        params: dict[str, str | int] = {
            "service": service, "tags": json.dumps(tags), "limit": TRACES_A_SEARCH,
            "start": round(since.timestamp() * 1e6), "end": round(until.timestamp() * 1e6),
        }  # fmt: skip
        try:
            take_older(self.endpoint.get("/api/traces", params), part)
        except (NotFound, NotJson):
            self._search_by_v3(service, tags, (since, until), part)
        named = {span.trace_id for span in part.spans if query.names(span)} - here
        found.add(
            [span for span in part.spans if span.trace_id in named],
            [one for one in part.events if one.trace_id in named],
        )
        found.skipped.update(part.skipped)

    def _search_by_v3(
        self, service: str, tags: Mapping[str, str], window: tuple[datetime, datetime], part: Found
    ) -> None:
        since, until = (at.astimezone(UTC).isoformat().replace("+00:00", "Z") for at in window)
        params: dict[str, str | int] = {
            "query.service_name": service, "query.attributes": json.dumps(tags), "query.start_time_min": since,
            "query.start_time_max": until, "query.num_traces": TRACES_A_SEARCH,
        }  # fmt: skip
        answer = self.endpoint.get("/api/v3/traces", params)
        part.add(*otlp.rows_of(answer.get("result") if isinstance(answer, dict) else None, part.skipped))


def _tags(query: SpanQuery) -> Iterator[dict[str, str]]:
    """What to search for: the ids, then one place after the other, under each name that they may have."""
    yield from ({name: one} for one, name in product(query.message_ids, ATTRIBUTES["message_id"]))
    for place in query.places:
        topic, _, offset = place
        for where, at in product(ATTRIBUTES["destination"], ATTRIBUTES["offset"]):
            yield {where: topic, at: str(offset)}
        yield from ({name: dotted(place)} for name in ATTRIBUTES["message_id"])


def take_older(answer: Any, found: Found) -> None:
    """Takes the traces of the older API's JSON."""
    for trace in _dicts(answer.get("data") if isinstance(answer, dict) else None):
        processes = trace.get("processes") if isinstance(trace.get("processes"), dict) else {}
        rows = [_row(raw, processes, found.skipped) for raw in _dicts(trace.get("spans"))]
        spans = [row for row, _ in rows if row is not None]
        found.add(spans, [event for row, noted in rows if row is not None for event in noted])


def _row(raw: Mapping[str, Any], processes: Any, skipped: Counter[str]) -> tuple[SpanRow | None, list[EventRow]]:
    trace_id = otlp.id_text(raw.get("traceID"), otlp.TRACE_BYTES)
    span_id = otlp.id_text(raw.get("spanID"), otlp.SPAN_BYTES)
    if trace_id is None or span_id is None:
        skipped["span without ids"] += 1
        return None, []
    tags, logs = _tag_values(raw.get("tags")), [_log(one, trace_id, span_id) for one in _dicts(raw.get("logs"))]
    process = processes.get(raw.get("processID")) if isinstance(raw.get("processID"), str) else None
    parents, links = _references(raw)
    failed = tags.get("error") in (True, "true") or tags.get("otel.status_code") == "ERROR"
    last = next((one.error for one in reversed(logs) if one.error), None)
    kind = str(tags.get("span.kind") or "")
    row = SpanRow(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parents[0] if parents else None,
        links=links,
        service=text(process.get("serviceName")) if isinstance(process, dict) else None,
        name=text(raw.get("operationName")),
        kind=kind if kind in KINDS else "unset",
        started_us=whole(raw.get("startTime")),
        duration_us=whole(raw.get("duration")),
        status="error" if failed else "ok" if tags.get("otel.status_code") == "OK" else "unset",
        error=otlp.error_type(tags) or last or ("error" if failed else None),
        **messaging(tags),
    )
    return row, logs


def _references(raw: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(parents in the same trace, links to other spans)."""
    parents, links = [], []
    for one in _dicts(raw.get("references")):
        trace_id = otlp.id_text(one.get("traceID"), otlp.TRACE_BYTES)
        span_id = otlp.id_text(one.get("spanID"), otlp.SPAN_BYTES)
        same = trace_id == otlp.id_text(raw.get("traceID"), otlp.TRACE_BYTES)
        if one.get("refType") == "CHILD_OF" and same and span_id:
            parents.append(span_id)
        elif trace_id:
            links.append(f"{trace_id}/{span_id or ''}")
    return parents, links


def _log(raw: Mapping[str, Any], trace_id: str, span_id: str) -> EventRow:
    fields = _tag_values(raw.get("fields"))
    name = fields.get("event") or fields.get("message")
    return EventRow(trace_id, span_id, whole(raw.get("timestamp")), text(name), otlp.error_type(fields))


def _tag_values(tags: Any) -> dict[str, Any]:
    return {tag["key"]: tag.get("value") for tag in _dicts(tags) if isinstance(tag.get("key"), str)}


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
