"""The table of threats names tests that are there."""

import re

from tests.running_service import ROOT

ROWS = [
    line for line in (ROOT / "docs" / "threats.md").read_text().splitlines() if re.match(r"\| (?!threat )[^-]", line)
]
NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


def test_every_threat_has_something_that_stops_it_and_a_test_that_is_there():
    missing = []
    for row in ROWS:
        threat, stops, tests = (cell.strip() for cell in row.strip("|").split("|"))
        named = NAMED.findall(tests)
        if not (stops and named):
            missing.append(threat)
        for file, test in named:
            path = ROOT / "tests" / file
            text = path.read_text() if path.is_file() else ""
            if not text or (test and f"def {test}(" not in text):
                missing.append(f"{file}::{test}")
    assert len(ROWS) > 30
    assert missing == []
