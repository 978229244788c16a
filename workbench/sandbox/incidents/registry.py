"""The incidents by name; each planter registers itself."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import SandboxError
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.scene import Scene, scene
from workbench.sandbox.incidents.traffic import bystander
from workbench.sandbox.incidents.truth import Truth

if TYPE_CHECKING:
    from workbench.sandbox.kafka import Kafka

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
        nodes: how many brokers it needs; those of more than one are stopped and started, so it gets a cluster of its own.
        settings: of the brokers, without which it cannot be planted.
        files: it writes to the broker's own files, so it needs a sandbox that this machine runs.
        tables: its source or sink is a table of a database.
    """

    name: str
    problem: str
    summary: str
    expects: Mapping[str, str]
    planter: Planter
    nodes: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    files: bool = False
    tables: bool = False

    @property
    def special(self) -> bool:
        """Whether an ordinary sandbox of one broker cannot hold it."""
        return self.nodes > 1 or bool(self.settings) or self.files

    @property
    def clean(self) -> bool:
        """Whether a right report has no finding."""
        return not self.expects

    def to_dict(self) -> dict[str, Any]:
        """The incident as JSON types, without what plants it."""
        shown = ("name", "problem", "summary", "expects", "clean", "nodes", "settings", "files", "tables")
        return {name: getattr(self, name) for name in shown}

    def plant(
        self,
        bootstrap: str,
        seed: int = 0,
        folder: Path | None = None,
        cluster: Kafka | None = None,
        *,
        database: str | None = None,
    ) -> Truth:
        """Plants it on fresh topics.

        Args:
            bootstrap: a broker that may be written to: the sandbox's.
            cluster: the same as processes, where the incident needs to stop some.
            seed: of all choices but the suffix of the names, so that it can be planted again beside itself.
            folder: for sent logs and service logs; by default a new temporary one, made when one is written.
            database: address of a PostgreSQL for incidents with tables; None takes a file of SQLite.

        Raises:
            SandboxError: the broker did not do what the incident needs.
        """
        _require(self, bootstrap, cluster)
        chosen = folder or Path(tempfile.gettempdir()) / f"workbench-{self.name}-{uuid.uuid4().hex[:12]}"
        stage = scene(bootstrap, self.name, self.problem, seed, chosen)
        stage.cluster, stage.database = cluster, database
        if stage.rng.random() < 0.3:
            bystander(stage)
        return self.planter(stage)


INCIDENTS: dict[str, Incident] = {}


def _require(item: Incident, bootstrap: str, cluster: Kafka | None) -> None:
    """Refuses a broker that cannot hold the incident."""
    settings = " ".join(f"--setting {name}={value}" for name, value in item.settings.items())
    nodes = f"--nodes {item.nodes}" if item.nodes > 1 else ""
    hint = f"`workbench sandbox down`, then `workbench sandbox up {nodes} {settings}`.".replace("  ", " ").replace(
        " `.", "`."
    )
    if item.nodes > 1 and (cluster is None or len([plan for plan in cluster.nodes if plan.is_broker]) < item.nodes):
        raise SandboxError(f"Incident {item.name} needs a sandbox of {item.nodes} brokers.", hint=hint)
    for name, value in item.settings.items():
        if topics.broker_setting(bootstrap, name) != value:
            raise SandboxError(f"Incident {item.name} needs brokers with {name}={value}.", hint=hint)


def incident(
    name: str,
    problem: str,
    expects: Mapping[str, str] | None = None,
    *,
    nodes: int = 1,
    settings: Mapping[str, str] | None = None,
    files: bool = False,
    tables: bool = False,
) -> Callable[[Planter], Planter]:
    """Registers a planter; the first line of its docstring is the incident's summary."""

    def register(planter: Planter) -> Planter:
        summary = (planter.__doc__ or "").strip().splitlines()[0]
        INCIDENTS[name] = Incident(
            name, problem, summary, dict(expects or {}), planter, nodes, settings or {}, files, tables
        )
        return planter

    return register
