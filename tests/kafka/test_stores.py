"""Tables as sources and sinks on a real PostgreSQL: what was planted is named, and what goes wrong is one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import adbc_driver_postgresql.dbapi as driver
import pytest

from tests.kafka.test_incidents_named import differences
from workbench.config import profile_from_options
from workbench.errors import AccessDenied, SourceError, SourceUnavailable, UsageError
from workbench.problems import checking
from workbench.problems.scope import scope_from
from workbench.sandbox.incidents import INCIDENTS
from workbench.sandbox.stack.running import start_stack
from workbench.sources import connect
from workbench.sources.stores import Columns, Window, read_store
from workbench.stores import Store

pytestmark = pytest.mark.kafka

WITH_TABLES = sorted(name for name, item in INCIDENTS.items() if item.tables)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a real PostgreSQL."""
    with start_stack(("postgres",)) as stack:
        yield stack.addresses["postgres"]


@pytest.fixture
def run(postgres: str) -> Iterator[Callable[..., Any]]:
    """Runs statements on it."""
    with driver.connect(postgres) as connection:

        def run(*statements: str) -> None:
            for statement in statements:
                with connection.cursor() as cursor:
                    cursor.execute(statement)
            connection.commit()

        yield run


def store(postgres: str, **entry: Any) -> Store:
    parts = urlsplit(postgres)
    url = f"postgresql://{parts.hostname}:{parts.port}/postgres"
    return Store("sql:t", "postgresql", **{"url": url, "username": "workbench", **entry})


def rows(chosen: Store, **more: Any) -> list[dict[str, Any]]:
    return [row for batch in read_store(chosen, **more) for row in batch.to_pylist()]


@pytest.mark.parametrize("name", WITH_TABLES)
def test_the_report_says_what_was_planted_in_tables(kafka: str, postgres: str, tmp_path: Path, name: str) -> None:
    truth = INCIDENTS[name].plant(kafka, 3, tmp_path / "logs", database=postgres)
    with connect(profile_from_options(kafka, {})) as sources:
        scope = scope_from(**truth.options)
        evidence = checking.problem(truth.problem).collect(sources, scope, work_dir=tmp_path / "work")
    examination = checking.examine(truth.problem, evidence)
    report = examination.report
    assert differences(truth, report) == [], report.to_json()
    saved = checking.save(examination, tmp_path / "saved")
    assert checking.examine(truth.problem, checking.evidence_in(saved)).report == report


def test_the_command_line_reads_the_entry(kafka: str, tmp_path: Path) -> None:
    truth = INCIDENTS["target-deleted"].plant(kafka, 4, tmp_path)
    given = truth.options
    command = [
        sys.executable, "-m", "workbench", "check", "loss", "--bootstrap", kafka, "--source", given["source"], "--sink",
        given["sink"][0], "--group", given["group"], "--expected-latency", "1s", "--format", "json",
    ]  # fmt: skip
    environment = {"WORKBENCH_CONFIG": given["stores"]["file"], "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 13, done.stderr
    assert {item["code"] for item in json.loads(done.stdout)["findings"]} == {"loss-target-deleted"}


def test_dead_letters_whose_messages_are_in_a_table_were_recovered(kafka: str, tmp_path: Path) -> None:
    truth = INCIDENTS["clean-target-table"].plant(kafka, 5, tmp_path)
    options = {**truth.options, "dead_letters": [truth.options["source"]], "source": "", "group": ""}
    with connect(profile_from_options(kafka, {})) as sources:
        evidence = checking.problem("dlq").collect(sources, scope_from(**options), work_dir=tmp_path / "work")
    report = checking.examine("dlq", evidence).report
    assert report.ledger["already_recovered"] == report.ledger["dead_letters"] == truth.ledger["sent"]


# ---- what may be in a table, and what may go wrong ----


def test_types_of_ids_and_times(postgres: str, run: Callable[..., Any]) -> None:
    run(
        "DROP TABLE IF EXISTS kinds",
        "CREATE TABLE kinds (number BIGINT, uid UUID, raw BYTEA, fixed CHAR(10), at TIMESTAMPTZ, local TIMESTAMP, ms BIGINT)",
        "INSERT INTO kinds VALUES (7, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '\\x00ff', 'ab', '2026-03-01 13:00+01',"
        " '2026-03-01 13:00', 1772366400000)",
    )
    expected = {"number": "7", "uid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "raw": "hex:00ff", "fixed": "ab"}
    for column, text in expected.items():
        (row,) = rows(store(postgres, table="kinds", id=column, time="at"))
        assert (row["message_id"], row["timestamp_ms"]) == (text, 1_772_366_400_000)
    for column in ("local", "ms"):
        (row,) = rows(store(postgres, table="public.kinds", id="uid", time=column, timezone="Europe/Berlin"))
        assert row["timestamp_ms"] == 1_772_366_400_000
    columns = Columns({})
    rows(store(postgres, table="kinds", id="number"), columns=columns)
    assert columns.id_type == "int64"


def test_the_server_leaves_out_what_is_outside_of_the_window(postgres: str, run: Callable[..., Any]) -> None:
    run(
        "DROP TABLE IF EXISTS timed",
        "CREATE TABLE timed (id TEXT, at TIMESTAMPTZ)",
        "INSERT INTO timed VALUES ('old', '2020-01-01'), ('now', '2026-03-01 12:00Z'), ('never', NULL), ('late', '2030-01-01')",
    )
    window = Window(since_ms=1_772_366_400_000, until_ms=1_800_000_000_000)
    found = rows(store(postgres, table="timed", time="at"), window=window)
    assert sorted(row["message_id"] for row in found) == ["never", "now"]


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ({"username": "stranger"}, AccessDenied, "refuses the login"),
        ({"url": "postgresql://127.0.0.1:1/postgres"}, SourceUnavailable, "does not answer"),
        ({"table": "nowhere"}, UsageError, "nowhere"),
        ({"table": "", "query": "SELECT id FROM nowhere"}, UsageError, "nowhere"),
        ({"table": "", "query": "SELECT nextval('counter') AS id"}, UsageError, "read-only"),
        ({"table": "", "query": "WITH d AS (DELETE FROM held RETURNING id) SELECT id FROM d"}, UsageError, "top level"),
        ({"table": "", "query": "SELECT id FROM held; DROP TABLE held"}, UsageError, "syntax"),
        ({"table": "", "query": "SELECT id FROM held) AS q; DROP TABLE held; --"}, UsageError, "multiple commands"),
        ({"table": "", "query": "SELECT pg_sleep(30)::text AS id", "timeout_seconds": 0.5}, SourceUnavailable, "longer than"),
        ({"username": "reader", "table": "held"}, AccessDenied, "may not be read"),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_one_sentence_and_nothing_is_written(
    postgres: str, run: Callable[..., Any], entry: dict[str, Any], error: type[Exception], words: str
) -> None:
    run(
        "DROP TABLE IF EXISTS held",
        "CREATE TABLE held (id TEXT)",
        "INSERT INTO held VALUES ('a')",
        "CREATE SEQUENCE IF NOT EXISTS counter",
        "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    with pytest.raises(error, match=words) as raised:
        rows(store(postgres, **{"table": "held", **entry}))
    assert "\n" not in str(raised.value)
    assert rows(store(postgres, table="held"))[0]["message_id"] == "a"


def test_a_connection_that_is_cut_is_an_error_and_no_short_answer(postgres: str, run: Callable[..., Any]) -> None:
    slow = "SELECT n::text AS id, pg_sleep(0.001) FROM generate_series(1, 100000) n"

    def cut() -> None:
        time.sleep(1.0)
        with driver.connect(postgres) as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%generate_series(1, 100000)%'"
                           " AND pid <> pg_backend_pid()")  # fmt: skip
            cursor.fetchall()

    cutter = threading.Thread(target=cut)
    cutter.start()
    with pytest.raises(SourceError):
        rows(store(postgres, query=slow))
    cutter.join()


def test_a_table_that_is_being_written_is_read_as_it_was(postgres: str, run: Callable[..., Any]) -> None:
    run("DROP TABLE IF EXISTS busy", "CREATE TABLE busy (id INT)", "INSERT INTO busy SELECT generate_series(1, 50000)")
    seen = 0
    for batch in read_store(store(postgres, table="busy")):
        if not seen:
            run("INSERT INTO busy SELECT generate_series(50001, 60000)", "DELETE FROM busy WHERE id < 100")
        seen += batch.num_rows
    assert seen == 50_000
