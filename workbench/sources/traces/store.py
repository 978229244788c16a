"""Trace stores behind HTTP: which traces to ask for, in what order, and when to stop."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from workbench.errors import NotFound, SourceError, SourceUnavailable
from workbench.sources.http import Endpoint
from workbench.sources.traces.model import MOST_TRACES, Found, SpanQuery

# A whole search may take so many times what one request may.
PATIENCE = 4


class HttpStore(ABC):
    """A trace store that answers one trace a request, and searches that name traces."""

    kind: str
    name: str

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.where = endpoint.url
        self._deadline = float("inf")

    def close(self) -> None:
        """Frees connections."""
        self.endpoint.close()

    def find(self, query: SpanQuery) -> Found:
        """The spans of a query; what could not be had is told in ``failures``, never raised."""
        found = Found()
        self._deadline = time.monotonic() + PATIENCE * self.endpoint.timeout_seconds
        asking = _Asking(self, found)
        asking.traces(query.trace_ids)
        asking.search(query)
        asking.linking()
        return found

    def is_late(self) -> bool:
        """Whether the patience with the query that is being asked is at its end."""
        return time.monotonic() > self._deadline

    @abstractmethod
    def trace(self, trace_id: str, found: Found) -> None:
        """Takes one trace.

        Raises:
            SourceError: it is not there, or could not be had.
        """

    @abstractmethod
    def search(self, query: SpanQuery, found: Found) -> Iterable[str]:
        """Traces that hold spans of a message; those that came along whole are taken and not named.

        Raises:
            SourceError: it could not be asked.
        """

    def linking(self, _trace_ids: list[str], _found: Found) -> Iterable[str]:
        """Traces whose spans link to the given ones; nothing where the store cannot look for links."""
        return ()


class _Asking:
    """One query while it is asked: each trace once, within the patience, and no more after the store went away."""

    def __init__(self, store: HttpStore, found: Found) -> None:
        self._store, self._found = store, found
        self._asked: dict[str, None] = {}
        self._away = False

    def traces(self, trace_ids: Iterable[str]) -> None:
        here = {span.trace_id for span in self._found.spans}
        fresh = [one for one in dict.fromkeys(trace_ids) if one not in self._asked and one not in here]
        room = max(0, MOST_TRACES - len(self._asked))
        if len(fresh) > room:
            self._found.truncated = True
            self._found.failures["traces"] = f"there are more traces; {MOST_TRACES} were asked for"
        for trace_id in fresh[:room]:
            self._asked[trace_id] = None
            self._try(trace_id, self._store.trace, trace_id, self._found)

    def search(self, query: SpanQuery) -> None:
        if query.message_ids or query.places:
            self.traces(self._try("search", self._listed, query) or ())

    def linking(self) -> None:
        here = list(dict.fromkeys(span.trace_id for span in self._found.spans))
        if here:
            self.traces(self._try("links", self._store.linking, here, self._found) or ())
        self.traces(self._found.linked())

    def _listed(self, query: SpanQuery) -> list[str]:
        return list(self._store.search(query, self._found))

    def _try(self, subject: str, ask: Any, *given: Any) -> Any:
        if self._away:
            return None
        if self._store.is_late():
            self._found.failures.setdefault("time", f"{self._store.name} took too long: not everything was asked")
            return None
        try:
            return ask(*given)
        except NotFound:
            self._found.failures[subject] = f"{self._store.name} has no such trace (not sampled, or no longer kept)"
        except SourceUnavailable as error:
            self._away = True
            self._found.failed(subject, error)
        except SourceError as error:
            self._found.failed(subject, error)
        return None
