"""Zip archives of unknown origin: counted before they are listed, held to safe names, read in pieces."""

import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rskt_seg.errors import DatasetError

READ_ERRORS = (
    OSError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What `zipfile` raises for a damaged archive."""
_CHUNK = 1 << 22
_SMALL_CHUNK = 1 << 12
_END, _END64, _LOCATOR64, _ENTRY = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_LONGEST_END = 22 + 65535
"""Bytes of the last record of a zip archive with the longest comment."""


def read_chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the content of a file in an archive piece by piece; at most as much as the archive states.

    Args:
        archive: The open archive.
        info: The file.

    Yields:
        Some of its bytes, decompressed.
    """
    # Of other methods than these, zipfile decompresses all that it has read, a thousandfold or more.
    bounded = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    with archive.open(info) as source:
        while chunk := source.read(_CHUNK if bounded else _SMALL_CHUNK):
            yield chunk


def refuse_unsafe(info: zipfile.ZipInfo, path: str) -> None:
    """Raise for a link or device, and for a member that has no name, leads outside, or is encrypted.

    Args:
        info: The member.
        path: Its archive, for messages.

    Raises:
        DatasetError: The member is one of these.
    """
    name = info.filename
    if not name:
        raise DatasetError(f"{path} has a member without a name, it is damaged; download it again")
    outside = name.startswith(("/", "\\")) or ":" in name.split("/")[0] or ".." in re.split(r"[/\\]", name)
    kind = stat.S_IFMT(info.external_attr >> 16)
    special = kind not in (0, stat.S_IFREG, stat.S_IFDIR)
    if outside or special:
        what = "a link" if kind == stat.S_IFLNK else "a device or pipe" if special else ""
        raise DatasetError(
            f"{path} contains {what or 'a path that leads outside'}, {name!r}, as no official archive does; "
            "nothing was extracted. Download it again from its owner"
        )
    if info.flag_bits & 1:
        raise DatasetError(f"{path}: {name} is encrypted; unpack the archive with its password first")


def count_entries(path: Path, at_most: float) -> int:
    """Count the entries in the directory of a zip archive without keeping them.

    The number that an archive states can be forged, and each entry takes `zipfile` about 600 bytes.

    Args:
        path: The archive.
        at_most: Where to stop.

    Returns:
        The number, or the first one above `at_most`; 0 if no directory is found, which `zipfile` refuses.
    """
    count = 0
    with path.open("rb") as file:
        start, end = _directory(file)
        file.seek(start)
        while count <= at_most and file.tell() + 46 <= end:
            entry = file.read(46)
            if not entry.startswith(_ENTRY):
                break
            count += 1
            file.seek(sum(struct.unpack("<3H", entry[28:34])), 1)
    return count


def _directory(file: BinaryIO) -> tuple[int, int]:
    """Return the first byte of the directory of a zip archive and the byte after it; (0, 0) without one."""
    size = file.seek(0, 2)
    file.seek(max(0, size - _LONGEST_END))
    tail = file.read()
    # As zipfile looks for it: at the very end, else wherever it comes last, before a comment.
    plain = tail[-22:].startswith(_END) and tail.endswith(b"\0\0")
    at = len(tail) - 22 if plain else tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        return 0, 0
    end = size - len(tail) + at
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    if end >= 76:
        file.seek(end - 76)
        record = file.read(76)
        if record.startswith(_END64) and record[56:].startswith(_LOCATOR64):
            end, length = end - 76, int.from_bytes(record[40:48], "little")
    return max(0, end - length), end
