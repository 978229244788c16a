"""Names of topics that look like dead letters."""

from __future__ import annotations

import re

# As whole words between separators, so that "adult.events" or "mirror.errors-free" do not count.
_WORDS = re.compile(
    r"(?:^|[._-])(?:dlq|dlt|dlx|dead-?letters?|dead[._-]letter(?:s|-queue|-topic)?|deadletters?|parking-?lot"
    r"|poison(?:ed)?|quarantine)(?:$|[._-])|^errors?\.|[._-]errors?$|(?:dlq|dlt)\d*$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?:DLQ|DLT|Dlq|Dlt|DeadLetters?|Poison)(?![a-z])")


def looks_like_dead_letter_topic(name: str) -> bool:
    """Whether a topic's name says dead letters: ``orders-dlt``, ``dlq.sink``, ``error.orders.billing``."""
    return bool(_WORDS.search(name) or _CAMEL.search(name))
