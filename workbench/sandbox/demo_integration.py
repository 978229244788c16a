"""The demo's third scene: the reference integration as real processes, with metrics and traces, broken three times.

A mail server that becomes slow until the circuit breaker opens, events that do not fit their format, and a crash between
the write and the commit. What was done is known, and the workbench's checks must say it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import yaml

from workbench.errors import SandboxError
from workbench.integration.config import load_integration
from workbench.integration.formats import Event
from workbench.integration.librdkafka import producer_settings
from workbench.integration.metrics import Metrics
from workbench.integration.outlets import AtLeastOnce
from workbench.integration.producer import MessageProducer
from workbench.integration.records import Outgoing
from workbench.integration.service import ServiceOptions, build
from workbench.integration.tracing import NO_TRACING, to_otlp_file
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.duplicates_service import CRASH
from workbench.sandbox.incidents.reading import read
from workbench.sandbox.incidents.scene import Scene, scene
from workbench.sandbox.incidents.truth import Truth, by_disposition, copies_ledger, loss_ledger

CRASHED = "duplicates-crash-before-commit"
# An event without the address that its type asks for.
_BAD = {"userId": "user-0"}
_SECONDS = 90.0
Say = Callable[[str], None]


class MailServer:
    """Takes notifications over HTTP; ``slow`` makes it answer too late."""

    def __init__(self) -> None:
        self.slow = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/mails"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Mails(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections are kept, as the service's pool expects

            def do_POST(self) -> None:
                """One mail."""
                self.rfile.read(int(self.headers.get("content-length", 0)))
                if owner.slow.is_set():
                    time.sleep(1.6)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def handle_one_request(self) -> None:
                """A caller that hangs up, as one does whose patience is over, is no news."""
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Nothing: the demo prints its own story."""

        return Mails

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class _Story:
    """What is done to the integration, and what was seen of it."""

    stage: Scene
    say: Say
    mails: MailServer
    config: Path
    sent: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)

    @property
    def spans(self) -> Path:
        return self.stage.folder / "spans.jsonl"

    def send(self, count: int, bad: int) -> None:
        """Sends events, some of which do not fit their format; the sent log is kept."""
        broken = set(self.stage.rng.sample(range(count), bad))
        tracing = to_otlp_file("user-service", self.spans)
        settings = {"bootstrap.servers": self.stage.bootstrap}
        with MessageProducer(settings, sent_log=self.stage.folder / "sent.jsonl", tracing=tracing) as producer:
            for number in range(count):
                user = f"user-{self.stage.rng.randrange(90):05d}"
                data = _BAD if number in broken else {"userId": user, "email": f"{user}@example.com"}
                event = Event.new("user-service", "user.created", data)
                producer.submit(Outgoing(self.stage.source, event.to_wire(), user.encode(), event.message_id))
                (self.bad if number in broken else self.sent).append(event.message_id)
        tracing.shutdown()

    def outage(self) -> None:
        """A service works, its mail server becomes slow, the breaker opens, the server recovers, the breaker closes."""
        with _service(self.config, self.spans, self.stage.folder) as address:
            _until(lambda: _metric(address, "messages_processed_total") > 0, "the service's first results")
            self.mails.slow.set()
            self.send(200, 6)
            _until(lambda: _metric(address, 'circuit_breaker_state{breaker="notification-endpoint",state="open"}') == 1,
                   "the breaker's opening")  # fmt: skip
            self.say("the mail server is slow: the circuit breaker is open")
            self.mails.slow.clear()
            _until(lambda: _metric(address, "messages_processed_total") == len(self.sent) + len(self.bad), "the rest")
            failed = _metric(address, 'message_processing_failures_total{category="transient"')
            letters = _metric(address, "messages_dead_lettered_total")
            self.say(
                f"the mail server is back, the breaker closed: {failed:.0f} failed attempts, none of them a dead letter; "
                f"{letters:.0f} bad payloads are dead letters"
            )

    def crash(self) -> int:
        """A service writes its results and is gone before it commits them; another one goes on. Returns the copies."""
        self.send(150, 4)
        order = {"config": str(self.config)}
        command = [sys.executable, "-c", "from workbench.sandbox.demo_integration import main; main()"]
        done = subprocess.run(
            command, input=json.dumps(order), stdout=subprocess.PIPE, text=True, timeout=_SECONDS, check=False
        )
        if done.returncode != -signal.SIGKILL or not done.stdout:
            raise SandboxError("The service that was to crash ended otherwise.")
        written = int(done.stdout)
        self.say(f"the service was killed after it had written {written} results, and before it committed them")
        with _service(self.config, self.spans, self.stage.folder):
            total = len(self.sent) + len(self.bad)
            _until(lambda: sum(_ends(self.stage)) >= total + written, "what was left")
        return written


def broken_integration(bootstrap: str, seed: int, folder: Path, say: Say) -> list[Truth]:
    """Runs and breaks the integration; returns what the checks for loss and for duplicates must say."""
    stage = scene(bootstrap, "demo-integration", "loss", seed, folder)
    folder.mkdir(parents=True, exist_ok=True)
    for topic in (stage.source, stage.sink, stage.dead_letters):
        topics.create(bootstrap, topic, 2)
    mails = MailServer()
    try:
        story = _Story(stage, say, mails, _configuration(stage, mails.address))
        story.send(150, 5)
        story.outage()
        copies = story.crash()
    finally:
        mails.close()
    say(f"{_count_spans(story.spans)} spans are in {story.spans.name}")
    return _truths(story, copies)


def _configuration(stage: Scene, endpoint: str) -> Path:
    brokers = [stage.bootstrap]
    settings = {
        "integration": {
            "producer": {"brokers": brokers},
            "consumer": {"brokers": brokers, "groupId": stage.group, "sessionTimeout": 3000, "heartbeatInterval": 500},
            "topics": {
                "userEvents": stage.source,
                "userNotifications": stage.sink,
                "deadLetters": stage.dead_letters,
            },
            "retry": {"maxRetries": 50, "baseDelay": 50, "maxDelay": 500},
            "circuitBreaker": {"threshold": 3, "timeout": 1000},
        },
        "protocol": {"endpoint": endpoint, "timeout": 1000},
    }
    path = stage.folder / "integration.yml"
    path.write_text(yaml.safe_dump(settings))
    return path


@contextmanager
def _service(config: Path, spans: Path, folder: Path) -> Iterator[str]:
    """The service as users start it; yields the address of its metrics."""
    command = [sys.executable, "-m", "workbench.cli", "integration", "run", "--config", str(config), "--deliver"]
    command += ["--otlp-file", str(spans), "--log", str(folder / "service.jsonl")]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = program.stderr.readline() if program.stderr else ""
        if not line.startswith("metrics "):
            raise SandboxError(f"The integration did not start: {line.strip()}")
        yield line.split()[1]
        program.terminate()
        if program.wait(timeout=_SECONDS) != 0:
            raise SandboxError("The integration did not end in order.", hint="Its error is above.")
    finally:
        program.kill()
        program.wait()
        if program.stderr:
            program.stderr.close()


def _metric(address: str, beginning: str) -> float:
    """Sum of the samples whose line begins so; 0 where there is none yet."""
    lines = httpx2.get(address, timeout=_SECONDS).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(beginning))


def _ends(stage: Scene) -> Sequence[int]:
    return [end for topic in (stage.sink, stage.dead_letters) for end in topics.ends(stage.bootstrap, topic).values()]


def _until(true: Callable[[], bool], what: str) -> None:
    topics.wait_until(true, what, _SECONDS)


def _count_spans(path: Path) -> int:
    resources = [item for line in path.read_text().splitlines() for item in json.loads(line)["resourceSpans"]]
    return sum(len(found["spans"]) for item in resources for found in item["scopeSpans"])


def _truths(story: _Story, copies: int) -> list[Truth]:
    """By construction: nothing is lost, the bad ones are dead letters, and only the crash made copies."""
    stage = story.stage
    stage.options |= {"dead_letters": [stage.dead_letters], "sent_log": str(stage.folder / "sent.jsonl")}
    fates = dict.fromkeys(story.sent, "delivered") | dict.fromkeys(story.bad, "dead_lettered")
    loss = stage.truth(expects={}, ledger=loss_ledger(fates), dispositions=by_disposition(fates))
    sink = [record.id for record in read(stage.bootstrap, stage.sink)]
    doubled = sum(count - 1 for count in Counter(sink).values())
    if doubled > copies:
        raise SandboxError(f"The sink holds {doubled} copies, but the crash wrote {copies} results.")
    stage.problem = "duplicates"
    del stage.options["dead_letters"], stage.options["sent_log"]
    duplicates = stage.truth(
        expects=CRASH,
        ledger=copies_ledger([*story.sent, *story.bad], sink),
        causes={CRASHED: doubled},
    )
    return [loss, duplicates]


# ---- the program that crashes ----


class _DiesBeforeCommit(AtLeastOnce):
    """Writes its first results, says how many are at the sink, and is killed."""

    def write(self, outputs: Sequence[Outgoing], *_: object) -> None:
        """Writes, and never commits."""
        if not outputs:
            return
        self.producer.send_all(outputs)
        sys.stdout.write(str(len(outputs)))
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """The program: reads its order from standard input, as JSON."""
    order = json.loads(sys.stdin.readline())
    config, metrics = load_integration(Path(order["config"])), Metrics()
    outlet = _DiesBeforeCommit(MessageProducer(producer_settings(config), metrics=metrics))
    with ExitStack() as stack:
        build(config, ServiceOptions(deliver=True), metrics, NO_TRACING, stack=stack, outlet=outlet).run()
