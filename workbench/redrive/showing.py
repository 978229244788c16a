"""The diff of a record that would be sent: names and sizes, values only on request."""

from __future__ import annotations

from collections.abc import Iterator

from workbench.redrive.outgoing import Record, own_headers
from workbench.redrive.plan import Plan, Row
from workbench.redrive.reading import Raw

LONGEST = 200


def diff(plan: Plan, row: Row, raw: Raw, record: Record, *, values: bool) -> Iterator[str]:
    """Lines that say what changes from a dead letter to its copy.

    Args:
        plan: whose row it is.
        row: of the plan.
        raw: the dead letter.
        record: what would be sent.
        values: show keys and values, not only their sizes.
    """
    yield f"{row.letter} -> {row.target}/{row.target_partition}"
    yield from _changed("key", raw.key, record.key, values=values)
    yield from _changed("value", raw.value, record.value, values=values)
    kept = [name for name, _ in record.headers]
    dropped = [name for name, _ in raw.headers]
    for name in kept:
        if name in dropped:
            dropped.remove(name)
    for sign, names in (("-", dropped), ("+", [name for name, _ in own_headers(plan, row, b"")])):
        yield from (f"  {sign} header {name}" for name in dict.fromkeys(names))
    if kept:
        yield f"    headers kept: {', '.join(dict.fromkeys(kept))}"


def _changed(what: str, before: bytes | None, after: bytes | None, *, values: bool) -> Iterator[str]:
    if before == after:
        yield f"    {what} as it is ({_shown(after, values=values)})"
    else:
        yield f"  - {what} {_shown(before, values=values)}"
        yield f"  + {what} {_shown(after, values=values)}"


def _shown(content: bytes | None, *, values: bool) -> str:
    if content is None:
        return "null"
    if not values:
        return f"{len(content):,} bytes"
    text = content[:LONGEST].decode("utf-8", "replace")
    return text + (" ..." if len(content) > LONGEST else "")
