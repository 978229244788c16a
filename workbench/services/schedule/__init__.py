"""Headless runs on a schedule: no two at once, none for ever, missed ones caught up once, each kept with its verdict.

``serve`` runs until it is told to stop. Each run is a process of its own (``workbench run``), so that one that crashes, hangs or
runs out of memory is a result like any other: it is kept, shown and told.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError
from workbench.services.schedule.plan import Plan
from workbench.services.schedule.running import Runner
from workbench.services.schedule.shelf import Shelf

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

__all__ = ["Plan", "serve"]

Say = Callable[[str], None]


def serve(plan: Plan, say: Say, *, once: bool = False) -> int:
    """Runs a plan until SIGTERM or Ctrl-C; the run that is on then is ended, and kept as interrupted.

    Args:
        plan: what to run, when, and where results go.
        say: gets one line for each thing that happens.
        once: run once, now, and return.

    Returns:
        The exit code: that of the run with ``once``, else 0.

    Raises:
        UsageError: the cron expression is none, or another process serves the folder.
    """
    trigger = trigger_of(plan.cron)
    with Shelf.opened(plan.out) as shelf:
        runner = Runner(plan, shelf, say)
        with _Stopping(runner) as stopped:
            if once:
                return runner.run(datetime.now(UTC))
            _serve(trigger, runner, stopped)
    return 0


def trigger_of(cron: str) -> CronTrigger:
    """The moments of a cron expression, in UTC.

    Raises:
        UsageError: it is none.
    """
    from apscheduler.triggers.cron import CronTrigger

    try:
        return CronTrigger.from_crontab(cron, timezone=UTC)
    except ValueError as error:
        raise UsageError(
            f"--cron {cron!r} is no cron expression: {error}.",
            hint="Five fields: minute hour day month weekday.",
        ) from None


def _serve(trigger: CronTrigger, runner: Runner, stopped: threading.Event) -> None:
    from apscheduler.schedulers.background import BackgroundScheduler

    plan, shelf, say = runner.plan, runner.shelf, runner.say
    scheduler: Any = BackgroundScheduler(timezone=UTC)
    # One at a time; what came due meanwhile is run once, however late.
    scheduler.add_job(
        lambda: runner.run(datetime.now(UTC)),
        trigger,
        id="run",
        max_instances=1,
        coalesce=True,
        misfire_grace_time=None,
    )
    if plan.metrics_port:
        from workbench.services.schedule.metrics import serve_metrics

        say(f"metrics at http://{plan.metrics_host}:{serve_metrics(plan, shelf)}/metrics")
    if missed(trigger, shelf.last_start(), datetime.now(UTC)):
        say("a run was missed while nobody was here: it is caught up now")
        scheduler.get_job("run").modify(next_run_time=datetime.now(UTC))
    scheduler.start()
    job = scheduler.get_job("run")
    say(
        f"serving {plan.out.name}; next run at {job.next_run_time:%Y-%m-%d %H:%M:%S} UTC"
        if job
        else "no further run is due"
    )
    stopped.wait()
    scheduler.shutdown(wait=True)
    say("stopped")


def missed(trigger: CronTrigger, last: datetime | None, now: datetime) -> bool:
    """Whether a run came due after the last one began; nothing is missed before the first."""
    if last is None:
        return False
    due = trigger.get_next_fire_time(last, last)
    return due is not None and due <= now


class _Stopping:
    """Turns SIGTERM and SIGINT into an event, and ends the run that is on."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.event = threading.Event()
        self.before: dict[int, Any] = {}

    def __enter__(self) -> threading.Event:
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        return self.event

    def _stop(self, *_: object) -> None:
        self.event.set()
        self.runner.stop()

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
