"""The integrity of PNG files, which decoders do not check: checksums, the end, and a size they can hold."""

import struct
import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type -> samples of a pixel (PNG specification, table 11.1)."""
_MOST_EXPANSION = 1032
"""Bytes that one byte of a deflate stream can become at most (258 bytes for 2 bits)."""


def png_fault(content: bytes) -> str:
    """Return what is wrong with the bytes of a PNG file, "" if they are whole.

    Decoders skip the checksums of compressed pixels and stop reading when the picture is full, so that a
    flipped bit or a cut file becomes a picture with wrong or black pixels.

    Args:
        content: The whole file, beginning with `SIGNATURE`.

    Returns:
        One clause without a file name, such as "the checksum of its IDAT chunk at byte 41 is wrong".
    """
    compressed, needed, ended = 0, 0, False
    for start, kind, data, stored in _chunks(content):
        if stored is None:
            return f"it ends in the middle of its {kind!r} chunk at byte {start}"
        if zlib.crc32(kind.encode("latin-1") + data) != stored:
            return f"the checksum of its {kind} chunk at byte {start} is wrong"
        if kind == "IHDR" and len(data) == 13:
            needed = _raw_bytes(data)
        compressed += len(data) if kind == "IDAT" else 0
        ended = kind == "IEND"
    if not ended:
        return "it ends before its IEND chunk"
    if needed > compressed * _MOST_EXPANSION:
        return f"its header declares {needed} bytes of pixels, more than its {compressed} bytes can hold"
    return ""


def _chunks(content: bytes) -> Iterator[tuple[int, str, bytes, int | None]]:
    """Yield (start, kind, data, stored checksum) up to IEND; the checksum is None where the file ends."""
    start, kind = len(SIGNATURE), ""
    while start < len(content) and kind != "IEND":
        length, name = struct.unpack(">I4s", content[start : start + 8].ljust(8, b"\0"))
        kind, end = name.decode("latin-1"), start + 8 + length
        whole = end + 4 <= len(content)
        stored = struct.unpack(">I", content[end : end + 4])[0] if whole else None
        yield start, kind, content[start + 8 : end], stored
        start = end + 4


def _raw_bytes(header: bytes) -> int:
    """Return the bytes of the decompressed rows that the data of an IHDR chunk declares."""
    width, height, bits, color = struct.unpack(">IIBB", header[:10])
    return int(height) * ((int(width) * bits * _CHANNELS.get(color, 1) + 7) // 8)
