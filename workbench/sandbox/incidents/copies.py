"""The truth of a duplicates incident from the records that were written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import Sent
from workbench.sandbox.incidents.truth import Truth, copies_ledger

Records = Iterable[Sent | str]


def copies_truth(
    scene: Scene,
    expects: Mapping[str, str],
    *,
    source: Records,
    sink: Records,
    more_sinks: Iterable[Records] = (),
    hit: Records = (),
    cause: str | None = None,
    **more: Any,
) -> Truth:
    """The truth of a duplicates incident.

    Args:
        scene: the scene.
        expects: code -> state.
        source: every record of the source, as a send or an id.
        sink: every record of the sink that its readers see.
        more_sinks: the same of further sinks.
        hit: one entry for each extra copy that the cause made.
        cause: the code that it is attributed to; by default the only one of ``expects``. Where two fit alike it is
            ``undetermined``.
        **more: further fields of ``Truth``; ``ids`` when the code of what was done is not ``cause``.
    """
    extra = _ids(hit)
    code = cause or next(iter(expects), "")
    ledger = {**copies_ledger(_ids(source), _ids(sink), *map(_ids, more_sinks)), **more.pop("ledger", {})}
    fields: dict[str, Any] = {
        "causes": {code: len(extra)} if extra else {},
        "ids": {code: sorted(set(extra))} if extra else {},
        **more,
    }
    return scene.truth(expects=expects, ledger=ledger, **fields)


def _ids(records: Records) -> list[str]:
    return [one if isinstance(one, str) else one.message.id for one in records]
