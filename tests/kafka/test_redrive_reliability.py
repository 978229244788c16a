"""Redrives that are killed, fenced and interrupted: each message once, as read_committed readers see it."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.kafka.redriving import Place, committed, copies, dead_letters, place
from workbench.sandbox.kafka import Kafka, start

# 20,000 copies under kills and restarts take minutes: they run where they are asked for.
pytestmark = [pytest.mark.kafka, pytest.mark.reliability, pytest.mark.load]
RECORDS, KILLS = 20_000, 5


def begin(here: Place, *more: str, state: str = "state") -> subprocess.Popen[str]:
    words = here.command("run", "plan.json", "--profile", "it", "--execute", "--settle-seconds", "0", *more)
    environment = {**here.environment(), "XDG_STATE_HOME": str(here.folder / state)}
    return subprocess.Popen(
        words, cwd=here.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def steps_in(here: Place) -> int:
    """How many steps the audit has, a cut line left out."""
    file = here.folder / "plan.audit.jsonl"
    return file.read_text().count('"step"') if file.exists() else 0


def wait_for_step(here: Place, process: subprocess.Popen[str], after: int) -> None:
    deadline = time.monotonic() + 240
    while steps_in(here) <= after and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def restart_broker(kafka: Kafka) -> None:
    node = kafka.nodes[0].node_id
    kafka.kill(node)
    kafka.restart(node)


@pytest.mark.timeout(1500)
def test_killed_five_times_and_once_without_a_broker_each_of_20_000_is_there_once(unique: str, tmp_path: Path):
    chance = random.Random()
    with start() as kafka:
        here = place(kafka.bootstrap, unique, tmp_path)
        dead_letters(here, range(RECORDS))
        here.make_plan()
        killed = 0
        for attempt in range(KILLS):
            process = begin(here, "--rate", "2500")
            wait_for_step(here, process, after=steps_in(here))
            if attempt == 2:
                restart_broker(kafka)
            time.sleep(chance.uniform(0, 0.9))
            killed += process.poll() is None
            process.kill()
            process.wait(60)
        assert killed >= 3, "the runs were over before they could be killed"
        last = begin(here)
        out, err = last.communicate(timeout=300)
        assert last.returncode == 0, (out, err)
        found = copies(committed(kafka.bootstrap, here.source))
        lost = RECORDS - len(found)
        twice = sum(count > 1 for count in found.values())
        assert (lost, twice, sum(found.values())) == (0, 0, RECORDS)


def test_a_second_run_elsewhere_fences_the_first(kafka: str, unique: str, tmp_path: Path):
    here = place(kafka, unique, tmp_path)
    dead_letters(here, range(300))
    here.make_plan()
    first = begin(here, "--rate", "20")
    wait_for_step(here, first, after=1)
    here_too = begin(here, state="state")
    assert here_too.wait(120) == 1
    assert "Another run" in (here_too.stderr.read() if here_too.stderr else "")
    elsewhere = begin(here, state="elsewhere")
    assert elsewhere.wait(180) == 0, elsewhere.stderr
    _, err = first.communicate(timeout=120)
    assert first.returncode == 1
    assert "fenced" in err
    assert copies(committed(kafka, here.source)) == {f"m-{n}": 1 for n in range(300)}


def test_ctrl_c_ends_behind_a_transaction_and_the_same_command_goes_on(kafka: str, unique: str, tmp_path: Path):
    here = place(kafka, unique, tmp_path)
    dead_letters(here, range(200))
    here.make_plan()
    process = begin(here, "--rate", "20")
    wait_for_step(here, process, after=1)
    process.send_signal(2)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    sent = len(committed(kafka, here.source))
    assert f"{sent} of 200 sent" in out
    assert 0 < sent < 200
    here.send()
    assert copies(committed(kafka, here.source)) == {f"m-{n}": 1 for n in range(200)}
