"""Stores: sources and sinks that are no topics: tables of a database, and files. Read-only, in batches."""

from workbench.sources.stores.reading import Columns, Row, Window, read_store, removed_rows

__all__ = ["Columns", "Row", "Window", "read_store", "removed_rows"]
