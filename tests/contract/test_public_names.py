"""What ``__all__`` promises is there."""

from __future__ import annotations

import ast
import importlib

import pytest

import workbench
from tests.contract.repository import modules


def promised(tree: ast.Module) -> bool:
    assigned = [node.targets for node in tree.body if isinstance(node, ast.Assign)]
    return any(isinstance(name, ast.Name) and name.id == "__all__" for targets in assigned for name in targets)


@pytest.mark.parametrize("module", [name for name, tree in modules() if promised(tree)])
def test_all_is_true(module: str):
    loaded = importlib.import_module(module)
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []
    assert len(set(loaded.__all__)) == len(loaded.__all__)


def test_the_lazy_names_of_the_package_resolve():
    for name in workbench.__all__:
        assert getattr(workbench, name) is not None
    assert set(dir(workbench)) == set(workbench.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing_like_this'"):
        _ = workbench.nothing_like_this
