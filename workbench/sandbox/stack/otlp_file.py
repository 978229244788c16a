"""A receiver of OTLP over HTTP that appends what it gets to a file, a JSON document a line.

It stands in for Jaeger where that cannot be built. The file is what the OpenTelemetry collector's file exporter writes
too: ``resourceSpans`` in OTLP's JSON, ids in hexadecimal.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request

LARGEST_BYTES = 16 * 1024 * 1024
_IDS = ("traceId", "spanId", "parentSpanId")


def as_json(body: bytes, content_type: str) -> dict[str, Any]:
    """An OTLP request as OTLP's JSON.

    Raises:
        ValueError: the body is neither protobuf nor JSON of a trace request.
    """
    if content_type.startswith("application/json"):
        document = json.loads(body)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        return document
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    told: dict[str, Any] = MessageToDict(request, use_integers_for_enums=True)
    _write_ids_in_hex(told)
    return told


def _write_ids_in_hex(value: Any) -> None:
    """Protobuf's JSON has bytes in base64; OTLP's JSON has ids in hexadecimal."""
    if isinstance(value, list):
        for inner in value:
            _write_ids_in_hex(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in _IDS and isinstance(inner, str):
                value[key] = base64.b64decode(inner).hex()
            else:
                _write_ids_in_hex(inner)


def application(file: Path) -> Callable[..., Any]:
    """The HTTP side: ``POST /v1/traces`` keeps spans, ``GET /ready`` answers 200."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    async def take(request: Request) -> Response:
        body = await request.body()
        try:
            if len(body) > LARGEST_BYTES:
                raise ValueError("too large")
            document = as_json(body, request.headers.get("content-type", ""))
        except ValueError as error:
            return PlainTextResponse(f"no trace request: {error}", 400)
        # One write a line: a reader never sees half of one, and one process writes.
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(document, separators=(",", ":")) + "\n")
        return Response(status_code=200, media_type="application/x-protobuf")

    async def ready(_: Request) -> Response:
        return PlainTextResponse("ready")

    return Starlette(routes=[Route("/v1/traces", take, methods=["POST"]), Route("/ready", ready)])


def main(port: int, file: Path) -> None:
    """Serves until SIGTERM."""
    import uvicorn

    file.touch()
    uvicorn.run(application(file), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
