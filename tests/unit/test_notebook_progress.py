"""Progress in the form its reader can bear, and the question before a large scan."""

from __future__ import annotations

import pytest

from workbench.capture import Estimate, ScanProgress
from workbench.errors import UsageError
from workbench.notebook.headless import YES
from workbench.notebook.progress import CONFIRM_ABOVE_BYTES, ProgressDisplay, cost_line, scan_line


class Clock:
    """Advances one second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def scan(share: float) -> ScanProgress:
    return ScanProgress("reading", int(1000 * share), 1, int(1000 * share), 1000, 10 * share)


def test_headless_progress_is_few_plain_lines(capsys):
    display = ProgressDisplay("loss", "headless", Clock())
    display("scanning orders")
    for step in range(100):
        display(scan((step + 1) / 100))
    display.finish("done")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 2 + 100 / 5 + 1
    assert lines[0] == "loss: scanning orders"
    assert lines[-1].startswith("loss: done in ")
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_silence_where_nobody_looks(capsys):
    display = ProgressDisplay("loss", "silent", Clock())
    display(scan(0.5))
    display.finish("done")
    assert capsys.readouterr() == ("", "")


def test_a_large_scan_is_refused_where_nobody_can_be_asked(monkeypatch):
    large = Estimate(records=1, bytes=CONFIRM_ABOVE_BYTES + 1, seconds=1.0)
    with pytest.raises(UsageError, match="5,000"):
        ProgressDisplay("loss", "headless")(large)
    monkeypatch.setenv(YES, "1")
    ProgressDisplay("loss", "silent")(large)


def test_an_unknown_size_is_not_refused():
    ProgressDisplay("loss", "silent")(Estimate(records=10**9, bytes=None, seconds=1.0))


def test_lines_in_words():
    assert scan_line(500, 0.5, 10.0) == "read 500 records, 50%, 50 a second, about 10 s left"
    assert scan_line(0, None, 0.0) == "read 0 records"
    assert cost_line(1000, 2_000_000, 30.0) == "at most 1,000 records, about 2.0 MB, 0.5 minutes"
    assert cost_line(1000, None, 30.0) == "at most 1,000 records, 0.5 minutes"
