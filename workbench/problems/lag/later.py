"""Causes of lag that no rule decides yet, and what each needs; named as undecided while a lagging partition is open."""

from __future__ import annotations

_COMMITS = "needs the commit history of the group (__consumer_offsets)"
_SAMPLES = "needs samples of log ends and commits over time"
_PROCESSING = "needs traces, metrics or the service's log"

LATER = {
    "lag-throughput-deficit": _SAMPLES,
    "lag-burst": _SAMPLES,
    "lag-slow-processing": _PROCESSING,
    "lag-hot-partition": _SAMPLES,
    "lag-poison-pill": f"{_COMMITS}, and {_PROCESSING.removeprefix('needs ')}",
    "lag-idle-members": _SAMPLES,
    "lag-rebalance-storm": _COMMITS,
    "lag-paused": f"{_COMMITS}, and client metrics or the service's log",
    "lag-hanging-transaction": "needs the open transactions of the topics: see `workbench check loss`",
    "lag-commit-stuck": f"{_COMMITS}, and the progress of the sink",
    "lag-broker": "needs the brokers' metrics",
    "lag-bulk-load": "needs a scan of the waiting records",
    "lag-fetch-limit": "needs the reader's limits and the size of the next record",
    "lag-retention-risk": _SAMPLES,
}
