"""The tables, links and references of the pages match the code."""

import re
from pathlib import Path

import msgspec
import pytest

from microexchange.batches import RECORD_TYPES
from microexchange.records import TOPICS
from microexchange.refusals import MEANING, Code
from microexchange.web import HTTP_STATUS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_page_of_refusals_lists_every_code_with_its_status_and_meaning() -> None:
    page = (ROOT / "docs" / "refusals.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(code.value, str(HTTP_STATUS[code]), MEANING[code]) for code in Code]


def test_the_page_of_messages_lists_every_record_with_its_fields() -> None:
    page = (ROOT / "docs" / "messages.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .+? \| (.+) \|$", page, re.MULTILINE)
    types = [record_type for topic in TOPICS for record_type in RECORD_TYPES[topic]]
    assert rows == [(t.__name__, ", ".join(f"`{f.name}`" for f in msgspec.structs.fields(t))) for t in types]


def test_the_bot_in_the_readme_equals_the_example() -> None:
    (shown,) = re.findall(r"```python\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    example = (ROOT / "examples" / "first_bot.py").read_text()
    assert shown == example[example.index("from trading_bots") :]


def test_every_test_that_the_guarantees_name_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "guarantees.md").read_text())
    assert len(named) > 15
    for path, test in named:
        assert re.search(
            rf"^(async )?def {test}\(" if test else "def test_|TestCase", (ROOT / path).read_text(), re.MULTILINE
        ), test


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_has_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
