"""The words of ledgers, said once for all faces."""

from __future__ import annotations

# What each entry of a ledger means, by problem.
MEANINGS: dict[str, dict[str, str]] = {
    "loss": {
        "sent": "due messages, by id",
        "delivered": "have a record at every sink where one is due",
        "dead_lettered": "lie in a dead-letter topic",
        "retrying": "wait in a retry topic",
        "waiting": "not yet read by the group",
        "in_flight": "read, younger than the expected latency",
        "filtered": "not due: they fail the predicate",
        "hidden": "behind an open transaction",
        "unverifiable": "older than what the sink still keeps",
        "lost": "due, old enough, and nowhere",
    },
    "duplicates": {
        "records": "records with an id, in all places",
        "messages": "of them, first copies",
        "extra_copies": "of them, further copies",
        "reprocessed": "extra copies that come from reading the source again",
    },
    "lag": {
        "offsets_behind": "offsets between the commits and the log ends",
        "readable": "of them, records that a reader gets",
        "control": "of them, transaction markers",
        "aborted": "of them, records of aborted transactions",
        "compacted": "of them, removed by compaction",
        "expired": "of them, removed before the group read them",
        "hidden": "of them, behind an open transaction",
    },
    "message": {
        "messages": "that were found for what was asked, each counted once below",
        "delivered": "has a record at every sink where one is due",
        "dead_lettered": "lies in a dead-letter topic",
        "retrying": "waits in a retry topic",
        "waiting": "not yet read by the group",
        "in_flight": "read, younger than the expected latency",
        "filtered": "not due: it fails the predicate",
        "hidden": "behind an open transaction",
        "unverifiable": "the evidence at hand cannot say",
        "never_sent": "in no topic, and nothing says that it was sent",
        "lost": "sent, old enough, and nowhere where it is due",
    },
    "health": {
        "checks": "of all integrations",
        "critical": "of them, with a critical finding",
        "warning": "of them, with a warning",
        "undecided": "of them, not to be decided from the evidence at hand",
        "info": "of them, with something worth knowing",
        "ok": "of them, without a finding",
    },
    "dlq": {
        "dead_letters": "records in the dead-letter topics",
        "replay": "of them, passing failures: may be sent back",
        "fix_first": "of them, would fail again as they are",
        "discard": "of them, a later dead letter of the same message stands for them",
        "already_recovered": "of them, the same message is in the sink",
        "unknown": "of them, nothing says why they failed",
    },
}
