"""The checksums of deflated data in TIFF files, which libtiff passes over: it stops when a strip is full."""

import struct
import zlib
from contextlib import suppress
from typing import BinaryIO, NamedTuple

import numpy as np

from rskt_seg.geo.tiff import ByteOrder, read_header, read_tags

_HEIGHT, _WIDTH, _BITS, _COMPRESSION, _SAMPLES, _ROWS = 257, 256, 258, 259, 277, 278
_PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT = 284, 317, 322, 323
_STRIPS, _TILES = (273, 279), (324, 325)
"""Tags of the offsets and lengths of strips or tiles."""
_TAGS = {
    _HEIGHT, _WIDTH, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT,
    *_STRIPS, *_TILES,
}  # fmt: skip
_DEFLATE = (8, 32946)
_DIFFERENCES = 2
"""The predictor that stores differences of neighbours in a row."""
_MOST_PIECES = 1 << 24
_CHUNK = 1 << 20
"""Bytes that are decompressed at a time."""


class _Layout(NamedTuple):
    """How the strips or tiles of a picture hold its pixels."""

    order: ByteOrder
    rows: int
    columns: int
    predictor: int


def deflate_fault(file: BinaryIO, offset: int | None = None, pixels: np.ndarray | None = None) -> str:
    """Return what is wrong with the deflated data of a picture, "" if they are whole or not deflated.

    Args:
        file: An open TIFF file.
        offset: Where the directory of the picture lies in it, in bytes; None for that of the first.
        pixels: (H, W, bands), all samples as they were decoded from the file. A strip or tile whose checksum
            is that of these is whole; others are decompressed once more, which takes as long as decoding.

    Returns:
        One clause without a file name, such as "the data of its tile 3 are damaged (incorrect data
        check)".
    """
    with suppress(struct.error, OverflowError, OSError):
        file.seek(0)
        order, big, first = read_header(file)
        tags, _ = read_tags(file, first if offset is None else offset, order, big, _TAGS, _MOST_PIECES)
        if tags.get(_COMPRESSION, [0])[0] not in _DEFLATE:
            return ""
        layout = None if pixels is None else _layout_of(tags, order, pixels)
        kind, (starts, lengths) = ("tile", _TILES) if _TILES[0] in tags else ("strip", _STRIPS)
        for number, (start, length) in enumerate(
            zip(tags.get(starts, []), tags.get(lengths, []), strict=False)
        ):
            if pixels is not None and layout is not None:
                file.seek(start + max(0, length - 4))
                if _sum_of(pixels, layout, number) == file.read(4):
                    continue
            file.seek(start)
            if length and (fault := _stream_fault(file, length)):
                return f"the data of its {kind} {number} are damaged ({fault})"
    return ""


def _layout_of(tags: dict[int, list[int]], order: ByteOrder, pixels: np.ndarray) -> _Layout | None:
    """Return the layout of a picture; None if its data are not the given pixels in rows."""
    height, width, bands = pixels.shape
    stored = [tags.get(_HEIGHT), tags.get(_WIDTH), tags.get(_SAMPLES, [1]), tags.get(_PLANAR, [1])]
    predictor = tags.get(_PREDICTOR, [1])[0]
    if (
        stored != [[height], [width], [bands], [1]]
        or {*tags.get(_BITS, [1])} != {8 * pixels.dtype.itemsize}
        or predictor not in (1, _DIFFERENCES)
    ):
        return None
    is_tiled = _TILES[0] in tags
    rows = tags.get(_TILE_HEIGHT, [0]) if is_tiled else tags.get(_ROWS, [height])
    columns = tags.get(_TILE_WIDTH, [0]) if is_tiled else [width]
    return _Layout(order, rows[0], columns[0], predictor) if rows[0] and columns[0] else None


def _sum_of(pixels: np.ndarray, layout: _Layout, number: int) -> bytes:
    """Return the checksum of a strip or tile as it is stored, unless it is a tile that ends outside."""
    across = -(-pixels.shape[1] // layout.columns)
    top, left = number // across * layout.rows, number % across * layout.columns
    part = pixels[top : top + layout.rows, left : left + layout.columns]
    values = np.array(part, order="C").view(f"u{pixels.dtype.itemsize}")
    if layout.predictor == _DIFFERENCES:
        values[:, 1:] -= values[:, :-1].copy()
    stored = values.astype(values.dtype.newbyteorder(layout.order), copy=False)
    return zlib.adler32(stored.data).to_bytes(4, "big")


def _stream_fault(file: BinaryIO, length: int) -> str:
    """Return what is wrong with a zlib stream of `length` bytes, "" if it ends and fits its checksum."""
    stream = zlib.decompressobj()
    try:
        while length > 0 and not stream.eof and (piece := file.read(min(length, _CHUNK))):
            length -= len(piece)
            while piece and not stream.eof:
                stream.decompress(piece, _CHUNK)
                piece = stream.unconsumed_tail
    except zlib.error as error:
        return str(error).rpartition(": ")[2]
    return "" if stream.eof else "incomplete stream"
