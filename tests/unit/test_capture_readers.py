"""Which reader is taken, and how a topic goes on when the wire reader meets what it cannot read."""

from __future__ import annotations

import sys

import pytest

from workbench.capture import CaptureSpec, IdFrom, PartitionRange, TopicSpec
from workbench.capture.reader import Chunk
from workbench.capture.readers import _Wire, open_reader, reader_name
from workbench.capture.wire.errors import NotForWire

SETTINGS = {"bootstrap.servers": "127.0.0.1:9"}
RANGES = (PartitionRange("t", 0, 0, 10, 10), PartitionRange("t", 1, 5, 20, 20))


def spec(reader="auto"):
    return CaptureSpec((TopicSpec("t", "source", IdFrom("key"), RANGES),), reader=reader)


@pytest.fixture
def not_built(monkeypatch):
    monkeypatch.setitem(sys.modules, "workbench.capture.wire._records", None)


def test_without_its_compiled_part_the_client_reads(not_built):
    assert reader_name(SETTINGS, spec()) == "client"
    reader = open_reader(SETTINGS, spec(), "read_uncommitted")
    assert reader.name == "client"
    reader.close()
    with pytest.raises(NotForWire, match="was not built"):
        reader_name(SETTINGS, spec("wire"))


@pytest.mark.parametrize(
    "extra",
    [
        {"ssl.keystore.location": "/nowhere.p12"},
        {"security.protocol": "ssl", "ssl.ca.location": "/nowhere.pem"},
        {"sasl.mechanism": "OAUTHBEARER"},
    ],
)
def test_settings_without_a_counterpart_leave_it_to_the_client(extra):
    assert reader_name(SETTINGS | extra, spec()) == "client"
    with pytest.raises(NotForWire):
        reader_name(SETTINGS | extra, spec("wire"))


def test_what_read_committed_shows_only_the_client_knows():
    reader = open_reader(SETTINGS, spec(), "read_committed")
    assert reader.name == "client"
    reader.close()


def test_how_a_capture_reads_does_not_make_it_another_one():
    assert spec("wire").fingerprint() == spec("client").fingerprint()
    assert CaptureSpec.from_json(spec("wire").to_json()) == spec("wire")


class Ends:
    """A reader that gives some chunks and then, perhaps, gives up."""

    name = "ends"

    def __init__(self, *chunks, error=None):
        self.chunks, self.error, self.asked = chunks, error, []

    def read(self, topic, ranges, want, stopped):
        self.asked.append([(part.partition, part.start_offset) for part in ranges])
        yield from self.chunks
        if self.error:
            raise self.error

    def close(self):
        pass


def fallback(reader, **readers):
    made = _Wire(SETTINGS, spec(reader))
    made._wire, made._client = readers["wire"], readers["client"]
    return made


def test_a_topic_of_an_old_format_goes_on_where_it_was():
    wire = Ends(Chunk(None, {0: 7}, {1: "note"}), error=NotForWire("old"))
    client = Ends(Chunk(None, {0: 10}), Chunk(None, {1: 20}, {1: "gone"}))
    reader = fallback("auto", wire=wire, client=client)
    chunks = list(reader.read("t", RANGES, set(), lambda: False))
    assert client.asked == [[(0, 7), (1, 5)]]
    assert [chunk.positions for chunk in chunks] == [{0: 7}, {0: 10}, {1: 20}]
    assert chunks[-1].errors == {1: "note; gone"}
    list(reader.read("t", RANGES, set(), lambda: False))
    assert len(wire.asked) == 1, "it is not tried again"


def test_a_cluster_that_the_wire_reader_cannot_reach_is_tried_once(monkeypatch):
    """Each try costs seconds, and each topic of a scan asks."""
    tried = []

    def refuse(*_):
        tried.append(1)
        raise NotForWire("no connection")

    monkeypatch.setattr("workbench.capture.wire.reader.WireReader", refuse)
    reader = fallback("auto", wire=None, client=Ends(Chunk(None, {0: 10, 1: 20})))
    for topic in ("t", "u"):
        assert [chunk.positions for chunk in reader.read(topic, RANGES, set(), lambda: False)] == [{0: 10, 1: 20}]
    assert len(tried) == 1


def test_who_insists_on_the_wire_reader_gets_the_reason():
    reader = fallback("wire", wire=Ends(error=NotForWire("old")), client=Ends())
    with pytest.raises(NotForWire, match="old"):
        list(reader.read("t", RANGES, set(), lambda: False))
