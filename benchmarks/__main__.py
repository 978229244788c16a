"""Measure: ``python -m benchmarks [CASE ...] [--large] [--rounds N] [--markdown]``.

Starts one real broker, writes a topic of a million records, runs the sides in turn, prints medians and ratios,
appends a line to the history, and stops what it started. Exit code 1 when a goal was missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeVar

from benchmarks import cases, fleet, groups, letters, redriving, report, traffic
from benchmarks.cases import MILLION, Result
from benchmarks.measure import Failed
from workbench.sandbox import kafka
from workbench.sandbox.incidents import topics

T = TypeVar("T")
CASES = ("all-groups", "capture", "dlq", "duplicates", "groups", "integration", "redrive", "startup")


def main() -> int:
    """Measure what was asked for; 0 when every goal was met, 1 when not, 2 when tools are missing."""
    options = _options()
    if missing := cases.missing_tools():
        print(
            f"not installed: {' '.join(missing)}; on Debian: apt-get install -y gcc kcat jq librdkafka-dev",
            file=sys.stderr,
        )
        return 2
    took: dict[str, float] = {}
    results = _measure(options, took)
    report.show(results)
    report.remember(results, took)
    if options.markdown:
        print(report.markdown(results))
    return 0 if results and all(result.met for result in results) and -1 not in took.values() else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0] if __doc__ else None
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="which to run; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (5)")
    parser.add_argument("--records", type=int, default=MILLION, help="records in the topic (1,000,000)")
    parser.add_argument("--large", action="store_true", help="also compare with a topic ten times as large")
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown too")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown: {' '.join(unknown)}; there are {' '.join(CASES)}")
    return options


def _measure(options: argparse.Namespace, took: dict[str, float]) -> list[Result]:
    asked = options.cases or CASES
    results: list[Result] = []
    if "startup" in asked:
        results += _compared(took, "startup", lambda: cases.start_up(options.rounds * 3))
    if "groups" in asked:
        results += _compared(took, "groups", fleet.many_against_few)
    if "all-groups" in asked:
        with kafka.start(nodes=1) as broker:
            results += _compared(
                took, "all-groups", lambda: groups.all_groups_against_kafka(broker.bootstrap, options.rounds)
            )
    if "integration" in asked:
        with kafka.start(nodes=1) as broker:
            results += _compared(took, "integration", lambda: _integration(broker.bootstrap, options))
    if "dlq" in asked:
        with kafka.start(nodes=1) as broker:
            results += _compared(took, "dlq", lambda: letters.triage_against_plain(broker.bootstrap, options.rounds))
    if "redrive" in asked:
        with kafka.start(nodes=1) as broker:
            results += _compared(
                took, "redrive", lambda: redriving.redrive_against_producer(broker.bootstrap, options.rounds)
            )
    if {"capture", "duplicates"} & set(asked) or options.large:
        with kafka.start(nodes=1) as broker:
            results += _with_broker(broker.bootstrap, options, asked, took)
    return results


def _integration(bootstrap: str, options: argparse.Namespace) -> list[Result]:
    """A fifth of the records is enough here: each is sent and read several times."""
    topics.create(bootstrap, "bench.events", 4)
    return cases.integration_against_bare(bootstrap, "bench.events", options.records // 5, options.rounds)


def _with_broker(
    bootstrap: str, options: argparse.Namespace, asked: Sequence[str], took: dict[str, float]
) -> list[Result]:
    small = _timed(took, "writing", lambda: traffic.write(bootstrap, "bench.orders", options.records))
    results: list[Result] = []
    if "capture" in asked:
        results += _compared(took, "capture", lambda: cases.readers_against_c(bootstrap, small.topic, options.rounds))
    if "duplicates" in asked:
        results += _compared(
            took, "duplicates", lambda: cases.duplicates_against_shell(bootstrap, small, options.rounds)
        )
    if options.large:
        large = _timed(
            took, "writing large", lambda: traffic.write(bootstrap, "bench.orders.large", options.records * 10, seed=8)
        )
        few = max(options.rounds // 2, 1)
        results += _compared(took, "large", lambda: cases.growth(bootstrap, small, large, few))
        results += _compared(took, "large pipeline", lambda: cases.duplicates_against_shell(bootstrap, large, few))
    return results


def _compared(took: dict[str, float], what: str, work: Callable[[], list[Result]]) -> list[Result]:
    """Run one comparison; when a program of it fails, say so and go on with the others."""
    try:
        return _timed(took, what, work)
    except Failed as failed:
        print(failed, file=sys.stderr)
        took[what] = -1
        return []


def _timed(took: dict[str, float], what: str, work: Callable[[], T]) -> T:
    print(f"{what} ...", file=sys.stderr, flush=True)
    began = perf_counter()
    done = work()
    took[what] = round(perf_counter() - began, 1)
    return done


if __name__ == "__main__":
    sys.exit(main())
