"""What tests on a real broker share: one broker for the whole session, and names of their own for each test."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from workbench.sandbox.kafka import Kafka
    from workbench.sandbox.stack.running import Stack


class Observed(NamedTuple):
    """A broker with the JMX exporter, and the Prometheus and Alertmanager that watch it."""

    kafka: Kafka
    stack: Stack


# A shell's background job ignores Ctrl-C, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a run of all tests leaves out: it takes long, and is asked for with -m.
ASKED_FOR = ("load", "wide")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Whichever test asks for Jaeger first may have to wait until Go has built it."""
    for item in items:
        if "jaeger" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(2400))
    expression = config.getoption("markexpr") or ""
    left_out = [name for name in ASKED_FOR if name not in expression]
    heavy = [item for item in items if any(item.get_closest_marker(name) for name in left_out)]
    if heavy:
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if item not in heavy]


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """``host:port`` of a real Kafka: the one that WORKBENCH_TEST_BOOTSTRAP names, else a sandbox node of our own.

    It creates topics that are asked for, as Kafka does by default: a read that creates one shows.
    A test that cannot have it fails, with WORKBENCH_REQUIRE_KAFKA or without: a skipped test is a failed test.
    """
    brought = os.environ.get("WORKBENCH_TEST_BOOTSTRAP")
    if brought:
        yield brought
        return
    from workbench.errors import SandboxError
    from workbench.sandbox.kafka import start

    try:
        cluster = start(nodes=1)
    except SandboxError as error:
        pytest.fail(f"{error} {error.hint}", pytrace=False)
    with cluster:
        yield cluster.bootstrap


@pytest.fixture(scope="session")
def observed() -> Iterator[Observed]:
    """A real broker of our own that a real Prometheus scrapes; with its Alertmanager."""
    from workbench.sandbox.kafka import start
    from workbench.sandbox.stack.running import start_stack

    with start(metrics=True) as cluster, start_stack(("prometheus",), cluster) as stack:
        yield Observed(cluster, stack)


@pytest.fixture(scope="session")
def jaeger() -> Iterator[Stack]:
    """A real Jaeger: ``addresses`` has ``jaeger``, ``otlp_http``, ``otlp_grpc``. Built with Go where it was not yet."""
    from workbench.sandbox.stack.running import start_stack

    with start_stack(("traces",)) as stack:
        assert "jaeger" in stack.addresses, "Jaeger is built with Go, which this machine does not have"
        yield stack


@pytest.fixture
def unique() -> str:
    """A word no other test has: make topics, groups and transactional ids of it."""
    return uuid.uuid4().hex[:10]


@pytest.fixture
def topic_name(unique: str) -> str:
    """Name of a topic that no other test uses; not created yet."""
    return f"test-{unique}"
