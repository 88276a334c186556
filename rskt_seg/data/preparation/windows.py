"""Windows of an official image: integer geometry alone."""

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


class Tiling(NamedTuple):
    """Windows of `size` px every `stride` px, 1 <= stride <= size.

    With `drop_empty`, windows of which every label pixel is ignored are not written.
    """

    size: int
    stride: int
    drop_empty: bool = False

    def windows(self, height: int, width: int) -> list[Window]:
        """All windows over height x width, row by row.

        The last window of a row or column is moved back inside. Along a side shorter than `size`
        there is one window, as long as the side: nothing is padded.
        """
        return [
            Window(top, min(top + self.size, height), left, min(left + self.size, width))
            for top in self._starts(height)
            for left in self._starts(width)
        ]

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.size, 0)
        return [*range(0, last, self.stride), last]


def tile_stem(stem: str, window: Window) -> str:
    """`P0002_0_256_206_462` for rows 0..256 and columns 206..462, as the published iSAID patches."""
    return "_".join([stem, *map(str, window)])


def untiled_stem(stem: str) -> str:
    """What `tile_stem` made a name of; the name itself where it has no window."""
    head, *numbers = stem.rsplit("_", 4)
    return head if len(numbers) == 4 and all(number.isdecimal() for number in numbers) else stem
