"""History out of the coordinator's log: commits as they were made, and the log's end when they were made.

The end of a log at a past moment is the first offset whose timestamp is not older (ListOffsets by timestamp, which the
broker answers from its time index, record by record). Where brokers set the timestamps (LogAppendTime) that is exact; where
senders do (CreateTime) it is off by their clocks and by how long a record waited to be sent.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workbench.sources.history.table import Sample

Place = tuple[str, int]


def committed_at(history: Iterable[Mapping[str, Any]], topic_ids: Mapping[str, str | None]) -> dict[Place, list[Any]]:
    """Place -> [(time in epoch ms, committed offset or None where it was removed)], oldest first.

    Args:
        history: rows of ``commit_history``.
        topic_ids: topic -> its id now; commits of an earlier topic of the same name are left out.
    """
    out: dict[Place, list[Any]] = {}
    for row in history:
        now = topic_ids.get(row["topic"])
        if row["topic"] in topic_ids and (now is None or row["topic_id"] in (None, now)):
            out.setdefault((row["topic"], row["partition"]), []).append((row["at_ms"], row["committed_offset"]))
    return out


def sampled(
    commits: Mapping[Place, Sequence[tuple[int, int | None]]], ends: Mapping[int, Mapping[Place, int | None]]
) -> list[Sample]:
    """Samples at the moments whose log ends are known.

    Args:
        commits: what ``committed_at`` gives.
        ends: moment in epoch ms -> place -> log end at that moment; None: not known.
    """
    out = []
    for place, made in commits.items():
        times = [at for at, _ in made]
        for moment, known in sorted(ends.items()):
            before = bisect_right(times, moment)
            offset = made[before - 1][1] if before else None
            out.append(Sample(*place, moment, offset, known.get(place), "commits"))
    return out
