"""Numbers with their nouns, and long names, as messages, reports and pictures say them."""

_MOST_LETTERS = 60


def counted(number: int, one: str, several: str = "") -> str:
    """Say how many there are of something.

    Args:
        number: How many.
        one: The noun for one, such as "image".
        several: The noun for any other number; "": `one` with an s.

    Returns:
        Such as "1 image" or "3 images".
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def shortened(text: str) -> str:
    """Return a text in at most 60 letters."""
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"
