"""The tracked files hold no machine's paths, no package index, no secret; and functions stay short."""

from __future__ import annotations

import ast
import re
import statistics

import pytest

from tests.contract.repository import modules, tracked_files

FORBIDDEN = {
    "path of a machine": r"(?<![\w.$}])/(?:work|root|tmp|home|Users)/",
    "package index": r"(?:pypi|pythonhosted|npmjs|golang|debian|anaconda)\.org|repo1?\.maven|crates\.io",
    "address with credentials": r"[a-z]+://[^\s/:@\"'<>{}$]+:[^\s/@\"'<>{}$]+@",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "access token": r"\b(?:ghp_|glpat-|xox[bp]-|AKIA)[A-Za-z0-9_-]{12,}",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_tracked_files_hold_nothing_of_a_machine(what: str):
    pattern = re.compile(FORBIDDEN[what])
    found = []
    for path in tracked_files():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.name}:{number}: {line.strip()[:80]}" for number, line in enumerate(lines, 1) if pattern.search(line)
        ]
    assert found == []


def test_functions_are_short():
    lengths = {
        f"{module}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > 50} == {}
    assert statistics.median(lengths.values()) < 12
