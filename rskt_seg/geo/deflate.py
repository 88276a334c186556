"""The checksums of deflated data in TIFF files, which libtiff passes over: it stops when a strip is full."""

import struct
import zlib
from contextlib import suppress
from typing import BinaryIO, NamedTuple

import numpy as np

from rskt_seg.geo.tiff import ByteOrder, read_header, read_tags
from rskt_seg.windows import Window

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


class _Pieces(NamedTuple):
    """The strips or tiles of a picture whose data are deflated.

    Attributes:
        kind: "strip" or "tile".
        starts: Where each lies in the file, in bytes.
        lengths: Bytes of each.
        tags: All tags that say how they hold the pixels.
        order: Byte order of the samples.
    """

    kind: str
    starts: list[int]
    lengths: list[int]
    tags: dict[int, list[int]]
    order: ByteOrder


class _Layout(NamedTuple):
    """How the strips or tiles of a picture hold its pixels."""

    order: ByteOrder
    rows: int
    columns: int
    predictor: int


def deflate_fault(file: BinaryIO, offset: int | None = None) -> str:
    """Return what is wrong with the deflated data of a picture, "" if they are whole or not deflated.

    Everything is decompressed, which takes as long as decoding.

    Args:
        file: An open TIFF file.
        offset: Where the directory of the picture lies in it, in bytes; None for that of the first.

    Returns:
        One clause without a file name, such as "the data of its tile 3 are damaged (incorrect data
        check)".
    """
    pieces = _find_pieces(file, offset)
    return next(filter(None, (_piece_fault(file, pieces, i) for i in range(len(pieces.starts)))), "")


def window_fault(file: BinaryIO, offset: int | None, window: Window) -> str:
    """Return what is wrong with the deflated data of a window of a picture, as `deflate_fault`.

    Args:
        file: An open TIFF file.
        offset: Where the directory of the picture lies in it, in bytes; None for that of the first.
        window: The window (px), inside the picture.

    Returns:
        One clause, or "".
    """
    pieces = _find_pieces(file, offset)
    if not pieces.starts:
        return ""
    tags = pieces.tags
    height, width = tags.get(_HEIGHT, [0])[0], tags.get(_WIDTH, [0])[0]
    is_tiled = _TILES[0] in tags
    rows = (tags.get(_TILE_HEIGHT, [0]) if is_tiled else tags.get(_ROWS, [height]))[0]
    columns = tags.get(_TILE_WIDTH, [0])[0] if is_tiled else width
    if not (height and width and rows and columns):
        return deflate_fault(file, offset)
    rows = min(rows, height)
    down, across = -(-height // rows), -(-width // columns)
    numbers = [
        row * across + column
        for row in range(window.top // rows, (window.bottom - 1) // rows + 1)
        for column in range(window.left // columns, (window.right - 1) // columns + 1)
    ]
    planes = -(-len(pieces.starts) // (down * across))  # of bands that are stored one after the other
    every = (plane * down * across + number for plane in range(planes) for number in numbers)
    inside = (number for number in every if number < len(pieces.starts))
    return next(filter(None, (_piece_fault(file, pieces, number) for number in inside)), "")


class RowChecksums:
    """Comparison of the checksums of a picture's deflated data with its samples, some rows at a time.

    A strip or tile whose checksum is that of its samples is whole; others are decompressed once more.

    Args:
        file: The open TIFF file.
        offset: Where the directory of the picture lies in it, in bytes; None for that of the first.
        shape: (height, width, bands) of the picture.
        dtype: Type of its samples.
    """

    def __init__(
        self, file: BinaryIO, offset: int | None, shape: tuple[int, int, int], dtype: np.dtype
    ) -> None:
        self._pieces = _find_pieces(file, offset)
        self._height = shape[0]
        self._layout = _layout_of(self._pieces, shape, dtype)
        columns = self._layout.columns if self._layout else shape[1]
        self._sums = [1] * -(-shape[1] // columns)
        self._checked = 0

    def fault(self, file: BinaryIO, first: int, pixels: np.ndarray | None) -> str:
        """Return what is wrong with the data of some rows, as `deflate_fault`.

        Args:
            file: The open TIFF file.
            first: The first of the rows. They follow those of the last call; earlier ones are not checked.
            pixels: (rows, W, bands), all samples as they were decoded from the file, or None if they are not
                known; then all rows are checked at once.

        Returns:
            One clause, or "".
        """
        if first != self._checked:
            return ""
        if self._layout is None or pixels is None:
            self._checked = self._height
            return next(
                filter(None, (_piece_fault(file, self._pieces, i) for i in range(len(self._pieces.starts)))),
                "",
            )
        while self._checked < first + len(pixels):
            row, rows = self._checked // self._layout.rows, self._layout.rows
            stop = min((row + 1) * rows, first + len(pixels))
            part = pixels[self._checked - first : stop - first]
            self._checked = stop
            is_complete = stop in ((row + 1) * rows, self._height)
            if fault := self._part_fault(file, self._layout, row, part, is_complete):
                return fault
        return ""

    def _part_fault(
        self, file: BinaryIO, layout: _Layout, row: int, part: np.ndarray, is_complete: bool
    ) -> str:
        """Add samples of a row of strips or tiles to their sums; compare them once they are complete."""
        for column, sum_before in enumerate(self._sums):
            left = column * layout.columns
            values = np.array(part[:, left : left + layout.columns], order="C").view(
                f"u{part.dtype.itemsize}"
            )
            if layout.predictor == _DIFFERENCES:
                values[:, 1:] -= values[:, :-1].copy()
            stored = values.astype(values.dtype.newbyteorder(layout.order), copy=False)
            self._sums[column] = zlib.adler32(stored.data, sum_before)
            number = row * len(self._sums) + column
            if not is_complete or number >= len(self._pieces.starts):
                continue
            found, self._sums[column] = self._sums[column], 1
            # Of a tile that ends outside of the picture, the samples there are not known.
            file.seek(self._pieces.starts[number] + max(0, self._pieces.lengths[number] - 4))
            if found.to_bytes(4, "big") != file.read(4) and (
                fault := _piece_fault(file, self._pieces, number)
            ):
                return fault
        return ""


def _find_pieces(file: BinaryIO, offset: int | None) -> _Pieces:
    """Return the strips or tiles of a picture; none if they are not deflated, or the directory is damaged."""
    with suppress(struct.error, OverflowError, OSError):
        file.seek(0)
        order, big, first = read_header(file)
        tags, _ = read_tags(file, first if offset is None else offset, order, big, _TAGS, _MOST_PIECES)
        if tags.get(_COMPRESSION, [0])[0] in _DEFLATE:
            kind, (starts, lengths) = ("tile", _TILES) if _TILES[0] in tags else ("strip", _STRIPS)
            number = min(len(tags.get(starts, [])), len(tags.get(lengths, [])))
            return _Pieces(kind, tags.get(starts, [])[:number], tags.get(lengths, [])[:number], tags, order)
    return _Pieces("strip", [], [], {}, "<")


def _piece_fault(file: BinaryIO, pieces: _Pieces, number: int) -> str:
    """Decompress a strip or tile; return what is wrong with it, or ""."""
    length = pieces.lengths[number]
    with suppress(OverflowError, OSError):
        file.seek(pieces.starts[number])
        if length and (fault := _stream_fault(file, length)):
            return f"the data of its {pieces.kind} {number} are damaged ({fault})"
    return ""


def _layout_of(pieces: _Pieces, shape: tuple[int, int, int], dtype: np.dtype) -> _Layout | None:
    """Return the layout of a picture; None if its data are not the pixels in rows."""
    height, width, bands = shape
    tags = pieces.tags
    stored = [tags.get(_HEIGHT), tags.get(_WIDTH), tags.get(_SAMPLES, [1]), tags.get(_PLANAR, [1])]
    predictor = tags.get(_PREDICTOR, [1])[0]
    if (
        stored != [[height], [width], [bands], [1]]
        or {*tags.get(_BITS, [1])} != {8 * dtype.itemsize}
        or predictor not in (1, _DIFFERENCES)
    ):
        return None
    is_tiled = _TILES[0] in tags
    rows = tags.get(_TILE_HEIGHT, [0]) if is_tiled else tags.get(_ROWS, [height])
    columns = tags.get(_TILE_WIDTH, [0]) if is_tiled else [width]
    return _Layout(pieces.order, rows[0], columns[0], predictor) if rows[0] and columns[0] else None


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
