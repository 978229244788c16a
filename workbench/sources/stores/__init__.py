"""Stores: sources and sinks that are no topics: tables of a database, and files. Read-only, in batches."""

from workbench.sources.stores.reading import ROWS, Columns, Window, read_store, removed_rows

__all__ = ["ROWS", "Columns", "Window", "read_store", "removed_rows"]
