"""The README lists every dialect, and says of which a real record was seen."""

from __future__ import annotations

import re

from tests.contract.repository import ROOT
from workbench.dialects import DIALECTS
from workbench.dialects.table import ENVELOPES


def test_readme_lists_each_dialect_and_whether_it_was_seen():
    part = (ROOT / "README.md").read_text().split("<!-- dialects:begin -->")[1].split("<!-- dialects:end -->")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \|[^|]+\| (seen|from source only) \|$", part, re.MULTILINE))
    named = {name: "seen" if dialect.seen else "from source only" for name, dialect in DIALECTS.items()}
    assert listed == named | dict.fromkeys([name for name in ENVELOPES if name != "envelope"], "from source only")
