"""A notebook's parameters: what it declares, and values of users checked against that before anything runs."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError

if TYPE_CHECKING:
    from nbformat import NotebookNode

Value = str | int | float | bool | list[str] | list[int]

# A notebook with this parameter takes any option of ``workbench check`` through it, as name=value.
OPTIONS = "options"


@dataclass(frozen=True)
class Parameter:
    """One declared parameter: its name, its default, and its type as written in the notebook ("list[str]")."""

    name: str
    default: Value
    kind: str


def declared_parameters(notebook: NotebookNode) -> dict[str, Parameter]:
    """The parameters that the cell tagged ``parameters`` declares, by name, in their order.

    Raises:
        UsageError: a declaration is not a literal of the types that papermill can pass on.
    """
    cells = [cell for cell in notebook.cells if "parameters" in cell.get("metadata", {}).get("tags", [])]
    statements = ast.parse(cells[0].source).body if cells else []
    return {item.name: item for item in map(_declaration, statements)}


def _declaration(statement: ast.stmt) -> Parameter:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            kind = ast.unparse(annotation)
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            kind = ""
        case _:
            raise UsageError(f"The parameters cell holds {ast.unparse(statement)!r}.", hint="Only NAME = LITERAL.")
    try:
        default = ast.literal_eval(value)
    except ValueError as error:
        raise UsageError(f"Parameter {name} is not a literal.", hint="Compute it in a later cell.") from error
    kind = kind or type(default).__name__
    if kind not in ("str", "int", "float", "bool", "list[str]", "list[int]"):
        raise UsageError(f"Parameter {name} is a {kind}.", hint="Use str, int, float, bool, list[str] or list[int].")
    return Parameter(name, default, kind)


def checked_values(
    declared: Mapping[str, Parameter], given: Mapping[str, Any], option_names: Iterable[str] = ()
) -> dict[str, Value]:
    """The given values in the declared types; options of a check that have no parameter of their own go to ``options``.

    Args:
        declared: what the notebook declares.
        given: values of users: of the declared type, or text as on a command line; a list may be one item.
        option_names: names that a notebook with ``options`` takes through it.

    Raises:
        UsageError: an unknown name (the nearest is named) or a value of another type.
    """
    out: dict[str, Value] = {}
    extra: list[str] = []
    known_options = frozenset(option_names) if OPTIONS in declared else frozenset()
    for name, value in given.items():
        key = name.replace("-", "_")
        if key in declared:
            out[key] = _typed(declared[key], value)
        elif key in known_options:
            extra += [f"{key}={item}" for item in (value if isinstance(value, list) else [value])]
        else:
            raise _unknown(name, {*declared, *known_options})
    if extra:
        chosen = out.get(OPTIONS, declared[OPTIONS].default)
        out[OPTIONS] = [*(str(item) for item in chosen), *extra] if isinstance(chosen, list) else extra
    return out


def _unknown(name: str, known: set[str]) -> UsageError:
    near = difflib.get_close_matches(name.replace("-", "_"), known, 1)
    hint = f"Did you mean {near[0]}?" if near else f"It takes {', '.join(sorted(known))}."
    return UsageError(f"The notebook has no parameter {name!r}.", hint=hint)


def _typed(parameter: Parameter, value: Any) -> Value:
    try:
        if parameter.kind.startswith("list"):
            return [_scalar(parameter.kind[5:-1], item) for item in _items(value)]  # type: ignore[return-value]
        return _scalar(parameter.kind, value)
    except (ValueError, TypeError) as error:
        raise UsageError(f"Parameter {parameter.name} takes {parameter.kind}, not {value!r}.") from error


def _items(value: Any) -> list[Any]:
    """A list as given, as JSON text, or made of one item."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        parsed = json.loads(value)
        return list(parsed)
    return list(value) if isinstance(value, list | tuple) else [value]


def _scalar(kind: str, value: Any) -> str | int | float | bool:
    if kind == "bool":
        return _truth(value)
    if isinstance(value, bool | list | dict) or value is None:
        raise TypeError(kind)
    if kind == "str":
        return str(value)
    return int(value) if kind == "int" else float(value)


def _truth(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]
