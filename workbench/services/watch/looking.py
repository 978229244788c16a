"""One look: what groups have committed, then where the logs end."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import SourceUnavailable
from workbench.problems.draft import OWN_GROUPS
from workbench.sources.history.files import Row

if TYPE_CHECKING:
    from workbench.sources import Cluster

_LASTS = re.compile(r"denied|not authori[sz]ed|does not exist|unknown topic|not supported", re.IGNORECASE)


@dataclass(frozen=True)
class Look:
    """What was seen at one moment.

    Attributes:
        at_ms: when it began, epoch milliseconds; commits that are younger may be in it, log ends that are older may not.
        rows: commits of the groups, and the logs that they have commits on.
        failures: what could not be seen -> why.
    """

    at_ms: int
    rows: tuple[Row, ...]
    failures: dict[str, str]

    def lag(self) -> dict[str, int]:
        """Group -> offsets behind the log's ends, over the partitions of which both are known."""
        ends = {(row.topic, row.partition): row.log_end_offset for row in self.rows if row.group is None}
        out: dict[str, int] = {}
        for row in self.rows:
            end = ends.get((row.topic, row.partition))
            if row.group is not None and end is not None and row.committed_offset is not None:
                out[row.group] = out.get(row.group, 0) + max(0, end - row.committed_offset)
        return out


def _lasting(failures: Mapping[str, str]) -> dict[str, str]:
    """Failures that the next look meets again: what may not be read, or is not there.

    Raises:
        SourceUnavailable: there is another one.
    """
    for subject, why in failures.items():
        if not _LASTS.search(why):
            raise SourceUnavailable(f"{subject}: {why}", source="cluster", retriable=True)
    return dict(failures)


def look(cluster: Cluster, groups: Sequence[str] = (), topics: Sequence[str] = ()) -> Look:
    """Looks once.

    Args:
        cluster: read only.
        groups: which; none named are all but the workbench's own.
        topics: only commits on these; none named are all.

    Raises:
        SourceError: the cluster does not answer, or not to all of it: a look that is not whole would show groups as gone.

    Reads: ListGroups, OffsetFetch, Metadata, ListOffsets; commits before ends, so that no lag is negative.
    """
    at_ms = round(time.time() * 1000)
    failures: dict[str, str] = {}
    names = list(groups)
    if not names:
        listed = cluster.groups(None)
        failures |= _lasting(listed.failures)
        names = [row["group"] for row in listed.rows() if not row["group"].startswith(OWN_GROUPS)]
    committed = cluster.committed(names, list(topics) or None)
    failures |= _lasting(committed.failures)
    commits = [Row(row["group"], row["topic"], row["partition"], row["committed_offset"]) for row in committed.rows()]
    known = sorted({row.topic for row in commits})
    ends = cluster.offsets(known, sizes=False)
    failures |= _lasting(ends.failures)
    logs = [
        Row(
            None,
            row["topic"],
            row["partition"],
            None,
            row["log_start_offset"],
            row["high_watermark"],
            row["last_stable_offset"],
        )
        for row in ends.rows()
    ]
    return Look(at_ms, (*logs, *commits), failures)
