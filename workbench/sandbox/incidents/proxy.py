"""A TCP proxy before the brokers that loses one answer: the broker stores a batch, and the producer never hears it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from workbench.errors import SandboxError
from workbench.sandbox.incidents.topics import TIMEOUT_SECONDS, admin

_PRODUCE, _METADATA = 0, 3


@dataclass
class _State:
    """What the connections share.

    Attributes:
        addresses: how a broker is written in an answer -> how the proxy is (host, then port as four bytes).
        armed: the next Produce request loses its answer.
        lost: answers lost so far.
    """

    addresses: Mapping[bytes, bytes] = field(default_factory=dict)
    armed: bool = False
    lost: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def takes_victim(self, api: int) -> bool:
        """Whether this request is the one; there is one for each time the proxy is armed."""
        with self.lock:
            chosen = self.armed and api == _PRODUCE
            self.armed = self.armed and not chosen
            self.lost += chosen
            return chosen


class LossyProxy:
    """Stands before all brokers of a local cluster; clients that bootstrap through it stay behind it."""

    def __init__(self, bootstrap: str) -> None:
        self._state = _State()
        self._open = True
        client = admin(bootstrap)
        brokers = client.list_topics(timeout=TIMEOUT_SECONDS).brokers.values()
        targets = [(str(broker.host), int(broker.port or 0)) for broker in brokers]
        pairs = [(_listen(host), (host, port)) for host, port in targets]
        self._listeners = [listener for listener, _ in pairs]
        self._state.addresses = {
            _written(host, port): _written(host, listener.getsockname()[1]) for listener, (host, port) in pairs
        }
        for listener, target in pairs:
            _thread(self._accept, listener, target)

    @property
    def bootstrap(self) -> str:
        """Where clients connect to."""
        return ",".join("{}:{}".format(*listener.getsockname()[:2]) for listener in self._listeners)

    @property
    def lost(self) -> int:
        """Number of answers lost so far."""
        return self._state.lost

    def lose_next_answer(self) -> None:
        """The next Produce request reaches its broker, and its connection breaks before the answer."""
        self._state.armed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        for listener in self._listeners:
            _close(listener)

    def _accept(self, listener: socket.socket, target: tuple[str, int]) -> None:
        while self._open:
            try:
                client, _ = listener.accept()
                broker = socket.create_connection(target, TIMEOUT_SECONDS)
            except OSError:
                return
            connection = _Connection(client, broker, self._state)
            _thread(connection.forward_requests)
            _thread(connection.forward_answers)


class _Connection:
    def __init__(self, client: socket.socket, broker: socket.socket, state: _State) -> None:
        self.client, self.broker, self.state = client, broker, state
        self.victim: int | None = None
        self.metadata: set[int] = set()

    def forward_requests(self) -> None:
        while (frame := _frame(self.client)) is not None:
            api, _, correlation = struct.unpack(">hhi", frame[:8])
            if api == _METADATA:
                self.metadata.add(correlation)
            if self.state.takes_victim(api):
                self.victim = correlation
            _send(self.broker, frame)
        self._end()

    def forward_answers(self) -> None:
        while (frame := _frame(self.broker)) is not None:
            (correlation,) = struct.unpack(">i", frame[:4])
            if correlation == self.victim:
                break
            if correlation in self.metadata:
                self.metadata.discard(correlation)
                frame = self._redirected(frame)
            _send(self.client, frame)
        self._end()

    def _redirected(self, frame: bytes) -> bytes:
        # Host text and port stand side by side in every version of the answer, and keep their lengths.
        for broker, proxy in self.state.addresses.items():
            frame = frame.replace(broker, proxy)
        return frame

    def _end(self) -> None:
        _close(self.client)
        _close(self.broker)


def _written(host: str, port: int) -> bytes:
    return host.encode() + struct.pack(">i", port)


def _listen(host: str) -> socket.socket:
    try:
        return socket.create_server((host, 0))
    except OSError as error:
        hint = "Plant this incident in the sandbox."
        raise SandboxError(f"A proxy cannot stand before {host}, which is not this machine.", hint=hint) from error


def _frame(source: socket.socket) -> bytes | None:
    """The next length-prefixed frame, without its length; None when the connection has ended."""
    head = _exactly(source, 4)
    return None if head is None else _exactly(source, struct.unpack(">i", head)[0])


def _exactly(source: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        try:
            part = source.recv(count - len(parts))
        except OSError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)


def _send(target: socket.socket, frame: bytes) -> None:
    try:
        target.sendall(struct.pack(">i", len(frame)) + frame)
    except OSError:
        _close(target)


def _close(sock: socket.socket) -> None:
    with suppress(OSError):  # it may not be connected any more
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def _thread(target: object, *arguments: object) -> None:
    if callable(target):
        threading.Thread(target=target, args=arguments, daemon=True).start()
