"""The folder that people work in: the clone itself, or one with copies of what the package has."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.errors import UsageError
from workbench.shelves import home, is_clone

FOLDER = "workbench-notebooks"
SHELVES = ("notebooks", "runbooks")


@dataclass(frozen=True)
class Place:
    """Where people work.

    Attributes:
        folder: the root of what JupyterLab shows.
        copied: files that were copied into it just now.
        kept: files that differ from the package's and stay as they are: somebody's own work.
    """

    folder: Path
    copied: int
    kept: int


def place(folder: Path | None) -> Place:
    """A folder with notebooks and runbooks; the clone where this runs from one and nothing else is asked for.

    Args:
        folder: None for the clone, or for ``workbench-notebooks`` in the current folder.

    Raises:
        UsageError: the folder cannot be written.
    """
    if folder is None and is_clone():
        return Place(home(), 0, 0)
    target = (folder or Path(FOLDER)).absolute()
    try:
        copied, kept = _copy(target)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror}.", hint="Name another with --folder."
        ) from error
    return Place(target, copied, kept)


def _copy(target: Path) -> tuple[int, int]:
    """Copies what is not there yet; what somebody has changed is theirs."""
    copied = kept = 0
    for shelf in SHELVES:
        for source in sorted(path for path in (home() / shelf).rglob("*") if path.is_file() and path.suffix != ".py"):
            copy = target / source.relative_to(home())
            if copy.exists():
                kept += copy.read_bytes() != source.read_bytes()
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            copied += 1
    return copied, kept


def prefilled(where: Place, name: str, parameters: Mapping[str, Any]) -> Path:
    """A copy of a notebook with its parameters filled in, under ``out/opened``; without any, the notebook itself.

    Args:
        where: the folder that JupyterLab shows.
        name: a name from ``notebooks/`` or ``runbooks/``.
        parameters: name -> value; checked as those of ``workbench run``.

    Raises:
        UsageError: there is no such notebook, or no such parameter.
    """
    from workbench.services.runs import find_notebook, parameters_of, read_notebook

    source = find_notebook(name)
    if not parameters:
        return _shown(where, source)
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    values = parameters_of(read_notebook(source), parameters)
    node = load_notebook_node(str(source))
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    # Beside the others, so that relative names in it hold.
    copy = where.folder / source.parent.name / f"{source.stem}-{stamp}.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(parameterize_notebook(node, values), copy)  # type: ignore[no-untyped-call]
    return copy


def _shown(where: Place, source: Path) -> Path:
    """The notebook as it lies in the folder; one from elsewhere cannot be shown."""
    found = where.folder / source.parent.name / source.name
    if not found.is_file():
        raise UsageError(
            f"{source} lies outside {where.folder}.", hint="Copy it there, or name the folder with --folder."
        )
    return found
