"""Each rule of the rule book has a script, and the engine emits the events of each script.

MX_GOLDEN=write writes the current events into the files. Read the difference afterwards.
"""

import os
import re
from pathlib import Path

import pytest

from tests.golden.script import replay

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.txt"))
RULEBOOK = (FOLDER.parents[1] / "docs" / "rulebook.md").read_text()
RULES = dict(re.findall(r"^### (\d+\.\d+) (.+)$", RULEBOOK, re.MULTILINE))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_engine_emits_the_events_of_the_script(path: Path) -> None:
    text = path.read_text()
    if os.environ.get("MX_GOLDEN") == "write":
        path.write_text(replay(text))
    assert replay(text) == path.read_text()
    assert "    " in text, "the script has no events"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_first_line_of_a_script_names_its_rule(path: Path) -> None:
    number, title = re.fullmatch(r"# Rule (\d+\.\d+): (.+)", path.read_text().splitlines()[0]).groups()  # type: ignore[union-attr]
    assert RULES[number] == title
    assert path.stem.startswith(number)


def test_every_rule_has_a_link_to_its_script() -> None:
    named = re.findall(r"\]\(\.\./tests/golden/([^)]+)\)", RULEBOOK)
    assert sorted(named) == [path.name for path in FILES]
    assert len(named) == len(RULES)
