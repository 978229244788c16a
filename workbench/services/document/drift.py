"""Where the document and the system disagree; what changes by itself (counts, dates, rare fields) is no difference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from workbench.services.document.shapes import paths

ENOUGH = 20  # records, before a field that is gone is called gone


def differences(written: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """One sentence for each difference between the facts of a document and those of the system."""
    out = list(_plain("the integration", written["integration"], found["integration"]))
    out += _plain("the cluster", {"id": written["cluster"]["cluster_id"]}, {"id": found["cluster"]["cluster_id"]})
    out += _plain("security", written["security"], found["security"])
    for topic in sorted({*written["topics"], *found["topics"]}):
        before, now = written["topics"].get(topic), found["topics"].get(topic)
        if before is None or now is None:
            out.append(f"topic {topic} is {'new' if before is None else 'gone, or cannot be read'}")
        else:
            out += _topic(topic, before, now)
    for topic in sorted({*written["readers"], *found["readers"]}):
        before, now = set(written["readers"].get(topic, ())), set(found["readers"].get(topic, ()))
        out += [f"topic {topic}: group {group} reads it now" for group in sorted(now - before)]
        out += [f"topic {topic}: group {group} reads it no more" for group in sorted(before - now)]
    return out


def _topic(topic: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    names = ("role", "partitions", "replication")
    yield from _plain(f"topic {topic}", {n: before[n] for n in names}, {n: now[n] for n in names})
    yield from _plain(f"topic {topic}", before["settings"], now["settings"])
    if not before["schema"] or not now["schema"]:
        return
    was, are = paths(before["schema"]), paths(now["schema"])
    yield from (f"topic {topic}: field {path} is new ({are[path]})" for path in sorted(are.keys() - was.keys()))
    if now["sampled"] >= ENOUGH:
        gone = (path for path in sorted(was.keys() - are.keys()) if not was[path].endswith("?"))
        yield from (f"topic {topic}: field {path} is gone" for path in gone)
    for path in sorted(was.keys() & are.keys()):
        more = _kinds(are[path]) - _kinds(was[path])
        if more:
            yield f"topic {topic}: field {path} is {' or '.join(sorted(more))} now, too (it was {was[path]})"


def _kinds(text: str) -> set[str]:
    return set(text.rstrip("?").split(" or "))


def _plain(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[str]:
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            yield f"{what}: {name} is {_said(now.get(name))}, the document says {_said(before.get(name))}"


def _said(value: Any) -> str:
    return "none" if value in (None, [], "") else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
