"""A run of a plan: dry, or sending."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.capture.crew import Interrupts
from workbench.errors import RedriveError, WorkbenchError
from workbench.redrive import preflight, progress, schema, transform
from workbench.redrive.audit import Audit
from workbench.redrive.dead_letters import Dialects
from workbench.redrive.lock import locked
from workbench.redrive.ordering import steps
from workbench.redrive.outgoing import Record, dropped_early, outgoing
from workbench.redrive.plan import Plan, Row
from workbench.redrive.reading import Raw
from workbench.redrive.sending import Sender
from workbench.redrive.spool import Spool, fill
from workbench.redrive.stepping import Came, Pace, judged, require_few, settle, sleep
from workbench.redrive.trying import try_all
from workbench.redrive.watching import Watch, ids_of

if TYPE_CHECKING:
    from workbench.redrive.transform import Transform
    from workbench.sources import Cluster

SAMPLES = 5
Say = Callable[[str], None]


@dataclass(frozen=True)
class Dry:
    """What a dry run found.

    Attributes:
        total: rows of the plan.
        by_target: target -> copies.
        failures: what cannot be sent, and why -> how many.
        samples: (row, dead letter, record that would be sent) of the first rows.
        done: rows that earlier runs sent.
    """

    total: int
    by_target: dict[str, int]
    failures: dict[str, int]
    samples: list[tuple[Row, Raw, Record]]
    done: int


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        done: rows that are sent, by this run and those before it.
        total: rows of the plan.
        came: what came back by then; null where it was not looked.
        interrupted: it was told to stop before its end.
    """

    done: int
    total: int
    came: Came | None
    interrupted: bool


@contextmanager
def prepared(
    cluster: Cluster, plan: Plan, folder: Path, given: tuple[str | None, str | None]
) -> Iterator[tuple[Spool, Transform]]:
    """The plan's dead letters at hand, and its transformation; everything of the plan that does not fit is refused.

    Args:
        cluster: the plan's.
        plan: checked.
        folder: private and empty.
        given: ``--transform`` and ``--schema`` of the command line.

    Raises:
        RedriveError, SourceError: nothing was sent.
    """
    change = schema.load(plan.schema, given[1], transform.load(plan.transform, given[0]))
    preflight.require_same_cluster(cluster, plan)
    spool = fill(cluster, [row[:3] for row in plan.rows], folder / "letters.arrow")
    try:
        yield spool, change
    finally:
        spool.close()


def dry_run(cluster: Cluster, plan: Plan, spool: Spool, change: Transform) -> Dry:
    """Makes every record as it would be sent, and sends none."""
    here = [row for row in plan.rows if row[:3] in spool]
    failures = Counter({"no longer in the dead-letter topic": len(plan.rows) - len(here)})
    samples: list[tuple[Row, Raw, Record]] = []
    for row, outcome in zip(
        here, try_all(spool, here, change, (plan.headers, Dialects(plan.dialects)), {}), strict=True
    ):
        if outcome.record is None:
            failures[outcome.why or str(outcome.left_out)] += 1
        elif len(samples) < SAMPLES:
            samples.append((row, spool.records([row[:3]])[0], outcome.record))
    mark = progress.read_mark(cluster, plan)
    by_target = dict(Counter(row.target for row in plan.rows))
    found = {what: count for what, count in failures.items() if count}
    return Dry(len(plan.rows), by_target, found, samples, mark.done if mark else 0)


def execute(
    cluster: Cluster, plan: Plan, spool: Spool, change: Transform, *, pace: Pace, audit: Audit, say: Say
) -> Result:
    """Sends what of the plan is not sent yet.

    Ctrl-C ends it behind the transaction that is under way. However it ends, running it again goes on.

    Raises:
        RedriveError, SourceError: it was refused or stopped; the audit has it.
    """
    interrupts = Interrupts()
    with locked(plan), interrupts.caught():
        run = _Run(cluster, plan, spool, change, pace, audit, say, lambda: interrupts.seen)
        try:
            return run.run()
        except WorkbenchError as error:
            audit.write("stopped", done=run.sender.done, total=len(plan.rows), outcome=str(error))
            raise
        finally:
            run.sender.close()


@dataclass
class _Run:
    cluster: Cluster
    plan: Plan
    spool: Spool
    change: Transform
    pace: Pace
    audit: Audit
    say: Say
    stopped: Callable[[], bool]
    watch: Watch = field(init=False)
    sender: Sender = field(init=False)
    how: tuple[str, Dialects] = field(init=False)

    def __post_init__(self) -> None:
        self.how = (self.plan.headers, Dialects(self.plan.dialects))
        ids = ids_of(self.plan, self.spool) if self.looks else {}
        self.watch = Watch(self.cluster, self.plan, ids)
        told = self.watch.note if self.looks else None
        self.sender = Sender(self.cluster, self.plan, self._records, told, self.pace.rate)

    @property
    def looks(self) -> bool:
        """Whether what was sent is looked at."""
        return self.pace.settle_seconds > 0

    def run(self) -> Result:
        """The whole run."""
        preflight.require_rights(self.cluster, self.plan)
        self._require_all_made()
        progress.require_topic(self.cluster)
        done = self.sender.open()
        preflight.require_progress(self.cluster, self.plan, done, self.audit.sent())
        preflight.require_letters(self.plan, self.spool, done)
        if self.looks:
            self.watch.watch_sinks()
        self.audit.write("started", done=done, total=len(self.plan.rows), pace=vars(self.pace))
        came = self._judge(self.watch.look()) if self.looks and done else None
        for first, end in steps(len(self.plan.rows), self.plan.canaries, done):
            if self.stopped():
                break
            came = self._step(first, end) or came
        return self._finished(came)

    def _require_all_made(self) -> None:
        """Transforms and checks everything before the first copy goes."""
        if self.plan.transform is None and self.plan.schema is None:
            return
        here = [row for row in self.plan.rows if row[:3] in self.spool]
        failed = sum(outcome.record is None for outcome in try_all(self.spool, here, self.change, self.how, {}))
        if failed:
            raise RedriveError(
                f"{failed:,} records cannot be made now that could be when the plan was made; nothing was sent.",
                hint="Make a new plan.",
            )

    def _step(self, first: int, end: int) -> Came | None:
        self.sender.send(end, self.stopped)
        done = self.sender.done
        self.audit.write("step", first=first, done=done, total=len(self.plan.rows))
        self.say(f"{done:,} of {len(self.plan.rows):,} sent")
        if not self.looks:
            sleep(self.pace.pause_seconds if done < len(self.plan.rows) else 0, self.stopped)
            return None
        came = self._judge(settle(self.watch, (first, done), self.pace, stopped=self.stopped, say=self.say))
        if done < len(self.plan.rows):
            sleep(self.pace.pause_seconds, self.stopped)
        return came

    def _judge(self, back: set[int]) -> Came:
        came = judged(self.plan, self.sender.done, back)
        require_few(self.plan, came, self.pace)
        return came

    def _finished(self, came: Came | None) -> Result:
        done, total = self.sender.done, len(self.plan.rows)
        event = "finished" if done == total else "interrupted"
        self.audit.write(event, done=done, total=total, back=came.back if came else None)
        return Result(done, total, came, done < total)

    def _records(self, rows: Sequence[Row]) -> list[Record]:
        raws = self.spool.records([row[:3] for row in rows], dropped_early(rows, *self.how))
        made = [outgoing(row, raw, *self.how) for row, raw in zip(rows, raws, strict=True)]
        if self.change is transform.unchanged:
            return made
        outcomes = self.change(made)
        if any(outcome.record is None for outcome in outcomes):
            raise RedriveError("The transformation gives now what it did not give before.", hint="Make a new plan.")
        return [outcome.record for outcome in outcomes if outcome.record is not None]
