"""Formats of keys and values: what is not JSON becomes JSON text, and what cannot is counted, never fatal."""

from __future__ import annotations

import base64
import io
import json
import struct
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.capture_rows import column, raw
from workbench.capture import CaptureSpec, IdFrom, TopicSpec, decoded_sample, resolve_id_from
from workbench.capture.derive import Deriver
from workbench.capture.undecoded import undecoded
from workbench.errors import ConfigError, UsageError
from workbench.problems.scope import scope_from
from workbench.sources.formats import Decoder, Registry, protobuf, schema_id_of
from workbench.sources.formats import registry as registry_module
from workbench.sources.formats.model import Unknown
from workbench.sources.http import Endpoint

USER = {"type": "record", "name": "User", "namespace": "shop", "fields": [{"name": "messageId", "type": "string"}]}
RICH = {
    "type": "record", "name": "Rich", "fields": [
        {"name": "messageId", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "raw", "type": "bytes"}, {"name": "share", "type": "double"}, {"name": "note", "type": ["null", "string"]},
    ],
}  # fmt: skip


def avro(schema: dict[str, Any], value: Any, schema_id: int = 1) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return framed(out.getvalue(), schema_id)


def framed(payload: bytes, schema_id: int) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + payload


def proto_file() -> descriptor_pb2.FileDescriptorProto:
    """Two messages, one inside the first."""
    file = descriptor_pb2.FileDescriptorProto(name="user.proto", syntax="proto3")
    user = file.message_type.add(name="User")
    user.field.add(name="message_id", number=1, type=9, label=1, json_name="messageId")
    user.field.add(name="count", number=2, type=3, label=1, json_name="count")
    inner = user.nested_type.add(name="Inner")
    inner.field.add(name="message_id", number=1, type=9, label=1, json_name="messageId")
    return file


def proto(message_id: str, *indexes: int) -> bytes:
    """A payload with its message indexes, as Confluent's serializer writes them."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto_file())
    kind = pool.FindMessageTypeByName("User")
    head = b"\0" if not indexes else bytes([2 * len(indexes), *(2 * index for index in indexes)])
    for index in indexes[1:]:
        kind = kind.nested_types[index]
    return head + message_factory.GetMessageClass(kind)(message_id=message_id).SerializeToString()


class Answers:
    """A registry's answers by path; what was asked."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {}
        self.asked: list[str] = []
        self.status = 200

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.raw_path.decode()
        self.asked.append(path)
        if self.status != 200:
            return httpx2.Response(self.status)
        return httpx2.Response(200, json=self.schemas[path]) if path in self.schemas else httpx2.Response(404, json={})


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    found = Answers()
    found.schemas = {
        "/schemas/ids/1": {"schema": json.dumps(USER)},
        "/schemas/ids/2": {"schema": json.dumps(RICH), "schemaType": "AVRO"},
        "/schemas/ids/3": {"schema": "{}", "schemaType": "JSON"},
        "/schemas/ids/4": {"schema": "syntax ...", "schemaType": "PROTOBUF"},
        "/schemas/ids/4?format=serialized": {"schema": base64.b64encode(proto_file().SerializeToString()).decode()},
        "/schemas/ids/5": {"schema": "syntax ...", "schemaType": "PROTOBUF"},
        "/schemas/ids/6": {"schema": "no schema at all"},
        "/schemas/ids/7": {"schema": "x", "schemaType": "THRIFT"},
        "/schemas/ids/8": {
            "schema": json.dumps({"type": "record", "name": "Order", "fields": [{"name": "user", "type": "shop.User"}]}),
            "references": [{"name": "shop.User", "subject": "user/value", "version": 3}],
        },
        "/subjects/user%2Fvalue/versions/3": {"schema": json.dumps(USER)},
        "/schemas/ids/9": ["no answer"],
    }  # fmt: skip

    def endpoint(source: str, settings: Any) -> Endpoint:
        return Endpoint(source, settings, transport=httpx2.MockTransport(found))

    monkeypatch.setattr(registry_module, "Endpoint", endpoint)
    return found


REGISTRY = {"url": "http://registry.test"}


def texts(*values: bytes | None, value_format: str = "auto") -> list[Any]:
    found = Decoder(value_format, registry=REGISTRY).texts(pa.array(values, pa.binary()))
    return [] if found is None else [None if one is None else json.loads(one) for one in found.to_pylist()]


def test_avro_with_a_schema_id_is_decoded_beside_json(answers: Answers) -> None:
    found = texts(avro(USER, {"messageId": "a"}), b'{"messageId": "b"}', None, b"no json")
    assert found == [{"messageId": "a"}, {"messageId": "b"}, None, None]


def test_json_alone_needs_no_decoding_and_asks_nobody(answers: Answers) -> None:
    assert texts(b'{"messageId": "b"}', None, b"text") == []
    assert answers.asked == []


def test_what_json_has_no_word_for_becomes_text(answers: Answers) -> None:
    one = uuid.uuid4()
    value = {"messageId": one, "at": datetime(2026, 3, 1, tzinfo=UTC), "price": Decimal("1.50"), "raw": b"\x00\xff",
             "share": float("nan"), "note": None}  # fmt: skip
    assert texts(avro(RICH, value, 2)) == [
        {
            "messageId": str(one),
            "at": "2026-03-01T00:00:00+00:00",
            "price": "1.50",
            "raw": "hex:00ff",
            "share": None,
            "note": None,
        }
    ]


def test_schemas_name_others_and_each_is_asked_for_once(answers: Answers) -> None:
    order = avro(
        {"type": "record", "name": "Order", "fields": [{"name": "user", "type": USER}]}, {"user": {"messageId": "a"}}, 8
    )
    assert texts(order, order, order) == [{"user": {"messageId": "a"}}] * 3
    assert answers.asked == ["/schemas/ids/8", "/subjects/user%2Fvalue/versions/3"]


def test_json_schema_and_protobuf(answers: Answers) -> None:
    found = texts(
        framed(b'{"messageId": "j"}', 3), framed(proto("p"), 4), framed(proto("inner", 0, 0), 4), framed(proto("n"), 5)
    )
    assert found == [{"messageId": "j"}, {"messageId": "p"}, {"messageId": "inner"}, {"1": "n"}]


def test_protobuf_without_its_schema_has_numbers_for_names() -> None:
    inner = b"\x0a\x03abc"
    parts = [
        b"\x0a\x01m",
        b"\x10\x05\x10\x06",
        bytes([0x1A, len(inner)]),
        inner,
        b"\x25",
        struct.pack("<I", 9),
        b"\x32\x02\xff\xfe",
    ]
    data = b"".join(parts)
    assert protobuf.by_number(data) == {"1": "m", "2": [5, 6], "3": {"1": "abc"}, "4": 9, "6": "hex:fffe"}


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reading_of_numbers_hang_or_crash(data: bytes) -> None:
    with suppress(ValueError, IndexError, struct.error):
        json.dumps(protobuf.by_number(data))


@given(st.binary(max_size=60))
def test_no_payload_is_fatal(data: bytes) -> None:
    decoder = Decoder("avro")
    found = decoder.texts(pa.array([data, framed(data, 1)], pa.binary()))
    assert found is not None
    assert len(found) == 2


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (framed(b"x", 99), "schema 99 is not in the registry"),
        (framed(b"x", 6), "schema 6 cannot be used"),
        (framed(b"x", 7), "THRIFT"),
        (framed(b"x", 9), "answer for schema 9"),
        (framed(b"\x80", 1), "does not fit its schema"),
        (framed(b"\x0a\xff", 4), "does not fit its schema"),
    ],
)
def test_why_a_value_cannot_be_decoded(answers: Answers, value: bytes, why: str) -> None:
    assert texts(value) == [None]
    assert why in Decoder(registry=REGISTRY).why_not(value)


def test_a_registry_that_is_gone_is_asked_once(answers: Answers) -> None:
    answers.status = 401
    assert texts(*(framed(b"x", number) for number in range(1, 9))) == [None] * 8
    assert len(answers.asked) == 1
    with pytest.raises(Unknown, match="refuses these credentials"):
        Registry(REGISTRY).decoder(1)


def test_without_a_registry_nothing_is_guessed() -> None:
    decoder = Decoder()
    assert decoder.texts(pa.array([framed(b"x", 1)], pa.binary())).to_pylist() == [None]
    assert "no schema registry" in decoder.why_not(framed(b"x", 1))


def test_avro_by_a_schema_file_and_in_a_container(tmp_path: Path) -> None:
    (tmp_path / "user.avsc").write_text(json.dumps(USER))
    assert texts(avro(USER, {"messageId": "a"})[5:], value_format=f"avro:{tmp_path}/user.avsc") == [{"messageId": "a"}]
    out = io.BytesIO()
    fastavro.writer(out, fastavro.parse_schema(USER), [{"messageId": "c"}])
    assert texts(out.getvalue()) == [{"messageId": "c"}]
    (tmp_path / "none.avsc").write_text("no schema")
    with pytest.raises(ConfigError, match="not an Avro schema"):
        Decoder(f"avro:{tmp_path}/none.avsc")


def test_texts_and_numbers() -> None:
    assert texts(b"abc", b"\xff", value_format="text") == ["abc", None]
    assert texts((7).to_bytes(8, "big"), (-2).to_bytes(4, "big", signed=True), b"abc", value_format="integer") == [
        7,
        -2,
        None,
    ]


def test_keys_that_are_not_text(answers: Answers) -> None:
    keys = pa.array([avro({"type": "string"}, "u1", 11), b"plain", None], pa.binary())
    answers.schemas["/schemas/ids/11"] = {"schema": '"string"'}
    assert Decoder(registry=REGISTRY).keys(keys).to_pylist() == [b"u1", b"plain", None]
    longs = pa.array([(42).to_bytes(8, "big")], pa.binary())
    assert Decoder(key_format="integer").keys(longs).to_pylist() == [b"42"]
    assert Decoder().keys(longs).to_pylist() == longs.to_pylist()


# ---- in a capture ----


def test_a_capture_takes_ids_types_and_predicates_from_decoded_values(answers: Answers) -> None:
    schema = {**USER, "fields": [*USER["fields"], {"name": "eventType", "type": "string"}]}
    answers.schemas["/schemas/ids/12"] = {"schema": json.dumps(schema)}
    topic = TopicSpec("in", "source", IdFrom.parse("json:$.messageId"), ())
    deriver = Deriver(CaptureSpec((topic,), where="value->>'$.eventType' <> 'ping'"), topic, REGISTRY)
    values = [avro(schema, {"messageId": f"m{n}", "eventType": kind}, 12) for n, kind in enumerate(("order", "ping"))]
    table = deriver([raw([{"value": value} for value in [*values, framed(b"x", 99), b'{"messageId": "j"}']])])
    assert table["message_id"].to_pylist() == ["m0", "m1", None, "j"]
    assert table["event_type"].to_pylist() == ["order", "ping", None, None]
    assert table["due"].to_pylist()[:2] == [True, False]
    assert table["decoded"].to_pylist() == [True, True, False, True]
    assert table["schema_id"].to_pylist() == [12, 12, 99, None]


def test_plain_json_has_no_schema() -> None:
    assert column("schema_id", [{"value": b'{"messageId": "a"}'}]) == [None]


def test_auto_finds_ids_in_decoded_values_and_says_when_they_are_not(answers: Answers) -> None:
    batch = pa.Table.from_batches([raw([{"value": avro(USER, {"messageId": "a"})}])])
    assert str(resolve_id_from(decoded_sample(batch, ("auto", "auto"), REGISTRY))) == "json:$.messageId"
    with pytest.raises(UsageError, match="No message ids") as raised:
        resolve_id_from(decoded_sample(batch, ("auto", "auto"), None))
    assert "1 of 1 values name a schema" in raised.value.hint


def test_a_schema_id_needs_its_mark_and_four_bytes() -> None:
    assert [schema_id_of(value) for value in (None, b"", b"\0\0\0\1", b"{}   ", framed(b"", 7))] == [
        None,
        None,
        None,
        None,
        7,
    ]


def test_formats_of_topics() -> None:
    scope = scope_from(source="in", sink=["out"], value_format="avro", formats={"out": "json", "out:key": "integer"})
    assert (scope.formats_of("in"), scope.formats_of("out")) == (("avro", "auto"), ("json", "integer"))
    for wrong in ({"value_format": "arvo"}, {"formats": {"in": "xml"}}):
        with pytest.raises(UsageError):
            scope_from(source="in", **wrong)


def captured(
    tmp_path: Path, value_format: str, *contents: bytes | None, id_from: str = "json:$.messageId"
) -> list[Any]:
    """What is said of values that were captured and cannot be decoded."""
    topic = TopicSpec("in", "source", IdFrom.parse(id_from), (), value_format=value_format)
    deriver = Deriver(CaptureSpec((topic,), want=frozenset({"event"})), topic)
    pq.write_table(deriver([raw([{"value": content} for content in contents])]), tmp_path / "part.parquet")
    deriver.close()
    return undecoded([tmp_path / "part.parquet"], None, {"in": value_format, "out": "text"})


@pytest.mark.parametrize(
    ("value_format", "good", "bad", "why"),
    [
        ("avro:{}/user.avsc", avro(USER, {"messageId": "a"})[5:], b"\xff", "they do not fit its schema"),
        ("text", b"abc", b"\xff", "they are not UTF-8"),
        ("integer", (7).to_bytes(8, "big"), b"abc", "they are not whole numbers of 2, 4 or 8 bytes"),
        ("json", b'{"messageId": "a"}', b"{", "they are not JSON"),
        ("avro", b'{"messageId": "a"}', b"\xff", "they carry no schema id"),
    ],
)
def test_what_does_not_fit_the_format_that_was_said_is_counted(
    tmp_path: Path, value_format: str, good: bytes, bad: bytes, why: str
) -> None:
    (tmp_path / "user.avsc").write_text(json.dumps(USER))
    named = value_format.format(tmp_path)
    shown = value_format.format("").replace("/", "")
    assert captured(tmp_path, named, good, bad, None, bad) == [
        {"topic": "in", "schema_id": None, "format": shown, "records": 2, "why": why}
    ]
    assert captured(tmp_path, named, good, None) == []


@pytest.mark.parametrize("value_format", ["auto", "raw"])
def test_values_of_which_nothing_was_said_are_not_counted_unless_they_name_a_schema(
    tmp_path: Path, value_format: str
) -> None:
    found = captured(tmp_path, value_format, b"\xff", framed(b"x", 99), id_from="key")
    assert [(one["schema_id"], one["format"], one["records"]) for one in found] == (
        [(99, None, 1)] if value_format == "auto" else []
    )
