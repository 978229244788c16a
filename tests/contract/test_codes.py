"""Codes are the same wherever they are written: rules, the doctor, the runbooks."""

import re
from pathlib import Path

from workbench.problems import checking
from workbench.sources import doctor

RULES = tuple(checking.rules())
KNOWN = {rule.code for rule in RULES} | {"unexplained"}


def test_the_doctor_names_codes_that_exist():
    named = set(re.findall(r"\"((?:loss|duplicates|lag|dlq)-[a-z-]+)\"", Path(doctor.__file__).read_text()))
    assert named
    assert named <= KNOWN


def test_each_rule_says_what_it_is():
    for rule in RULES:
        assert len(rule.definition.splitlines()) >= 3, rule.code
        assert "Ruled out where" in rule.definition or "Ruled out" in rule.definition, rule.code
