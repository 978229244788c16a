"""What a record holds that could identify it: headers and the scalars of a JSON value, by where they are found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from workbench.sources.sampling import Sampled

_DEPTH = 3
_MOST_FIELDS = 200  # of one record
_LONGEST = 512
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,60}")


def places_of(record: Sampled) -> dict[str, str]:
    """``header:NAME`` or ``json:$.path`` -> its text; only short, plain ones."""
    out = {f"header:{name}": text for name, raw in record.headers if (text := _text(raw)) and name.isprintable()}
    for path, value in _scalars(_document(record.value), "$", _DEPTH):
        if len(out) >= _MOST_FIELDS:
            break
        out[f"json:{path}"] = value
    return out


def _text(raw: bytes | None) -> str:
    if not raw or len(raw) > _LONGEST:
        return ""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def _document(value: bytes | None) -> Any:
    try:
        return json.loads(value) if value else None
    except (ValueError, RecursionError):
        return None


def _scalars(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        if not _PLAIN_NAME.fullmatch(name):
            continue
        if isinstance(inner, dict) and depth > 1:
            yield from _scalars(inner, f"{path}.{name}", depth - 1)
        elif isinstance(inner, str) and 0 < len(inner) <= _LONGEST:
            yield f"{path}.{name}", inner
        elif isinstance(inner, int | float) and not isinstance(inner, bool):
            yield f"{path}.{name}", json.dumps(inner)
