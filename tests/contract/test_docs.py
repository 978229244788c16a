"""Generated pages say what the code says."""

from __future__ import annotations

import subprocess
import sys

from tests.contract.repository import ROOT


def test_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr
