"""Sources and sinks that are no topics, in the evidence: their rows stand among the records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.capture.schema import OUTCOME, capture_schema
from workbench.capture.stores import REMOVED, StoreCapture, capture_store
from workbench.errors import AccessDenied
from workbench.evidence import Evidence, Parquet
from workbench.sources.stores import Window
from workbench.tables import table_of

if TYPE_CHECKING:
    import duckdb

    from workbench.problems.draft import Draft, Progress
    from workbench.problems.scope import Scope


def read_stores(scope: Scope, draft: Draft, work_dir: Path, progress: Progress) -> None:
    """Adds the rows of the scope's stores to ``records`` and ``scan``, those that are gone as ``removed_rows``.

    The fact ``stores`` says of each what was read of it. A store that may not be read is missing, as a topic is.

    Raises:
        UsageError: a column does not exist.
        SourceUnavailable: a store does not answer.
    """
    if not scope.stores:
        return
    schema = capture_schema(scope.include_values)
    found: dict[str, StoreCapture] = {}
    for number, (name, store) in enumerate(scope.stores.items()):
        progress(f"reading {name}")
        try:
            found[name] = capture_store(
                store,
                "source" if name == scope.source else "sink",
                work_dir / f"store-{number}",
                schema,
                window=_window(scope, name),
                limit=scope.limit,
                told=lambda rows, name=name: progress(f"reading {name}: {rows:,} rows"),  # type: ignore[misc]
            )
        except AccessDenied as error:
            draft.missing[name] = str(error).rstrip(".")
    _add(scope, draft, found, schema)


def _add(scope: Scope, draft: Draft, found: dict[str, StoreCapture], schema: pa.Schema) -> None:
    records, scan = draft.tables.get("records"), draft.tables.get("scan")
    files = [path for one in found.values() for path in one.files]
    removed = [path for one in found.values() for path in one.removed]
    before = records.files if isinstance(records, Parquet) else ()
    outcome = scan.to_pylist() if isinstance(scan, pa.Table) else []
    outcome += [one.outcome(name) for name, one in found.items()]
    draft.tables["records"] = Parquet((*before, *files), schema)
    draft.tables["scan"] = table_of(OUTCOME, [tuple(row.values()) for row in outcome])
    if removed:
        draft.tables["removed_rows"] = Parquet(tuple(removed), REMOVED)
    draft.facts["stores"] = {name: one.facts(scope.stores[name]) for name, one in found.items()}
    draft.facts["truncated"] = bool(draft.facts.get("truncated")) or any(one.truncated for one in found.values())
    ids = {name: f"column:{one.columns.names['id']}" for name, one in found.items()}
    draft.facts["id_from_by_topic"] = {**draft.facts.get("id_from_by_topic", {}), **ids}
    if scope.source in ids:
        draft.facts["id_from"] = ids[scope.source]


def _window(scope: Scope, name: str) -> Window:
    """The times that matter, as for topics: a sink's from a latency before the window to a horizon after it."""
    early, late = (0.0, 0.0) if name == scope.source else (scope.expected_latency_seconds, scope.horizon_seconds)
    since = None if scope.since is None else scope.since.timestamp() - early
    until = None if scope.until is None else scope.until.timestamp() + late
    return Window(*(None if at is None else round(at * 1000) for at in (since, until)))


_STORES = "CREATE OR REPLACE TEMP TABLE stores (topic VARCHAR, knows_removed BOOLEAN)"
_GONE = """
CREATE OR REPLACE TEMP TABLE gone AS
SELECT topic, message_id, max(at_ms) AS at_ms FROM removed_rows WHERE message_id IS NOT NULL GROUP BY ALL
"""
_NONE_GONE = "CREATE OR REPLACE TEMP TABLE gone (topic VARCHAR, message_id VARCHAR, at_ms BIGINT)"


def create_stores(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    """Creates ``stores`` (those of the scope, and whether they know what was removed) and ``gone`` (the ids that were)."""
    con.execute(_STORES)
    for name, said in (evidence.facts.get("stores") or {}).items():
        con.execute("INSERT INTO stores VALUES (?, ?)", [name, said["knows_removed"]])
    con.execute(_GONE if "removed_rows" in evidence.tables else _NONE_GONE)


def store_facts(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the evidence's facts say of a store; nothing of a topic."""
    return dict((facts.get("stores") or {}).get(name) or {})
