"""Expressions of users: one scalar expression over a record passes, everything else is refused in words."""

from __future__ import annotations

import pytest

from workbench.capture import IdFrom, check_expression, check_predicate
from workbench.errors import UsageError


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("value->>'$.eventType' <> 'heartbeat'", "BOOLEAN"),
        ("value->>'$.eventType'", "VARCHAR"),
        ("key", "VARCHAR"),
        ("headers['a']", "VARCHAR"),
        ("timestamp > TIMESTAMPTZ '2026-01-01'", "BOOLEAN"),
        ("partition + 1", "INTEGER"),
        ('"offset" BETWEEN 1 AND 2', "BOOLEAN"),
        ("CASE WHEN key IS NULL THEN 'none' ELSE lower(key) END", "VARCHAR"),
        ("key IN ('a', 'b') AND NOT key LIKE 'x%'", "BOOLEAN"),
        ("(value->>'$.n')::INTEGER", "INTEGER"),
        ("key = 'it''s; -- no /* comment'", "BOOLEAN"),
        ("list_contains(list_transform(['a'], lambda x: upper(x)), key)", "BOOLEAN"),
        ("coalesce(value->>'$.a', key)", "VARCHAR"),
    ],
)
def test_scalar_expressions_pass(expression, kind):
    assert check_expression(expression) == kind


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "  ",
        "true; DROP TABLE x",
        "true -- comment",
        "true /* comment */",
        "key = $$x$$",
        "key = $tag$x$tag$",
        "(SELECT 1)",
        "key IN (SELECT 'a')",
        "EXISTS (SELECT 1)",
        "1) FROM (SELECT 2",
        "1) UNION SELECT (2",
        "key FROM records",
        "key AS other",
        "key, value",
        "1 WHERE true",
        "key ORDER BY 1",
        "key LIMIT 1",
        "*",
        "COLUMNS('k.*')",
        "?",
        "$1",
        "count(*)",
        "max(key)",
        "max(key) OVER ()",
        "row_number() OVER ()",
        "unnest([1, 2])",
        "random() < 0.5",
        "uuid()",
        "nextval('s')",
        "getvariable('x')",
        "current_setting('threads')",
        "error('x')",
        "read_text('/etc/passwd')",
        "read_csv('/etc/passwd')",
        "no_such_function(key)",
        "no_such_column = 1",
        "value->>",
        "((key)",
        "key\0",
        "DROP TABLE x",
        "key = 1 AND",
        "getenv('HOME')",
    ],
)
def test_everything_else_is_refused(expression):
    with pytest.raises(UsageError) as caught:
        check_expression(expression, option="--business-key")
    assert str(caught.value).startswith("--business-key")
    assert "\n" not in str(caught.value)


def test_a_predicate_gives_true_or_false():
    check_predicate("key = 'a'")
    with pytest.raises(UsageError, match="gives VARCHAR"):
        check_predicate("key")


def test_the_error_carries_duckdbs_words():
    with pytest.raises(UsageError, match="colour"):
        check_expression("colour = 'red'")


@pytest.mark.parametrize("text", ["auto", "key", "coordinates", "header:message-id", "header:a:b", "json:$.a.b[0]"])
def test_id_sources_are_read_and_written_alike(text):
    assert str(IdFrom.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "header:", "json:", "json:a", "json:$.a[*]", "json:$..a", "json:$.*", "json:$.a['", "value", "Key:x"]
)
def test_other_id_sources_are_refused(text):
    with pytest.raises(UsageError):
        IdFrom.parse(text)
