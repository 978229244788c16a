"""An ASGI application on a port of this machine, in a thread of its own (uvicorn)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from workbench.errors import WorkbenchError

STOP_SECONDS = 10


@contextlib.contextmanager
def serving(app: Any, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """``http://host:port`` of an application that is up; leaving the block ends it after the answers that are under way.

    Args:
        app: an ASGI application.
        host: the address to listen on; loopback unless somebody chose otherwise.
        port: 0 takes a free one.

    Raises:
        WorkbenchError: the port is taken or not allowed.
    """
    listener = _listener(host, port)
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=STOP_SECONDS
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="serving", daemon=True)
    thread.start()
    try:
        # The socket listens already: who connects before the server is up waits in its queue.
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS + 5)
        listener.close()


def _listener(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        sentence = f"Cannot listen on {host}:{port}: {error.strerror or error}."
        raise WorkbenchError(sentence, hint="Choose another port; 0 takes a free one.") from None
