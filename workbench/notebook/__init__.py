"""What notebooks and runbooks call: connect, scope, collect, publish, show, save, and what to do next.

A notebook holds literals and calls; all logic is here and in ``workbench.problems``. The same names work in JupyterLab,
in a headless run through ``workbench run``, and in a plain Python prompt.
"""

from __future__ import annotations

from workbench.notebook.deadletters import groups, one_group
from workbench.notebook.display import errors_in_words, publish, show
from workbench.notebook.following import next_steps
from workbench.notebook.health import changes, scopes
from workbench.notebook.keeping import open_evidence, save
from workbench.notebook.partitions import partitions
from workbench.notebook.querying import rows
from workbench.notebook.session import collect, connect, scope

__all__ = [
    "changes",
    "collect",
    "connect",
    "groups",
    "next_steps",
    "one_group",
    "open_evidence",
    "partitions",
    "publish",
    "rows",
    "save",
    "scope",
    "scopes",
    "show",
]

errors_in_words()
