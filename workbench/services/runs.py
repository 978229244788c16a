"""Headless runs: a notebook, its parameters, and a folder that holds all it came to.

The folder gets the executed notebook, one HTML page that needs no network, ``report.json``, ``junit.xml``, ``metrics.prom``,
``ledger.parquet`` and ``evidence/``. What a notebook writes there it is told by environment variables, never by parameters:
papermill keeps parameters in clear in the notebook it writes.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError, NotebookError, UsageError
from workbench.notebook.headless import REPORT_MIME, RUN_FOLDER, SETTINGS_FILE, YES
from workbench.report import EXIT_CODES, REPORT_VERSION
from workbench.services.exports import junit_xml, metrics_text
from workbench.shelves import home

if TYPE_CHECKING:
    from nbformat import NotebookNode

JUNIT, METRICS = "junit.xml", "metrics.prom"

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        notebook: the executed notebook.
        html: the same as one page that opens offline.
        report: the published report (JSON contract), or None for a notebook that publishes none.
        folder: where all of it lies; where there is a report also ``report.json``, ``junit.xml``, ``metrics.prom``,
            ``ledger.parquet`` and ``evidence/``.
        seconds: how long it ran.
    """

    notebook: Path
    html: Path
    report: Mapping[str, Any] | None
    folder: Path
    seconds: float

    @property
    def exit_code(self) -> int:
        """Exit code of the command line for the report's verdict; 0 where nothing was published."""
        return EXIT_CODES[self.report["verdict"]] if self.report else 0


@dataclass(frozen=True)
class Limits:
    """How long a run may take.

    Attributes:
        cell_seconds: per cell; collecting a large topic is one cell.
        start_seconds: until the kernel answers.
    """

    cell_seconds: int = 4 * 3600
    start_seconds: int = 60


@dataclass(frozen=True)
class _Run:
    """A run's paths and settings, made absolute before anything changes the working directory."""

    source: Path
    folder: Path
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def output(self) -> Path:
        return self.folder / self.source.name


def run_notebook(
    name_or_path: str | Path,
    parameters: Mapping[str, Any],
    out_dir: str | Path,
    *,
    client_settings: Mapping[str, str] | None = None,
    without_asking: bool = False,
    cwd: str | Path | None = None,
    limits: Limits | None = None,
    on_line: Callable[[str], None] | None = None,
) -> RunResult:
    """Runs a notebook headless and keeps all it came to in one folder.

    Args:
        name_or_path: a name from the project's ``notebooks/`` or ``runbooks/``, or a path.
        parameters: name -> value, typed or as text; an option of ``workbench check`` that has no parameter of its own
            goes through the notebook's ``options``.
        out_dir: where the results go; made if needed. Results of an earlier run of the same notebook are replaced.
        client_settings: librdkafka settings for a cluster without a profile; they reach the notebook in a private
            file that is removed afterwards, never as parameters.
        without_asking: begin scans of any size; otherwise a large one is refused, since nobody is there to ask.
        cwd: the notebook's working directory; relative file names and workbench.toml are found from there. The
            caller's by default.
        limits: how long it may take.
        on_line: gets each line of progress the notebook writes.

    Raises:
        UsageError: no such notebook, an unknown parameter, or a parameter that the check refused.
        NotebookError: a cell failed; the partial notebook and its page are in ``out_dir``.
    """
    started = time.monotonic()
    run = _prepare(name_or_path, out_dir, cwd)
    node = read_notebook(run.source)
    values = _recorded(node, run.source) | parameters_of(node, parameters)
    _clear(run)
    with _private_settings(client_settings) as extra:
        told = {RUN_FOLDER: str(run.folder), **extra, **({YES: "1"} if without_asking else {})}
        executed = _execute(
            node, values, replace(run, environment=told), limits or Limits(), on_line or (lambda _line: None)
        )
    return _results(run, executed, started)


def find_notebook(name_or_path: str | Path) -> Path:
    """The absolute path of a notebook given by path, or by name in ``notebooks/`` or ``runbooks/``.

    Raises:
        UsageError: there is none; the nearest name is named.
    """
    direct = Path(name_or_path)
    if direct.suffix == ".ipynb" and direct.is_file():
        return direct.resolve()
    known = {path.stem: path for folder in _shelves() for path in sorted(folder.glob("*.ipynb"))}
    if str(name_or_path) in known:
        return known[str(name_or_path)].resolve()
    near = difflib.get_close_matches(str(name_or_path), known, 1)
    hint = f"Did you mean {near[0]}?" if near else "Give a path, or a name from the folder notebooks/."
    raise UsageError(f"There is no notebook {str(name_or_path)!r}.", hint=hint)


def _shelves() -> list[Path]:
    return [base / shelf for shelf in ("runbooks", "notebooks") for base in (home(), Path.cwd())]


def _prepare(name_or_path: str | Path, out_dir: str | Path, cwd: str | Path | None) -> _Run:
    folder = Path(out_dir).absolute()
    run = _Run(source=find_notebook(name_or_path), folder=folder, cwd=Path(cwd or Path.cwd()).absolute())
    if folder.exists() and any(folder.iterdir()) and not run.output.exists():
        raise UsageError(f"{out_dir} holds other files.", hint="Name a folder that is new or empty.")
    if run.output == run.source:
        raise UsageError(f"{out_dir} is where the notebook itself lies.", hint="Name another folder.")
    return run


def _clear(run: _Run) -> None:
    """Makes the folder, without what an earlier run left: a failed run must not lie beside an older verdict."""
    run.folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run.folder / "evidence", ignore_errors=True)
    for name in (
        run.output.name,
        run.output.with_suffix(".html").name,
        "report.json",
        "ledger.parquet",
        JUNIT,
        METRICS,
    ):
        (run.folder / name).unlink(missing_ok=True)


def read_notebook(path: Path) -> NotebookNode:
    """A notebook's cells.

    Raises:
        UsageError: it is none.
    """
    import nbformat

    try:
        node: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        return node
    except (ValueError, nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        raise UsageError(f"{path.name} is not a notebook: {error}.") from error


def _recorded(node: NotebookNode, source: Path) -> dict[str, str]:
    """Where a runbook's recorded evidence lies: it names it as seen from its own folder, and this may run from another."""
    from workbench.services.parameters import declared_parameters

    declared = declared_parameters(node).get("evidence_dir")
    folder = source.parent / str(declared.default) if declared and declared.default else None
    return {"evidence_dir": str(folder)} if folder and folder.is_dir() else {}


def parameters_of(node: NotebookNode, given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters for a notebook, each checked against its declaration.

    Raises:
        UsageError: it has no such parameter, or the value is of another kind.
    """
    from workbench.problems.scope import Scope
    from workbench.services.parameters import checked_values, declared_parameters

    return dict(checked_values(declared_parameters(node), given, _option_names(Scope)))


def _option_names(scope: type) -> set[str]:
    """The options of a check as its command line names them, with underscores."""
    names = {name.removesuffix("_seconds") for name in scope.__dataclass_fields__}  # type: ignore[attr-defined]
    return (names - {"sinks", "retry_topics", "topics_named"}) | {"sink", "retry_topic", "topic", "integration"}


@contextmanager
def _private_settings(settings: Mapping[str, str] | None) -> Iterator[dict[str, str]]:
    """The environment that leads to a file with client settings which only this user can read."""
    if not settings:
        yield {}
        return
    handle, name = tempfile.mkstemp(prefix="workbench-", suffix=".json")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(dict(settings), file)
        yield {SETTINGS_FILE: name}
    finally:
        Path(name).unlink(missing_ok=True)


def _execute(
    node: NotebookNode, values: dict[str, Any], run: _Run, limits: Limits, on_line: Callable[[str], None]
) -> NotebookNode:
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import PapermillExecutionError, execute_notebook

    from workbench.services.kernel import ENGINE, KERNEL, TextSink, kernel_environment

    try:
        executed = execute_notebook(
            node,
            # Papermill formats paths with the parameters: a brace in a folder's name is a placeholder to it.
            str(run.output).replace("{", "{{").replace("}", "}}"),
            values,
            engine_name=ENGINE,
            kernel_name=KERNEL,
            progress_bar=False,
            start_timeout=limits.start_seconds,
            cell_timeout_seconds=limits.cell_seconds,
            cwd=str(run.cwd),
            stderr_file=TextSink(on_line),
            kernel_env=kernel_environment(run.environment),
        )
    except PapermillExecutionError as error:
        raise _failure(run, error) from error
    except (CellTimeoutError, DeadKernelError, RuntimeError, TimeoutError) as error:
        raise _broken_off(run, limits, error) from error
    return _tidied(executed, run)


def _failure(run: _Run, error: Any) -> UsageError | NotebookError:
    """The error of a failed cell as users know it from ``check``, or a NotebookError that names the cell."""
    _keep_partial(run)
    text, hint = _said(error)
    known = {kind.__name__: kind for kind in (UsageError, ConfigError)}
    if error.ename in known:
        return known[error.ename](text, hint=hint)
    where = f"{run.source.name} failed in cell {error.cell_index + 1}"
    return NotebookError(
        f"{where}: {text}" if hint else f"{where}: {error.ename}: {text}",
        notebook=str(run.source),
        cell=error.cell_index,
        output=str(run.output),
        hint=hint or f"Read {run.output.with_suffix('.html')}: it holds the cells that ran.",
    )


def _said(error: Any) -> tuple[str, str]:
    """The message and the hint of an error that crossed the kernel's border as text."""
    lines = [_ANSI.sub("", line) for line in error.traceback]
    hints = [line.removeprefix("Next step: ") for line in lines if line.startswith("Next step: ")]
    return str(error.evalue).strip() or error.ename, hints[-1] if hints else ""


def _broken_off(run: _Run, limits: Limits, error: Exception) -> NotebookError:
    _keep_partial(run)
    slow = "Timeout" in type(error).__name__
    return NotebookError(
        f"{run.source.name} took longer than {limits.cell_seconds} s in one cell and was stopped."
        if slow
        else f"The kernel of {run.source.name} ended before the notebook did ({type(error).__name__}).",
        notebook=str(run.source),
        cell=None,
        output=str(run.output) if run.output.exists() else "",
        hint="Narrow the window (since, until) or give a limit."
        if slow
        else "It may have run out of memory; narrow the window (since, until).",
    )


def _keep_partial(run: _Run) -> None:
    """Leaves the cells that ran in the folder, as notebook and as page."""
    if run.output.exists():
        _write_page(_tidied(read_notebook(run.output), run), run)


def _tidied(node: NotebookNode, run: _Run) -> NotebookNode:
    """The executed notebook without the paths of this machine in its metadata."""
    import nbformat

    node.metadata.papermill.input_path = run.source.name
    node.metadata.papermill.output_path = run.output.name
    nbformat.write(node, run.output)  # type: ignore[no-untyped-call]
    return node


def _results(run: _Run, executed: NotebookNode, started: float) -> RunResult:
    report = published_report(executed)
    if report is not None:
        path = run.folder / "report.json"
        path.with_suffix(".partial").write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
        path.with_suffix(".partial").replace(path)
        (run.folder / JUNIT).write_text(junit_xml(report), encoding="utf-8")
        (run.folder / METRICS).write_text(metrics_text(report), encoding="utf-8")
    html = _write_page(executed, run)
    return RunResult(run.output, html, report, run.folder, round(time.monotonic() - started, 3))


def _write_page(node: NotebookNode, run: _Run) -> Path:
    from workbench.services.page import notebook_page

    path = run.output.with_suffix(".html")
    path.write_text(notebook_page(node, run.source.stem), encoding="utf-8")
    return path


def published_report(node: NotebookNode) -> dict[str, Any] | None:
    """The report that a notebook published last, or None.

    Raises:
        NotebookError: it is of a version that this workbench does not read.
    """
    outputs = [output for cell in node.cells if cell.cell_type == "code" for output in cell.outputs]
    reports = [output.data[REPORT_MIME] for output in outputs if REPORT_MIME in output.get("data", {})]
    if not reports:
        return None
    if reports[-1].get("version") != REPORT_VERSION:
        raise NotebookError("The notebook published a report of another version.", notebook="", cell=None)
    return dict(reports[-1])
