"""A capture that is killed or interrupted goes on where it was; its memory stays bounded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.kafka.capture_topics import ROOT, create, messages, produce, rows, script, settings, spec
from workbench.capture import Limits, capture, interrupted_spec

pytestmark = pytest.mark.kafka
SLOW = Limits(max_bytes_per_second=15_000_000)


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, start_new_session=True)


def wait_for_parts(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    while len(list(folder.glob("part-*.parquet"))) < count:
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.02)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_in_mid_scan_it_finishes_without_a_lost_or_doubled_row(kafka, topic_name, tmp_path, processes):
    create(kafka, topic_name, 3)
    produce(kafka, topic_name, messages(300_000, partitions=3, padding=300))
    whole = spec(kafka, topic_name, processes=processes, limits=SLOW)
    undisturbed = capture(settings(kafka), spec(kafka, topic_name), tmp_path / "undisturbed")
    folder = tmp_path / "killed"
    for kept in (1, 2):
        process = start(script(whole, folder, kafka))
        wait_for_parts(folder, kept, process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet")}
    assert interrupted_spec(folder) == whole
    resumed = capture(settings(kafka), spec(kafka, topic_name, processes=processes), folder)
    assert all(path.stat().st_mtime_ns == at for path, at in finished.items())
    assert not resumed.truncated
    columns = ("partition", "offset", "message_id", "timestamp_ms", "value_hash", "is_aborted")
    assert rows(resumed, *columns) == rows(undisturbed, *columns)
    assert resumed.outcome == undisturbed.outcome
    assert interrupted_spec(folder) is None
    assert not list(folder.rglob("*.partial"))


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_keeps_what_was_read(kafka, topic_name, tmp_path, processes):
    create(kafka, topic_name, 2)
    produce(kafka, topic_name, messages(200_000, partitions=2, padding=300))
    whole = spec(kafka, topic_name, processes=processes, limits=SLOW)
    process = start(script(whole, tmp_path, kafka))
    while int(process.stdout.readline()) == 0:
        pass
    os.kill(process.pid, signal.SIGINT)
    out, errors = process.communicate()
    told = json.loads(out.splitlines()[-1])
    assert told["truncated"], errors.decode()
    assert 0 < sum(row["records"] for row in told["outcome"]) < 200_000
    resumed = capture(settings(kafka), spec(kafka, topic_name, processes=processes), tmp_path)
    found = rows(resumed, "partition", "offset")
    assert len(found) == len(set(found)) == 200_000
    assert not resumed.truncated


def test_a_complete_capture_is_not_read_again(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(100))
    whole = spec(kafka, topic_name)
    first = capture(settings(kafka), whole, tmp_path)
    again = capture({"bootstrap.servers": "127.0.0.1:1"}, whole, tmp_path)
    assert again.files == first.files
    assert again.outcome == first.outcome


@pytest.mark.parametrize(("count", "padding"), [(200, 1_000_000), (400_000, 200)])
def test_memory_stays_bounded_whatever_the_size_of_a_record(kafka, topic_name, tmp_path, count, padding):
    create(kafka, topic_name, 2, max_message_bytes="2000000")
    produce(kafka, topic_name, messages(count, partitions=2, padding=padding))
    process = start(script(spec(kafka, topic_name, include_values=True), tmp_path, kafka))
    out, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    told = json.loads(out.splitlines()[-1])
    assert sum(row["records"] for row in told["outcome"]) == count
    assert told["peak_mib"] < 700
