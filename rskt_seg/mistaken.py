"""What is often saved under the name of a file in its place, told by its first bytes."""

import re
from typing import NamedTuple

BEGINNING = 1024
"""How many bytes are enough to tell."""
_LFS = b"version https://git-lfs.github.com/spec/"
_DRAWING = re.compile(rb"^[^<]*(<[?!][^>]*>\s*)*<svg\b")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Mistaken(NamedTuple):
    """What a file is in place of what its name says.

    Attributes:
        what: A noun phrase, such as "a saved web page".
        remedy: What to do first, as a sentence without a capital and a full stop.
    """

    what: str
    remedy: str


def recognise(start: bytes) -> Mistaken | None:
    """Return what a file is if it is a pointer of Git LFS or a web page; None for anything else.

    Args:
        start: The first `BEGINNING` bytes of the file.

    Returns:
        What it is, and what to do.
    """
    if start.startswith(_LFS):
        size = re.search(rb"^size (\d+)$", start, re.MULTILINE)
        stated = f" of {int(size[1])} bytes" if size else ""
        what = f"a Git LFS pointer, which stands for a file{stated} that was not fetched"
        return Mistaken(what, "run `git lfs pull` in its repository")
    # A binary file can begin with "<" too; GDAL's descriptions of rasters do.
    is_markup = start.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"<")
    if is_markup and b"\0" not in start and b"<VRTDataset" not in start:
        if _DRAWING.search(start):
            return Mistaken("a drawing of lines (SVG)", "export it as PNG")
        return Mistaken("a saved web page", "open it in a browser to see what the server said")
    return None
