"""The scene while it is drawn: pixels, the concept of each pixel, and which pixels objects occupy."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from rskt_seg.synthetic.concepts import CONCEPTS, INDEX
from rskt_seg.synthetic.land import texture
from rskt_seg.synthetic.shapes import Drawing, Tile, rasterise, transform

_SHADOW = 0.5
_MIN_VISIBLE = 0.45
_MIN_HOSTED = 0.94
_KERNEL = tuple((dy, dx, 1 / 4 / 2 ** (abs(dy) + abs(dx))) for dy in (-1, 0, 1) for dx in (-1, 0, 1))


@dataclass
class Canvas:
    """A scene while it is drawn.

    Attributes:
        rng: Source of all randomness.
        shape: (H, W) in px.
        scale: Pixels per pixel of the drawings.
        sun: Unit direction (x, y) in which shadows fall.
        pixels: (H, W, 3) float32 RGB in 0..255.
        concepts: (H, W) uint8, positions in `CONCEPTS`.
        taken: (H, W) bool: objects and a margin of 1 px around them.
    """

    rng: np.random.Generator
    shape: tuple[int, int]
    scale: float
    sun: tuple[float, float]
    pixels: np.ndarray = field(init=False)
    concepts: np.ndarray = field(init=False)
    taken: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.pixels = np.zeros((*self.shape, 3), np.float32)
        self.concepts = np.zeros(self.shape, np.uint8)
        self.taken = np.zeros(self.shape, bool)

    def paint_land(self, name: str, mask: np.ndarray) -> None:
        """Cover some pixels with one instance of a land cover.

        Args:
            name: The land cover.
            mask: (H, W) bool: where it is painted.
        """
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if rows.size == 0:
            return
        window = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        inside = mask[window]
        concept = CONCEPTS[name]
        mix, light = texture(name, self.rng, inside.shape, self.scale, self.sun)
        tone = 1 + self.rng.uniform(-0.2, 0.2)
        base, accent = (
            np.array(c, np.float32) * tone
            for c in (self._color(concept.colors), self._color(concept.accents))
        )
        covered = (base + mix[..., None] * (accent - base)) * (1 + light[..., None])
        self.pixels[window][inside] = covered[inside]
        self.concepts[window][inside] = INDEX[name]

    def _color(self, colors: tuple[tuple[int, int, int], ...]) -> tuple[int, int, int]:
        return colors[self.rng.integers(len(colors))]

    def host(self, names: tuple[str, ...]) -> np.ndarray:
        """Return (H, W) bool: free pixels of these land covers."""
        table = np.zeros(256, bool)
        table[[INDEX[name] for name in names]] = True
        return table[self.concepts] & ~self.taken

    def place(
        self,
        name: str,
        drawing: Drawing,
        host: np.ndarray,
        center: tuple[float, float],
        angle: float,
        hosted: float = _MIN_HOSTED,
    ) -> bool:
        """Draw an object with its shadow if it fits.

        It fits if at least the share `hosted` of it lies on `host`, none of it on another object, and enough
        of it is in view.

        Args:
            name: Its concept.
            drawing: Its drawing.
            host: (H, W) bool: the land that it may lie on.
            center: (x, y) in px.
            angle: Its heading, radians.
            hosted: The share (0..1) of it that must lie on `host`.

        Returns:
            Whether it was drawn.
        """
        corners = np.round(transform(drawing[0].points, angle, self.scale, center)).astype(int)
        if hosted >= _MIN_HOSTED and not self._fits(corners, host):
            return False
        height = CONCEPTS[name].height * self.scale
        tile = rasterise(drawing, angle, self.scale, center, margin=1 + int(np.ceil(height)))
        window, part = self._overlap(tile)
        solid = tile.alpha[part] >= 0.5
        covered = solid.sum()
        if covered < _MIN_VISIBLE * (tile.alpha >= 0.5).sum() or covered == 0:
            return False
        if self.taken[window][solid].any() or host[window][solid].mean() < hosted:
            return False
        if height > 0:
            self._cast(_shadow(tile.alpha, height, self.sun)[part], window)
        self._blend(tile, window, part)
        self.concepts[window][solid] = INDEX[name]
        self.taken[window] |= ndimage.binary_dilation(solid)
        return True

    def decorate(self, drawing: Drawing, host: np.ndarray, center: tuple[float, float], angle: float) -> None:
        """Paint marks on the ground without changing any concept.

        Args:
            drawing: The marks.
            host: (H, W) bool: the pixels that may be painted.
            center: (x, y) in px.
            angle: Radians.
        """
        tile = rasterise(drawing, angle, self.scale, center)
        window, part = self._overlap(tile)
        self._blend(tile, window, part, host[window])

    def footprint(self, drawing: Drawing, center: tuple[float, float], angle: float) -> np.ndarray:
        """Find the pixels that a drawing would cover.

        Args:
            drawing: The drawing.
            center: (x, y) in px.
            angle: Radians.

        Returns:
            (H, W) bool.
        """
        tile = rasterise(drawing, angle, self.scale, center)
        window, part = self._overlap(tile)
        covered = np.zeros(self.shape, bool)
        covered[window] = tile.alpha[part] >= 0.5
        return covered

    def holds(self, host: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Find the points that lie in the scene and on a host.

        Args:
            host: (H, W) bool.
            points: (N, 2) of (x, y) in px.

        Returns:
            (N,) bool.
        """
        x, y = np.round(points).astype(int).T
        inside = (x >= 0) & (x < self.shape[1]) & (y >= 0) & (y < self.shape[0])
        return inside & host[np.where(inside, y, 0), np.where(inside, x, 0)]

    def soften_borders(self) -> None:
        """Blur the pixels on both sides of a border between land covers, so that borders show no steps."""
        c = self.concepts
        border = np.zeros(self.shape, bool)
        for a, b in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
            step = c[a] != c[b]
            border[a] |= step
            border[b] |= step
        y, x = np.nonzero(border)
        mean = np.zeros((y.size, 3), np.float32)
        for dy, dx, weight in _KERNEL:
            rows, cols = np.clip(y + dy, 0, self.shape[0] - 1), np.clip(x + dx, 0, self.shape[1] - 1)
            mean += weight * self.pixels[rows, cols]
        self.pixels[y, x] = mean

    def _fits(self, corners: np.ndarray, host: np.ndarray) -> bool:
        height, width = self.shape
        inside = ((corners >= 0) & (corners < (width, height))).all(axis=1)
        return bool(inside.any()) and bool(self.holds(host, corners[inside]).mean() > 0.8)

    def _overlap(self, tile: Tile) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        window, part = [], []
        for start, size, limit in zip((tile.top, tile.left), tile.alpha.shape, self.shape, strict=True):
            low, high = min(max(start, 0), limit), max(min(start + size, limit), 0)
            high = max(low, high)
            window.append(slice(low, high))
            part.append(slice(low - start, high - start))
        return (window[0], window[1]), (part[0], part[1])

    def _cast(self, shadow: np.ndarray, window: tuple[slice, slice]) -> None:
        self.pixels[window] *= 1 - _SHADOW * shadow[..., None]

    def _blend(
        self,
        tile: Tile,
        window: tuple[slice, slice],
        part: tuple[slice, slice],
        where: np.ndarray | None = None,
    ) -> None:
        color, alpha = tile.color[part], tile.alpha[part][..., None]
        if where is not None:
            color, alpha = color * where[..., None], alpha * where[..., None]
        self.pixels[window] = self.pixels[window] * (1 - alpha) + color


def _shadow(alpha: np.ndarray, height: float, sun: tuple[float, float]) -> np.ndarray:
    """Sweep the footprint `alpha` along the sun direction over `height` px: (h, w) in 0..1."""
    swept = alpha.copy()
    for step in range(1, int(np.ceil(height)) + 1):
        dx, dy = (round(v * min(step, height)) for v in sun)
        np.maximum(swept, np.roll(alpha, (dy, dx), (0, 1)), out=swept)
    return swept
