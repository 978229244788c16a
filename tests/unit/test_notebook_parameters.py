"""Parameters of notebooks are checked before anything runs."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from workbench.errors import UsageError
from workbench.services.parameters import checked_values, declared_parameters

SOURCE = """
profile = ""  # a name
sink: list[str] = []
limit = 0
ratio: float = 0.5
deep = False
options: list[str] = []
"""


def declared(source: str = SOURCE):
    cell = new_code_cell(source)
    cell.metadata["tags"] = ["parameters"]
    return declared_parameters(new_notebook(cells=[new_code_cell("x = 1"), cell]))


def test_kinds_come_from_annotations_and_literals():
    kinds = {item.name: item.kind for item in declared().values()}
    assert kinds == {
        "profile": "str", "sink": "list[str]", "limit": "int", "ratio": "float", "deep": "bool", "options": "list[str]",
    }  # fmt: skip


@pytest.mark.parametrize(
    "source", ["x = profile", "x: str | None = None", "import os", "x = {}", "x = f'{1}'", "x = []"]
)
def test_what_papermill_cannot_pass_on_is_refused(source: str):
    with pytest.raises(UsageError):
        declared(source)


def test_texts_become_the_declared_types():
    given = {"sink": "a", "limit": "5", "ratio": "2", "deep": "true", "profile": 7}
    assert checked_values(declared(), given) == {"sink": ["a"], "limit": 5, "ratio": 2.0, "deep": True, "profile": "7"}


@pytest.mark.parametrize(("text", "value"), [('["a", "b"]', ["a", "b"]), (["a", "b"], ["a", "b"]), ("a,b", ["a,b"])])
def test_a_list_is_json_or_repeated_or_one_item(text, value):
    assert checked_values(declared(), {"sink": text})["sink"] == value


@pytest.mark.parametrize(
    "given", [{"limit": "many"}, {"deep": "perhaps"}, {"profile": None}, {"sink": [None]}, {"sink": "["}]
)
def test_a_value_of_another_type_is_refused(given):
    with pytest.raises(UsageError, match=next(iter(given))):
        checked_values(declared(), given)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="'sinc'") as caught:
        checked_values(declared(), {"sinc": "a"})
    assert caught.value.hint == "Did you mean sink?"


def test_options_of_a_check_go_through_options():
    found = checked_values(declared(), {"dead-letters": ["a", "b"], "options": ["x=1"]}, {"dead_letters"})
    assert found == {"options": ["x=1", "dead_letters=a", "dead_letters=b"]}


def test_a_notebook_without_options_takes_none():
    with pytest.raises(UsageError):
        checked_values(declared('profile = ""'), {"since": "1h"}, {"since"})


def test_a_notebook_without_parameters_declares_none():
    assert declared_parameters(nbformat.v4.new_notebook()) == {}
