"""The comparison of stored outputs bites: other evidence, other outputs, a failure."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = "loss-consumer-dropped"

pytestmark = pytest.mark.notebooks


def compared(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "--rootdir", str(folder), "-c", "/dev/null", str(folder / f"{CODE}.ipynb")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def copied(folder: Path) -> Path:
    shutil.copytree(ROOT / "runbooks" / "evidence" / CODE, folder / "evidence" / CODE)
    shutil.copy(ROOT / "runbooks" / f"{CODE}.ipynb", folder)
    return folder / "evidence" / CODE


def altered(evidence: Path) -> None:
    """The group has committed nothing yet: all that was lost only waits."""
    table = evidence / "committed.jsonl"
    rows = [json.loads(line) | {"committed_offset": 0} for line in table.read_text().splitlines()]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = json.loads((evidence / "evidence.json").read_text())
    manifest["tables"]["committed"]["sha256"] = hashlib.sha256(table.read_bytes()).hexdigest()
    (evidence / "evidence.json").write_text(json.dumps(manifest))


def test_a_copy_passes_and_altered_evidence_fails(tmp_path: Path):
    evidence = copied(tmp_path)
    same = compared(tmp_path)
    assert same.returncode == 0, same.stdout[-3000:]
    altered(evidence)
    other = compared(tmp_path)
    assert other.returncode == 1, other.stdout[-3000:]
    assert "mismatch" in other.stdout.lower()


def test_damaged_evidence_fails(tmp_path: Path):
    evidence = copied(tmp_path)
    (evidence / "committed.jsonl").write_text("")
    assert compared(tmp_path).returncode == 1
