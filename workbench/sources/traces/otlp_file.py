"""A file of OTLP JSON lines, as OpenTelemetry's file exporter and the Collector write it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import ConfigError, NotFound, SourceError
from workbench.sources.traces import otlp
from workbench.sources.traces.model import MOST_TRACES, Found, SpanQuery
from workbench.sources.traces.spans import SpanRow

LONGEST_LINE = 64 << 20
MOST_BYTES = 4 << 30


class _Line(NamedTuple):
    """A line in short: where it is, its traces, which of them name the message, and which traces link to which."""

    path: Path
    at: int
    traces: frozenset[str]
    named: frozenset[str]
    links: frozenset[tuple[str, str]]


class OtlpFile:
    """One file, or a folder of files that end in ``.json`` or ``.jsonl``. Damaged lines are counted, never fatal."""

    kind, name = "otlp-file", "the trace file"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if not settings.get("path"):
            raise ConfigError('Traces of kind otlp-file need path = "FILE".', hint="Write it into the profile.")
        self.path = Path(str(settings["path"])).expanduser()
        self.where = self.path.name

    def close(self) -> None:
        """Nothing is held open."""

    def check(self) -> str:
        """How large it is."""
        files = self._files()
        return f"{len(files)} files, {sum(path.stat().st_size for path in files):,} bytes"

    def find(self, query: SpanQuery) -> Found:
        """The spans of a query; what could not be had is told in ``failures``, never raised.

        Two passes: the first finds which traces concern the message, the second reads the lines that hold them.
        """
        found = Found()
        try:
            lines = self._scan(query, found)
            wanted = _chosen(query, lines, found)
            for line in lines:
                if not wanted.isdisjoint(line.traces):
                    self._take(line, wanted, found)
        except SourceError as error:
            found.failed("file", error)
        return found

    def _scan(self, query: SpanQuery, found: Found) -> list[_Line]:
        """Every line that holds spans, in short."""
        out: list[_Line] = []
        read = 0
        for path in self._files():
            with path.open("rb") as lines:
                while line := lines.readline(LONGEST_LINE):
                    read += len(line)
                    if read > MOST_BYTES:
                        found.truncated = True
                        found.failures["size"] = f"only the first {MOST_BYTES >> 30} GiB were read"
                        return out
                    if (document := _parsed(line, found)) is not None:
                        spans, _ = otlp.rows_of(document, found.skipped)
                        out.append(_line(path, lines.tell() - len(line), spans, query))
        return out

    def _take(self, line: _Line, wanted: set[str], found: Found) -> None:
        with line.path.open("rb") as lines:
            lines.seek(line.at)
            document = _parsed(lines.readline(LONGEST_LINE), Found())
        spans, events = otlp.rows_of(document, Counter())
        found.add(
            [span for span in spans if span.trace_id in wanted], [one for one in events if one.trace_id in wanted]
        )

    def _files(self) -> list[Path]:
        try:
            if self.path.is_dir():
                return sorted(path for path in self.path.iterdir() if path.suffix in (".json", ".jsonl"))
            with self.path.open("rb"):
                return [self.path]
        except OSError as error:
            raise NotFound(
                f"The trace file {self.path.name} cannot be read: {error.strerror}.",
                source="traces",
                endpoint=self.path.name,
                hint="Check path of the profile's traces.",
            ) from None


def _line(path: Path, at: int, spans: list[SpanRow], query: SpanQuery) -> _Line:
    links = {(span.trace_id, link.partition("/")[0]) for span in spans for link in span.links}
    named = frozenset(span.trace_id for span in spans if query.names(span))
    return _Line(path, at, frozenset(span.trace_id for span in spans), named, frozenset(links))


def _chosen(query: SpanQuery, lines: list[_Line], found: Found) -> set[str]:
    """Traces that are named, that carry the message, and those linked with either, in both directions."""
    wanted = dict.fromkeys((*query.trace_ids, *sorted(one for line in lines for one in line.named)))
    linked = sorted(one for line in lines for pair in line.links if not wanted.keys().isdisjoint(pair) for one in pair)
    every = list(wanted | dict.fromkeys(linked))
    if len(every) > MOST_TRACES:
        found.truncated = True
        found.failures["traces"] = f"{len(every):,} traces concern this message; {MOST_TRACES} of them were taken"
    return set(every[:MOST_TRACES])


def _parsed(line: bytes, found: Found) -> Any:
    if not line.strip():
        return None
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        found.skipped["line that is not JSON"] += 1
        return None
    if not isinstance(document, dict) or not {"resourceSpans", "resource_spans", "batches"} & document.keys():
        found.skipped["line without spans"] += 1
        return None
    return document
