"""Text from outside for a terminal or a page: names, memos, errors of bots, answers of servers."""


def plain(text: str) -> str:
    """Return a text that is safe to print in a terminal: other characters become their escapes.

    Line feeds and tabs stay. Escape sequences, other control characters and marks that change the direction of text do not.

    >>> plain("red: \\x1b[31m")
    'red: \\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else repr(character)[1:-1] for character in text
    )
