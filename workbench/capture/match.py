"""Keeping only the records that somebody looks for: found by their bytes first, then by what they mean.

A search over a topic costs what reading it costs: nearly all records are put aside by one look at their bytes, before
anything is parsed. That look may let through too much, never too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from workbench.capture.origins import ALWAYS, marked_rows
from workbench.capture.schema import header_lists
from workbench.capture.tracing import TRACE_HEADERS, trace_ids_of

if TYPE_CHECKING:
    from workbench.capture.spec import TopicSpec

Place = tuple[str, int, int]  # topic, partition, offset

# Above this many texts to look for, parsing everything is no slower.
MOST_NEEDLES = 8
# JSON may write any character as an escape; those of plain texts only in this way.
_PLAIN = re.compile(r"[A-Za-z0-9 _.:;,@#%&*+=~$!?()-]+")
# Numbers that are written in more than one way, of which one becomes the id.
_NUMBER = re.compile(r"-?0|-?\d+\.\d+|-?\d+(?:\.\d+)?[eE][+-]?\d+|-?(?:inf|nan)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Match:
    """Which records are kept: those to which any of it applies.

    Attributes:
        ids: message ids, as a capture gives them.
        keys: record keys, in UTF-8.
        trace_ids: traces that the record's headers name, 32 lower-case hex digits.
        places: the records' own coordinates.
        origins: coordinates that the record says it comes from (dead letters, retries, redrives).
    """

    ids: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    trace_ids: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    origins: tuple[Place, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Match:
        """What ``dataclasses.asdict`` made of one, after a way through JSON."""
        places = {name: tuple(tuple(place) for place in data[name]) for name in ("places", "origins")}
        return cls(*(tuple(data[name]) for name in ("ids", "keys", "trace_ids")), **places)  # type: ignore[arg-type]

    @property
    def columns(self) -> set[str]:
        """Raw columns that it looks at."""
        return {"value", "headers"} | ({"key"} if self.keys else set())

    def candidates(self, raw: Any, topic: TopicSpec) -> Any:
        """The raw records that may fit: a table with at least those that do."""
        masks = [mask for mask in self._masks(raw, topic) if mask is not None]
        every = any(mask is True for mask in masks)
        return raw if every else raw.filter(_any(masks, raw.num_rows))

    def kept(self, rows: Any, raw: Any) -> Any:
        """The derived rows that do fit.

        Args:
            rows: of the capture schema.
            raw: the raw records that they were derived from, in the same order.
        """
        keys = pa.array([key.encode() for key in self.keys], pa.binary())
        masks = [_in(rows["message_id"], self.ids)]
        if self.keys:
            masks.append(pc.is_in(raw["key"], keys))
        masks += [_at(rows, ("topic", "partition", "offset"), self.places)]
        masks += [_at(rows, ("origin_topic", "origin_partition", "origin_offset"), self.origins)]
        if self.trace_ids:
            wanted = set(self.trace_ids)
            masks.append(pa.array([bool(wanted & found) for found in map(_traces, raw["headers"].to_pylist())]))
        return rows.filter(_any(masks, rows.num_rows))

    def _masks(self, raw: Any, topic: TopicSpec) -> Iterator[Any]:
        """A mask a way to fit; True where the bytes cannot tell."""
        if self.ids:
            yield self._by_id(raw, topic)
        if self.keys:
            yield pc.is_in(raw["key"], pa.array([key.encode() for key in self.keys], pa.binary()))
        if self.places:
            yield _at(raw, ("topic", "partition", "offset"), self.places)
        if self.trace_ids:
            yield _in_headers(raw, [text for one in self.trace_ids for text in _spellings(one)], TRACE_HEADERS)
        if self.origins:
            yield (
                True
                if topic.role in ALWAYS
                else _rows(marked_rows(header_lists(raw["headers"].combine_chunks())[0]), raw.num_rows)
            )

    def _by_id(self, raw: Any, topic: TopicSpec) -> Any:
        """Where an id's bytes are, in whatever place it may be written."""
        ways = {topic.id_from.kind, *(one.kind for one in topic.others)}
        if topic.role in ALWAYS or "coordinates" in ways or len(self.ids) > MOST_NEEDLES:
            return True  # envelopes hold ids in base64, and coordinates are written nowhere
        if "json" in ways and any(_NUMBER.fullmatch(one) for one in self.ids):
            return True
        if any(one.startswith("sha256:") for one in self.ids):
            return True  # of an id that is too long to keep
        needles = [one for text in self.ids for one in _needles(text)]
        masks = []
        if "json" in ways:
            masks.append(_contains(raw["value"], [*needles, *_escapes(self.ids)]))
        if "header" in ways:
            masks.append(_in_headers(raw, needles))
        if "key" in ways:
            masks.append(_contains(raw["key"], needles))
        return _any(masks, raw.num_rows)


def _needles(text: str) -> Iterator[bytes]:
    yield text.encode(errors="surrogatepass")
    if re.fullmatch(r"hex:(?:[0-9a-f]{2})+", text):
        yield bytes.fromhex(text.removeprefix("hex:"))


def _spellings(trace_id: str) -> set[bytes]:
    """A trace id in headers: any case, and leading zeros may be left out."""
    return {form.encode() for one in (trace_id.lstrip("0"), trace_id) for form in (one, one.upper())}


def _escapes(ids: tuple[str, ...]) -> list[bytes]:
    """What a JSON text holds that writes one of the ids in another way."""
    return [b"\\u00"] if all(_PLAIN.fullmatch(one) for one in ids) else [b"\\"]


def _contains(column: Any, needles: list[bytes]) -> Any:
    """Rows that contain any of some byte texts; one search through all bytes where, as nearly always, none does."""
    chunk = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    held = [needle for needle in needles if _holds(chunk, needle)]
    if not held:
        return None
    return _any([pc.match_substring(chunk, pattern=needle) for needle in held], len(chunk))


def _holds(chunk: Any, needle: bytes) -> bool:
    data = chunk.buffers()[2]
    return data is not None and data.to_pybytes().find(needle) >= 0


def _in_headers(raw: Any, needles: list[bytes], names: frozenset[str] | None = None) -> Any:
    """Rows with a header whose value contains any of some byte texts."""
    headers = raw["headers"].combine_chunks()
    flat = headers.flatten()
    hits = _contains(flat.field("value"), needles)
    if hits is None:
        return None
    if names is not None:
        hits = pc.and_(hits, pc.is_in(pc.utf8_lower(flat.field("name")), pa.array(sorted(names))))
    return _rows(pc.list_parent_indices(headers).filter(hits).to_pylist(), raw.num_rows)


def _rows(numbers: Any, rows: int) -> Any:
    chosen = set(numbers)
    return pa.array([number in chosen for number in range(rows)], pa.bool_()) if chosen else None


def _any(masks: list[Any], rows: int) -> Any:
    out = pa.repeat(pa.scalar(False), rows)
    for mask in masks:
        if mask is not None:
            out = pc.or_(out, pc.fill_null(mask, fill_value=False))
    return out


def _in(column: Any, texts: tuple[str, ...]) -> Any:
    return pc.is_in(column, pa.array(texts, pa.string())) if texts else None


def _at(table: Any, names: tuple[str, str, str], places: tuple[Place, ...]) -> Any:
    if not places:
        return None
    topic, partition, offset = (table[name].cast(pa.string()) for name in names)
    wanted = pa.array(["/".join(map(str, place)) for place in places], pa.string())
    return pc.is_in(pc.binary_join_element_wise(topic, partition, offset, "/"), wanted)


def _traces(headers: list[dict[str, Any]] | None) -> set[str]:
    return set(trace_ids_of([(header["name"], header["value"]) for header in headers or ()]))
