"""A server that answers HTTP as a test tells it to, for what a healthy Prometheus never does."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Handler = Callable[[BaseHTTPRequestHandler], None]

EMPTY = {"status": "success", "data": {"resultType": "vector", "result": []}}


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str = "application/json") -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def reply_json(handler: BaseHTTPRequestHandler, document: object, status: int = 200) -> None:
    reply(handler, status, json.dumps(document).encode())


@contextmanager
def answering(handle: Handler, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server on loopback that answers every GET and POST with ``handle``."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Whoever asked may have had enough.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                handle(self)

        do_POST = do_GET  # noqa: N815 - the base class names them

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
