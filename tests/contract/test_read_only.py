"""Nothing but the redrive, the reference integration and the sandbox writes to a cluster."""

from __future__ import annotations

import ast

from tests.contract.repository import modules

WRITERS = ("redrive", "integration", "sandbox")
# What the client libraries offer that leaves a trace: records, transactions, topics, settings, offsets, memberships.
TRACES = frozenset(
    {
        "Producer", "KafkaProducer", "SerializingProducer", "AIOProducer", "produce", "init_transactions", "subscribe",
        "send_offsets_to_transaction", "create_topics", "delete_topics", "create_partitions", "delete_records",
        "alter_consumer_group_offsets", "delete_consumer_groups", "incremental_alter_configs", "alter_configs", "create_acls",
        "elect_leaders",
    }
)  # fmt: skip


def traces(tree: ast.AST) -> set[str]:
    """The names of ``TRACES`` that code takes, calls, or passes on as a text."""
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    found |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return found & TRACES


def test_only_the_writing_rooms_write():
    wrong = {
        name: found
        for name, tree in modules()
        if name.split(".")[1:2] not in [[w] for w in WRITERS] and (found := traces(tree))
    }
    assert wrong == {}


def test_the_checker_sees_what_it_forbids():
    assert traces(ast.parse("from confluent_kafka import Producer")) == {"Producer"}
    assert traces(ast.parse("admin.call('create_topics', [topic])")) == {"create_topics"}
    assert any(traces(tree) for name, tree in modules() if name.startswith("workbench.redrive."))
