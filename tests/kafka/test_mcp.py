"""``workbench mcp`` as an agent meets it: the SDK's client, a process over stdio, a real broker, and saved evidence."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from mcp import Client, MCPError, StdioServerParameters
from typer.testing import CliRunner

from workbench.cli import app

pytestmark = pytest.mark.kafka
SECRET, PERSON = "private-content", "someone@example.com"


@pytest.fixture
def topics(kafka: str, unique: str) -> tuple[str, str]:
    """Ten messages, of which the sink has seven."""
    source, sink = f"source-{unique}", f"sink-{unique}"
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.create_topics([NewTopic(name, 1, 1) for name in (source, sink)]).values():
        future.result()
    producer = Producer({"bootstrap.servers": kafka})
    for number in range(10):
        name = PERSON if number == 9 else f"m{number}"
        value = json.dumps({"messageId": name, "text": SECRET})
        producer.produce(source, value, key=SECRET, timestamp=int(time.time() * 1000) - 3_600_000)
        if number < 7:
            producer.produce(sink, value, key=SECRET)
    producer.flush()
    return source, sink


def talk(arguments: list[str], work: Callable[[Client], Awaitable[Any]]) -> Any:
    """What ``work`` gives with a client of a fresh server process."""
    process = StdioServerParameters(
        command=sys.executable, args=["-m", "workbench", "mcp", *arguments], env=dict(os.environ)
    )

    async def session() -> Any:
        async with Client(process) as client:
            return await work(client)

    return asyncio.run(session())


def test_a_check_on_the_cluster_is_the_command_lines(kafka: str, topics: tuple[str, str]):
    source, sink = topics
    asked = {"source": source, "sinks": [sink], "id_from": "json:$.messageId"}
    answer = talk(["--bootstrap", kafka], lambda client: client.call_tool("loss", asked))
    words = ["check", "loss", "--bootstrap", kafka, "--source", source, "--sink", sink, "--format", "json"]
    printed = CliRunner().invoke(app, [*words, "--id-from", "json:$.messageId"])
    assert not answer.is_error
    found, shown = answer.structured_content, json.loads(printed.stdout)
    assert (found["ledger"]["sent"], found["ledger"]["delivered"], found["ledger"]["lost"]) == (10, 7, 3)
    assert [found[part] for part in ("verdict", "ledger", "causes")] == [
        shown[part] for part in ("verdict", "ledger", "causes")
    ]
    assert SECRET not in str(answer)
    assert PERSON not in str(answer)


def test_a_message_is_found(kafka: str, topics: tuple[str, str]):
    source, sink = topics
    asked = {"message_id": "m3", "source": source, "sinks": [sink], "id_from": "json:$.messageId"}
    answer = talk(["--bootstrap", kafka], lambda client: client.call_tool("message", asked))
    assert answer.structured_content["facts"]["outcome"] == "delivered"
    assert SECRET not in str(answer)


def test_saved_evidence_needs_no_cluster(kafka: str, topics: tuple[str, str], tmp_path: Path):
    source, sink = topics
    words = ["check", "loss", "--bootstrap", kafka, "--source", source, "--sink", sink]
    CliRunner().invoke(app, [*words, "--id-from", "json:$.messageId", "--save", str(tmp_path / "kept")])

    async def work(client: Client) -> Any:
        judged = await client.call_tool("judge_evidence", {"problem": "loss", "name": "kept"})
        read = await client.read_resource("evidence://loss/kept")
        outside = await client.call_tool("judge_evidence", {"problem": "loss", "name": "../kept"})
        return judged, read, outside

    judged, read, outside = talk(["--evidence", str(tmp_path)], work)
    assert judged.structured_content["ledger"]["lost"] == 3
    assert json.loads(read.contents[0].text) == judged.structured_content
    assert outside.is_error


def test_nothing_that_writes_is_offered():
    listed = talk([], lambda client: client.list_tools()).tools
    assert {"loss", "duplicates", "lag", "dlq", "health", "message"} <= {tool.name for tool in listed}
    assert all(tool.annotations.read_only_hint for tool in listed)
    assert not [tool.name for tool in listed if "redrive" in tool.name or "include_values" in str(tool.input_schema)]


def test_each_runbook_is_a_resource():
    async def work(client: Client) -> Any:
        index = json.loads((await client.read_resource("runbook://index")).contents[0].text)
        page = (await client.read_resource(f"runbook://code/{index[0]}")).contents[0].text
        with pytest.raises(MCPError, match="There is no runbook 'nothing-such'"):
            await client.read_resource("runbook://code/nothing-such")
        return index, page

    index, page = talk([], work)
    assert "unexplained" in index
    assert "## Meaning" in page


@pytest.mark.parametrize(
    ("tool", "asked", "said"),
    [
        ("loss", {"source": "no-such-topic", "sinks": ["other"]}, "no-such-topic"),
        ("loss", {"since": "yesterdayish", "source": "a"}, "'yesterdayish' is no time."),
        ("loss", {"integration": "no-such"}, "There is no integration 'no-such'"),
        ("lag", {"limit": "many"}, "limit:"),
        ("read_runbook", {"code": "loss-compact"}, "Did you mean"),
        ("loss", {"source": "a", "value_format": "avro:/etc/passwd"}, "may not name a file"),
    ],
)
def test_an_error_is_a_sentence(kafka: str, tool: str, asked: dict[str, Any], said: str):
    answer = talk(["--bootstrap", kafka], lambda client: client.call_tool(tool, asked))
    text = answer.content[0].text
    assert answer.is_error
    assert said in text
    assert "\n" not in text
    assert "Traceback" not in text
    assert "Error executing" not in text
