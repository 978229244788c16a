"""One Kafka process: format its folder, start it, watch it, end it."""

from __future__ import annotations

import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

import psutil

from workbench.errors import SandboxError
from workbench.sandbox.java import Java
from workbench.sandbox.layout import NodePlan

# A broker that lives for minutes: quick to start and small beats fast at its peak.
JVM_FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-Djava.awt.headless=true")

FORMAT_SECONDS = 120.0

LOG4J = """\
# Otherwise log4j stops before Kafka does, and an orderly end leaves no trace.
shutdownHook = disable
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = OUT
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX}{UTC} %-5p %m (%c{1})%n
"""


def jvm(java: Java, jars: Sequence[Path], folder: Path) -> list[str]:
    """Command line of a Java with Kafka's classes and our log settings; the class to run comes next."""
    log4j = folder / "log4j2.properties"
    log4j.write_text(LOG4J)
    classpath = ":".join(str(jar) for jar in jars)
    return [str(java.path), *JVM_FLAGS, f"-Dlog4j2.configurationFile={log4j}", "-cp", classpath]


def new_id() -> str:
    """A random Kafka Uuid: 16 bytes as base64; one that began with a dash would read as an option."""
    text = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return text if text[0] != "-" else new_id()


def format_controller(command: Sequence[str], plan: NodePlan, cluster_id: str) -> None:
    """Formats the data folder of the node that is the controller: its first snapshot holds the feature levels."""
    with plan.log_file.open("ab") as log:
        done = subprocess.run(
            [*command, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(plan.properties_file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=FORMAT_SECONDS,
        )
    if done.returncode:
        raise failure(plan, "could not be formatted")


def format_broker(plan: NodePlan, cluster_id: str) -> None:
    """Writes all that formatting gives a pure broker: who it is. Saves a start of Java for each."""
    plan.data.mkdir(parents=True, exist_ok=True)
    lines = ("version=1", f"cluster.id={cluster_id}", f"node.id={plan.node_id}", f"directory.id={new_id()}")
    (plan.data / "meta.properties").write_text("\n".join(lines) + "\n")


def failure(plan: NodePlan, what: str) -> SandboxError:
    """The error for a node that failed: what happened, its last error, and in the hint its log."""
    return SandboxError(f"Kafka node {plan.node_id} {what}: {_last_words(plan)}", hint=f"Its log: {plan.log_file}")


def _last_words(plan: NodePlan) -> str:
    """The last error in a node's log, or its last line; Java's stack frames say nothing to a user."""
    text = plan.log_file.read_text(errors="replace") if plan.log_file.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("\tat ")]
    errors = [line for line in lines if any(mark in line for mark in (" ERROR ", "FATAL", "Exception"))]
    return (errors or lines or ["its log is empty"])[-1][:300]


def port_was_taken(plan: NodePlan) -> bool:
    """Whether a node ended because it could not bind its port."""
    return plan.log_file.exists() and b"Address already in use" in plan.log_file.read_bytes()


def cluster_id_of(plan: NodePlan) -> str:
    """Id of the cluster that a node's folder was formatted for."""
    lines = (plan.data / "meta.properties").read_text().splitlines()
    return next(line for line in lines if line.startswith("cluster.id=")).partition("=")[2]


def launch(command: Sequence[str], plan: NodePlan) -> psutil.Popen:
    """Starts the process in a session of its own, so that Ctrl-C in a terminal reaches only us."""
    with plan.log_file.open("ab") as log:
        return psutil.Popen(
            [*command, "kafka.Kafka", str(plan.properties_file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=plan.folder,
        )
