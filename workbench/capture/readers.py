"""Which reader reads: record batches where that is possible, the client library everywhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from threading import Thread
from typing import Any, Literal

from workbench.capture.reader import Chunk, ClientReader, Reader, consumer_settings
from workbench.capture.spec import CaptureSpec, PartitionRange
from workbench.capture.wire.errors import NotForWire

_NEEDED = {
    "cramjam": "cramjam is not installed",
    "google_crc32c": "google-crc32c is not installed",
    "workbench.capture.wire._records": "its compiled part was not built when the workbench was installed",
}


def why_not_wire(client_settings: Mapping[str, Any]) -> str:
    """Why the wire reader cannot be used with these settings, as far as can be told without a connection.

    Returns:
        A phrase; empty when it can.
    """
    missing = [why for name, why in _NEEDED.items() if find_spec(name) is None]
    if missing:
        return missing[0]
    if not client_settings.get("bootstrap.servers"):
        return "there is no bootstrap.servers"
    from workbench.sources.python_client import python_settings

    try:
        python_settings(client_settings)
    except (ValueError, KeyError, OSError) as error:
        return f"a setting is not usable by kafka-python ({type(error).__name__})"
    except Exception as error:  # noqa: BLE001 - ConfigError, or whatever a certificate that it cannot read raises
        return str(error).rstrip(".")
    return ""


def reader_name(client_settings: Mapping[str, Any], spec: CaptureSpec) -> Literal["wire", "client"]:
    """The reader that a capture begins with.

    Raises:
        NotForWire: the spec insists on the wire reader, and it cannot be used.
    """
    if spec.reader == "client":
        return "client"
    why = why_not_wire(client_settings)
    if why and spec.reader == "wire":
        raise NotForWire(why, str(client_settings.get("bootstrap.servers", "")))
    return "client" if why else "wire"


def load_ahead(reader: str = "auto") -> None:
    """Loads what the wire reader needs in the background: it takes as long as the first answers of a cluster."""
    if reader != "client":
        Thread(target=_load, name="workbench-load", daemon=True).start()


def _load() -> None:
    # Whatever fails here is told when it is needed.
    with suppress(Exception):
        for name in (*_NEEDED, "kafka", "kafka.protocol.consumer", "workbench.capture.wire.reader"):
            import_module(name)


def open_reader(client_settings: Mapping[str, Any], spec: CaptureSpec, isolation: str) -> Reader:
    """The reader for one pass; what read_committed shows only the client reader knows.

    Raises:
        NotForWire: the spec insists on the wire reader, and it cannot be used.
    """
    if isolation == "read_uncommitted" and reader_name(client_settings, spec) == "wire":
        return _Wire(client_settings, spec)
    return _client(client_settings, spec, isolation)


def _client(client_settings: Mapping[str, Any], spec: CaptureSpec, isolation: str) -> ClientReader:
    return ClientReader(consumer_settings(client_settings, isolation, spec.limits.max_bytes_per_second))


class _Wire:
    """The wire reader; topics that it cannot read go on with the client reader, from where it was."""

    name = "wire"

    def __init__(self, client_settings: Mapping[str, Any], spec: CaptureSpec) -> None:
        self._settings, self._spec = client_settings, spec
        self._wire: Reader | None = None
        self._client: Reader | None = None
        self._unreachable = False
        self._not_for_wire: set[str] = set()

    def close(self) -> None:
        for reader in (self._wire, self._client):
            if reader is not None:
                reader.close()

    def read(
        self, topic: str, ranges: Sequence[PartitionRange], want: set[str], stopped: Callable[[], bool]
    ) -> Iterator[Chunk]:
        reached: dict[int, int] = {}
        errors: dict[int, str] = {}
        if topic not in self._not_for_wire and not self._unreachable:
            try:
                for chunk in self._by_wire(topic, ranges, want, stopped):
                    reached |= chunk.positions
                    errors |= chunk.errors
                    yield chunk
                return
            except NotForWire:
                if self._spec.reader == "wire":
                    raise
                # Without a connection no topic can be read; with one, this topic's messages are of an old format.
                self._unreachable = self._wire is None
                self._not_for_wire.add(topic)
        rest = [dataclasses.replace(one, start_offset=reached.get(one.partition, one.start_offset)) for one in ranges]
        for chunk in self._by_client().read(topic, rest, want, stopped):
            yield dataclasses.replace(chunk, errors=_joined(errors, chunk.errors))

    def _by_wire(
        self, topic: str, ranges: Sequence[PartitionRange], want: set[str], stopped: Callable[[], bool]
    ) -> Iterator[Chunk]:
        if self._wire is None:
            from workbench.capture.wire.reader import WireReader

            self._wire = WireReader(self._settings, self._spec.limits)
        yield from self._wire.read(topic, ranges, want, stopped)

    def _by_client(self) -> Reader:
        if self._client is None:
            self._client = _client(self._settings, self._spec, "read_uncommitted")
        return self._client


def _joined(before: Mapping[int, str], now: Mapping[int, str]) -> dict[int, str]:
    return {one: "; ".join(filter(None, (before.get(one), now.get(one)))) for one in {*before, *now}}
