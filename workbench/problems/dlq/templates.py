"""Templates of exception messages: what stays the same from record to record, mined with drain3, in memory only.

Templates group and may be shown; so a value that happens never to change must not pass for a word: what is shown is
made of plain words, and ids, addresses, numbers, quotations and names in the middle of a sentence are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

LONGEST = 300  # characters of a message that are compared
ANY = "<*>"
MANY = "(too many forms)"
MOST_FORMS = 60  # of the messages of one class
SAMPLE = 1_000
_WORDS_SHOWN = 40
# Quotations, addresses, paths, bracketed values, and whatever holds a digit or an at sign.
_VARIABLE = r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)|`[^`]*`|\{[^{}]*\}|\[[^\[\]]*\]|<[^<>]*>|\w+://\S+|(?:/[\w.-]+){2,}|\S*[\d@]\S*|\S{40,}"
_PLAIN = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*[.,:;!?]?\Z")
_CODE_NAME = re.compile(r"[A-Z][a-z]+(?:[A-Z][a-z]+)+[.,:;]?\Z|[A-Z]{2,12}[.,:;]?\Z")


@lru_cache(maxsize=1)
def _masker() -> Any:
    from drain3.masking import LogMasker, MaskingInstruction

    return LogMasker([MaskingInstruction(_VARIABLE, "*")], "<", ">")


@lru_cache(maxsize=8192)
def masked(message: str) -> str:
    """A message with its numbers, quotations, addresses and ids as ``<*>``."""
    return " ".join(_masker().mask(message[:LONGEST]).split())


def mined(messages: Iterable[str]) -> dict[str, str]:
    """Masked message -> its template; ``MANY`` for all where they have too many forms to tell anything.

    The order in which messages came does not matter.
    """
    from drain3.drain import Drain

    ordered = sorted(set(messages))
    drain = Drain(depth=3, sim_th=0.5, max_clusters=2 * MOST_FORMS)
    # A sample from all over tells whether there are forms at all: without any, each message is compared with all others.
    for message in ordered[:: max(1, len(ordered) // SAMPLE)]:
        drain.add_log_message(message)
        if len(drain.clusters) > MOST_FORMS:
            return dict.fromkeys(ordered, MANY)
    clusters = {message: drain.add_log_message(message)[0] for message in ordered}
    return {message: cluster.get_template() for message, cluster in clusters.items()}


def mined_apart(messages: Mapping[str | None, Iterable[str]]) -> dict[tuple[str | None, str], str]:
    """As ``mined``, for each class of exception on its own: (class, masked message) -> template."""
    return {(name, message): template for name, some in messages.items() for message, template in mined(some).items()}


def shown(template: str | None) -> str | None:
    """What of a template may be shown: its plain words, everything else as ``<*>``."""
    if not template or template == MANY:
        return None
    words = [
        word if _may_show(word, first=index == 0) else ANY for index, word in enumerate(template.split()[:_WORDS_SHOWN])
    ]
    if not any(word[0].islower() for word in words):
        return None  # nothing but names, maybe
    joined = " ".join(word for index, word in enumerate(words) if word != ANY or index == 0 or words[index - 1] != ANY)
    return joined if joined != ANY else None


def _may_show(word: str, *, first: bool) -> bool:
    """Plain words of a sentence; with a capital only at its start, or as names of code (``UserId``, ``HTTP``)."""
    if len(word) > 30 or not _PLAIN.match(word):
        return False
    return first or word[0].islower() or _CODE_NAME.match(word) is not None
