"""Numbers with their nouns, as messages and reports say them."""


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
