"""Logs that users bring: every line is used, or counted with a reason; none is fatal."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import UsageError
from workbench.sources.logs import SENT_LOG_SCHEMA, SERVICE_LOG_SCHEMA, read_sent_log, read_service_log


@pytest.fixture
def log(tmp_path):
    def write(*lines: object):
        path = tmp_path / "log.jsonl"
        path.write_bytes(b"".join(_bytes(line) + b"\n" for line in lines))
        return path

    return write


def _bytes(line: object) -> bytes:
    return line if isinstance(line, bytes) else json.dumps(line).encode()


def test_both_spellings_of_the_sent_log(log):
    read = read_sent_log(
        log(
            {"id": "a", "topic": "t", "partition": 3, "offset": 2**53 + 1, "size_bytes": 12,
             "at": "2026-01-01T02:00:00+02:00", "acked": True},
            {"messageId": "b", "bytes": 7, "at": 1_767_225_600_000,
             "committed": False, "error": "queue full", "more": {"x": [1]}},
        )
    )  # fmt: skip
    assert read.skipped == {}
    assert read.table.schema == SENT_LOG_SCHEMA
    assert read.table.to_pylist() == [
        {"message_id": "a", "topic": "t", "partition": 3, "offset": 2**53 + 1, "size_bytes": 12, "at_ms": 1_767_225_600_000,
         "timestamp_ms": None, "acked": True, "committed": None, "error": None, "line": 1},
        {"message_id": "b", "topic": None, "partition": None, "offset": None, "size_bytes": 7, "at_ms": 1_767_225_600_000,
         "timestamp_ms": None,
         "acked": None, "committed": False, "error": "queue full", "line": 2},
    ]  # fmt: skip


def test_damaged_lines_are_counted_by_reason_and_the_rest_keeps_its_numbers(log):
    read = read_sent_log(
        log(b"\xff\xfe", b"{nope", b"[1]", b"", b"  \r", {"x": 1}, {"id": {"a": 1}}, {"id": ""}, {"id": "good"})
    )
    assert read.skipped == {"not UTF-8": 1, "not JSON": 1, "not a JSON object": 1, "no id": 3}
    assert read.table.to_pylist()[0]["line"] == 9


def test_fields_that_cannot_be_read_are_null_and_counted(log):
    read = read_sent_log(
        log({"id": "a", "partition": "x", "offset": -1, "bytes": 1.5e30, "at": "yesterday", "acked": "maybe"})
    )
    row = read.table.to_pylist()[0]
    assert [row[name] for name in ("partition", "offset", "size_bytes", "at_ms", "acked")] == [None] * 5
    assert read.skipped == {f"{name} unreadable": 1 for name in ("partition", "offset", "size_bytes", "at_ms", "acked")}


def test_ids_are_what_captures_make_of_them(log):
    read = read_sent_log(
        log({"id": 17}, {"id": None, "messageId": "m"}, {"id": "z" * 600}, {"id": True}, {"id": "{x}"})
    )
    long = "sha256:" + hashlib.sha256(b"z" * 600).hexdigest()
    assert read.table.column("message_id").to_pylist() == ["17", "m", long, "{x}"]
    assert read.skipped == {"no id": 1}


def test_the_service_log_keeps_lines_without_ids(log):
    read = read_service_log(
        log(
            {"at": "2026-01-01T00:00:00Z", "level": "ERROR", "event": "send_failed", "error": {"kind": "x"}},
            {"id": 5, "topic": "t"},
        )
    )
    assert read.table.schema == SERVICE_LOG_SCHEMA
    first, second = read.table.to_pylist()
    assert (first["level"], first["event"], json.loads(first["error"])) == ("ERROR", "send_failed", {"kind": "x"})
    assert (first["message_id"], second["message_id"], second["at_ms"]) == (None, "5", None)


def test_names_can_be_mapped_even_odd_ones(log):
    odd = 'it\'s "odd" {name}.x'
    assert read_sent_log(log({odd: "a"}), {"message_id": odd}).table.column("message_id").to_pylist() == ["a"]


def test_a_byte_order_mark_carriage_returns_and_no_last_newline(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'\xef\xbb\xbf{"id":"a"}\r\n{"id":"b"}')
    assert read_sent_log(path).table.column("message_id").to_pylist() == ["a", "b"]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_log_is_an_empty_table(tmp_path, content):
    path = tmp_path / "log"
    path.write_bytes(content)
    read = read_sent_log(path)
    assert (read.table.num_rows, read.table.schema, read.skipped) == (0, SENT_LOG_SCHEMA, {})


def test_a_file_that_is_not_there_is_the_users_mistake(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_sent_log(tmp_path / "missing")


def test_blocks_leave_no_seam(tmp_path):
    """Lines that cross blocks, and one longer than any block, shift no number and lose no neighbour."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        for number in range(60_000):
            file.write(json.dumps({"id": f"m-{number}", "pad": "x" * 200}).encode() + b"\n")
        file.write(b'{"id": "' + b"y" * (20 << 20) + b'"}\n{"id":"last"}')
    read = read_sent_log(path)
    assert read.skipped == {"line longer than 8 MiB": 1}
    assert read.table.column("line").to_pylist() == [*range(1, 60_001), 60_002]
    assert read.table.column("message_id").to_pylist()[-2:] == ["m-59999", "last"]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "at", "partition", "acked", "bytes", "x"]), inner, max_size=4)
    ),
    max_leaves=6,
)
LINES = st.lists(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES)
def test_whatever_the_lines_are_each_is_a_row_or_counted(tmp_path, lines):
    lines = [line.replace(b"\n", b" ") for line in lines]
    path = tmp_path / "any"
    path.write_bytes(b"\n".join(lines))
    sent, service = read_sent_log(path), read_service_log(path)
    full = [line for line in lines if line.removeprefix(b"\xef\xbb\xbf" if line is lines[0] else b"").strip(b" \t\r")]
    for read in (sent, service):
        left_out = sum(count for why, count in read.skipped.items() if not why.endswith("unreadable"))
        assert read.table.num_rows + left_out == len(full)


def test_the_records_own_time_is_kept_beside_that_of_sending(log):
    read = read_sent_log(
        log(
            {"id": "a", "at": 2_000, "record_timestamp": 1_000},
            {"id": "b", "at": 2_000, "timestamp": 1_500},
            {"id": "c", "timestamp": 5},
        )
    )
    assert [(row["at_ms"], row["timestamp_ms"]) for row in read.table.to_pylist()] == [
        (2_000, 1_000),
        (2_000, 1_500),
        (5, 5),
    ]
