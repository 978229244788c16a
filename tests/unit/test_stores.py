"""Stores: entries of workbench.toml, and rows of SQLite and files as ids, times and marks."""

from __future__ import annotations

import gzip
import json
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workbench.capture.schema import CAPTURE
from workbench.capture.stores import capture_store
from workbench.config import load_config
from workbench.errors import AccessDenied, ConfigError, SourceUnavailable, UsageError
from workbench.problems.scope import scope_from
from workbench.sources.stores import Columns, Window, read_store, removed_rows
from workbench.sources.stores.postgresql import _address, _error
from workbench.sources.stores.values import marks, times_ms
from workbench.stores import Store, is_store, store_of

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AT_MS = round(AT.timestamp() * 1000)


def sqlite(path: Path, *statements: str) -> str:
    base = path / "target.sqlite"
    with sqlite3.connect(base) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return f"sqlite:///{base}"


def rows(store: Store, **more: Any) -> list[dict[str, Any]]:
    return [row for batch in read_store(store, **more) for row in batch.to_pylist()]


def ids(store: Store, **more: Any) -> list[str | None]:
    return [row["message_id"] for row in rows(store, **more)]


# ---- entries ----


def entry(**values: Any) -> Store:
    return store_of("sql:orders", {"sql": {"orders": {"url": "sqlite:///x.db", "table": "t", **values}}})


def test_no_topic_is_taken_for_a_store() -> None:
    assert [is_store(name) for name in ("sql:orders", "files:a.csv", "orders", "sql.orders", "files-in")] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"url": "oracle://x"}, "no database"),
        ({"query": "SELECT 1"}, "either a table or a query"),
        ({"table": "", "query": "DELETE FROM t"}, "is not a query"),
        ({"table": "", "query": "  drop table t"}, "is not a query"),
        ({"deleted_query": "UPDATE t SET a = 1"}, "is not a query"),
        ({"tabel": "t"}, "unknown key 'tabel'"),
        ({"id": 5}, "must be a text"),
        ({"timeout_seconds": "soon"}, "must be a number"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"published": "done"}, "no order"),
        ({"published": "done", "time": "at"}, "no order"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused_by_name(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        entry(**values)


def test_an_entry_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"\[sql\.order\]") as raised:
        store_of("sql:order", {"sql": {"orders": {}}})
    assert "orders" in raised.value.hint


def test_files_need_no_entry() -> None:
    assert store_of("files:exports/*.csv", {}) == Store("files:exports/*.csv", "files", path="exports/*.csv")
    with pytest.raises(ConfigError, match=r"\[files\.exports\]"):
        store_of("files:exports", {})


def test_secrets_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(
        "DATABASE_URL", "postgresql://{}@db.example:5432/orders?sslmode=require".format("reader:s3cr3t%2F")
    )
    path = tmp_path / "workbench.toml"
    path.write_text('[sql.orders]\nurl = "${DATABASE_URL}"\ntable = "public.orders"\n')
    store = store_of("sql:orders", load_config(path).reading()["stores"])
    assert (store.username, store.password) == ("reader", "s3cr3t/")
    assert "s3cr3t" not in repr(store)
    address = _address(store)
    assert address.startswith("postgresql://{}@db.example:5432/orders?".format("reader:s3cr3t%2F"))
    assert "sslmode=require" in address
    assert "default_transaction_read_only%3Don" in address
    path.write_text('[sql.orders]\nurl = "postgresql://{}@db/orders"\ntable = "t"\n'.format("u:clear"))
    with pytest.raises(ConfigError, match="password"):
        load_config(path)


def test_a_password_without_a_user_is_not_sent_as_one() -> None:
    store = Store("sql:t", "postgresql", url="postgresql://db:5432/x", password="s3cr3t/", table="t")
    assert _address(store).startswith("postgresql://db:5432/x?")
    assert "password=s3cr3t%2F" in _address(store)


@pytest.mark.parametrize(
    ("state", "text", "refused"),
    [("", 'role "x" does not exist', True), ("28P01", "no", True), ("42704", 'role "x" does not exist', False)],
)
def test_a_refused_login_is_told_from_a_wrong_statement(state: str, text: str, refused: bool) -> None:
    error = _error(Store("sql:t", "postgresql", url="postgresql://db/x", table="t"), state, text)
    assert isinstance(error, AccessDenied) == refused


STORES = {"sql": {"t": {"url": "sqlite:///x.db", "table": "t"}, "u": {"url": "sqlite:///x.db", "table": "u"}}}


@pytest.mark.parametrize(
    "options",
    [
        {"source": "sql:t", "sink": ["sql:u"]},
        {"source": "sql:t", "sink": ["out"], "group": "g"},
        {"source": "sql:t", "sink": ["out"], "where": "partition = 1"},
        {"source": "in", "sink": ["sql:t"], "compare": "value"},
        {"source": "in", "sink": ["out"], "dead_letters": ["sql:t"]},
    ],
)
def test_what_a_table_cannot_do_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        scope_from(stores=STORES, **options)


def test_a_scope_keeps_topics_and_stores_apart() -> None:
    scope = scope_from(source="in", sink=["out", "sql:t"], stores=STORES)
    assert scope.topics() == ("in", "out")
    assert (scope.sink_topics(), list(scope.stores)) == (("out",), ["sql:t"])
    assert scope.facts()["sinks"] == ["out", "sql:t"]


# ---- SQLite ----


def test_ids_are_texts_whatever_their_type(tmp_path: Path) -> None:
    url = sqlite(
        tmp_path, "CREATE TABLE t (id, x)", "INSERT INTO t VALUES (1, 0), ('007', 0), (x'00ff', 0), (NULL, 0), ('', 0)"
    )
    assert ids(Store("sql:t", "sqlite", url=url, table="t")) == ["1", "007", "hex:00ff", None, None]


def test_the_usual_names_of_ids_are_found_in_their_order(tmp_path: Path) -> None:
    url = sqlite(tmp_path, "CREATE TABLE t (id INTEGER, Message_Id TEXT)", "INSERT INTO t VALUES (1, 'm1')")
    columns = Columns({})
    assert ids(Store("sql:t", "sqlite", url=url, table="t"), columns=columns) == ["m1"]
    assert (columns.names, columns.id_type) == ({"id": "Message_Id"}, "text")


@pytest.mark.parametrize("column", ["id", "time", "deleted"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, column: str) -> None:
    url = sqlite(tmp_path, "CREATE TABLE t (message_id TEXT, a TEXT)")
    with pytest.raises(UsageError, match="no column 'nope'") as raised:
        rows(Store("sql:t", "sqlite", url=url, table="t", **{column: "nope"}))
    assert "message_id, a" in raised.value.hint


def test_a_table_without_anything_like_an_id_asks_for_one(tmp_path: Path) -> None:
    url = sqlite(tmp_path, "CREATE TABLE t (a TEXT)")
    with pytest.raises(UsageError, match="looks like a message id"):
        rows(Store("sql:t", "sqlite", url=url, table="t"))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT nope FROM t",
        "SELECT 1 AS id; DROP TABLE t",
        "SELECT 1 AS id) AS q; DROP TABLE t; --",
        "WITH x AS (DELETE FROM t) SELECT 1",
    ],
)
def test_a_query_that_is_wrong_or_does_more_than_ask_is_refused(tmp_path: Path, query: str) -> None:
    url = sqlite(tmp_path, "CREATE TABLE t (id TEXT)", "INSERT INTO t VALUES ('a')")
    with pytest.raises((UsageError, SourceUnavailable)):
        rows(Store("sql:t", "sqlite", url=url, query=query))
    assert ids(Store("sql:t", "sqlite", url=url, table="t")) == ["a"]


def test_a_file_that_is_no_database_and_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database " * 100)
    with pytest.raises(SourceUnavailable, match="not a database"):
        rows(Store("sql:t", "sqlite", url=f"sqlite:///{tmp_path}/text.db", table="t"))
    with pytest.raises(UsageError, match="no file"):
        rows(Store("sql:t", "sqlite", url=f"sqlite:///{tmp_path}/gone.db", table="t"))
    assert not (tmp_path / "gone.db").exists()


def test_a_query_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    url = sqlite(tmp_path, "CREATE TABLE t (id TEXT)")
    endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT max(id) AS id FROM n"
    with pytest.raises(SourceUnavailable, match="longer than"):
        rows(Store("sql:t", "sqlite", url=url, query=endless, timeout_seconds=0.2))


def test_soft_deletes_and_audits_say_what_is_gone(tmp_path: Path) -> None:
    url = sqlite(
        tmp_path,
        "CREATE TABLE t (id TEXT, deleted_at TEXT)",
        f"INSERT INTO t VALUES ('a', NULL), ('b', '{AT.isoformat()}'), ('c', '')",
        "CREATE TABLE audit (row_id TEXT, at TEXT)",
        f"INSERT INTO audit VALUES ('d', '{AT.isoformat()}')",
    )
    store = Store(
        "sql:t", "sqlite", url=url, table="t", deleted="deleted_at", deleted_query="SELECT row_id, at FROM audit"
    )
    found = [(row["message_id"], row["deleted"], row["deleted_ms"]) for row in rows(store)]
    assert found == [("a", False, None), ("b", True, AT_MS), ("c", False, None)]
    assert [row["message_id"] for batch in removed_rows(store) for row in batch.to_pylist()] == ["d"]
    capture = capture_store(store, "sink", tmp_path / "work", CAPTURE)
    assert (capture.rows, capture.gone) == (2, 2)
    assert sorted(row["message_id"] for path in capture.removed for row in pq.read_table(path).to_pylist()) == [
        "b",
        "d",
    ]


# ---- captures ----


def outbox(tmp_path: Path, published: str) -> Store:
    """Five rows out of order in the file; which of them were handed over."""
    values = ", ".join(f"('m{n}', {n}, {mark})" for n, mark in sorted(enumerate(published), reverse=True))
    url = sqlite(tmp_path, "CREATE TABLE t (id TEXT, seq INTEGER, done INTEGER)", f"INSERT INTO t VALUES {values}")
    return Store("sql:t", "sqlite", url=url, table="t", order="seq", published="done")


@pytest.mark.parametrize(
    ("published", "upto", "before"), [("11010", 3, 1), ("11111", 4, 0), ("00000", -1, 0), ("00001", 4, 4)]
)
def test_rows_are_numbered_in_their_order_and_the_last_published_is_known(
    tmp_path: Path, published: str, upto: int, before: int
) -> None:
    found = capture_store(outbox(tmp_path, published), "source", tmp_path / "work", CAPTURE)
    (path,) = found.files
    captured = pq.read_table(path).to_pylist()
    assert [(row["message_id"], row["offset"]) for row in captured] == [(f"m{n}", n) for n in range(5)]
    assert (found.published_up_to, found.unpublished_before) == (upto, before)


def test_a_limit_cuts_and_says_so(tmp_path: Path) -> None:
    store = outbox(tmp_path, "11111")
    cut = capture_store(store, "source", tmp_path / "cut", CAPTURE, limit=3)
    assert (cut.rows, cut.truncated) == (3, True)
    assert cut.outcome("sql:t")["truncated"]
    whole = capture_store(store, "source", tmp_path / "whole", CAPTURE, limit=5)
    assert (whole.rows, whole.truncated) == (5, False)


# ---- files ----


def parquet(path: Path) -> None:
    table = pa.table(
        {"id": pa.array([1, 2, None], pa.int64()), "at": pa.array([AT, AT, None], pa.timestamp("us", "UTC"))}
    )
    pq.write_table(table, path / "a.parquet")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv"])
def test_values_of_csv_stay_the_texts_that_they_are(tmp_path: Path, name: str) -> None:
    mark = "\t" if name.endswith("tsv") else ","
    text = mark.join(("event_id", "at")) + f'\n007{mark}{AT.isoformat()}\n"a{mark}b"{mark}\n\nonly one field\n'
    data = gzip.compress(text.encode()) if name.endswith("gz") else b"\xef\xbb\xbf" + text.encode()
    (tmp_path / name).write_bytes(data)
    columns = Columns({})
    found = rows(Store("files:x", "files", path=str(tmp_path / "a*"), time="at"), columns=columns)
    assert [(row["message_id"], row["timestamp_ms"]) for row in found] == [("007", AT_MS), (f"a{mark}b", None)]
    assert dict(columns.skipped) == {"lines with another number of fields": 1}


def test_json_lines_may_be_nested_and_damaged(tmp_path: Path) -> None:
    lines = [{"data": {"id": "a"}, "at": AT_MS}, {"data": {"id": 7}, "at": AT.isoformat()}, {"data": {"id": {"x": 1}}}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n{broken\n[1]\n\n")
    columns = Columns({})
    found = rows(Store("files:x", "files", path=str(tmp_path / "a.jsonl"), id="data.id", time="at"), columns=columns)
    assert [(row["message_id"], row["timestamp_ms"]) for row in found] == [("a", AT_MS), ("7", AT_MS), (None, None)]
    assert dict(columns.skipped) == {"lines that are no JSON object": 2}


def test_an_empty_file_among_others_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("id\nm1\n")
    assert ids(Store("files:x", "files", path=f"{tmp_path}/*.csv")) == ["m1"]
    (tmp_path / "0.jsonl").write_text("")
    (tmp_path / "1.jsonl").write_text('{"id": "m1"}\n')
    assert ids(Store("files:x", "files", path=f"{tmp_path}/*.jsonl")) == ["m1"]


def test_many_parquet_files_are_one_store(tmp_path: Path) -> None:
    for name in ("2026-01", "2026-02"):
        (tmp_path / name).mkdir()
        parquet(tmp_path / name)
    store = Store("files:x", "files", path=f"{tmp_path}/*/*.parquet", time="at")
    assert ids(store) == ["1", "2", None] * 2
    assert ids(store, limit=4) == ["1", "2", None, "1"]
    assert [row["timestamp_ms"] for row in rows(store)][:3] == [AT_MS, AT_MS, None]


@pytest.mark.parametrize(("name", "data"), [("a.parquet", b"PAR1 no"), ("a.csv.gz", b"no gzip"), ("a.xlsx", b"x")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises((SourceUnavailable, UsageError), match="a\\."):
        rows(Store("files:x", "files", path=str(tmp_path / name)))


def test_a_pattern_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        rows(Store("files:x", "files", path=f"{tmp_path}/*.csv"))


# ---- times and marks ----


@pytest.mark.parametrize(
    "values",
    [
        pa.array([AT], pa.timestamp("ns", "UTC")),
        pa.array([AT.astimezone(timezone(timedelta(hours=5)))], pa.timestamp("s", "+05:00")),
        pa.array([AT_MS // 1000]), pa.array([AT_MS]), pa.array([AT_MS * 1000]), pa.array([AT_MS * 1_000_000]),
        pa.array([AT_MS / 1000]), pa.array([AT.isoformat()]), pa.array(["2026-03-01 13:00:00"]),
        pa.array([AT.replace(tzinfo=None) + timedelta(hours=1)], pa.timestamp("us")), pa.array([str(AT_MS)]),
    ],
)  # fmt: skip
def test_times_of_any_type_are_milliseconds(values: Any) -> None:
    assert times_ms(values, "Europe/Berlin").to_pylist() == [AT_MS]


@pytest.mark.parametrize(
    "values", [pa.array(["soon"]), pa.array([float("nan")]), pa.array([None], pa.string()), pa.array(["1e999"])]
)
def test_what_is_no_time_is_null(values: Any) -> None:
    assert times_ms(values, "UTC").to_pylist() == [None]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([True, False, None]), [True, False, False]),
        (pa.array([1, 0, None]), [True, False, False]),
        (pa.array(["yes", "f", None, ""]), [True, False, False, False]),
        (pa.array([AT, None], pa.timestamp("us")), [True, False]),
        (pa.array([Decimal(1), None]), [True, False]),
    ],
)
def test_a_mark_is_set_or_not(values: Any, expected: list[bool]) -> None:
    assert marks(values).to_pylist() == expected


def test_times_outside_of_the_window_are_left_to_the_ledger(tmp_path: Path) -> None:
    url = sqlite(tmp_path, "CREATE TABLE t (id TEXT, at TEXT)", "INSERT INTO t VALUES ('a', '1970-01-01'), ('b', NULL)")
    assert ids(Store("sql:t", "sqlite", url=url, table="t", time="at"), window=Window(since_ms=AT_MS)) == ["a", "b"]
