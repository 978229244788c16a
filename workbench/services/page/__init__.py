"""An executed notebook as one HTML page that opens offline.

The page refers to nothing outside itself, and its policy forbids the browser to load anything or to run any script but
the two that are embedded: what a message carries stays text even where escaping should ever fail.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

FIGURE_MIME = "application/vnd.plotly.v1+json"

_HERE = Path(__file__).parent
_TEMPLATE = "workbench_page.html.j2"


def notebook_page(node: NotebookNode, title: str) -> str:
    """The page of a notebook: text, tables and figures; code and progress are folded away.

    Args:
        node: the executed notebook; not changed.
        title: of the page, where the notebook has none of its own.
    """
    node = deepcopy(node)
    figures = _take_figures(node)
    _join_streams(node)
    node.metadata.setdefault("title", title)
    node.metadata.pop("widgets", None)
    text = _exported(node)
    scripts = [_plotly(), _asset("figures.js")] if figures else []
    return text.replace("<!--policy-->", _policy(scripts)).replace("<!--scripts-->", _embedded(figures, scripts))


def _join_streams(node: NotebookNode) -> None:
    """Joins neighbouring outputs of one stream: a kernel sends them as they come."""
    for cell in node.cells:
        joined: list[Any] = []
        for output in cell.get("outputs", []):
            if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
                joined[-1].text += output.text
            else:
                joined.append(output)
        if "outputs" in cell:
            cell.outputs = joined


def _take_figures(node: NotebookNode) -> list[Any]:
    """The figures of all outputs; each leaves a numbered place for itself."""
    figures: list[Any] = []
    for cell in node.cells:
        for output in cell.get("outputs", []):
            figure = output.get("data", {}).pop(FIGURE_MIME, None)
            if figure is not None:
                output.data["text/html"] = _place(len(figures), figure)
                figures.append({"data": figure["data"], "layout": figure["layout"]})
    return figures


def _place(number: int, figure: Any) -> str:
    said = figure["layout"].get("meta", {}).get("description", "Figure")
    height = int(figure["layout"].get("height", 400))
    label = html.escape(str(said), quote=True)
    place = f'class="wb-figure" data-figure="{number}" style="height:{height}px"'
    return f'<div {place} role="img" aria-label="{label}"></div>'


def _exported(node: NotebookNode) -> str:
    import jinja2
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        extra_loaders=[jinja2.FileSystemLoader(_HERE)], template_file=_TEMPLATE, exclude_anchor_links=True
    )
    # A page for its reader: no magic of the notebook format shows, neither prompts nor links that lead nowhere.
    text, _ = exporter.from_notebook_node(node, {"workbench_css": _asset("page.css")})
    return str(text)


def _policy(scripts: list[str]) -> str:
    allowed = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts) or "'none'"
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{policy}">'


def _embedded(figures: list[Any], scripts: list[str]) -> str:
    if not figures:
        return ""
    # "<" cannot end the data block early when it is written as an escape.
    data = json.dumps(figures).replace("<", "\\u003c")
    blocks = [f'<script type="application/json" id="wb-figures">{data}</script>']
    return "\n".join([*blocks, *(f"<script>{script}</script>" for script in scripts)])


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs()).replace("</script", "<\\/script")


def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
