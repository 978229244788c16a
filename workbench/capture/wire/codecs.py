"""Codecs of record batches: what comes out is bounded, whatever the bytes claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CODEC_BITS = 0x07
NAMES = ("none", "gzip", "snappy", "lz4", "zstd")
# A batch is at most message.max.bytes as compressed (1 MB unless somebody raised it); what is honest stays far below this.
LARGEST_BODY = 256 << 20
SMALLEST_ROOM = 16 << 10
GROWTH = 4  # of a body against its compressed bytes, to begin with
XERIAL = b"\x82SNAPPY\x00"
XERIAL_HEAD = 16
FULL = "whole buffer"  # cramjam's words for "the output does not fit"; a test holds them
GZIP = 31  # zlib's word for "with a gzip head"


class TooLarge(ValueError):
    """A body that would need more than ``LARGEST_BODY`` bytes."""


def codec_name(attributes: int) -> str:
    """The codec of a batch in Kafka's word; ``unknown`` for numbers that mean none."""
    code = attributes & CODEC_BITS
    return NAMES[code] if code < len(NAMES) else "unknown"


class Codecs:
    """Decompresses bodies, most of them into memory that is used again and again: fresh pages cost as much as the codec."""

    def __init__(self, largest: int = LARGEST_BODY, arena: int = 0) -> None:
        """Begins without memory.

        Args:
            largest: bytes that a body may have.
            arena: bytes of the bodies that are kept at the same time, about.
        """
        self._largest = largest
        self._arena_bytes = min(largest, arena)
        self._arena = memoryview(b"")
        self._used = 0

    def forget(self) -> None:
        """The bodies that were given so far are no longer looked at; their memory is used again."""
        self._used = 0

    def decompressed(self, name: str, data: memoryview) -> Any:
        """A body as a buffer.

        Raises:
            TooLarge: more than the largest body would come out.
            Exception: whatever the codec raises at damaged bytes.
        """
        plain: dict[str, Callable[[memoryview], Any]] = {
            "none": lambda same: same,
            "gzip": self._gzip,
            "snappy": self._snappy,
        }
        return plain[name](data) if name in plain else self._growing(name, data)

    def _gzip(self, data: memoryview) -> bytes:
        """All members, as Java's GZIPInputStream reads them."""
        import zlib

        out: list[bytes] = []
        left, rest = self._largest, bytes(data)
        while rest:
            member = zlib.decompressobj(GZIP)
            out.append(member.decompress(rest, left + 1))
            left -= len(out[-1])
            if left < 0:
                raise TooLarge
            if not member.eof:
                raise ValueError("a member is cut")
            rest = member.unused_data
        return b"".join(out)

    def _snappy(self, data: memoryview) -> Any:
        """Java's framing (blocks behind their sizes), or one plain block as librdkafka's senders may write."""
        if data[: len(XERIAL)] != XERIAL:
            return self._snappy_block(data, self._largest)
        blocks, at, left = [], XERIAL_HEAD, self._largest
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            at += 4
            if size > len(data) - at:
                raise ValueError("a block is cut")
            blocks.append(memoryview(self._snappy_block(data[at : at + size], left)))
            left -= blocks[-1].nbytes
            at += size
        return b"".join(blocks)

    def _snappy_block(self, data: memoryview, left: int) -> Any:
        import cramjam

        if cramjam.snappy.decompress_raw_len(data) > left:
            raise TooLarge
        return cramjam.snappy.decompress_raw(data)

    def _growing(self, name: str, data: memoryview) -> memoryview:
        """Into what is left of the arena, else into memory of its own, with more of it when that was too little."""
        room = max(SMALLEST_ROOM, data.nbytes * GROWTH)
        rest = self._rest()
        if rest.nbytes >= data.nbytes:
            size = _into(name, data, rest)
            if size is not None:
                self._used += size
                return rest[:size]
        while True:
            room = min(self._largest, room)
            out = _memory(room)
            size = _into(name, data, out)
            if size is not None:
                return out[:size]
            if room == self._largest:
                raise TooLarge
            room *= GROWTH

    def _rest(self) -> memoryview:
        if not self._arena.nbytes and self._arena_bytes:
            self._arena = _memory(self._arena_bytes)
        return self._arena[self._used :]


def _memory(size: int) -> memoryview:
    import pyarrow as pa

    return memoryview(pa.allocate_buffer(size))  # not zeroed, and given back to a pool


def _into(name: str, data: memoryview, out: memoryview) -> int | None:
    """Bytes that came out; None when they do not fit."""
    import cramjam

    try:
        return int(getattr(cramjam, name).decompress_into(data, out))
    except cramjam.DecompressionError as error:
        if FULL in str(error):
            return None
        raise
