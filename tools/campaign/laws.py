"""What a reader must notice: damage that the checksums, lengths and rules of a file's own format tell.

Each law is judged here without the package, from the bytes alone.
"""

import io
import json
import struct
import zipfile
import zlib

_PNG = b"\x89PNG\r\n\x1a\n"


def must_be_noticed(name: str, content: bytes, whole: bytes) -> str:
    """Return why a damaged file cannot be taken for a valid one; "" if nothing in it tells.

    Args:
        name: The name of the file, whose extension says what it was before.
        content: The damaged file.
        whole: The file as it was.
    """
    if len(content) < len(whole) and whole.startswith(content) and not _is_text(name):
        tail = whole[len(content) :]
        # What stands behind the last byte that a format needs is nobody's.
        return "cut off" if tail.strip(b"\0") else ""
    judges = {".png": png_fault, ".zip": zip_fault, ".pth": zip_fault, ".pt": zip_fault, ".json": _json_fault,
              ".safetensors": _safetensors_fault, ".jpg": _jpeg_fault,
              ".tif": lambda content: _tiff_fault(content, whole)}  # fmt: skip
    suffix = name[name.rfind(".") :].lower()
    return judges[suffix](content) if suffix in judges else ""


def _is_text(name: str) -> bool:
    return name.endswith((".txt", ".yaml", ".csv", ".json", "last_checkpoint"))


def png_fault(content: bytes) -> str:
    """Return what is wrong with a PNG file: its chunks, their order and checksums, its compressed data."""
    if not content.startswith(_PNG):
        return ""  # another format, which may be valid
    position, kinds, data = len(_PNG), [], b""
    while position + 12 <= len(content):
        (length,), kind = (
            struct.unpack(">I", content[position : position + 4]),
            content[position + 4 : position + 8],
        )
        body = content[position + 8 : position + 8 + length]
        check = content[position + 8 + length : position + 12 + length]
        if len(check) < 4 or zlib.crc32(kind + body) != struct.unpack(">I", check)[0]:
            return f"checksum of chunk {kind!r}"
        kinds.append(kind)
        data += body if kind == b"IDAT" else b""
        position += 12 + length
        if kind == b"IEND":
            break
    if kinds[:1] != [b"IHDR"] or kinds[-1:] != [b"IEND"]:
        return "it does not begin with IHDR and end with IEND"
    try:
        zlib.decompress(data)
    except zlib.error:
        return "its compressed data are damaged"
    return ""


def zip_fault(content: bytes) -> str:
    """Return what is wrong with a zip archive: its directory, or the checksum of a member."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            wrong = archive.testzip()
            return f"checksum of {wrong}" if wrong else ""
    except Exception as error:  # the module raises whatever it likes on damaged archives
        return f"{type(error).__name__}"


def _json_fault(content: bytes) -> str:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return "no JSON"
    return ""


def _safetensors_fault(content: bytes) -> str:
    """Return what is wrong with a safetensors file: its header, or the length that this states."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        return "" if 8 + length + max(ends) == len(content) else "not of the length that it states"
    except Exception as error:
        return f"header: {type(error).__name__}"


def _jpeg_fault(content: bytes) -> str:
    """Return what is wrong with a JPEG file: it lacks its end. Its data have no checksum."""
    return "" if not content.startswith(b"\xff\xd8") or b"\xff\xd9" in content else "no end of image"


def _tiff_fault(content: bytes, whole: bytes) -> str:
    """Return what is wrong with a deflated TIFF file whose directory is whole: its data have checksums."""
    strips, start, end = _tiff_strips(whole)
    if len(content) != len(whole) or content[:8] != whole[:8] or content[start:end] != whole[start:end]:
        return ""  # another directory, which may be valid
    for offset, length in strips:
        try:
            zlib.decompress(content[offset : offset + length])
        except zlib.error:
            return "checksum of the compressed data"
    return ""


def _tiff_strips(content: bytes) -> tuple[list[tuple[int, int]], int, int]:
    """Return the deflated strips or tiles of a small-endian TIFF file, and where its first directory lies."""
    (start,) = struct.unpack("<I", content[4:8])
    (count,) = struct.unpack("<H", content[start : start + 2])
    values: dict[int, tuple[int, ...]] = {}
    for entry in range(count):
        tag, kind, number, value = struct.unpack("<HHII", content[start + 2 + 12 * entry :][:12])
        if kind in (3, 4):
            size, letter = (2, "H") if kind == 3 else (4, "I")
            place = value if number * size > 4 else start + 2 + 12 * entry + 8
            values[tag] = struct.unpack(f"<{number}{letter}", content[place : place + number * size])
    end = start + 2 + 12 * count + 4
    if values.get(259) not in ((8,), (32946,)):
        return [], start, end
    offsets, lengths = values.get(273) or values[324], values.get(279) or values[325]
    return list(zip(offsets, lengths, strict=True)), start, end
