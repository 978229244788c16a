"""``[dialects.NAME]`` of workbench.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.config import load_config
from workbench.dialects import decode, own_dialects
from workbench.errors import ConfigError

OWN = """
[dialects.billing]
topics = ["billing-*"]
origin_topic = "header:X-From"
origin_partition = "header:X-Part"
origin_offset = "json:$.at.offset"
exception_class = "json:$.problem.kind"
group = "text:billing"
payload = "json:$.at.original"
payload_encoding = "base64"
"""


def loaded(tmp_path: Path, text: str):
    path = tmp_path / "workbench.toml"
    path.write_text(text)
    return load_config(path)


def test_attributes_are_read_where_the_table_says(tmp_path):
    own = own_dialects(loaded(tmp_path, OWN).sections["dialects"])
    headers = [("X-From", b"orders"), ("X-Part", (3).to_bytes(4, "big")), ("kafka_dlt-original-topic", b"other")]
    value = b'{"problem": {"kind": "Bad"}, "at": {"offset": 12, "original": "eyJhIjoxfQ=="}}'
    letter = decode(headers, value, "billing-failures", own=own)
    assert (letter.dialect, letter.group, letter.exception_class) == ("billing", "billing", "Bad")
    assert (letter.origin_topic, letter.origin_partition, letter.origin_offset) == ("orders", 3, 12)
    assert (letter.payload, letter.guessed) == (b'{"a":1}', ())


def test_other_topics_and_records_without_its_marks_are_left_to_the_rest(tmp_path):
    own = own_dialects(loaded(tmp_path, OWN).sections["dialects"])
    spring = [("kafka_dlt-original-topic", b"orders"), ("X-From", b"a")]
    assert decode(spring, b"{}", "orders-dlt", own=own).dialect == "spring_kafka"
    assert decode([("Y", b"1")], b"[", "billing-x", own=own) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('mesage = "header:X"', "Did you mean 'message'?"),
        ('message = "X-Error"', "header:NAME"),
        ('message = "json:problem"', "json:$.member"),
        ('topics = "a"\nmessage = "header:X"', "list of topic names"),
        ('group = "text:g"', "no header and no JSON member"),
        ('message = "header:X"\npayload_encoding = "zip"', "text or base64"),
    ],
)
def test_mistakes_are_named(tmp_path, line, said):
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, f"[dialects.own]\n{line}\n")
    assert said in f"{error.value} {error.value.hint}"
