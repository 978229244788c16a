"""The repository as the contract tests read it: its files, its imports, its metadata."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "workbench"


@cache
def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def direct_dependencies() -> dict[str, Requirement]:
    """Canonical name -> requirement, of the core and all extras; the project's own extras are opened by them."""
    project = pyproject()["project"]
    extras = project["optional-dependencies"]
    named = [Requirement(text) for group in (project["dependencies"], *extras.values()) for text in group]
    return {canonicalize_name(item.name): item for item in named if item.name != project["name"]}


def tracked_files() -> list[Path]:
    """What git holds or would take, as it is on disk."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def modules(folder: Path = PACKAGE) -> Iterator[tuple[str, ast.Module]]:
    """(dotted name, syntax tree) of each module below a folder of the repository."""
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), ast.parse(path.read_text())


def imported(tree: ast.AST) -> set[str]:
    """Dotted names a tree imports, wherever: at the top, in functions, for type checkers only.

    ``from workbench import errors`` counts as ``workbench.errors``; relative imports are refused by ruff (TID252).
    """
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names
