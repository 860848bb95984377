"""The check of the prose finds the words and sentences that docs/style.md rules out, and nothing else."""

from pathlib import Path

import pytest

from tests import prose

BAD = {
    "A client is told the newest state.": "tells, told",
    "The gateway hears the report.": "hears, heard",
    "The page says which.": "says, said",
    "The key lives in a file.": "lives",
    "The order is open for its whole life.": "life",
    "The bot thinks for a second.": "thinks, believes",
    "The engine waits for ever.": "for ever",
    "This is for who needs speed.": "for who",
    "Who reads too slowly is disconnected.": "inversion with Who",
    "It works. Whoever was first is the maker.": "inversion with Who",
    "- Who names nobody is `guest`.": "inversion with Who",
    "The connection has no ear.": "ear",
    "The child writes at its leisure.": "leisure",
    "The audit looks at each balance.": "looks, sees",
    "A test holds the plan of the house.": "plan of the house",
    "It throws dice.": "rolls no dice",
    "It is written anew.": "old words",
    "What does not trade is cancelled.": "inversion with What",
    "The bot knows its position.": "knows",
    "The view forgets old orders.": "forgets",
    "The client gives up after a minute.": "gives up",
    "The feed goes on after a restart.": "goes on",
    "The gateway speaks HTTP.": "speaks",
    "The bot trades now and then.": "now and then",
    "How often the feed stores.": "fragment with How",
    "Where a log is missing, the engine waits.": "fragment with How",
}
GOOD = [
    "The `time_in_force` of a live order is its time in force.",
    "The value has a half-life of three days.",
    'The live exchange has `hears()`, and its answer is "nobody told me".',
    "Who opens accounts? What is guaranteed?",
    "## What is guaranteed, and what shows it",
    "## How to trade\n\n- How do bots trade?\n- Where each property comes from:",
    "Commands go on the log. The gateway gives clients up to 3 s.",
    "| action | effect |\n| --- | --- |\n| cancel | Ends an order. |",
    "[The page](says/told.md) has a link, see <https://example.org/told>.",
    "| What | `where` |\n| --- | --- |\n| orders | the gateway |",
    "```sh\necho told\n```",
    "<!-- settings -->\n\nThe bot is told.\n\n<!-- end settings -->",
    "<!-- bench end-to-end -->\n\nA feed is telling.\n\n<!-- end end-to-end -->",
    "<!-- house -->\nThe bot is told.\n<!-- end of house -->",
    "| instead of | write |\n| --- | --- |\n| told | sent |",
]


@pytest.mark.parametrize("text", BAD)
def test_a_ruled_out_word_or_sentence_in_a_page_is_a_finding(text: str) -> None:
    (finding,) = prose.check_page("page.md", f"Title\n\n{text}\n")
    assert (finding.rule, finding.line) == (BAD[text], 3)


@pytest.mark.parametrize("text", GOOD)
def test_code_quotations_generated_parts_and_terms_of_the_field_are_not_findings(text: str) -> None:
    assert prose.check_page("page.md", f"Title\n\n{text}\n") == []


@pytest.mark.parametrize(
    "signature", ["def f() -> bool:", "    async def f(self) -> bool:", "def f(\n    x: int\n) -> bool:"]
)
@pytest.mark.parametrize("text", ["Returns the mean.", "Whether it is open."])
def test_the_summary_of_a_function_must_be_imperative(signature: str, text: str) -> None:
    (finding,) = prose.check_code("a.py", f'x = 1\n\n\n{signature}\n        """{text} Returns are in percent."""\n')
    assert (finding.rule, finding.line) == ("summary", 5 + signature.count("\n"))
    assert prose.check_code("a.py", f'a: int\n"""{text}"""\n\n\n{signature}\n        """Return it."""\n') == []


def test_every_rule_has_a_bad_example() -> None:
    assert {rule.name for rule in prose.RULES} == set(BAD.values())


def test_a_sentence_may_have_at_most_forty_words() -> None:
    sentence = " ".join(["word"] * prose.MAX_WORDS)
    assert prose.check_page("page.md", f"{sentence}.\n\n{sentence}: {sentence}.\n\n| {sentence} | {sentence} |\n") == []
    (finding,) = prose.check_page("page.md", f"Title\n\n{sentence},\nword, `some code`. More.\n")
    assert (finding.line, finding.text) == (3, "word word word word word word …")


def test_the_line_of_a_finding_is_correct_after_a_block_of_code() -> None:
    (finding,) = prose.check_page("page.md", "One\n\n```sh\nx\ny\n```\n\nTwo.\nIt is told.\n")
    assert finding.line == 9


CODE = '''\
"""Module that is told."""
# The engine hears

x = "told"  # said
y: str = call(
    """told""",
    \'# told\',
)
"""An attribute that lives."""


def f() -> str:
    """Return `told`."""
    return """told"""


MAX_LIVES = "told {heard}"


class HeardOrders:
    def tell_all(self) -> str:
        return f"{self.said} was told"
'''


def test_docstrings_comments_messages_and_names_are_checked_but_short_strings_are_not() -> None:
    found = sorted((finding.line, finding.rule) for finding in prose.check_code("a.py", CODE))
    expected = [(1, "tells, told"), (2, "hears, heard"), (4, "says, said"), (9, "lives")]
    assert found == [*expected, (17, "lives"), (20, "hears, heard"), (22, "tells, told")]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, text in {
        "common/a/one.py": "# told\n",
        "common/a/b/two.py": "# told\n",
        "common/c/three.py": "x = 1\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_listed_package_is_not_checked_but_its_subpackages_are(repository: Path) -> None:
    (line,) = prose.check(repository, ["common/a"])
    assert line.startswith("common/a/b/two.py:1: tells, told")


def test_a_listed_package_without_a_finding_must_be_removed_from_the_list(repository: Path) -> None:
    assert prose.check(repository, ["common/a", "common/a/b", "common/c"]) == [
        "prose_unconverted.txt: common/c has no finding: remove it from the list"
    ]


def test_a_file_with_bad_examples_as_data_is_not_checked(repository: Path) -> None:
    path = repository / "tests/unit/test_prose.py"
    path.parent.mkdir(parents=True)
    path.write_text("# told\n")
    assert prose.check(repository, ["common/a", "common/a/b"]) == []


def test_the_pages_and_the_converted_packages_have_no_findings() -> None:
    assert prose.check() == []
