"""Health reports in notebooks: their integrations, and what changed since the last one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.config import load_config
from workbench.errors import UsageError
from workbench.notebook.session import given_options
from workbench.problems.health.scopes import scopes_from
from workbench.problems.scope import Scope
from workbench.report import Report


def scopes(variables: Mapping[str, Any]) -> dict[str, Scope]:
    """Name -> scope of what a notebook's parameters name: an integration, a source, or all integrations of the profile.

    Args:
        variables: the notebook's ``globals()``.

    Raises:
        UsageError: there is no integration, or an option does not fit.
    """
    config = load_config()
    integration = variables.get("integration") or ""
    named = config.integration(integration) if integration else None
    profile = variables.get("profile") or (named.profile if named else "")
    return scopes_from(config, profile, named, **given_options(variables))


def changes(report: Report, previous: str = "") -> list[dict[str, Any]]:
    """What differs from an earlier health report: verdicts, findings that came or went, and how their counts moved.

    Args:
        report: this one.
        previous: path of the earlier ``report.json``, or of its folder; "" compares with nothing.

    Raises:
        UsageError: it is no health report.
    """
    if not previous:
        return []
    before, now = _earlier(Path(previous)), report.to_dict()
    old, new = _standing(before), _standing(now)
    keys = [key for key in dict.fromkeys([*new, *old]) if old.get(key) != new.get(key)]
    return [
        {"check": where, "what": name, "before": old.get((where, name)), "now": new.get((where, name))}
        for where, name in keys
    ]


def _earlier(path: Path) -> dict[str, Any]:
    path = path / "report.json" if path.is_dir() else path
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["problem"] == "health":
            return dict(found)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{path.name} is no health report.", hint="Give the report.json of an earlier run, or nothing.")


def _standing(report: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """(check, verdict or code of a finding) -> what it says."""
    out: dict[tuple[str, str], Any] = {("all", "verdict"): report["verdict"]}
    for part in (report, *report["reports"]):
        integration = part["facts"].get("integration") or ""
        where = " ".join(name for name in (integration, part["problem"]) if name)
        if part is not report:
            out[where, "verdict"] = part["verdict"]
        out |= {(where, one["code"]): f"{one['state']}, {one['count']:,}" for one in part["findings"]}
    return out
