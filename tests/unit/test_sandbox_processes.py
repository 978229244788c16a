"""Only our own processes are ended, and all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from workbench.errors import SandboxError
from workbench.sandbox import state
from workbench.sandbox.layout import NodePlan
from workbench.sandbox.processes import end, find, is_alive, seconds_since_boot, uninterrupted

# Starts a guard and a process that it watches, prints the latter's pid, and waits to be killed.
PARENT = """
import subprocess, sys, time
from workbench.sandbox.guard import Guard
guard = Guard()
child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, start_new_session=True)
guard.watch(child.pid)
spared = subprocess.Popen(["sleep", "601"], stdout=subprocess.DEVNULL, start_new_session=True)
guard.watch(spared.pid)
guard.forget(spared.pid)
print(child.pid, spared.pid, flush=True)
time.sleep(600)
"""


def started_program(*command: str) -> psutil.Popen:
    """A process that has its command line: it is empty for a moment while the program takes the place of ours."""
    process = psutil.Popen(list(command))
    while command[-1] not in process.cmdline():
        pass
    return process


@pytest.fixture
def sleeper() -> Iterator[psutil.Popen]:
    process = started_program("sleep", "600")
    yield process
    end([process], grace_seconds=0)


def test_a_process_is_found_by_pid_start_and_command_line(sleeper: psutil.Popen):
    started = seconds_since_boot(sleeper)
    assert find(sleeper.pid, started, "600") == psutil.Process(sleeper.pid)
    assert find(sleeper.pid, started - 60, "600") is None
    assert find(sleeper.pid, started, "something else") is None


def test_a_step_of_the_wall_clock_hides_no_process(sleeper: psutil.Popen, monkeypatch: pytest.MonkeyPatch):
    if not Path("/proc/self/stat").is_file():
        return  # elsewhere both times are the wall clock's
    started = seconds_since_boot(sleeper)
    stepped = psutil.boot_time() + 3600
    monkeypatch.setattr(psutil, "boot_time", lambda: stepped)
    assert find(sleeper.pid, started, "600") == psutil.Process(sleeper.pid)


def test_a_process_that_ended_is_not_found(sleeper: psutil.Popen):
    started = seconds_since_boot(sleeper)
    os.kill(sleeper.pid, signal.SIGKILL)
    # Not waited for: it is a zombie until end() reaps it.
    while is_alive(sleeper):
        pass
    assert find(sleeper.pid, started, "600") is None


def test_a_process_that_ignores_sigterm_is_killed():
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    stubborn = psutil.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    stubborn.stdout.readline()
    end([stubborn], grace_seconds=0.2)
    stubborn.stdout.close()
    assert not is_alive(stubborn)


def test_ctrl_c_waits_until_a_process_is_noted():
    noted: list[str] = []

    def start_and_note() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            noted.append("pid")

    with pytest.raises(KeyboardInterrupt):
        start_and_note()
    assert noted == ["pid"]


def test_the_guard_kills_what_it_watches_when_the_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    watched, spared = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
    parent.kill()
    parent.communicate()  # the children print elsewhere, so this ends
    psutil.wait_procs([watched], timeout=30)
    try:
        assert not is_alive(watched)
        assert is_alive(spared)
    finally:
        end([watched, spared], grace_seconds=0)


@pytest.fixture
def sandbox_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBENCH_SANDBOX_DIR", str(tmp_path))
    return tmp_path


def noted(folder: Path, process: psutil.Process, properties_file: str) -> state.Sandbox:
    plan = NodePlan(1, "broker,controller", 7002, 7001, folder / "data" / "node-1")
    object.__setattr__(plan, "folder", Path(properties_file).parent)
    node = state.Node(plan, process.pid, seconds_since_boot(process))
    return state.Sandbox("kafka", "4.4.0", "127.0.0.1:7002", folder / "data", (node,))


def test_down_spares_a_pid_that_belongs_to_another_process(sandbox_dir: Path, sleeper: psutil.Popen):
    """After a reboot, or long after a crash, the pid in the state file may be anybody's."""
    state._save(noted(sandbox_dir, sleeper, "/nowhere/node-1/server.properties"))
    assert state.status() is None
    assert state.down() == state.Ended([], [sleeper.pid])
    assert is_alive(sleeper)
    assert not (sandbox_dir / "state.json").exists()


def test_down_ends_the_process_that_was_noted(sandbox_dir: Path):
    folder = sandbox_dir / "data" / "node-1"
    code = "import time; time.sleep(600)"
    process = started_program(sys.executable, "-c", code, str(folder / "server.properties"))
    state._save(noted(sandbox_dir, process, str(folder / "server.properties")))
    found = state.status()
    assert found is not None
    assert found.pids == [process.pid]
    assert state.down() == state.Ended([process.pid], [])
    assert not is_alive(process)


def test_state_survives_being_written_and_read(sandbox_dir: Path, sleeper: psutil.Popen):
    sandbox = noted(sandbox_dir, sleeper, str(sandbox_dir / "x" / "server.properties"))
    down = replace(sandbox.nodes[0], pid=None, started=None)
    sandbox = replace(sandbox, nodes=(sandbox.nodes[0], down))
    state._save(sandbox)
    assert state._load() == sandbox


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "nodes": [{}]}'])
def test_a_damaged_state_file_is_named(sandbox_dir: Path, text: str):
    (sandbox_dir / "state.json").write_text(text)
    with pytest.raises(SandboxError, match=r"state\.json"):
        state.status()


def test_nothing_to_end_is_fine(sandbox_dir: Path):
    assert sandbox_dir.exists()
    assert state.down() == state.Ended([], [])
    assert state.status() is None
