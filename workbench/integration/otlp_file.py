"""Spans as a file of OTLP JSON: each line is one ExportTraceServiceRequest, as the collector's file exporter writes it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

# OTLP's JSON differs from Protobuf's in these only: ids are hexadecimal, enums are numbers.
_IDS = frozenset({"traceId", "spanId", "parentSpanId"})


class OtlpFileExporter(SpanExporter):
    """Appends spans to a file; several processes may write one, since each line is written at once.

    Args:
        path: the file; made with its folder where missing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Writes one line."""
        document = MessageToDict(encode_spans(spans), use_integers_for_enums=True)
        line = json.dumps(_with_hex_ids(document), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            if self._file.closed:
                return SpanExportResult.FAILURE
            self._file.write(line)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Closes the file."""
        with self._lock:
            self._file.close()


def _with_hex_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _hex(inner) if name in _IDS else _with_hex_ids(inner) for name, inner in value.items()}
    return [_with_hex_ids(item) for item in value] if isinstance(value, list) else value


def _hex(text: str) -> str:
    return base64.b64decode(text).hex()
