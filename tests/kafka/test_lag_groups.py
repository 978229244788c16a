"""Lag of many groups in one pass: worst first, what is fine stays fine, offsets as the broker has them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from workbench.sandbox.incidents import plant, topics

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def report(kafka, tmp_path_factory):
    truths = [
        plant(name, kafka, 3, tmp_path_factory.mktemp("logs")) for name in ("lag-no-members", "clean-lag-idle-topic")
    ]
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "check", "lag", "--all-groups", "--bootstrap", kafka,
         "--expected-latency", "1s", "--format", "json"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return truths, done


def by_group(done):
    return {item["facts"]["group"]: item for item in json.loads(done.stdout)["reports"]}


def test_the_lagging_group_is_named_and_the_idle_one_is_fine(report):
    (lagging, idle), done = report
    wrapped, groups = json.loads(done.stdout), by_group(done)
    assert wrapped["version"] == 1
    assert done.returncode == {"undecided": 3, "warning": 12, "critical": 13}[wrapped["verdict"]], done.stderr
    found = groups[lagging.options["group"]]
    assert [item["code"] for item in found["findings"]] == ["lag-no-members"]
    assert found["causes"]["lag-no-members"] == lagging.causes["lag-no-members"]
    assert groups[idle.options["group"]]["verdict"] == "ok"
    order = list(groups)
    assert order.index(lagging.options["group"]) < order.index(idle.options["group"])


def test_each_partition_has_the_broker_s_offsets(report, kafka):
    truths, done = report
    for truth in truths:
        ends = topics.ends(kafka, truth.options["source"])
        for row in by_group(done)[truth.options["group"]]["facts"]["partitions"]:
            assert row["log_end_offset"] == ends[row["partition"]]
            assert row["lag"] == row["log_end_offset"] - row["committed_offset"]


@pytest.mark.parametrize("more", [["--group", "g"], ["--save", "x"]])
def test_all_groups_and_one_group_exclude_each_other(kafka, more):
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "check", "lag", "--all-groups", "--bootstrap", kafka, *more],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
