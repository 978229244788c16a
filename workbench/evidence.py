"""Evidence: the tables and scalars that a diagnosis rests on, and nothing else.

In memory a table is a ``pyarrow.Table`` or, for captures of any size, ``Parquet`` (files on disk). On disk an evidence
folder holds ``evidence.json`` (facts, missing, schemas, checksums), small tables as JSON Lines (readable in a diff)
and captures as Parquet. What leaves memory is sealed: record keys become keyed hashes, ids that look like personal
data too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.errors import EvidenceError
from workbench.sealing import Seal, sealed_columns
from workbench.tables import table_of_lines

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

EVIDENCE_VERSION = 1
MANIFEST = "evidence.json"

# Columns that hold content and never leave memory; ``key`` leaves as ``key_hash``.
PRIVATE_COLUMNS = frozenset({"key"})


def _type_name(kind: pa.DataType) -> str:
    """A type's name without the list's field name, which DuckDB and Arrow spell differently."""
    return f"list<{kind.value_type}>" if pa.types.is_list(kind) else str(kind)


_TYPES: dict[str, pa.DataType] = {
    _type_name(kind): kind
    for kind in (
        pa.string(), pa.int64(), pa.int32(), pa.int16(), pa.int8(), pa.uint64(), pa.float64(), pa.bool_(), pa.binary(),
        pa.list_(pa.string()), pa.list_(pa.int32()),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Parquet:
    """A table kept on disk because it may be larger than memory.

    Attributes:
        files: Parquet files of one schema; none at all is an empty table.
        schema: the Arrow schema of every file.
    """

    files: tuple[Path, ...]
    schema: pa.Schema

    def scan_sql(self) -> str:
        """A DuckDB table expression over the files (file names are ours, quoted all the same)."""
        if not self.files:
            return ""
        names = ", ".join(_quoted(str(name)) for name in self.files)
        return f"read_parquet([{names}])"


@dataclass(frozen=True)
class Evidence:
    """What was collected; immutable, and complete: ``diagnose`` reads nothing else.

    Attributes:
        tables: name -> table.
        facts: scalars (JSON types): topics, group, window, limits, reader, ``collected_at``.
        missing: table or facet -> why it is not there, for example "DescribeConfigs denied on topic orders".
    """

    tables: Mapping[str, pa.Table | Parquet] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def table(self, name: str) -> pa.Table | None:
        """The small table ``name``, or None where it is missing; a capture is never loaded whole."""
        found = self.tables.get(name)
        return found if isinstance(found, pa.Table) else None

    def frame(self, name: str, limit: int = 100_000) -> pd.DataFrame:
        """A table for notebooks, sealed, cut at ``limit`` rows.

        Raises:
            EvidenceError: the table is not part of this evidence; the message says why.
        """
        if name not in self.tables:
            why = self.missing.get(name, "it was not collected")
            raise EvidenceError(f"There is no evidence table {name!r}: {why}.", hint=f"Known: {sorted(self.tables)}.")
        with self.connect() as con:
            columns = ", ".join(sealed_columns(_schema(self.tables[name]), Seal.fresh(), self._shows_ids()))
            return con.execute(f"SELECT {columns} FROM {_identifier(name)} LIMIT {int(limit)}").df()

    def connect(self, *, threads: int | None = None, memory_limit: str | None = None) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with a view a table; no file or network access but to the views' own files."""
        con = connect_duckdb(
            files=[path for table in self.tables.values() if isinstance(table, Parquet) for path in table.files],
            threads=threads,
            memory_limit=memory_limit,
        )
        for name, table in self.tables.items():
            if isinstance(table, Parquet) and table.files:
                con.execute(f"CREATE VIEW {_identifier(name)} AS SELECT * FROM {table.scan_sql()}")
            else:
                rows = table.schema.empty_table() if isinstance(table, Parquet) else table
                con.register(name, rows)
        return con

    def save(self, folder: Path, seal: Seal | None = None) -> Path:
        """Writes the evidence folder, whole or not at all; keys and personal-looking ids leave as keyed hashes.

        Args:
            folder: must not exist, be empty, or hold an evidence folder (which is replaced).
            seal: the hashing key of the profile's store; a fresh one by default.

        Raises:
            EvidenceError: the folder holds something else.
        """
        folder = folder.absolute()
        if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
            raise EvidenceError(f"{folder} holds other files.", hint="Name a folder that is new or empty.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            self._write(scratch, seal or Seal.fresh())
            if folder.exists():
                shutil.rmtree(folder)
            scratch.rename(folder)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        return folder

    def _write(self, folder: Path, seal: Seal) -> None:
        entries = {}
        with self.connect() as con:
            for name, table in self.tables.items():
                columns = sealed_columns(_schema(table), seal, self._shows_ids())
                query = f"SELECT {', '.join(columns)} FROM {_identifier(name)}"
                path = _write_table(con, query, folder / name, capture=isinstance(table, Parquet))
                schema = con.sql(f"{query} LIMIT 0").to_arrow_table().schema
                entries[name] = {
                    "file": path.name,
                    "schema": {column.name: _type_name(column.type) for column in schema},
                    "sha256": hashlib.sha256(path.read_bytes()).hexdigest() if path.stat().st_size < 1 << 28 else None,
                }
        manifest = {
            "version": EVIDENCE_VERSION,
            "facts": dict(self.facts),
            "missing": dict(self.missing),
            "tables": entries,
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n")
        for path in folder.iterdir():
            path.chmod(0o600)

    def _shows_ids(self) -> bool:
        return bool(self.facts.get("show_ids", False))

    @classmethod
    def load(cls, folder: Path) -> Evidence:
        """Reads an evidence folder.

        Raises:
            EvidenceError: it is no evidence folder, of another version, or a file is missing or altered.
        """
        manifest = _read_manifest(folder)
        tables: dict[str, pa.Table | Parquet] = {}
        for name, entry in manifest["tables"].items():
            tables[name] = _read_table(folder, name, entry)
        return cls(tables=tables, facts=manifest["facts"], missing=manifest["missing"])

    def pack(self, archive: Path) -> Path:
        """Writes one zip file to hand to someone else; its hashes use a fresh key that nobody keeps."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = self.save(Path(scratch) / "evidence", Seal.fresh())
            partial = archive.with_name(archive.name + ".partial")
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as out:
                for path in sorted(folder.iterdir()):
                    out.write(path, path.name)
            partial.chmod(0o600)
            partial.replace(archive)
        return archive

    @classmethod
    def unpack(cls, archive: Path, folder: Path) -> Evidence:
        """Opens what ``pack`` wrote into a new folder; takes only plain files, at most 4 GiB.

        Raises:
            EvidenceError: the archive holds anything else, or its content is damaged.
        """
        try:
            with zipfile.ZipFile(archive) as packed:
                members = packed.infolist()
                flat = all(m.filename == Path(m.filename).name and not _is_link(m) for m in members)
                if not flat or sum(m.file_size for m in members) > 4 << 30:
                    raise EvidenceError(f"{archive} is not a packed evidence folder.", hint="Use a file made by pack.")
                folder.mkdir(parents=True)
                packed.extractall(folder)
        except (zipfile.BadZipFile, OSError) as error:
            raise EvidenceError(f"{archive} cannot be unpacked: {error}.", hint="Pack it again.") from error
        return cls.load(folder)


def connect_duckdb(
    files: list[Path] | None = None, *, threads: int | None = None, memory_limit: str | None = None
) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that cannot reach the network or any file but ``files``.

    Messages are hostile and users bring predicates, so extensions and external access are off and locked.
    """
    import duckdb

    con = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET enable_progress_bar = false")  # in notebooks it would draw one, where a query takes seconds
    if threads:
        con.execute(f"SET threads = {int(threads)}")
    if memory_limit:
        con.execute(f"SET memory_limit = {_quoted(memory_limit)}")
    scratch = Path(tempfile.gettempdir()) / f"workbench-duckdb-{os.getuid()}"
    con.execute(f"SET temp_directory = {_quoted(str(scratch))}")
    if files:
        con.execute("SET allowed_paths = [" + ", ".join(_quoted(str(path)) for path in files) + "]")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")
    return con


def _write_table(con: duckdb.DuckDBPyConnection, query: str, stem: Path, *, capture: bool) -> Path:
    if capture:
        import pyarrow.parquet as pq

        path = stem.with_name(stem.name + ".parquet")
        reader = con.sql(query).to_arrow_reader(100_000)
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
        return path
    path = stem.with_name(stem.name + ".jsonl")
    rows = con.sql(query).to_arrow_table().to_pylist()
    path.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
    return path


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise EvidenceError(f"{folder} is not an evidence folder: it has no {MANIFEST}.", hint="Make one with --save.")
    try:
        manifest = json.loads(path.read_text())
        if manifest["version"] != EVIDENCE_VERSION:
            raise EvidenceError(
                f"{folder} has evidence version {manifest['version']}, this workbench reads {EVIDENCE_VERSION}.",
                hint="Collect it again, or use the workbench that wrote it.",
            )
        parts = {"facts": dict, "missing": dict, "tables": dict}
        if any(not isinstance(manifest[name], kind) for name, kind in parts.items()):
            raise TypeError("unexpected shape")
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceError(f"{path} is damaged: {error}.", hint="Collect the evidence again.") from error
    return dict(manifest)


def _read_table(folder: Path, name: str, entry: Any) -> pa.Table | Parquet:
    try:
        path = folder / Path(entry["file"]).name
        if not path.is_file() or path.is_symlink():
            raise EvidenceError(f"{path} is missing from the evidence.", hint="Collect the evidence again.")
        if entry["sha256"] and hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise EvidenceError(f"{path} was altered or cut after it was saved.", hint="Collect the evidence again.")
        schema = pa.schema([(column, _TYPES[kind]) for column, kind in entry["schema"].items()])
        if path.suffix == ".parquet":
            return Parquet((path.absolute(),), schema)
        return table_of_lines(schema, path.read_text().splitlines())
    except (ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise EvidenceError(f"Evidence table {name!r} in {folder} is damaged: {error}.") from error


def _schema(table: pa.Table | Parquet) -> pa.Schema:
    return table.schema


def _is_link(member: zipfile.ZipInfo) -> bool:
    return (member.external_attr >> 16) & 0o170000 == 0o120000


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
