"""Which metrics a PromQL expression names: what is left once strings, selectors, functions and groupings are gone."""

from __future__ import annotations

import re

_WORDS = {
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "bool",
    "inf",
    "nan",
}
_AWAY = (
    r'"(?:[^"\\]|\\.)*"',  # strings
    r"\{[^}]*\}",  # selectors
    r"\[[^\]]*\]",  # ranges
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)",  # groupings
    r"\boffset\s+\w+",
)


def metrics_of(expression: str) -> set[str]:
    """Names of the series that an expression reads."""
    for pattern in _AWAY:
        expression = re.sub(pattern, " ", expression)
    names = re.findall(r"\b[A-Za-z_:][\w:]*\b(?!\s*\()", expression)
    return {name for name in names if name.lower() not in _WORDS}
