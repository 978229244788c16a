"""Cause groups: what makes them one, what they show, and what they never show."""

from __future__ import annotations

import json
import random

from tests.unit.builder import NOW_MS
from tests.unit.test_dlq import POISON, TRANSIENT, Queue
from workbench.dialects import DeadLetter
from workbench.problems.dlq import templates
from workbench.problems.dlq.causes import Grouper, cause_of

SECRETS = ["bob@example.com", "4111 1111 1111 1111", "user-4711", "John Smith", "550e8400-e29b-41d4-a716-446655440000"]


def letter(**said):
    return DeadLetter(dialect="x", **said)


def test_an_explicit_code_comes_first():
    same = [
        letter(code="E42", exception_class="a.B", message=text, stack=f"a.B: x\n\tat com.shop.{text}.f(X.java)")
        for text in "XY"
    ]
    causes = [cause_of(one) for one in same]
    assert causes[0].fingerprint == causes[1].fingerprint
    assert (causes[0].reason, causes[0].code) == ("code", "E42")


def test_an_exception_that_only_repeats_its_cause_is_not_the_cause():
    stack = (
        "java.lang.RuntimeException: java.net.ConnectException: refused\n\tat com.shop.A.b(A.java:1)\n"
        "Caused by: java.net.ConnectException: refused\n\tat com.shop.C.d(C.java:2)\n"
    )
    cause = cause_of(
        letter(exception_class="java.lang.RuntimeException", message="java.net.ConnectException: refused", stack=stack)
    )
    assert (cause.exception_class, cause.kind, cause.frame) == (
        "java.net.ConnectException",
        "transient",
        "com.shop.C.d",
    )


def test_messages_of_one_form_are_one_group_whatever_comes_first():
    texts = [f"Order {n} of customer {name} was refused" for n, name in enumerate(["anna", "bert", "carla", "dora"])]
    texts += ["Disk full", "No route to the bank"]
    seen = set()
    for seed in range(3):
        grouper = Grouper()
        order = random.Random(seed).sample(texts, len(texts))
        numbers = [grouper.number(letter(exception_class="a.B", message=text)) for text in order]
        causes = grouper.causes()
        prints = {text: causes[number].fingerprint for text, number in zip(order, numbers, strict=True)}
        seen.add(tuple(prints[text] for text in texts))
        assert len(set(prints.values())) == 3
    assert len(seen) == 1


def test_a_hundred_thousand_distinct_messages_stay_one_group():
    """Texts without any form in common: counted under their class, in bounded time."""
    rng = random.Random(1)
    words = [a + b + c for a in "abcdefgh" for b in "aeiou" for c in "klmnop"]
    grouper = Grouper()
    numbers = {
        grouper.number(letter(exception_class="a.B", message=" ".join(rng.choices(words, k=8)))) for _ in range(100_100)
    }
    causes = grouper.causes()
    assert len({causes[number].fingerprint for number in numbers}) == 1
    assert causes[0].reason == "class"


def test_templates_show_no_values():
    for secret in SECRETS:
        for text in (f"Account {secret} is locked", f"locked: {secret}", f"'{secret}' not found", secret):
            shown = templates.shown(templates.mined([templates.masked(text)])[templates.masked(text)]) or ""
            assert not any(
                part in shown
                for part in secret.split()
                if part[0].isupper() or any(map(str.isdigit, part)) or "@" in part
            )
    assert templates.shown("User <*> of tenant <*> not found") == "User <*> of tenant <*> not found"


def test_a_group_says_what_there_is_to_know():
    queue = Queue()
    queue.add(
        "a",
        POISON,
        key="k1",
        at_ms=NOW_MS - 3_600_000,
        attempts=2,
        trace_id="0" * 31 + "1",
        app_version="1",
        producer="shop",
    )
    queue.add("b", POISON, key="k2", at_ms=NOW_MS - 1_800_000, attempts=5, origin_partition=2)
    queue.add("c", TRANSIENT, at_ms=NOW_MS - 1_000, app_version="2")
    queue.world.put("out", "b")
    groups = queue.report().to_dict()["groups"]
    poison = groups[0]
    assert (poison["count"], poison["share"], poison["keys"], poison["top_key_share"]) == (2, 0.6667, 2, 0.5)
    assert (poison["attempts_min"], poison["attempts"], poison["age_seconds"]) == (2, 5, 3600)
    assert (poison["already_recovered"], poison["dispositions"]) == (1, {"already_recovered": 1, "fix_first": 1})
    assert (poison["partitions"], poison["traces"]) == (["in/0", "in/2"], ["0" * 31 + "1"])
    assert (sum(poison["rate"]), len(poison["rate"])) == (2, 24)
    assert poison["samples"] == ["dlq/0/0", "dlq/0/1"]
    assert groups[1]["changed_at_start"] == ["application version 2"]
    assert "text" not in poison
    json.dumps(groups)
