"""How right the causes are: plants every incident, diagnoses it with all evidence and with less, and counts.

``python -m workbench.sandbox.accuracy`` plants all incidents once a seed; names as arguments plant only those, ``--seeds 3``
takes three seeds. The table says per code: planted, found (confirmed), suspected or undecided, missed, wrongly named, ids
attributed right and wrong, seconds for collecting and diagnosing. With less evidence a cause may be undecided or suspected,
never another one confirmed. An id that no evidence holds (its record was removed, and nobody kept a sent log) can not be attributed
to anything: it is counted apart.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.config import profile_from_options
from workbench.errors import UsageError, WorkbenchError
from workbench.evidence import Evidence
from workbench.problems import checking
from workbench.problems.examination import Examination
from workbench.problems.hops.route import is_route
from workbench.problems.scope import scope_from
from workbench.report import Severity
from workbench.sandbox.incidents import INCIDENTS, Incident, Truth, require
from workbench.sandbox.incidents.living import end_all
from workbench.sandbox.kafka import Kafka, start
from workbench.sources import connect

# What a principal with fewer rights would not have: evidence -> tables that are missing then.
LESS: Mapping[str, tuple[str, ...]] = {
    "no history": ("commit_history", "generations", "group_members", "other_commits"),
    "no logs": ("service_log",),
    "no batches": ("batches", "open_transactions", "broker_configs"),
}


@dataclass
class Score:
    """How one code fared."""

    planted: int = 0
    found: int = 0
    open: int = 0
    missed: int = 0
    wrong: int = 0
    ids_right: int = 0
    ids_wrong: int = 0
    ids_unknown: int = 0
    seconds: list[float] = field(default_factory=list)


@dataclass
class Table:
    """Scores by code, and what went wrong, in words."""

    scores: dict[str, Score] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    clean: int = 0
    alarms: int = 0

    def of(self, code: str) -> Score:
        """The score of a code."""
        return self.scores.setdefault(code, Score())

    def add(self, truth: Truth, examination: Examination, seconds: float, evidence: str = "") -> None:
        """Compares a report with the truth; ``evidence`` says what was taken away, and then less is asked of it."""
        report = examination.report
        every = {item.code: item.state for item in report.findings}
        states = {item.code: item.state for item in report.findings if item.severity > Severity.INFO}
        named = {code for code, state in states.items() if state == "confirmed" or not evidence}
        where = f"{truth.incident}/{truth.seed}{f' ({evidence})' if evidence else ''}"
        for code in sorted(named - set(truth.findings)):
            self.of(code).wrong += 1
            self.faults.append(f"{where}: {code} {states[code]}, which was not planted")
        if truth.clean:
            self.clean += not evidence
            self.alarms += bool(named)
        open_codes = {item.code for item in report.undecided} | {
            code for code, one in states.items() if one != "confirmed"
        }
        for code, state in truth.findings.items():
            self._planted(where, code, state, every, unsure=code in open_codes, seconds=None if evidence else seconds)
        if not evidence:
            self._ids(truth, examination)

    def _planted(
        self, where: str, code: str, state: str, found: Mapping[str, str], *, unsure: bool, seconds: float | None
    ) -> None:
        score, states = self.of(code), found
        score.planted += 1
        if seconds is not None:
            score.seconds.append(seconds)
        if states.get(code) == state or states.get(code) == "confirmed":
            score.found += 1
        elif unsure or states.get(code):
            score.open += 1
        else:
            score.missed += 1
            self.faults.append(f"{where}: {code} was missed")

    def _ids(self, truth: Truth, examination: Examination) -> None:
        rows = examination.con.execute(f"SELECT message_id, cause FROM ({examination.rows_sql})").fetchall()
        caused: dict[str, set[str]] = {}
        for message_id, cause in rows:
            caused.setdefault(message_id, set()).add(cause)
        sent = _sent(examination) if truth.problem == "loss" else None
        for code, ids in truth.ids.items():
            if code not in truth.causes:
                continue  # it explains no entry of the ledger, or another cause fits as well
            known = [caused.get(one, set()) for one in ids if sent is None or one in sent]
            right, score = sum(code in causes for causes in known), self.of(code)
            score.ids_right += right
            score.ids_wrong += len(known) - right
            score.ids_unknown += len(ids) - len(known)

    def lines(self) -> list[str]:
        """The table in Markdown."""
        head = "| code | planted | found | suspected, undecided | missed | wrongly named | ids right | wrong | unknown | seconds |"
        out = [head, "|---|---|---|---|---|---|---|---|---|---|"]
        for code, one in sorted(self.scores.items()):
            typical = f"{sorted(one.seconds)[len(one.seconds) // 2]:.1f}" if one.seconds else "-"
            ids = (one.ids_right, one.ids_wrong, one.ids_unknown)
            cells = (one.planted, one.found, one.open, one.missed, one.wrong, *ids, typical)
            out.append(f"| {code} | " + " | ".join(map(str, cells)) + " |")
        return [*out, "", f"Clean systems: {self.clean}, with a finding: {self.alarms}."]


def _sent(examination: Examination) -> set[str]:
    """The ids that records or a sent log hold."""
    told = (
        "h0_records"
        if is_route(examination.evidence.facts)
        else "(SELECT message_id FROM records UNION SELECT message_id FROM sent)"
    )
    found = examination.con.execute(f"SELECT message_id FROM {told}").fetchall()
    return {row[0] for row in found}


def without(evidence: Evidence, tables: Sequence[str]) -> Evidence:
    """The same evidence as somebody with fewer rights would have collected it."""
    kept = {name: table for name, table in evidence.tables.items() if name not in tables}
    gone = {name: "denied" for name in tables if name in evidence.tables}
    return replace(evidence, tables=kept, missing={**evidence.missing, **gone})


def measure(item: Incident, seed: int, kafka: tuple[str, Kafka | None], table: Table) -> None:
    """Plants one incident, and adds its reports to the table."""
    with tempfile.TemporaryDirectory(prefix="workbench-accuracy-") as scratch:
        folder = Path(scratch)
        truth = item.plant(kafka[0], seed, folder / "logs", kafka[1])
        begun = time.monotonic()
        with connect(profile_from_options(kafka[0], {})) as sources:
            evidence = checking.problem(truth.problem).collect(
                sources, scope_from(**truth.options), work_dir=folder / "work"
            )
        examination = checking.examine(truth.problem, evidence)
        table.add(truth, examination, time.monotonic() - begun)
        saved = checking.evidence_in(checking.save(examination, folder / "saved"))
        for name, tables in LESS.items():
            if any(one in saved.tables for one in tables):
                table.add(truth, checking.examine(truth.problem, without(saved, tables)), 0, name)


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 1 where something was missed or wrongly named, 2 where there is no such incident."""
    parser = argparse.ArgumentParser(prog="accuracy")
    parser.add_argument("names", nargs="*", help="incidents [all]")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args(arguments)
    table = Table()
    try:
        chosen = [require(name) for name in given.names or sorted(INCIDENTS)]
    except UsageError as error:
        _say(f"{error} {error.hint}")
        return 2
    with ExitStack() as stack:
        clusters: dict[str, Kafka] = {}
        for item in sorted(chosen, key=lambda one: (one.nodes, str(one.settings))):
            kind = f"{item.nodes} {sorted(item.settings.items())}"
            if kind not in clusters:
                clusters[kind] = stack.enter_context(start(nodes=item.nodes, settings=item.settings))
            for seed in range(1, given.seeds + 1):
                _say(f"{item.name}/{seed}")
                try:
                    measure(item, seed, (clusters[kind].bootstrap, clusters[kind]), table)
                except WorkbenchError as error:
                    table.faults.append(f"{item.name}/{seed}: {error}")
                finally:
                    end_all()
    sys.stdout.write("\n".join([*table.lines(), *(["", *table.faults] if table.faults else []), ""]))
    return int(bool(table.faults))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
