"""An examination: a diagnosis with its ledger still at hand, so that the rows can be written without doing it twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.evidence import Evidence
from workbench.report import Report, Undecided, Verdict, worst
from workbench.sealing import Seal, sealed_columns

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Examination:
    """A report and the tables it was drawn from.

    Attributes:
        report: the report.
        con: DuckDB with the problem's ledger tables.
        rows_sql: selects the rows of ``ledger.parquet`` there.
        evidence: what was examined.
    """

    report: Report
    con: duckdb.DuckDBPyConnection
    rows_sql: str
    evidence: Evidence

    def write_ledger(self, path: Path, seal: Seal | None = None) -> Path:
        """Writes ``ledger.parquet``, whole or not at all; personal-looking ids leave as keyed hashes.

        Columns: message_id string, disposition string, cause string (null: needs none), candidates string (null: only one
        cause is possible), topic string, partition int32, offset int64 (null: no record), at timestamp UTC.
        """
        import pyarrow.parquet as pq

        schema = self.con.sql(f"SELECT * FROM ({self.rows_sql}) LIMIT 0").to_arrow_table().schema
        columns = sealed_columns(schema, seal or Seal.fresh(), bool(self.evidence.facts.get("show_ids")))
        reader = self.con.sql(f"SELECT {', '.join(columns)} FROM ({self.rows_sql})").to_arrow_reader(100_000)
        partial = path.with_name(path.name + ".partial")
        with pq.ParquetWriter(partial, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
        partial.chmod(0o600)
        partial.replace(path)
        return path


def verdict_of(findings: Sequence[Verdict], undecided: Sequence[Undecided]) -> Verdict:
    """The verdict: worst of the findings' severities and of what keeps the ledger itself from being established."""
    reasons: list[Verdict] = ["undecided"] if undecided else []
    return worst([*findings, *reasons])
