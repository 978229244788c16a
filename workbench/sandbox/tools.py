"""Kafka's own command line tools, as an independent witness of what a cluster says."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from workbench.errors import SandboxError
from workbench.sandbox.jars import KAFKA_VERSION, kafka_jars, kafka_tools
from workbench.sandbox.java import find_java

CONSUMER_GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
WAIT_SECONDS = 120


@dataclass(frozen=True)
class Described:
    """A partition of a group as ``kafka-consumer-groups --describe`` tells it; None where that writes "-"."""

    group: str
    topic: str
    partition: int
    committed_offset: int | None
    log_end_offset: int | None
    lag: int | None


def describe_all_groups(bootstrap: str) -> list[str]:
    """The command line of ``kafka-consumer-groups --all-groups --describe``.

    Raises:
        SandboxError: there is no Java, or the jars cannot be had.
    """
    classpath = ":".join(str(jar) for jar in (kafka_tools(), *kafka_jars()))
    java = str(find_java(KAFKA_VERSION).path)
    # As the distribution's own script runs it, without a log.
    flags = ["-Xmx256M", "-server", "-XX:+UseG1GC", "-Dlog4j2.level=OFF"]
    return [
        java,
        *flags,
        "-cp",
        classpath,
        CONSUMER_GROUPS,
        "--bootstrap-server",
        bootstrap,
        "--describe",
        "--all-groups",
    ]


def described(bootstrap: str) -> dict[tuple[str, str, int], Described]:
    """Group, topic and partition -> what the tool says.

    Raises:
        SandboxError: the tool failed.
    """
    done = subprocess.run(
        describe_all_groups(bootstrap), capture_output=True, text=True, check=False, timeout=WAIT_SECONDS
    )
    if done.returncode:
        raise SandboxError(f"kafka-consumer-groups ended with {done.returncode}.", hint=done.stderr[-300:])
    return {(one.group, one.topic, one.partition): one for one in map(_row, done.stdout.splitlines()) if one}


def _row(line: str) -> Described | None:
    """A line of the table: GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG and more."""
    cells = line.split()
    if len(cells) < 6 or cells[0] == "GROUP" or not cells[2].isdigit():
        return None
    numbers = [int(cell) if cell.lstrip("-").isdigit() else None for cell in cells[3:6]]
    return Described(cells[0], cells[1], int(cells[2]), *numbers)
