"""Imports go one way, client libraries stay in their rooms, and starting up costs little."""

from __future__ import annotations

import graphlib
import importlib.metadata
import subprocess
import sys

import pytest
from packaging.utils import canonicalize_name

from tests.contract.repository import PACKAGE, ROOT, direct_dependencies, imported, modules

# Left to right: a room may import from its own column and those before it.
COLUMNS = (
    ("_version", "errors", "encryption", "shelves", "tables"),
    ("config", "evidence", "report", "sealing", "dialects", "stores", "remotes"),
    ("sources", "capture"),
    ("problems",),
    ("redrive", "services", "notebook", "plots", "runner"),
    ("cli",),
)
COLUMN_OF = {room: number for number, rooms in enumerate(COLUMNS) for room in rooms}
ONLY_FOR_CLI = ("integration", "sandbox")
PROBLEMS = ("loss", "duplicates", "lag", "dlq", "message", "health")
CLIENT_LIBRARIES = ("kafka", "confluent_kafka")
KNOW_CLIENTS = ("sources", "capture", "redrive", "integration", "sandbox")
HEAVY = ("pandas", "plotly", "papermill", "IPython", "kafka", "matplotlib", "mcp")

MODULES = dict(modules())


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def longest_module(name: str) -> str:
    """``workbench.errors.UsageError`` is in the module ``workbench.errors``."""
    return name if name in MODULES or name.split(".")[1:] == [] else longest_module(name.rpartition(".")[0])


def own_imports(module: str) -> set[str]:
    """Modules of this package that a module imports, by their longest name that is a module."""
    names = {name for name in imported(MODULES[module]) if name.startswith("workbench.")}
    return {longest_module(name) for name in names} - {"workbench"}


def allowed(module: str, target: str) -> bool:
    here, there = room(module), room(target)
    if here == there:
        return True
    if here == "integration":
        return there in {"_version", "errors", "config", "encryption"}
    if here == "sandbox":
        return there != "cli"
    if there in ONLY_FOR_CLI:
        return here == "cli"
    return COLUMN_OF[there] <= COLUMN_OF[here]


def test_every_room_has_its_place():
    known = {*COLUMN_OF, *ONLY_FOR_CLI, "__main__", ""}
    assert {room(module) for module in MODULES} <= known


def test_imports_go_one_way():
    wrong = [
        f"{module} imports {target}"
        for module in MODULES
        if room(module) not in {"", "__main__"}
        for target in own_imports(module)
        if not allowed(module, target)
    ]
    assert wrong == []


def test_rooms_form_no_circle():
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        here = room(module)
        graph.setdefault(here, set()).update(room(target) for target in own_imports(module) if room(target) != here)
    assert list(graphlib.TopologicalSorter(graph).static_order())


def problem_of(module: str) -> str | None:
    """The problem a module belongs to; None for what problems share."""
    parts = module.split(".")
    return parts[2] if parts[1:2] == ["problems"] and parts[2:3] and parts[2] in PROBLEMS else None


def test_problems_never_import_each_other():
    wrong = [
        f"{module} imports {target}"
        for module in MODULES
        for target in own_imports(module)
        if problem_of(module) and problem_of(target) and problem_of(module) != problem_of(target)
    ]
    assert wrong == []


def test_client_libraries_stay_in_their_rooms():
    wrong = [
        f"{module} imports {name}"
        for module, tree in MODULES.items()
        if room(module) not in KNOW_CLIENTS
        for name in imported(tree)
        if name.split(".")[0] in CLIENT_LIBRARIES
    ]
    assert wrong == []


def test_the_checkers_see_what_they_forbid():
    """The rules above would catch an import in either direction."""
    assert not allowed("workbench.sources.cluster", "workbench.problems.loss")
    assert not allowed("workbench.problems.loss", "workbench.sandbox.kafka")
    assert not allowed("workbench.integration.worker", "workbench.evidence")
    assert allowed("workbench.cli.sandbox", "workbench.sandbox.kafka")
    assert allowed("workbench.sandbox.demo", "workbench.problems.loss")
    assert allowed("workbench.sandbox.tokens", "workbench.integration.serving")
    assert not allowed("workbench.integration.serving", "workbench.sandbox.tokens")
    assert not allowed("workbench.services.runs", "workbench.integration.serving")
    assert problem_of("workbench.problems.loss.ledger") == "loss"
    assert problem_of("workbench.problems.rules") is None


@pytest.mark.parametrize("statement", ["import workbench", "import workbench.cli"])
def test_start_up_loads_nothing_heavy(statement: str):
    script = f"{statement}; import sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_every_import_is_a_declared_dependency():
    """What a package of ours happens to bring along may be gone with its next version."""
    declared, providers = direct_dependencies(), importlib.metadata.packages_distributions()
    wrong = set()
    for folder in (PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "scripts"):
        for module, tree in modules(folder):
            tops = {name.split(".")[0] for name in imported(tree)} - sys.stdlib_module_names
            for top in tops - {"workbench", "tests", "benchmarks", "scripts"}:
                names = {canonicalize_name(name) for name in providers.get(top, [top])}
                if not names & declared.keys():
                    wrong.add(f"{module} imports {top}")
    assert wrong == set()
