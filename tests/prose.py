"""Check that the pages, docstrings, comments, messages and names keep to docs/style.md.

In a page the check leaves out code blocks, code spans, quotations, link targets, and the parts that a program writes. In
code it reads docstrings, comments, strings of three words or more, and the names of functions, classes and constants.
`UNCONVERTED` lists the packages that are not checked yet. A package that has no finding must not be on the list, so the list
only gets shorter.

Usage: `python -m tests.prose`. The exit status is 1 where there is a finding.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md")
CODE = (
    "benchmarks",
    "clearinghouse",
    "common",
    "db",
    "examples",
    "launcher",
    "market-data-feed",
    "matching-engine",
    "order-entry-gateway",
    "reference",
    "tests",
    "trading-bots",
)
EXCLUDED = {"tests/prose.py", "tests/unit/test_prose.py"}
"""Files that contain the ruled-out words as data."""
UNCONVERTED = Path(__file__).with_name("prose_unconverted.txt")
MAX_WORDS = 40
"""The longest sentence of a page, in words. A code span is one word."""


@dataclass(frozen=True)
class Rule:
    """A pattern that prose must not match."""

    name: str
    pattern: re.Pattern[str]
    fix: str


def _words(name: str, pattern: str, fix: str) -> Rule:
    return Rule(name, re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), fix)


_START = r"(?:\A|(?<=\n\n)|(?<=[.?!]\s)|(?<=\|\s))\s*(?:[-*]\s+|\d+\.\s+)?"
"""The start of a sentence: of a paragraph, a list item, a table cell, or after the sentence before."""

RULES = (
    _words("tells, told", "tells|told|telling", "sends, reports, shows, notifies"),
    _words("hears, heard", "hears?|heard|hearing", "receives, reads"),
    _words("says, said", "says|said", "states, names, describes, means"),
    _words("ear", "ears?", "name the connection or the reader"),
    _words("leisure", "leisure(?:ly)?", "later, when idle"),
    _words("lives", "lives|living", "is in, is stored in, stays open"),
    _words("life", "(?<!half-)(?<!half )life(?:time)?", "duration, run, session"),
    _words("thinks, believes", "thinks?|believes?|thought", "computes, assumes, estimates"),
    _words("looks, sees", "has a look|looks? at|looks? over", "reads, checks, measures"),
    _words("plan of the house", "plan of the house", "package structure"),
    _words("rolls no dice", "dice", "randomness"),
    _words("old words", "anew|dearer|dearest|afresh|whence|thereof|wherein|meanwhile", "again, more expensive, from which"),
    _words("for ever", "for ever", "forever, without limit"),
    _words("for who", "(?:for|to|of|by|from|with) who", "for clients that, for a client that"),
    _words("knows", "knows|knew", "has, reads, uses, receives"),
    _words("forgets", "forgets|forgot|forgotten|remembers", "removes, keeps, stores"),
    _words("gives up", r"(?:gives?|gave|given|giving)(?: \w+)? up(?! to\b)", "stops, ends, returns an error"),
    _words("goes on", r"(?:go(?:es)?|went|going) on(?! (?:the|a|an|top|CODE)\b)", "continues"),
    _words("speaks", "speaks?|spoken|speaking", "sends, uses a protocol"),
    _words("now and then", "now and then|in vain|by and by", "occasionally, without effect, later"),
    Rule(
        "fragment with How", re.compile(rf"{_START}(?:How|Where)\s[^.?!:;|]*\.(?!\w)"), "The time that; The place where; If"
    ),
    Rule("inversion with Who", re.compile(rf"{_START}Who(?:ever)?\s[^.?!|]*[.|;](?!\w)"), "begin with the subject"),
    Rule("inversion with What", re.compile(rf"{_START}What(?:ever)?\s[^.?!:;|]*\.(?!\w)"), "begin with the subject"),
)


@dataclass(frozen=True)
class Finding:
    """A place where prose breaks a rule."""

    path: str
    line: int
    rule: str
    text: str
    fix: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.text!r}. Write instead: {self.fix}"


# --- pages ----------------------------------------------------------------------------------------------------------------


_GENERATED = re.compile(
    r"^<!-- (?:bench )?(?P<name>[a-z -]+) -->$.*?^<!-- end(?: of)?(?: (?P=name))? -->$", re.MULTILINE | re.DOTALL
)
_FENCED = re.compile(r"^(?P<indent> *)(?P<fence>```+).*?^(?P=indent)(?P=fence)$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_TARGET = re.compile(r"\]\([^)]*\)|<https?://[^>]*>")
_QUOTED = re.compile('"[^"\n]*"|“[^”]*”')
_TABLE_RULE = re.compile(r"^\|[ :|-]+\|$", re.MULTILINE)
_EXAMPLES = re.compile(r"^\| (?:before|instead of) \|.*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
"""A table of bad examples."""


def _blank(match: re.Match[str]) -> str:
    """Replace a match with its line breaks, so that line numbers stay correct."""
    return "\n" * match[0].count("\n")


def _one_word(match: re.Match[str]) -> str:
    return "CODE" + "\n" * match[0].count("\n")


def prose_of_page(page: str) -> str:
    """Return the prose of a page of Markdown, each sentence on its line of the page."""
    for pattern in (_GENERATED, _FENCED, _COMMENT, _EXAMPLES):
        page = pattern.sub(_blank, page)
    for pattern in (_SPAN, _QUOTED):
        page = pattern.sub(_one_word, page)
    page = _TABLE_RULE.sub("", page)
    return _TARGET.sub(lambda match: "]" + "\n" * match[0].count("\n"), page)


def _long_sentences(prose: str) -> Iterator[tuple[int, str]]:
    """Find sentences of more than `MAX_WORDS` words. Yield their offset and their first words."""
    for block in re.finditer(r"(?:[^\n|]+(?:\n(?=[^\n|#*>-]))?)+", prose):
        position = block.start()
        for sentence in re.split(r"(?<=[.?!:;])(?=\s)|\n(?= *(?:[-*]|\d+\.) )", block[0]):
            if len(re.findall(r"\b\w[\w'.,-]*", sentence)) > MAX_WORDS:
                yield position + len(sentence) - len(sentence.lstrip()), " ".join(sentence.split()[:6])
            position += len(sentence)


def check_page(path: str, page: str) -> list[Finding]:
    """Return the findings of a page of Markdown."""
    prose = prose_of_page(page)
    findings = list(_matches(path, 1, prose))
    for offset, text in _long_sentences(prose):
        line = prose.count("\n", 0, offset) + 1
        findings.append(Finding(path, line, f"more than {MAX_WORDS} words", f"{text} …", "two sentences"))
    return findings


def _matches(path: str, first_line: int, prose: str) -> Iterator[Finding]:
    for rule in RULES:
        for match in rule.pattern.finditer(prose):
            text = match[0].strip()
            line = first_line + prose.count("\n", 0, match.start() + len(match[0]) - len(match[0].lstrip()))
            yield Finding(path, line, rule.name, " ".join(text.split())[:60], rule.fix)


# --- docstrings and comments ----------------------------------------------------------------------------------------------


def check_code(path: str, source: str) -> list[Finding]:
    """Return the findings of the docstrings, comments, messages and names of a Python file."""
    findings = list(_summaries(path, source))
    for line, text in (*_docstrings_and_comments(source), *_messages(source), *_names(source)):
        prose = _TARGET.sub("]", _QUOTED.sub(_one_word, _SPAN.sub(_one_word, text)))
        findings += _matches(path, line, prose)
    return findings


_NAME = re.compile(r"^ *(?:(?:async )?def|class) +(\w+)|^([A-Z][A-Z0-9_]+)(?=:| =)", re.MULTILINE)
_FIELD = re.compile(r"\{[^{}]*\}")


def _names(source: str) -> Iterator[tuple[int, str]]:
    """Find the names of functions, classes and constants, as words."""
    for match in _NAME.finditer(source):
        name = match[1] or match[2].lower()
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").strip().lower()
        yield source.count("\n", 0, match.start()) + 1, words


_NO_IMPERATIVE = "Adds|Applies|Deletes|Ends|Finds|Gives|Keeps|Lets|Makes|Puts|Removes|Returns|Sends|Takes|Waits|Whether"
_SUMMARY = re.compile(rf'^ *(?:(?:async )?def|\)) ?[^\n]*:\n *"""({_NO_IMPERATIVE})\b', re.MULTILINE)


def _summaries(path: str, source: str) -> Iterator[Finding]:
    """Find docstrings of functions that do not begin with an imperative."""
    for match in _SUMMARY.finditer(source):
        line = source.count("\n", 0, match.start(1)) + 1
        yield Finding(path, line, "summary", match[1], "the imperative: Return, Return whether")


def _messages(source: str) -> Iterator[tuple[int, str]]:
    """Find strings of three words or more that are not docstrings."""
    for match in _TOKENS.finditer(source):
        text = match["string"]
        if text is None or len(text.split()) < 3 or (match["quote"] == '"""' and _is_statement(source, match.start())):
            continue
        yield source.count("\n", 0, match.start()) + 1, _FIELD.sub("CODE", text)


_TOKENS = re.compile(
    r"""[rRbBuUfF]{0,2}(?P<quote>\"{3}|'{3}|"|')(?P<string>(?:\\.|(?!(?P=quote)).)*?)(?P=quote)"""
    r"""|(?P<comment>\#[^\n]*)""",
    re.DOTALL,
)
"""The strings and comments of a Python file. `ast` and `tokenize` take ten times as long."""
_BEFORE_AN_ARGUMENT = ("(", ",", "[", "{", "=", "+", "|", ":=", "return", "in", "else")


def _docstrings_and_comments(source: str) -> Iterator[tuple[int, str]]:
    """Find docstrings, also those of attributes, and comments. Comments on consecutive lines are one text."""
    lines, next_line = list[str](), 0
    for match in _TOKENS.finditer(source):
        line = source.count("\n", 0, match.start()) + 1
        comment = match["comment"]
        if comment is None:
            if match["quote"] == '"""' and _is_statement(source, match.start()):
                yield line, match["string"]
            continue
        if lines and line != next_line:
            yield next_line - len(lines), "\n".join(lines)
            lines = []
        lines.append(comment.strip().lstrip("# "))
        next_line = line + 1
    if lines:
        yield next_line - len(lines), "\n".join(lines)


def _is_statement(source: str, start: int) -> bool:
    """Return whether the string at `start` is a statement by itself."""
    before = source.rfind("\n", 0, start) + 1
    return not source[before:start].strip() and not source[:before].rstrip().endswith(_BEFORE_AN_ARGUMENT)


# --- the whole repository -------------------------------------------------------------------------------------------------


def unconverted() -> list[str]:
    """Return the folders and files whose docstrings and comments are not converted yet."""
    lines = UNCONVERTED.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def check(root: Path = ROOT, listed: list[str] | None = None) -> list[str]:
    """Return every finding as a line of text, with the entries of the list that are no longer needed."""
    listed = unconverted() if listed is None else listed
    lines = [
        str(finding)
        for pattern in PAGES
        for path in sorted(root.glob(pattern))
        for finding in check_page(str(path.relative_to(root)), path.read_text())
    ]
    needed = set()
    for path in sorted(path for folder in CODE for path in (root / folder).rglob("*.py")):
        name = str(path.relative_to(root))
        if name in EXCLUDED:
            continue
        findings = check_code(name, path.read_text())
        entries = {name, name.rpartition("/")[0]} & set(listed)
        if findings:
            needed |= entries
        if not entries:
            lines += map(str, findings)
    lines += [
        f"{UNCONVERTED.name}: {entry} has no finding: remove it from the list" for entry in listed if entry not in needed
    ]
    return lines


if __name__ == "__main__":
    found = check()
    print("\n".join(found))
    sys.exit(bool(found))
