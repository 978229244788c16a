"""Tables that services write to and read from: PostgreSQL where the scene has one, else a file of SQLite."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from workbench.sandbox.incidents.scene import Scene

# What a database raises when it refuses a row; both drivers follow PEP 249.
_REFUSALS = ("IntegrityError", "DataError")


@dataclass
class Database:
    """One connection, and what options need to find its tables.

    Attributes:
        url: as workbench.toml names it.
        connection: a PEP 249 connection.
        numbered: parameters are ``$1`` instead of ``?``.
    """

    url: str
    connection: Any
    numbered: bool = False
    suffix: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def name(self, table: str) -> str:
        """A table's name that no other scene uses."""
        return f"{table}_{self.suffix}"

    def now(self) -> Any:
        """The time that a row gets when it is written, in UTC without saying so, as many tables hold it."""
        at = datetime.now(UTC).replace(tzinfo=None)
        return at if self.numbered else at.isoformat(sep=" ", timespec="milliseconds")

    def run(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Runs one statement and commits; its rows, if it gives any.

        Raises:
            Exception: the driver's own, where the database refuses it.
        """
        for number in range(1, len(values) + 1 if self.numbered else 0):
            statement = statement.replace("?", f"${number}", 1)
        cursor = self.connection.cursor()
        try:
            cursor.execute(statement, list(values)) if values else cursor.execute(statement)
            rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            self.connection.commit()
            return rows
        except Exception:
            with suppress(Exception):
                self.connection.rollback()
            raise
        finally:
            cursor.close()

    def close(self) -> None:
        """Frees the connection."""
        self.connection.close()


def database(scene: Scene) -> Database:
    """The scene's database, new for each scene where it is a file."""
    if scene.database:
        import adbc_driver_postgresql.dbapi as driver

        return Database(scene.database, driver.connect(scene.database), numbered=True)
    scene.folder.mkdir(parents=True, exist_ok=True)
    path = scene.folder.absolute() / "target.sqlite"
    return Database(f"sqlite:///{path}", sqlite3.connect(path))


def refused(error: Exception) -> bool:
    """Whether a database refused a row, by a constraint or a type."""
    return type(error).__name__ in _REFUSALS


def as_store(scene: Scene, role: str, name: str, entry: dict[str, Any]) -> None:
    """Puts a table into the scene's options as its source or sink, and into a workbench.toml of the scene's folder."""
    path = scene.folder.absolute() / "workbench.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[sql.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items()))
    scene.options["stores"] = {"sql": {name: entry}, "file": str(path)}
    scene.options[role] = f"sql:{name}" if role == "source" else [f"sql:{name}"]


def ids_in(base: Database, table: str, column: str = "message_id") -> list[str]:
    """The ids in a table, one a row."""
    return [str(row[0]) for row in base.run(f"SELECT {column} FROM {table}")]


def insert(base: Database, table: str, rows: Iterable[dict[str, Any]]) -> None:
    """Inserts rows, each by a statement of its own."""
    for row in rows:
        marks = ", ".join("?" for _ in row)
        base.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
