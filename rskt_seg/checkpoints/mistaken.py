"""What is often saved under the name of a weight file in its place."""

import os

from rskt_seg.mistaken import BEGINNING, Mistaken, recognise

_AGAIN = "download it again, if it is a known file by `rskt-seg weights fetch` (`rskt-seg weights list`)"


def find_mistaken(path: str | os.PathLike[str]) -> Mistaken | None:
    """Return what a file is if it is empty, a pointer of Git LFS or a web page; None for anything else.

    Args:
        path: A file.

    Returns:
        What it is, and how to get the weights.
    """
    with open(path, "rb") as file:
        start = file.read(BEGINNING)
    if not start:
        return Mistaken("an empty file (0 bytes)", _AGAIN)
    if found := recognise(start):
        link = ", or" if found.remedy.startswith("run") else ", then"
        return Mistaken(found.what, f"{found.remedy}{link} {_AGAIN}")
    return None
