"""Notebooks and runbooks keep to their form: literal parameters, short cells of calls, the agreed sections."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.contract.repository import ROOT
from workbench.services.parameters import declared_parameters
from workbench.services.runs import read_notebook

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RUNBOOKS = sorted((ROOT / "runbooks").glob("*.ipynb"))
MOST_CELLS, MOST_LINES = 15, 8

# Logic belongs into the library: what a notebook's cells may not hold.
STATEMENTS = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.AsyncFor, ast.While, ast.If, ast.Try, ast.With,
    ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


def name(path: Path) -> str:
    return path.stem


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    found = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]
    return [{**cell, "source": "".join(cell["source"])} for cell in found]


def form_errors(source: str) -> list[str]:
    """What is wrong with one code cell."""
    wrong = [f"{len(source.splitlines())} lines"] if len(source.splitlines()) > MOST_LINES else []
    if re.search(r"^\s*[!%]", source, re.MULTILINE):
        return [*wrong, "a shell escape or a magic"]
    held = {type(node).__name__ for node in ast.walk(ast.parse(source)) if isinstance(node, STATEMENTS)}
    return [*wrong, *sorted(held)]


def test_there_are_notebooks_and_runbooks():
    assert {path.stem for path in NOTEBOOKS} >= {"template", "loss", "duplicates"}
    assert len(RUNBOOKS) >= 18


@pytest.mark.parametrize("path", [*NOTEBOOKS, *RUNBOOKS], ids=name)
def test_cells_are_few_short_and_calls_only(path: Path):
    code = cells(path, "code")
    assert len(code) <= MOST_CELLS
    assert {index: wrong for index, cell in enumerate(code) if (wrong := form_errors(cell["source"]))} == {}


@pytest.mark.parametrize("path", [*NOTEBOOKS, *RUNBOOKS], ids=name)
def test_the_first_code_cell_declares_literal_parameters(path: Path):
    code = cells(path, "code")
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert tagged == code[:1]
    declared = declared_parameters(read_notebook(path))
    assert next(iter(declared)) == ("profile" if path in NOTEBOOKS else "evidence_dir")
    if path in NOTEBOOKS:
        assert {item.name: item.default for item in declared.values() if item.default not in ("", 0, [], False)} == {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_says_what_it_needs_and_does(path: Path):
    head = cells(path, "markdown")[0]["source"]
    assert head.startswith("# ")
    for word in ("Question", "Needs", "Reads", "Writes nothing", "Finds"):
        assert f"**{word}" in head


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_publishes_before_it_draws(path: Path):
    order = "\n".join(cell["source"] for cell in cells(path, "code"))
    steps = ["notebook.connect(", "notebook.collect(", "notebook.publish(", "notebook.show(", "notebook.next_steps("]
    assert [order.index(step) for step in steps] == sorted(order.index(step) for step in steps)
    assert "plots." not in order[: order.index("notebook.publish(")].replace("import notebook, plots", "")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_a_notebook_is_stripped(path: Path):
    for cell in cells(path, "code"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("path", [*NOTEBOOKS, *RUNBOOKS], ids=name)
def test_nothing_of_a_machine_is_left_in_it(path: Path):
    document = json.loads(path.read_text())
    assert document["metadata"]["kernelspec"]["name"] == "python3"
    assert re.findall(r"/(?:home|root|tmp|Users|work)/", path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("x = 1", []),
        ("for x in y:\n    pass", ["For"]),
        ("f = lambda: 0", ["Lambda"]),
        ("!ls", ["a shell escape or a magic"]),
        ("\n".join("abcdefghi"), ["9 lines"]),
    ],
)
def test_the_checker_bites(source: str, wrong: list[str]):
    assert form_errors(source) == wrong
