"""What is often saved under the name of a weight file in its place, told by its first bytes."""

import os
import re
from typing import NamedTuple

_LFS = b"version https://git-lfs.github.com/spec/"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Mistaken(NamedTuple):
    """What a file is in place of weights.

    Attributes:
        what: A noun phrase, such as "a saved web page".
        remedy: How to get the weights, as a sentence without a capital and a full stop.
    """

    what: str
    remedy: str


_AGAIN = "download it again, if it is a known file by `rskt-seg weights fetch` (`rskt-seg weights list`)"


def find_mistaken(path: str | os.PathLike[str]) -> Mistaken | None:
    """Return what a file is if it is empty, a pointer of Git LFS or a web page; None for anything else.

    Args:
        path: A file.

    Returns:
        What it is, and how to get the weights.
    """
    with open(path, "rb") as file:
        start = file.read(1024)
    if not start:
        return Mistaken("an empty file (0 bytes)", _AGAIN)
    if start.startswith(_LFS):
        size = re.search(rb"^size (\d+)$", start, re.MULTILINE)
        stated = f" of {int(size[1])} bytes" if size else ""
        return Mistaken(
            f"a Git LFS pointer, which stands for a file{stated} that was not fetched",
            f"run `git lfs pull` in its repository, or {_AGAIN}",
        )
    # A safetensors file can begin with "<" too, as the length of its header, but has zero bytes there.
    if b"\0" not in start and start.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"<"):
        return Mistaken(
            "a saved web page", f"open it in a browser to see what the server said, then {_AGAIN}"
        )
    return None
