"""Runs lanes, one in this process or several in processes of their own, and hears how far they are."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import workbench
from workbench.capture.lanes import Lane
from workbench.capture.parts import Segment
from workbench.capture.spec import CaptureSpec
from workbench.capture.work import Budget, Kind, Told, run_lane
from workbench.errors import AccessDenied, NotFound, SourceUnavailable, WorkbenchError

_ERRORS = {kind.__name__: kind for kind in (SourceUnavailable, AccessDenied, NotFound)}


@dataclass(frozen=True)
class Job:
    """What all lanes of one pass share.

    Attributes:
        settings: client settings.
        spec: of the capture.
        kind: what is written.
        owner: the capture's folder, held while lanes run.
        folder: where parts go.
        used: what earlier runs have read, against the limits.
        registry: where the schemas are that records name.
    """

    settings: Mapping[str, Any]
    spec: CaptureSpec
    kind: Kind
    owner: Path
    folder: Path
    used: Sequence[Segment] = ()
    registry: Mapping[str, Any] | None = None


class Interrupts:
    """Ctrl-C as a flag: reading ends between two batches, never within one. A second Ctrl-C ends it at once."""

    def __init__(self) -> None:
        self.seen = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Takes Ctrl-C while it lasts; in other threads than the main one there is none to take."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def once(_number: int, _frame: Any) -> None:
            self.seen = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, once)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def run(job: Job, lanes: Sequence[Lane], interrupts: Interrupts, told: Told) -> None:
    """Runs the lanes to their end, or until an interrupt.

    Raises:
        SourceError: a reader could not go on.
        WorkbenchError: a reader process died.
    """
    job.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if len(lanes) == 1:
        budget = Budget.of(job.spec.limits, job.used, 1)
        stopped: Callable[[], bool] = lambda: interrupts.seen  # noqa: E731 - a name for the type
        run_lane(
            job.settings,
            job.spec,
            lanes[0],
            kind=job.kind,
            folder=job.folder,
            budget=budget,
            stopped=stopped,
            told=told,
            registry=job.registry,
        )
    elif lanes:
        _run_processes(job, lanes, interrupts, told)


def _run_processes(job: Job, lanes: Sequence[Lane], interrupts: Interrupts, told: Told) -> None:
    heard: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
    processes = [_start(job, lane, len(lanes)) for lane in lanes]
    try:
        for number, process in enumerate(processes):
            threading.Thread(target=_listen, args=(number, process, heard), daemon=True).start()
        _follow(processes, heard, interrupts, told)
    finally:
        for process in processes:
            _end(process)


def _start(job: Job, lane: Lane, lanes: int) -> subprocess.Popen[bytes]:
    root = str(Path(workbench.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.capture.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    # Settings hold secrets: they go through a pipe, never onto a command line or into a file.
    message = {
        "settings": dict(job.settings),
        "registry": dict(job.registry) if job.registry else None,
        "spec": job.spec.to_json(),
        "rounds": [[dataclasses.asdict(part) for part in ranges] for ranges in lane.rounds],
        "kind": job.kind,
        "owner": str(job.owner),
        "folder": str(job.folder),
        "lanes": lanes,
        "parent": os.getpid(),
    }
    if process.stdin is not None:
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
    return process


def _listen(number: int, process: subprocess.Popen[bytes], heard: queue.Queue[Any]) -> None:
    for line in process.stdout or ():
        heard.put((number, json.loads(line)))
    heard.put((number, None))


def _follow(
    processes: Sequence[subprocess.Popen[bytes]], heard: queue.Queue[Any], interrupts: Interrupts, told: Told
) -> None:
    ended: dict[int, bool] = {}
    failure: WorkbenchError | None = None
    done: set[int] = set()
    while len(ended) < len(processes):
        if interrupts.seen or failure:
            for process in processes:
                _ask_to_stop(process)
        try:
            number, message = heard.get(timeout=0.2)
        except queue.Empty:
            continue
        if message is None:
            ended[number] = True
            if number not in done and failure is None:
                failure = _died(processes[number])
        elif "read" in message:
            told(*message["read"])
        else:
            done.add(number)
            failure = failure or (_failure(message["error"]) if "error" in message else None)
    if failure:
        raise failure


def _ask_to_stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin and not process.stdin.closed:
        process.stdin.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that is still there only when its parent gave up on it."""
    _ask_to_stop(process)
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()


def _failure(error: Mapping[str, Any]) -> WorkbenchError:
    kind = _ERRORS.get(error["kind"])
    if kind is not None:
        return kind(error["text"], source="cluster", endpoint=error["endpoint"], hint=error["hint"], retriable=True)
    failure = WorkbenchError(f"A reader process failed: {error['text']}.", hint=error["hint"])
    failure.add_note(error["trace"])
    return failure


def _died(process: subprocess.Popen[bytes]) -> WorkbenchError:
    code = process.wait()
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return WorkbenchError(
        f"A reader process {how}; what it had read before is kept.",
        hint="Run the same capture again to go on, with --processes 1 if memory is short.",
    )
