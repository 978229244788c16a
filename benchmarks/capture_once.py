"""One capture of a whole topic, full records with headers, as a program of its own: prints records and seconds as JSON.

Usage: python -m benchmarks.capture_once BOOTSTRAP TOPIC PROCESSES
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from workbench.capture.scan import capture
from workbench.capture.spec import CaptureSpec, IdFrom, PartitionRange, TopicSpec
from workbench.config import profile_from_options
from workbench.sources import Sources, connect
from workbench.tables import keep_pandas_out


def main(bootstrap: str, topic: str, processes: int) -> None:
    """Capture the topic into a temporary folder; the seconds are those of the capture alone."""
    keep_pandas_out()
    with connect(profile_from_options(bootstrap, {})) as sources, tempfile.TemporaryDirectory() as folder:
        spec = whole_topic(sources, topic, processes)
        began = perf_counter()
        done = capture(sources.cluster.client_settings(), spec, Path(folder))
        seconds = perf_counter() - began
        size = sum(file.stat().st_size for file in done.files)
    records = sum(done.outcome["records"].to_pylist())
    print(json.dumps({"records": records, "seconds": seconds, "parquet_bytes": size}))


def whole_topic(sources: Sources, topic: str, processes: int) -> CaptureSpec:
    """All of a topic as it is now: keys, values, headers, times and ids, as the other side reads them."""
    ranges = tuple(
        PartitionRange(
            topic, row["partition"], row["log_start_offset"], row["high_watermark"], row["last_stable_offset"]
        )
        for row in sources.cluster.offsets([topic]).table.to_pylist()
    )
    places = (TopicSpec(topic, "source", IdFrom.parse("json:$.messageId"), ranges),)
    return CaptureSpec(topics=places, include_values=True, want=frozenset({"key", "headers"}), processes=processes)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
