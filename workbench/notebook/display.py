"""Showing reports, tables and figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.notebook.publishing import report_bundle
from workbench.notebook.tables import table_html, table_text
from workbench.problems.examination import Examination
from workbench.report import Report

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.notebook.tables import Rows

_FIGURE_MIME = "application/vnd.plotly.v1+json"


def publish(found: Report | Examination) -> Report:
    """Shows a report: Markdown to people, ``application/vnd.workbench.report+json`` to programs.

    Returns:
        The report.
    """
    report = found.report if isinstance(found, Examination) else found
    emit(report_bundle(report))
    return report


def show(what: Rows | go.Figure, title: str = "", limit: int = 20) -> None:
    """Shows a table or a figure.

    Args:
        what: an Arrow table, a DataFrame, mappings with the same keys, or a plotly figure.
        title: stands above a table; a figure has its own.
        limit: rows of a table that are shown; how many there are is always said.
    """
    drawn: Any = what
    if hasattr(drawn, "to_plotly_json"):
        # Only the figure's data: a plotly renderer would add a page with a script from the network.
        figure = json.loads(drawn.to_json())
        emit({_FIGURE_MIME: figure, "text/plain": f"Figure: {figure['layout']['title']['text']}"})
        return
    html, text = table_html(drawn, title=title, limit=limit), table_text(drawn, title=title, limit=limit)
    emit({"text/html": html, "text/plain": text})


def emit(bundle: Mapping[str, Any]) -> None:
    """Displays a MIME bundle in a notebook; prints its plain text anywhere else."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        print(bundle["text/plain"])  # noqa: T201  this is the face of a plain Python prompt
        return
    from IPython.display import publish_display_data

    publish_display_data(dict(bundle))  # type: ignore[no-untyped-call]


def errors_in_words() -> None:
    """From now on a notebook shows our errors as one sentence and the next step, like the command line does."""
    # The name is IPython's protocol for exceptions that render themselves.
    WorkbenchError._render_traceback_ = _in_words  # type: ignore[attr-defined]


def _in_words(error: WorkbenchError) -> list[str]:
    said = [f"{type(error).__name__}: {error}"]
    return [*said, f"Next step: {error.hint}"] if error.hint else said
