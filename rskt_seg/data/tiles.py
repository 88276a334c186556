"""Windows that cover an image, and the names of what is cut out there: integer geometry alone."""

from typing import NamedTuple


class Window(NamedTuple):
    """A rectangle of pixels: rows `top` to `bottom`, columns `left` to `right` (ends excluded)."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


def covering_windows(height: int, width: int, size: int, stride: int) -> list[Window]:
    """Windows of `size` px every `stride` px (1 <= stride <= size) over height x width, row by row.

    The last window of a row or column is moved back inside. Along a side shorter than `size`
    there is one window, as long as the side: nothing is padded.
    """
    return [
        Window(top, min(top + size, height), left, min(left + size, width))
        for top in _starts(height, size, stride)
        for left in _starts(width, size, stride)
    ]


def _starts(length: int, size: int, stride: int) -> list[int]:
    last = max(length - size, 0)
    return [*range(0, last, stride), last]


def tile_stem(stem: str, window: Window) -> str:
    """`P0002_0_256_206_462` for rows 0..256 and columns 206..462, as the published iSAID patches."""
    return "_".join([stem, *map(str, window)])
