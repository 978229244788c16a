"""A notebook's way to the cluster and back: profile, scope, collection."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config import load_config, profile_from_options
from workbench.errors import UsageError
from workbench.notebook.display import emit
from workbench.notebook.escaping import markdown_text
from workbench.notebook.headless import SETTINGS_FILE
from workbench.notebook.progress import ProgressDisplay
from workbench.problems import checking
from workbench.problems.scope import Scope, scope_from

if TYPE_CHECKING:
    from workbench.config import Profile
    from workbench.evidence import Evidence
    from workbench.sources import Sources

# Parameters that are not options of a check.
_NOT_OPTIONS = frozenset({"profile", "bootstrap", "integration", "options"})


def connect(profile: str = "", bootstrap: str = "", integration: str = "") -> Sources:
    """Connects to the cluster of a profile, of an integration's profile, or at an address.

    Args:
        profile: a name from workbench.toml.
        bootstrap: HOST:PORT of a cluster without a profile; settings it needs (``workbench run -X``) reach the notebook
            in a private file.
        integration: a name from workbench.toml; its profile is taken where no other is given.

    Raises:
        UsageError: none of them is given, or the name is unknown.
        SourceUnavailable: the cluster does not answer.
    """
    from workbench.sources import connect as open_sources

    sources = open_sources(_profile(profile, bootstrap, integration))
    info = sources.cluster.info()
    said = f"Connected to {sources.cluster.bootstrap}: cluster {info['cluster_id']}, {len(info['brokers'])} brokers."
    emit({"text/markdown": markdown_text(said), "text/plain": said})
    return sources


def scope(variables: Mapping[str, Any]) -> Scope:
    """The scope that a notebook's parameters describe.

    Args:
        variables: the notebook's ``globals()``; parameters are found by the names that options of ``workbench check``
            have (with underscores), ``options`` holds further ones as NAME=VALUE; everything else is left alone.

    Raises:
        UsageError: an unknown option, a value that does not fit, or no source.
    """
    integration = variables.get("integration") or ""
    config = load_config()
    known = config.integration(integration) if integration else None
    own = config.reading()
    return scope_from(known, **{**own, **given_options(variables)})


def given_options(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a check among a notebook's variables, and those in its ``options``."""
    names = set(Scope.__dataclass_fields__) | {"sink", "retry_topic", "topic", "expected_latency", "horizon"}
    given = {name: value for name, value in variables.items() if name in names and name not in _NOT_OPTIONS}
    return {**given, **_further(variables.get("options") or [])}


def collect(problem: str, sources: Sources, chosen: Scope | Mapping[str, Scope]) -> Evidence:
    """Collects the evidence for a problem and shows how far it is; interrupting keeps what was read so far.

    Args:
        problem: as of ``workbench check``.
        sources: from ``connect``.
        chosen: from ``scope``; of ``health`` from ``scopes``.
    """
    display = ProgressDisplay(problem)
    evidence: Evidence = checking.problem(problem).collect(sources, chosen, work_dir=_work_dir(), progress=display)
    records = evidence.tables.get("records") or evidence.facts.get("parts")
    cut = "; it was cut, counts cover only what was read" if evidence.facts.get("truncated") else ""
    display.finish(f"collected {len(evidence.tables)} tables{cut}" if records is not None else "no records were read")
    return evidence


def _profile(profile: str, bootstrap: str, integration: str) -> Profile:
    if profile and bootstrap:
        raise UsageError("Both a profile and a bootstrap address are given.", hint="Give one of them.")
    if bootstrap:
        return profile_from_options(bootstrap, _private_settings())
    config = load_config()
    if not profile and integration:
        profile = config.integration(integration).profile
    if not profile:
        raise UsageError(
            "No cluster is given.", hint="Set profile to a name of workbench.toml, or bootstrap to HOST:PORT."
        )
    return config.profile(profile)


def _private_settings() -> dict[str, str]:
    name = os.environ.get(SETTINGS_FILE)
    return dict(json.loads(Path(name).read_text())) if name else {}


def _further(options: list[str]) -> dict[str, Any]:
    """NAME=VALUE texts as options; a name that is repeated gives a list."""
    out: dict[str, Any] = {}
    for text in options:
        name, found, value = text.partition("=")
        key = name.strip().replace("-", "_")
        if not found or not key:
            raise UsageError(f"options holds {text!r}.", hint="Each is NAME=VALUE, for example 'since=2h'.")
        if value in ("True", "true", "False", "false"):
            out[key] = value.lower() == "true"
        elif key in out:
            out[key] = [*(out[key] if isinstance(out[key], list) else [out[key]]), value]
        else:
            out[key] = value
    return out


def _work_dir() -> Path:
    """A private folder for captures; it lives as long as the kernel."""
    folder = Path(tempfile.mkdtemp(prefix="workbench-capture-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
