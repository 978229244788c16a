"""Larger reads for kafka-python's connections, which take 4 KiB at a time: for a scan most of their cost is those calls."""

from __future__ import annotations

import ssl
from typing import Any

RECEIVE_BYTES = 1 << 18
AT_ONCE_BYTES = 8 << 20  # then other connections have their turn


def use_larger_reads() -> None:
    """Makes all connections of kafka-python in this process read ``RECEIVE_BYTES`` at a time; only how, not what."""
    from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

    KafkaTCPTransport._sock_recv = _received  # noqa: SLF001 - there is no option for it
    KafkaSSLTransport._sock_recv = _received  # noqa: SLF001


def _received(transport: Any) -> tuple[bytes, Exception | None]:
    """(what the socket has now, why it is no more)."""
    from kafka.errors import KafkaConnectionError

    parts: list[bytes] = []
    size, socket = 0, transport._sock  # noqa: SLF001
    # What TLS holds back already is no longer waited for on the socket: it is always taken.
    while size < AT_ONCE_BYTES or (isinstance(socket, ssl.SSLSocket) and socket.pending()):
        try:
            data = socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            break
        except Exception as error:  # noqa: BLE001 - as the library does it: whatever it is, the connection is over
            return b"".join(parts), KafkaConnectionError(error)
        if not data:
            return b"".join(parts), KafkaConnectionError("socket disconnected")
        parts.append(data)
        size += len(data)
    return b"".join(parts), None
