"""What tests on a real broker share: one broker for the whole session, and names of their own for each test."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest


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


@pytest.fixture
def unique() -> str:
    """A word no other test has: make topics, groups and transactional ids of it."""
    return uuid.uuid4().hex[:10]


@pytest.fixture
def topic_name(unique: str) -> str:
    """Name of a topic that no other test uses; not created yet."""
    return f"test-{unique}"
