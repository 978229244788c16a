"""Where the files are that are not code: notebooks, runbooks, deploy. Beside the package in a clone, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# The folder that a built package has them in; setup.py puts them there.
SHARE = "share"


def home() -> Path:
    """The folder that holds ``notebooks/``, ``runbooks/`` and ``deploy/``: the clone's, else the package's own."""
    clone = _PACKAGE.parent
    return clone if (clone / "notebooks" / "loss.ipynb").is_file() else _PACKAGE / SHARE


def is_clone() -> bool:
    """Whether this is a clone, whose notebooks may be edited where they are."""
    return home() == _PACKAGE.parent
