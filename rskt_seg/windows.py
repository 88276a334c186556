"""Geometry of windows over an image, in integer pixels; nothing here reads an image."""

from typing import NamedTuple

from rskt_seg.errors import ConfigError

PUBLISHED_TILE = 384
"""Side (px) of a sliding window in the published evaluation."""
PUBLISHED_SQUARE = 640
"""Side (px) of the square to which the published sliding mode resizes every image."""
_OVERLAP = 0.333  # share of a window that the next one covers again


class Window(NamedTuple):
    """A rectangle of pixels: rows `top`..`top + height`, columns `left`..`left + width`, ends excluded.

    Attributes:
        top: First row.
        left: First column.
        height: Number of rows.
        width: Number of columns.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """First row below the window."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """First column to the right of the window."""
        return self.left + self.width

    def intersection(self, other: "Window") -> "Window":
        """Return the pixels that this window has in common with another, which it touches."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Window(top, left, min(self.bottom, other.bottom) - top, min(self.right, other.right) - left)

    def relative_to(self, origin: "Window") -> "Window":
        """Return the window as it lies in another one, from whose upper left corner it is counted."""
        return Window(self.top - origin.top, self.left - origin.left, self.height, self.width)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, the index of the window in an array (H, W, ...)."""
        return self.rows, self.columns

    @property
    def rows(self) -> slice:
        """The rows of the window as a slice."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """The columns of the window as a slice."""
        return slice(self.left, self.right)


def point_in(size: tuple[int, int], at: tuple[int, int] | None) -> tuple[int, int]:
    """Return the pixel `at`, or the centre of the image if `at` is None.

    Args:
        size: (H, W) of the image.
        at: (row, column).

    Returns:
        (row, column).

    Raises:
        ConfigError: The pixel lies outside the image.
    """
    height, width = size
    row, column = (height // 2, width // 2) if at is None else at
    if not (0 <= row < height and 0 <= column < width):
        raise ConfigError(
            f"the pixel must lie inside the image, rows 0..{height - 1} and columns 0..{width - 1}; found "
            f"row {row}, column {column}"
        )
    return row, column


def window_starts(length: int, size: int, stride: int) -> tuple[int, ...]:
    """Return the first pixels of windows of `size` that cover 0..length, one every `stride` pixels.

    The last window is shifted inwards instead of crossing the border. A length of at most `size` has the
    single start 0.

    Args:
        length: Height or width of the image, px.
        size: Side of a window, px.
        stride: Step between windows, px.

    Returns:
        The starts, ascending.

    Raises:
        ConfigError: Not 1 <= stride <= size, or a length below 1.
    """
    if not 1 <= stride <= size or length < 1:
        raise ConfigError(
            f"windows need a length of at least 1 and 1 <= stride <= size; "
            f"found length {length}, size {size}, stride {stride}"
        )
    if length <= size:
        return (0,)
    return (*range(0, length - size, stride), length - size)


def window_grid(height: int, width: int, size: int, stride: int) -> tuple[Window, ...]:
    """Return the windows of size x size that cover an image of height x width, row by row.

    In a dimension in which the image is smaller than `size`, windows have the size of the image.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        size: Side of a window, px.
        stride: Step between windows, px.

    Returns:
        The windows.

    Raises:
        ConfigError: As `window_starts`.
    """
    tops, lefts = window_starts(height, size, stride), window_starts(width, size, stride)
    return tuple(Window(top, left, min(size, height), min(size, width)) for top in tops for left in lefts)


def sliding_stride(tile: int) -> int:
    """Return the stride of windows of side `tile` with the published overlap of one third (384 -> 256)."""
    return max(1, int(tile * (1 - _OVERLAP)))


def sliding_sizes(working_side: int) -> tuple[int, int]:
    """Return the sides (tile, square) in px of the sliding mode for a model of input side `working_side`.

    Both full models use the published pair (ViT-L resizes its 384 px windows to 336 px); any other model
    keeps the proportion of the pair (96 -> 96 and 160).
    """
    if working_side in (336, PUBLISHED_TILE):
        return PUBLISHED_TILE, PUBLISHED_SQUARE
    return working_side, round(working_side * PUBLISHED_SQUARE / PUBLISHED_TILE)


def tile_stem(stem: str, window: Window) -> str:
    """Return the stem of a tile, named as the published iSAID patches.

    `P0002_0_256_206_462` holds rows 0..256 and columns 206..462 of `P0002`.

    Args:
        stem: The stem of the scene.
        window: The pixels of the scene that the tile holds.

    Returns:
        `<stem>_<top>_<bottom>_<left>_<right>`.
    """
    return f"{stem}_{window.top}_{window.bottom}_{window.left}_{window.right}"
