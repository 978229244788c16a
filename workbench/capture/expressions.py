"""Expressions of users, checked before use: one scalar expression over a record, and nothing else.

They are parsed and bound by DuckDB itself. The parsed form is walked with a list of what is allowed, so that a new
kind of expression is refused until someone has looked at it; then it is bound against a table without rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from workbench.errors import UsageError

# What an expression may name, as the derive step offers it.
COLUMNS = {
    "value": "JSON",
    "key": "VARCHAR",
    "headers": "MAP(VARCHAR, VARCHAR)",
    "timestamp": "TIMESTAMPTZ",
    "partition": "INTEGER",
    "offset": "BIGINT",
}
# Columns are quoted where they are offered: offset and partition are words of SQL.
EMPTY_TABLE = "(SELECT " + ", ".join(f'NULL::{kind} AS "{name}"' for name, kind in COLUMNS.items()) + " WHERE false)"

_ALLOWED = frozenset(
    {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA",
     "LAMBDA_REF", "OPERATOR", "TYPE"}
)  # fmt: skip
# Functions that give several rows, or reach beyond the record, whatever DuckDB says of their stability.
_REFUSED = frozenset({"unnest", "unlist", "generate_subscripts", "getenv", "getvariable", "current_setting", "error"})
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_SEPARATORS = re.compile(r";|--|/\*|\$\$|\$[A-Za-z_]")


def check_expression(expression: str, option: str = "The expression") -> str:
    """The type of a scalar expression over ``value``, ``key``, ``headers``, ``timestamp``, ``partition``, ``offset``.

    Args:
        expression: DuckDB SQL, for example ``value->>'$.orderId'``.
        option: what the error calls it, for example ``--business-key``.

    Returns:
        DuckDB's name of its type.

    Raises:
        UsageError: it does not parse or bind, or is more than one scalar expression; with DuckDB's words.
    """
    import duckdb

    from workbench.evidence import connect_duckdb

    _refuse_separators(expression, option)
    with connect_duckdb(threads=1) as con:
        try:
            _check_parsed(con, f"SELECT {expression}", option)
            _check_parsed(con, f"SELECT TRY(({expression}))", option)
            kind = con.sql(f"SELECT ({expression}) FROM {EMPTY_TABLE}")
            name = str(kind.types[0])
            rows = kind.fetchall()
        except duckdb.Error as error:
            raise UsageError(f"{option} is not a valid expression: {_first_line(error)}", hint=_HINT) from error
    if rows:
        raise UsageError(f"{option} looks at several records at once; it may look at one.", hint=_HINT)
    return name


_HINT = "Write one DuckDB expression over value (JSON), key, headers, timestamp, partition, offset."


def check_predicate(where: str, option: str = "--where") -> None:
    """Checks a predicate such as ``value->>'$.eventType' <> 'heartbeat'``.

    Raises:
        UsageError: as ``check_expression``, or it does not give true or false.
    """
    kind = check_expression(where, option)
    if kind != "BOOLEAN":
        raise UsageError(f"{option} gives {kind}, not true or false.", hint="Compare with something: = <> IN LIKE.")


def check_json_path(path: str) -> None:
    """Checks a JSON path that leads to one value.

    Raises:
        UsageError: DuckDB does not take it, or it may lead to several values.
    """
    import duckdb

    from workbench.evidence import connect_duckdb

    if not path.startswith("$") or "*" in path or "?" in path or ".." in path:
        raise UsageError(f"{path!r} is not a path to one JSON value.", hint="Use for example $.order.id or $.ids[0].")
    with connect_duckdb(threads=1) as con:
        try:
            con.execute(f"SELECT json_extract_string('{{}}', {quoted(path)})")
        except duckdb.Error as error:
            raise UsageError(f"{path!r} is not a JSON path: {_first_line(error)}") from error


def mentions(expression: str | None, column: str) -> bool:
    """Whether an expression may read a column; true rather than false when in doubt."""
    return expression is not None and re.search(rf"\b{column}\b", expression, re.IGNORECASE) is not None


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _refuse_separators(expression: str, option: str) -> None:
    if not expression.strip() or "\0" in expression:
        raise UsageError(f"{option} is empty.", hint=_HINT)
    if _SEPARATORS.search(_QUOTED.sub("''", expression)):
        raise UsageError(f"{option} may hold no semicolon, comment or $ quote.", hint=_HINT)


def _check_parsed(con: Any, statement: str, option: str) -> None:
    # Read to the end: a connection with rows left to fetch takes no other statement.
    ((text,),) = con.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchall()
    parsed = json.loads(text)
    if parsed.get("error"):
        raise UsageError(f"{option} is not a valid expression: {parsed.get('error_message')}", hint=_HINT)
    nodes = [item["node"] for item in parsed["statements"]]
    if len(nodes) != 1 or not _is_plain_select(nodes[0]) or nodes[0]["select_list"][0].get("alias"):
        raise UsageError(f"{option} is more than one expression.", hint=_HINT)
    for node in _nodes(nodes[0]["select_list"][0]):
        _check_node(con, node, option)


def _is_plain_select(node: dict[str, Any]) -> bool:
    """``SELECT expression``: no table, condition, grouping, ordering, limit, sample or common table."""
    empty = ("modifiers", "where_clause", "group_expressions", "group_sets", "having", "sample", "qualify")
    return (
        node.get("type") == "SELECT_NODE"
        and len(node["select_list"]) == 1
        and (node.get("from_table") or {}).get("type") == "EMPTY"
        and not (node.get("cte_map") or {}).get("map")
        and not any(node.get(name) for name in empty)
    )


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    stack = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if "class" in item:
                yield item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _check_node(con: Any, node: dict[str, Any], option: str) -> None:
    if node["class"] not in _ALLOWED:
        raise UsageError(f"{option} may hold no {str(node['class']).lower().replace('_', ' ')}.", hint=_HINT)
    if node["class"] == "FUNCTION":
        name = str(node["function_name"]).lower()
        if name in _REFUSED or node.get("schema") or _is_volatile(con, name):
            raise UsageError(f"{option} may not use {name}().", hint=_HINT)


def _is_volatile(con: Any, name: str) -> bool:
    """Whether a function of this name may give another result for the same record."""
    query = "SELECT 1 FROM duckdb_functions() WHERE function_name = ? AND (stability = 'VOLATILE' OR has_side_effects)"
    return bool(con.execute(query, [name]).fetchall())


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
