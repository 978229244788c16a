"""Records the runbooks: plants an incident for each, collects its evidence, and stores the outputs it leads to.

``python -m workbench.sandbox.record`` records all, with codes as arguments only those; ``--outputs`` plants nothing and
runs the runbooks again on the evidence they have, for when a report says something in other words.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.config import profile_from_options
from workbench.errors import SandboxError, UsageError, WorkbenchError
from workbench.evidence import Evidence
from workbench.problems import checking
from workbench.problems.scope import scope_from
from workbench.sandbox import kafka
from workbench.sandbox.incidents import INCIDENTS, Truth, plant, topics
from workbench.sandbox.incidents.dark_broker import dark_broker
from workbench.sandbox.incidents.living import end_all
from workbench.sandbox.incidents.scene import fates_of, scene
from workbench.sandbox.incidents.sending import send
from workbench.sandbox.incidents.service import processor, work
from workbench.sealing import Seal
from workbench.sources import connect

if TYPE_CHECKING:
    from nbformat import NotebookNode

RUNBOOKS = Path(__file__).resolve().parents[2] / "runbooks"
UNEXPLAINED = "unexplained"
DARK = "lag-broker"  # needs brokers of its own, one of which is killed
SEED = 7

# Runbook -> the incident whose evidence it shows.
INCIDENT_OF = {
    "loss-retention-overtook": "retention-overtook",
    "loss-records-deleted": "records-deleted",
    "loss-timestamp-retention": "timestamp-retention",
    "loss-compacted": "compacted",
    "loss-aborted-transaction": "aborted-transaction",
    "loss-hanging-transaction": "hanging-transaction",
    "loss-producer-error-ignored": "producer-error-ignored",
    "loss-producer-queue-full": "producer-queue-full",
    "loss-oversize-record": "oversize-record",
    "loss-rejected-timestamp": "rejected-timestamp",
    "loss-acks-zero": "acks-zero",
    "loss-leader-failover": "leader-failover",
    "loss-unclean-election": "unclean-election",
    "loss-min-isr-too-low": "min-isr-too-low",
    "loss-corrupt-record": "corrupt-record",
    "loss-consumer-dropped": "consumer-dropped",
    "loss-dead-letter-write-failed": "dead-letter-write-failed",
    "loss-offset-skipped-forward": "offset-skipped-forward",
    "loss-offset-reset-latest": "offset-reset-latest",
    "loss-new-partition-skipped": "new-partition-skipped",
    "loss-commit-before-processing": "commit-before-processing",
    "loss-offsets-expired": "offsets-expired",
    "loss-topic-recreated": "topic-recreated",
    "loss-shared-group": "shared-group",
    "loss-commit-past-unprocessed": "commit-past-unprocessed",
    "loss-mirror-gap": "mirror-gap",
    "duplicates-application-resend": "application-resend-propagated",
    "duplicates-producer-retry": "producer-retry",
    "duplicates-producer-restart": "producer-restart",
    "duplicates-offset-rewind": "offset-rewind",
    "duplicates-crash-before-commit": "crash-before-commit",
    "duplicates-poll-interval-exceeded": "poll-interval-exceeded",
    "duplicates-rebalance": "rebalance",
    "duplicates-commit-failed": "commit-failed",
    "duplicates-second-group": "second-group",
    "duplicates-non-atomic-write": "rebalance",
    "duplicates-redrive": "redrive",
    "duplicates-partitioner-change": "partitioner-change",
    "duplicates-read-uncommitted": "read-uncommitted",
    "duplicates-mirror-loop": "mirror-loop",
    "content-mismatch": "content-mismatch",
    "loss-target-rejected": "target-rejected",
    "loss-target-deleted": "target-deleted",
    "duplicates-target-not-idempotent": "target-written-twice",
    "outbox-unpublished": "outbox-skipped",
    "outbox-published-twice": "outbox-republished",
    "outbox-out-of-order": "outbox-overtaken",
    **{
        code: code
        for code in (
            "lag-no-members",
            "lag-idle-members",
            "lag-rebalance-storm",
            "lag-fetch-limit",
            "lag-paused",
            "lag-commit-stuck",
            "lag-hot-partition",
            "lag-slow-processing",
            "lag-bulk-load",
            "lag-burst",
            "lag-throughput-deficit",
            "lag-hanging-transaction",
            "lag-retention-risk",
        )
    },
    "lag-poison-pill": "lag-poison-pill-undecoded",
    "lag-broker": DARK,
    **{
        code: code
        for code in (
            "dlq-poison-payload",
            "dlq-dependency-outage",
            "dlq-code-regression",
            "dlq-retry-budget",
            "dlq-validation-rejects",
            "dlq-single-key",
            "dlq-delivery-count",
            "dlq-redrive-loop",
            "dlq-not-drained",
            "dlq-short-retention",
            "dlq-under-provisioned",
            "dlq-oversize-headers",
            "dlq-context-missing",
        )
    },
    "health-offline-partition": "health-broker-down",
    "health-under-replicated": "health-broker-down",
    "health-unclean-election": "health-weak-settings",
    "health-weak-acknowledgement": "health-weak-settings",
    "health-dead-letter-missing": "health-dead-letter-missing",
    "health-retention-tight": "health-retention-tight",
    UNEXPLAINED: UNEXPLAINED,
}

# A report that the same evidence always leads to: content, not counters of this run.
_VOLATILE = ("scan_seconds",)


def record(code: str, bootstrap: str, cluster: kafka.Kafka | None = None, *, seed: int = SEED) -> None:
    """Plants a runbook's incident, keeps its evidence, and runs the runbook on it.

    Raises:
        SandboxError: the report does not say what was planted; nothing was kept.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-record-") as scratch, ExitStack() as stack:
        if INCIDENT_OF[code] == DARK:
            truth, bootstrap = stack.enter_context(dark_broker(seed))
        else:
            truth = _planted(INCIDENT_OF[code], seed, bootstrap, Path(scratch), cluster)
        stack.callback(end_all)
        evidence = _collected(truth, bootstrap, Path(scratch) / "work")
        found = {item.code: item.state for item in checking.examine(truth.problem, evidence).report.findings}
        if found != dict(truth.findings):
            raise SandboxError(f"{code}: planted {dict(truth.findings)}, found {found}.", hint="Record it again.")
        evidence.save(RUNBOOKS / "evidence" / code, Seal.fresh())
    run_in_place(RUNBOOKS / f"{code}.ipynb")


def _planted(incident: str, seed: int, bootstrap: str, folder: Path, cluster: kafka.Kafka | None) -> Truth:
    return (
        _long_run(bootstrap, seed, folder)
        if incident == UNEXPLAINED
        else plant(incident, bootstrap, seed, folder, cluster)
    )


def _long_run(bootstrap: str, seed: int, folder: Path) -> Truth:
    """The service passes over all of a long end without a word: no crash, no jump of its offset, no pattern."""
    stage = scene(bootstrap, UNEXPLAINED, "loss", seed, folder)
    stage.open()
    sent = send(stage.bootstrap, stage.source, stage.messages(300, 400))
    ends = topics.ends(bootstrap, stage.source)
    low = {part: int(end * 0.6) for part, end in ends.items()}
    passed = [one.message for one in sent if low[one.partition or 0] <= (one.offset or 0)]
    fates = fates_of([one.message for one in sent], lost=passed)
    work(stage, processor(stage, fates))
    return stage.loss(fates, expects={UNEXPLAINED: "suspected"}, cause=UNEXPLAINED)


def _collected(truth: Truth, bootstrap: str, work_dir: Path) -> Evidence:
    scope = scope_from(**truth.options)
    with connect(profile_from_options(bootstrap, {})) as sources:
        found: Evidence = checking.problem(truth.problem).collect(sources, scope, work_dir=work_dir)
    facts = _lasting(found.facts)
    facts |= (
        {"parts": [{**part, "facts": _lasting(part["facts"])} for part in facts["parts"]]} if "parts" in facts else {}
    )
    return Evidence(found.tables, facts, found.missing)


def _lasting(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in _VOLATILE}


def run_in_place(path: Path) -> None:
    """Runs a runbook in its own folder and stores the outputs in it; its rule's words are written anew.

    Raises:
        SandboxError: a cell failed.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    from workbench.services.kernel import OwnKernelManager, kernel_environment

    node = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    _quote_rule(node, path.stem)
    client = NotebookClient(
        node,
        kernel_manager_class=OwnKernelManager,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        client.execute(env=kernel_environment({}))
    except CellExecutionError as error:
        raise SandboxError(
            f"{path.name}: {error.ename}: {error.evalue}", hint="Mend the runbook, then record it again."
        ) from error
    node.metadata["language_info"] = {"name": "python"}
    nbformat.write(node, path)  # type: ignore[no-untyped-call]


def rule_in_words(code: str) -> str:
    """A rule's definition as one block of Markdown; "" where no rule has the code."""
    rules = {item.code: item for item in checking.rules()}
    if code not in rules:
        return ""
    text = re.sub(r"\s*\n\s*\n\s*", "\0", rules[code].definition)
    return "> " + re.sub(r"\s*\n\s*", " ", text).replace("\0", "\n>\n> ")


def _quote_rule(node: NotebookNode, code: str) -> None:
    for cell in node.cells:
        if cell.cell_type == "markdown" and "\n> " in cell.source:
            cell.source = cell.source[: cell.source.index("\n> ") + 1] + rule_in_words(code)


def main(arguments: Sequence[str]) -> int:
    """Records the named runbooks, or all; the exit code."""
    parser = argparse.ArgumentParser(
        prog="record", description="Records the named runbooks on planted incidents, or all."
    )
    parser.add_argument("codes", nargs="*", help="runbooks [all]")
    parser.add_argument("--outputs", action="store_true", help="only run them again on the evidence they have")
    parser.add_argument("--seed", type=int, default=SEED, help=f"where one's evidence comes out too large [{SEED}]")
    given = parser.parse_args(arguments)
    codes = given.codes or list(INCIDENT_OF)
    unknown = sorted(set(codes) - set(INCIDENT_OF))
    if unknown:
        raise UsageError(f"There is no runbook {unknown[0]}.", hint=f"Known: {', '.join(INCIDENT_OF)}.")
    if given.outputs:
        return _each(codes, lambda code: run_in_place(RUNBOOKS / f"{code}.ipynb"))
    special = [code for code in codes if INCIDENT_OF[code] in INCIDENTS and INCIDENTS[INCIDENT_OF[code]].special]
    failed = _each(special, lambda code: _record_apart(code, given.seed)) if special else 0
    with kafka.start(say=_say) as cluster:
        return failed | _each(
            [code for code in codes if code not in special],
            lambda code: record(code, cluster.bootstrap, seed=given.seed),
        )


def _record_apart(code: str, seed: int) -> None:
    """Records an incident that needs brokers of its own."""
    item = INCIDENTS[INCIDENT_OF[code]]
    with kafka.start(nodes=item.nodes, settings=item.settings, say=_say) as cluster:
        record(code, cluster.bootstrap, cluster, seed=seed)


def _each(codes: Sequence[str], act: Callable[[str], None]) -> int:
    """Goes on after a failure, and says in the end that there was one."""
    failed = False
    for code in codes:
        try:
            act(code)
            _say(f"{code}: recorded")
        except WorkbenchError as error:
            failed = True
            _say(f"{code}: {error}")
    return int(failed)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
