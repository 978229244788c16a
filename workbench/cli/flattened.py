"""Options grouped in dataclasses: a command takes the group, Typer sees each of its fields as an option."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def flattened(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose dataclass parameters are offered field by field.

    Args:
        command: a function with annotated parameters; those whose type is a dataclass are groups of options. The
            fields' annotations are what Typer reads; every field needs a default.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    plain = [item for item in inspect.signature(command).parameters.values() if item.name not in groups]
    offered = [item.replace(annotation=hints[item.name], kind=inspect.Parameter.KEYWORD_ONLY) for item in plain]
    for kind in groups.values():
        offered += _parameters(kind)

    @wraps(command)
    def flat(**given: Any) -> None:
        built = {
            name: kind(**{item.name: given.pop(item.name) for item in fields(kind)}) for name, kind in groups.items()
        }
        command(**given, **built)

    flat.__signature__ = inspect.Signature(offered)  # type: ignore[attr-defined]
    flat.__annotations__ = {item.name: item.annotation for item in offered}
    return flat


def _parameters(kind: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            item.name, inspect.Parameter.KEYWORD_ONLY, default=_default(item), annotation=hints[item.name]
        )
        for item in fields(kind)
    ]


def _default(item: Field[Any]) -> Any:
    return inspect.Parameter.empty if item.default is MISSING else item.default
