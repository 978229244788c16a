"""``workbench open``: the folder, the page to start from, a real JupyterLab; and all of it from an installed wheel."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import nbformat
import pytest

from tests.contract.repository import ROOT
from workbench.config import Config
from workbench.errors import UsageError
from workbench.services.lab import Place, place, prefilled, write_start_page

pytestmark = pytest.mark.notebooks

NO_CONFIG = Config(profiles={}, integrations={}, sections={}, path=None)
HOSTILE = "<script>alert(1)</script>|[x](javascript:alert(1))"


def kept_report(folder: Path, **fields: object) -> None:
    folder.mkdir(parents=True)
    document = {"problem": "loss", "verdict": "critical", "facts": {"source": "orders"}, "findings": [], **fields}
    (folder / "report.json").write_text(json.dumps(document))
    (folder / "loss.html").write_text("")


def test_the_start_page_leads_to_questions_reports_findings_and_runbooks(tmp_path: Path) -> None:
    finding = {"code": "loss-compacted", "severity": "warning", "summary": HOSTILE}
    kept_report(tmp_path / "out" / "loss-1", findings=[finding], facts={"source": HOSTILE})
    (tmp_path / "out" / "broken").mkdir()
    (tmp_path / "out" / "broken" / "report.json").write_text("{")
    (tmp_path / "runbooks").mkdir()
    (tmp_path / "runbooks" / "loss-compacted.ipynb").write_text("{}")
    page = write_start_page(tmp_path, NO_CONFIG).read_text()
    assert "[loss](notebooks/loss.ipynb)" in page
    assert "| critical | [loss" in page
    assert "(out/loss-1/loss.html)" in page
    assert "| warning | [loss" in page
    assert "<script>" not in page
    assert "](javascript:" not in page
    assert "- **loss**: [loss-compacted](runbooks/loss-compacted.ipynb)" in page


def test_only_the_newest_report_on_a_subject_has_open_findings(tmp_path: Path) -> None:
    kept_report(
        tmp_path / "out" / "old", findings=[{"code": "loss-compacted", "severity": "warning", "summary": "one"}]
    )
    os.utime(tmp_path / "out" / "old" / "report.json", (1, 1))
    kept_report(tmp_path / "out" / "new", verdict="ok")
    page = write_start_page(tmp_path, NO_CONFIG).read_text()
    assert "loss-compacted" not in page.split("## Open findings")[1].split("## Runbooks")[0]


def test_a_folder_gets_copies_and_keeps_what_somebody_changed(tmp_path: Path) -> None:
    first = place(tmp_path / "mine")
    assert first.copied > 50
    assert first.kept == 0
    (first.folder / "notebooks" / "loss.ipynb").write_text("{}")
    assert place(tmp_path / "mine") == Place(first.folder, 0, 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        place(tmp_path / "file")


def test_a_notebook_opens_with_its_parameters_filled_in(tmp_path: Path) -> None:
    where = place(tmp_path)
    assert prefilled(where, "loss", {}) == tmp_path / "notebooks" / "loss.ipynb"
    copy = prefilled(where, "loss", {"source": "orders", "sink": ["mails"]})
    assert copy.parent == tmp_path / "notebooks"
    injected = [cell for cell in nbformat.read(copy, 4).cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert 'source = "orders"' in injected[0].source
    with pytest.raises(UsageError, match="sorce"):
        prefilled(where, "loss", {"sorce": "orders"})


def served(folder: Path, command: list[str], environment: dict[str, str]) -> list[str]:
    """Starts ``open``, asks what it shows, and stops it as Ctrl-C does; the names at its root."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = subprocess.Popen(
        [*command, "open", "--no-browser", "--port", str(port), "--folder", str(folder)],
        env={**os.environ, **environment, "JUPYTER_TOKEN": "a-token-for-this-test"}, cwd=folder.parent,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        shown = asked(f"http://127.0.0.1:{port}/api/contents?token=a-token-for-this-test", program)
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=60)
    finally:
        program.kill()
        program.wait()
    assert program.returncode == 0, said
    assert "Traceback" not in said
    return sorted(item["name"] for item in shown["content"])


def asked(url: str, program: subprocess.Popen[str]) -> dict:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url) as answer:
                return json.load(answer)
        except OSError:
            assert program.poll() is None, program.stderr and program.stderr.read()
            time.sleep(0.1)
    pytest.fail("JupyterLab does not answer")


def test_jupyterlab_serves_the_folder_and_ends_in_order(tmp_path: Path) -> None:
    names = served(tmp_path / "mine", [sys.executable, "-m", "workbench"], {})
    assert {"notebooks", "runbooks", "start.md"} <= set(names)


def test_an_installed_wheel_has_notebooks_and_runbooks_that_run(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            tmp_path,
            ROOT,
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")
    environment = {"PYTHONPATH": str(tmp_path / "installed")}
    names = served(tmp_path / "mine", [sys.executable, "-m", "workbench"], environment)
    assert {"notebooks", "runbooks", "start.md"} <= set(names)
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "run", "loss-compacted", "--out", tmp_path / "out"],
        env={**os.environ, **environment}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[0]) == (12, "loss: warning"), done.stderr
