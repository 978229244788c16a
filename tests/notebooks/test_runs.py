"""Headless runs: what they refuse, what they keep, what they never show. No broker is needed here."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import nbformat
import pyarrow.parquet as pq
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.unit.builder import World
from workbench.errors import NotebookError, UsageError
from workbench.evidence import Evidence
from workbench.problems import loss
from workbench.services.runs import Limits, find_notebook, run_notebook

pytestmark = pytest.mark.notebooks

HOSTILE = "<script>document.title='owned'</script>"
LOOK = """from workbench import notebook, plots
from workbench.problems import loss
case = loss.examine(notebook.open_evidence(evidence_dir))
report = notebook.publish(case)
folder = notebook.save(case)
notebook.show(plots.loss_over_time_and_partition(case))
notebook.show(notebook.rows(case, "SELECT * FROM ledger"))
notebook.next_steps(report, folder)"""


def written(path: Path, *sources: str, parameters: str = 'evidence_dir = ""') -> Path:
    cell = new_code_cell(parameters)
    cell.metadata["tags"] = ["parameters"]
    cells = [new_markdown_cell("# Offline"), cell, *map(new_code_cell, sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = World(sinks=["out"])
    world.flow([f"m{n}" for n in range(100)], lost=["m3", "m40"], event_type=HOSTILE)
    world.commit()
    return world.evidence().save(tmp_path_factory.mktemp("evidence") / "kept")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, evidence: Path):
    """One run in a folder whose name is a trap for papermill, which formats paths."""
    folder = tmp_path_factory.mktemp("run")
    source = written(folder / "look.ipynb", LOOK, 'import sys\nprint("a line", file=sys.stderr)\nprint(sys.executable)')
    lines: list[str] = []
    result = run_notebook(source, {"evidence_dir": str(evidence)}, folder / "{out} dir", on_line=lines.append)
    return result, lines


def test_a_run_keeps_all_it_came_to(run, evidence: Path):
    result, _ = run
    names = {path.name for path in result.folder.iterdir()}
    assert names == {
        "look.ipynb",
        "look.html",
        "report.json",
        "junit.xml",
        "metrics.prom",
        "ledger.parquet",
        "evidence",
    }
    report = json.loads((result.folder / "report.json").read_text())
    assert report == dict(result.report) == loss.diagnose(Evidence.load(evidence)).to_dict()
    assert Evidence.load(result.folder / "evidence").facts["source"] == "in"
    assert pq.read_table(result.folder / "ledger.parquet").num_rows == report["ledger"]["lost"] == 2


def test_its_exit_code_is_the_verdict(run):
    result, _ = run
    assert result.exit_code == {"warning": 12, "critical": 13}[result.report["verdict"]]


def test_the_kernel_is_this_interpreter(run):
    result, _ = run
    assert sys.executable in result.notebook.read_text()


def test_progress_reaches_the_caller(run):
    assert run[1] == ["a line"]


def test_the_page_needs_no_network(run):
    text = run[0].html.read_text()
    body = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", body) == []
    assert "default-src 'none'" in text
    assert "unsafe-eval" not in text
    assert text.count("<script>") == 2


def test_the_page_shows_hostile_text_as_text(run):
    assert HOSTILE not in run[0].html.read_text()


def test_the_notebook_names_no_place_of_this_machine(run, evidence: Path):
    metadata = nbformat.read(run[0].notebook, as_version=4).metadata.papermill
    assert (metadata.input_path, metadata.output_path) == ("look.ipynb", "look.ipynb")
    assert metadata.parameters == {"evidence_dir": str(evidence)}


def test_an_unknown_notebook_or_parameter_is_refused_before_anything_is_written(tmp_path: Path):
    with pytest.raises(UsageError) as caught:
        find_notebook("los")
    assert caught.value.hint == "Did you mean loss?"
    with pytest.raises(UsageError) as caught:
        run_notebook("loss", {"sorce": "x"}, tmp_path / "out")
    assert caught.value.hint == "Did you mean source?"
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_refused(tmp_path: Path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(UsageError, match="holds other files"):
        run_notebook("loss", {}, tmp_path)


def test_a_failed_cell_leaves_what_ran_and_no_older_report(tmp_path: Path, evidence: Path):
    good = written(tmp_path / "n.ipynb", LOOK)
    run_notebook(good, {"evidence_dir": str(evidence)}, tmp_path / "out")
    written(tmp_path / "n.ipynb", "print('this ran')", "1 / 0", "print('this did not')")
    with pytest.raises(NotebookError, match="ZeroDivisionError") as caught:
        run_notebook(good, {}, tmp_path / "out")
    assert caught.value.cell == 3
    page = (tmp_path / "out" / "n.html").read_text()
    assert "<pre>this ran" in page
    assert "<pre>this did not" not in page
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["n.html", "n.ipynb"]


def test_our_errors_cross_the_kernel_with_their_hint(tmp_path: Path):
    path = written(tmp_path / "n.ipynb", LOOK)
    with pytest.raises(NotebookError, match="is not an evidence folder") as caught:
        run_notebook(path, {"evidence_dir": str(tmp_path)}, tmp_path / "out")
    assert caught.value.hint == "Make one with --save."


def test_a_refused_option_ends_like_check_does(tmp_path: Path):
    with pytest.raises(UsageError, match="No cluster is given"):
        run_notebook("loss", {"source": "x", "sink": "y"}, tmp_path / "out", cwd=tmp_path)


def test_a_cell_that_takes_too_long_is_stopped(tmp_path: Path):
    path = written(tmp_path / "n.ipynb", "import time\ntime.sleep(60)")
    with pytest.raises(NotebookError, match="longer than 1 s"):
        run_notebook(path, {}, tmp_path / "out", limits=Limits(cell_seconds=1))


def test_a_kernel_that_dies_is_said_so(tmp_path: Path):
    path = written(tmp_path / "n.ipynb", "import os\nos._exit(1)")
    with pytest.raises(NotebookError, match="ended before the notebook did"):
        run_notebook(path, {}, tmp_path / "out")


def test_secret_settings_reach_the_kernel_and_nothing_else(tmp_path: Path):
    secret = "hunter2-hunter2"
    look = "from workbench.notebook.session import _private_settings\nassert len(_private_settings()) == 1"
    result = run_notebook(
        written(tmp_path / "n.ipynb", look), {}, tmp_path / "out", client_settings={"sasl.password": secret}
    )
    assert result.report is None
    assert result.exit_code == 0
    assert [path for path in result.folder.rglob("*") if path.is_file() and secret in path.read_text()] == []
