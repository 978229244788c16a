"""Where a group stood at past moments: (moment, committed offset, log end) of each partition, and which source said so.

Sources in the order in which they are asked: the group's commits in the coordinator's log with log ends looked up by
timestamp; Prometheus; two looks a moment apart. Each gives the same table, ``samples``.
"""

from __future__ import annotations

from workbench.sources.history.commits import committed_at, sampled
from workbench.sources.history.moments import moments
from workbench.sources.history.scraped import scraped
from workbench.sources.history.table import SAMPLES, Sample, samples_table

__all__ = ["SAMPLES", "Sample", "committed_at", "moments", "sampled", "samples_table", "scraped"]
