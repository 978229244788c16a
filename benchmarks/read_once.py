"""One reading of a whole topic into Arrow, full records with headers, nothing derived or kept: prints records and seconds as JSON.

Usage: python -m benchmarks.read_once BOOTSTRAP TOPIC
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

from benchmarks.capture_once import whole_topic
from workbench.capture.wire.reader import WireReader
from workbench.config import profile_from_options
from workbench.sources import connect
from workbench.tables import keep_pandas_out

WANTED = {"timestamp", "key", "value", "headers"}


def main(bootstrap: str, topic: str) -> None:
    """Read the topic by the wire reader; the seconds count from connecting to the last record."""
    keep_pandas_out()
    with connect(profile_from_options(bootstrap, {})) as sources:
        (place,) = whole_topic(sources, topic, 1).topics
        began = perf_counter()
        reader = WireReader(sources.cluster.client_settings())
        records = sum(
            chunk.batch.num_rows for chunk in reader.read(topic, place.partitions, WANTED, lambda: False) if chunk.batch
        )
        seconds = perf_counter() - began
        reader.close()
    print(json.dumps({"records": records, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
