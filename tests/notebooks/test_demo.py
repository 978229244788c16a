"""The demo where Apache Kafka cannot be had: it goes on with the mock broker, and says what that costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.notebooks]


def test_the_demo_on_the_mock_says_what_it_costs_and_what_was_planted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workbench.sandbox.demo", "--mock"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "undecided, not ok" in done.stdout
    assert "The reports say exactly what was planted." in done.stdout


def test_an_option_that_there_is_not_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workbench.sandbox.demo", "--mokc"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert (done.returncode, "--mokc" in done.stderr) == (2, True)
