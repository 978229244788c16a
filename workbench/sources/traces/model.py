"""What is asked of a trace store, and what it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from workbench.errors import SourceError
from workbench.sources.traces.spans import EventRow, SpanRow, span_tables

MOST_TRACES = 50
MOST_SPANS = 50_000

Place = tuple[str, int, int]  # topic, partition, offset


@dataclass(frozen=True)
class SpanQuery:
    """Which spans: those of the named traces, those that name a message, and those that are linked with either.

    Attributes:
        trace_ids: 32 lower-case hex digits each, in the order of their worth.
        message_ids: ids that spans may carry.
        places: coordinates that spans may carry.
        since, until: when the spans began, UTC; None is open.
    """

    trace_ids: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def names(self, span: SpanRow) -> bool:
        """Whether a span carries one of the ids or coordinates."""
        return span.message_id in self._ids or (span.destination, span.partition, span.offset) in self.places

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset((*self.message_ids, *(dotted(place) for place in self.places)))


def dotted(place: Place) -> str:
    """The message id that OpenTelemetry's Kafka instrumentations make of coordinates."""
    return ".".join(map(str, place))


@dataclass
class Found:
    """Spans while they come in.

    Attributes:
        failures: subject (a trace id, ``search``) -> why there is no more.
        skipped: why parts of answers were left out -> how many.
        truncated: there may be more traces or spans than were taken.
    """

    spans: list[SpanRow] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    truncated: bool = False

    def add(self, spans: Sequence[SpanRow], events: Sequence[EventRow]) -> None:
        """Takes spans, up to ``MOST_SPANS``."""
        room = MOST_SPANS - len(self.spans)
        self.truncated = self.truncated or len(spans) > room
        self.spans += spans[: max(0, room)]
        self.events += events[: max(0, MOST_SPANS - len(self.events))]

    def failed(self, subject: str, error: SourceError) -> None:
        """Notes why a part is missing; what was had before is kept."""
        self.failures.setdefault(subject, str(error).rstrip("."))

    def linked(self) -> list[str]:
        """Traces that the spans link to, and that are not among them."""
        here = {span.trace_id for span in self.spans}
        linked = (link.partition("/")[0] for span in self.spans for link in span.links)
        return [trace_id for trace_id in dict.fromkeys(linked) if trace_id not in here]

    def tables(self) -> tuple[Any, Any]:
        """(spans, span events) as tables."""
        return span_tables(self.spans, self.events)


class Traces(Protocol):
    """A trace store of a profile; read only."""

    kind: str
    where: str

    def find(self, query: SpanQuery) -> Found:
        """The spans of a query; what could not be had is told in ``failures``, never raised."""
        ...

    def check(self) -> str:
        """What answers, in a few words.

        Raises:
            SourceError: it cannot be reached, refuses, or is something else.
        """
        ...

    def close(self) -> None:
        """Frees connections."""
        ...
