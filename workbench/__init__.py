"""Workbench: accounts for every message of an Apache Kafka integration.

The public names load their modules on first use, so that ``import workbench`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

from workbench._version import __version__

# name -> module that defines it
_PUBLIC = {
    "Evidence": "workbench.evidence",
    "Finding": "workbench.report",
    "Report": "workbench.report",
    "Severity": "workbench.report",
    "WorkbenchError": "workbench.errors",
    "connect": "workbench.sources",
    "load_config": "workbench.config",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
