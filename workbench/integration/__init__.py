"""The reference integration: what a well-behaved service on Kafka looks like, and what users import to make theirs provable.

The public names load their modules on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

# name -> module that defines it
_PUBLIC = {
    "AtLeastOnce": "workbench.integration.outlets",
    "BreakerOpen": "workbench.integration.breaker",
    "BusinessError": "workbench.integration.failures",
    "CircuitBreaker": "workbench.integration.breaker",
    "DeadLetterHandler": "workbench.integration.deadletters",
    "ExactlyOnce": "workbench.integration.outlets",
    "MessageConsumer": "workbench.integration.consumer",
    "MessageProducer": "workbench.integration.producer",
    "Metrics": "workbench.integration.metrics",
    "Outgoing": "workbench.integration.records",
    "PermanentError": "workbench.integration.failures",
    "Receipt": "workbench.integration.records",
    "Record": "workbench.integration.records",
    "RetryHandler": "workbench.integration.retries",
    "SendError": "workbench.integration.failures",
    "Tracing": "workbench.integration.tracing",
    "TransientError": "workbench.integration.failures",
}

__all__ = [*_PUBLIC]  # noqa: PLE0604 - the table of lazy names


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'workbench.integration' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
