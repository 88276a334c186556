"""The directories of a TIFF file: which picture is the one to read, and how it is oriented.

GDAL reads the first directory, says nothing of the others' kinds and keeps the orientation to itself; Pillow
opens too few kinds of TIFF.
"""

import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

ByteOrder = Literal["<", ">"]
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_REDUCED, _OLD_KIND, _WIDTH, _HEIGHT, _PHOTOMETRIC = 254, 255, 256, 257, 262
_ORIENTATION, _SUB_DIRECTORIES = 274, 330
_NO_COLORS = {
    4: "a mask",
    9: "colours in ICC L*a*b*",
    10: "colours in ITU L*a*b*",
    32803: "the mosaic of a camera's colour filters",
    32844: "logarithms of luminance",
    32845: "logarithms of luminance and chromaticity",
    34892: "the linear samples of a camera",
}
"""PhotometricInterpretation -> what samples are that GDAL would give out as gray or RGB."""
_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
"""Type of a tag -> bytes of a value, for the integers that the tags above have."""
_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MOST_DIRECTORIES = 4096
_MOST_VALUES = 256
_DESCRIPTIONS = (_REDUCED, _OLD_KIND, _WIDTH, _HEIGHT, _PHOTOMETRIC, _ORIENTATION, _SUB_DIRECTORIES)


@dataclass(frozen=True)
class Directory:
    """One picture of a TIFF file.

    Attributes:
        offset: Where the directory lies in the file, in bytes.
        kind: NewSubfileType, or what the older SubfileType says in its place; bit 0 is set for
            a reduced version of another picture, bit 2 for a mask.
        size: (height, width) in pixels.
        orientation: EXIF orientation, 1 if there is none.
        nested: Whether it is a SubIFD of another directory.
        photometric: PhotometricInterpretation; -1 if it is missing.
    """

    offset: int
    kind: int
    size: tuple[int, int]
    orientation: int
    nested: bool = False
    photometric: int = -1

    @property
    def is_whole_picture(self) -> bool:
        """Whether it is neither a reduced version of another picture nor a mask."""
        return not self.kind & 0b101

    @property
    def no_colors(self) -> str:
        """What the samples are if they are neither gray nor colours that GDAL converts to RGB, else ""."""
        return _NO_COLORS.get(self.photometric, "")


def read_directories(path: Path) -> tuple[Directory, ...]:
    """Read the directories of a TIFF or BigTIFF file of either byte order.

    Args:
        path: A file that begins with one of `SIGNATURES`.

    Returns:
        The chain of directories with their SubIFDs behind each of them; those before the first that is
        damaged.
    """
    found: list[Directory] = []
    # Of a damaged directory the decoder says what is wrong, if it needs more than what was found.
    with path.open("rb") as file, suppress(struct.error, OverflowError, OSError):
        found.extend(_walk(file))
    return tuple(found)


def count_pages(file: BinaryIO) -> int:
    """Count the pictures of a TIFF file that are neither masks nor versions of another picture.

    Args:
        file: The open file, at its start, which begins with one of `SIGNATURES`.

    Returns:
        The number of pages; of a damaged file those before the damage.
    """
    pages = 0
    with suppress(struct.error, OverflowError, OSError):
        for directory in _walk(file):
            pages += directory.is_whole_picture and not directory.nested
    return pages


def _walk(file: BinaryIO) -> Iterator[Directory]:
    order, big, start = read_header(file)
    seen: set[int] = set()
    queue = [(start, False)]
    while queue and len(seen) < _MOST_DIRECTORIES:
        offset, nested = queue.pop(0)
        if not offset or offset in seen:
            continue
        seen.add(offset)
        tags, following = read_tags(file, offset, order, big, _DESCRIPTIONS, _MOST_VALUES)
        size = (tags.get(_HEIGHT, [0])[0], tags.get(_WIDTH, [0])[0])
        orientation = tags.get(_ORIENTATION, [1])[0]
        kind = tags.get(_REDUCED, [int(tags.get(_OLD_KIND, [1])[0] == 2)])[0]
        photometric = tags.get(_PHOTOMETRIC, [-1])[0]
        yield Directory(offset, kind, size, orientation, nested, photometric)
        children = [(child, True) for child in tags.get(_SUB_DIRECTORIES, [])]
        queue = [*children, *([] if nested else [(following, False)]), *queue]


def read_header(file: BinaryIO) -> tuple[ByteOrder, bool, int]:
    """Read the header of a TIFF file, at which an open file stands.

    Returns:
        The byte order, "<" or ">", whether it is a BigTIFF file, and the offset of the first directory.
    """
    header = file.read(16)
    order: ByteOrder = "<" if header[:2] == b"II" else ">"
    big = header[2:4] in (b"+\0", b"\0+")
    (start,) = struct.unpack(f"{order}Q", header[8:16]) if big else struct.unpack(f"{order}I", header[4:8])
    return order, big, start


def read_tags(
    file: BinaryIO, offset: int, order: str, big: bool, wanted: Collection[int], most: int
) -> tuple[dict[int, list[int]], int]:
    """Read some integer tags of a directory.

    Args:
        file: The open file.
        offset: Where the directory lies in it, in bytes.
        order: The byte order, "<" or ">".
        big: Whether it is a BigTIFF file.
        wanted: The tags.
        most: Tags with more values are passed over.

    Returns:
        Tag -> values, and the offset of the next directory.

    Raises:
        struct.error: The file ends within the directory.
    """
    count_code, offset_code, entry_size = ("Q", "Q", 20) if big else ("H", "I", 12)
    file.seek(offset)
    count_bytes = struct.calcsize(f"{order}{count_code}")
    (count,) = struct.unpack(f"{order}{count_code}", file.read(count_bytes))
    entries = file.read(min(count, 65536) * entry_size)
    (following,) = struct.unpack(f"{order}{offset_code}", file.read(struct.calcsize(offset_code)))
    tags: dict[int, list[int]] = {}
    inline = 8 if big else 4
    for start in range(0, len(entries), entry_size):
        entry = entries[start : start + entry_size]
        tag, kind, number = struct.unpack(f"{order}HH{'Q' if big else 'I'}", entry[:-inline])
        if tag not in wanted or kind not in _SIZES or not 0 < number <= most:
            continue
        size, raw = number * _SIZES[kind], entry[-inline:]
        if size > inline:
            file.seek(struct.unpack(f"{order}{offset_code}", raw)[0])
            raw = file.read(size)
        tags[tag] = list(struct.unpack(f"{order}{number}{_CODES[kind]}", raw[:size]))
    return tags, following
