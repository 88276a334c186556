"""Texts of users at the border: what nobody sees, what spreadsheets run, what Markdown takes for marks."""

import logging
import re
import unicodedata

_JOINERS = "\u200c\u200d"
"""Zero-width joiners, which Persian, Indic scripts and others need within words."""
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that do not stand for a byte of a name."""
_FORMULA = re.compile(r"[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")
_MARKDOWN = re.compile(
    r"""[\\`\[\]<>|]               # code, links, HTML, cells
    | ~(?=\S) | (?<=\S)~          # deletions
    | \*(?=\S) | (?<=\S)\*         # emphasis; a star between blanks is a star
    | (?<![^\W_])_ | _(?![^\W_])   # emphasis; underscores within words are none
    | &(?=[#\w])                   # entities
    | !(?=\[)                      # pictures
    | (?<=http):(?=//) | (?<=https):(?=//) | (?<=ftp):(?=//) | (?<=www)\.   # addresses
    | ^(?:\#|[-+](?=\s))           # headings, items
    | (?<=\d)[.)](?=\s)            # numbered items
    """,
    re.VERBOSE | re.IGNORECASE,
)


def hidden_characters(text: str) -> tuple[str, ...]:
    """Find the characters of a text that a terminal or a page obeys or hides instead of showing them.

    They are control characters (line breaks, tabs, NUL and escapes among them), separators of lines and
    paragraphs, marks that turn the direction of writing, other characters without a picture such as
    zero-width blanks, and surrogates. Zero-width joiners are letters of some scripts and not among them.

    Args:
        text: The text.

    Returns:
        Each of them once, in the order of the text.
    """
    return tuple(
        dict.fromkeys(
            character
            for character in text
            if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS
        )
    )


def printable(text: str) -> str:
    r"""Return a text that can be printed and written, for messages that name files.

    Names of files are bytes. Python keeps those that the encoding of the system does not know as surrogates,
    which no output takes.

    Args:
        text: A text with names of files as Python has them.

    Returns:
        The text with their bytes decoded as UTF-8 where they are, and shown as `\xe9` and the like elsewhere.
    """
    escaped = _NO_BYTE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return escaped.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def visible(text: str) -> str:
    r"""Return a text for a terminal or a log, which show what they would obey or hide.

    Args:
        text: One line or several, with names of files as Python has them.

    Returns:
        What `printable` returns, with `\x1b` and the like for `hidden_characters` other than line breaks and
        tabs.
    """
    return _escaped(printable(text))


def show_hidden(record: logging.LogRecord) -> bool:
    """Escape hidden characters in the message of a log record; a filter of handlers, which keeps them all."""
    record.msg, record.args = _escaped(record.getMessage()), None
    return True


def _escaped(text: str) -> str:
    for each in hidden_characters(text):
        if each not in "\n\t":
            text = text.replace(each, each.encode("unicode_escape").decode())
    return text


def csv_cell(value: object) -> object:
    """Return a value as the content of a CSV cell that spreadsheets show and do not run.

    Args:
        value: A number, a truth value or a text.

    Returns:
        A text that begins like a formula (`= + - @`, also full-width, or a tab or line break) after an
        apostrophe; anything else as it is.
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def markdown_text(text: str) -> str:
    r"""Escape a text so that Markdown shows its characters: no cells, links, HTML, emphasis or headings.

    Args:
        text: One line.

    Returns:
        The line with backslashes before marks, and with `\x1b` and the like for what is not printable.
    """
    marked = _MARKDOWN.sub(r"\\\g<0>", text)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in marked
    )
