"""The incidents by name; each planter registers itself."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.sandbox.incidents.scene import Scene, scene
from workbench.sandbox.incidents.traffic import bystander
from workbench.sandbox.incidents.truth import Truth

Planter = Callable[[Scene], Truth]


@dataclass(frozen=True)
class Incident:
    """A fault that can be planted.

    Attributes:
        name: how the command line calls it.
        problem: the check that it is for: ``loss`` or ``duplicates``.
        summary: one sentence.
        expects: code -> ``confirmed`` or ``suspected``: the findings of a right report.
        clean: a legitimate oddity that must come out without any finding.
        planter: the function that does it.
    """

    name: str
    problem: str
    summary: str
    expects: Mapping[str, str]
    planter: Planter

    @property
    def clean(self) -> bool:
        """Whether a right report has no finding."""
        return not self.expects

    def to_dict(self) -> dict[str, Any]:
        """The incident as JSON types, without what plants it."""
        shown = ("name", "problem", "summary", "expects", "clean")
        return {name: getattr(self, name) for name in shown}

    def plant(self, bootstrap: str, seed: int = 0, folder: Path | None = None) -> Truth:
        """Plants it on fresh topics.

        Args:
            bootstrap: a broker that may be written to: the sandbox's.
            seed: of all choices but the suffix of the names, so that it can be planted again beside itself.
            folder: for sent logs and service logs; by default a new temporary one, made when one is written.

        Raises:
            SandboxError: the broker did not do what the incident needs.
        """
        chosen = folder or Path(tempfile.gettempdir()) / f"workbench-{self.name}-{uuid.uuid4().hex[:12]}"
        stage = scene(bootstrap, self.name, self.problem, seed, chosen)
        if stage.rng.random() < 0.3:
            bystander(stage)
        return self.planter(stage)


INCIDENTS: dict[str, Incident] = {}


def incident(name: str, problem: str, expects: Mapping[str, str] | None = None) -> Callable[[Planter], Planter]:
    """Registers a planter; the first line of its docstring is the incident's summary."""

    def register(planter: Planter) -> Planter:
        summary = (planter.__doc__ or "").strip().splitlines()[0]
        INCIDENTS[name] = Incident(name, problem, summary, dict(expects or {}), planter)
        return planter

    return register
