"""Codecs of record batches: what comes out is bounded, whatever the bytes claim."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CODEC_BITS = 0x07
NAMES = ("none", "gzip", "snappy", "lz4", "zstd")
# A batch is at most message.max.bytes as compressed (1 MB unless somebody raised it); what is honest stays far below this.
LARGEST_BODY = 256 << 20
SMALLEST_ROOM = 16 << 10
GROWTH = 4
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
    """Decompresses bodies; remembers how much room the last ones needed, so that it is nearly always right at once."""

    def __init__(self, largest: int = LARGEST_BODY) -> None:
        self._largest = largest
        self._ratio = {"lz4": GROWTH, "zstd": GROWTH}

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
        """Into memory of a fixed size, with more of it when that was too little."""
        import cramjam
        import pyarrow as pa

        into = getattr(cramjam, name).decompress_into
        room = min(self._largest, max(SMALLEST_ROOM, data.nbytes * self._ratio[name]))
        while True:
            out = memoryview(pa.allocate_buffer(room))  # not zeroed, and given back to a pool
            try:
                return out[: into(data, out)]
            except cramjam.DecompressionError as error:
                if FULL not in str(error):
                    raise
                if room >= self._largest:
                    raise TooLarge from None
            room = min(self._largest, room * GROWTH)
            self._ratio[name] = min(64, max(self._ratio[name], -(-room // max(1, data.nbytes))))
