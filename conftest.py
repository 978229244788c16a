"""How tests are shared out between processes (``make test`` uses two)."""

from __future__ import annotations

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """A file's tests stay together: they share a cluster, or are the cells of one runbook.

    Tests marked ``alone`` go wherever a process is free; each of them brings what it needs.
    """
    if not item.get_closest_marker("alone"):
        item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
