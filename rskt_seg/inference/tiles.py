"""Inference in tiles, for models whose logits have the size of their input (BiCoR-Seg)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from rskt_seg.errors import ConfigError
from rskt_seg.inference.blend import blend
from rskt_seg.inference.views import VIEWS, View, average_views
from rskt_seg.typing import Output
from rskt_seg.windows import Window, window_grid

TILE = 1024
"""Side (px) of a tile: that of the patches of the published evaluation."""


class ImageModel(Protocol):
    """A model that is called with images (B, 3, h, w) float32 in 0..255."""

    @property
    def device(self) -> torch.device: ...

    def __call__(self, images: Tensor, /, **options: object) -> Output: ...


def tile_logits(
    model: ImageModel,
    image: Tensor,
    *,
    tile: int = TILE,
    overlap: int = 0,
    views: Sequence[View] = VIEWS["none"],
    **options: object,
) -> Tensor:
    """Compute the logits of an image of any size.

    An image of at most `tile` px a side goes through the model as a whole, a larger one in tiles: see
    `tiled`. The published evaluation has tiles without overlap. Call it inside
    `rskt_seg.inference.predict.evaluating(model)`.

    Args:
        model: Returns logits (1, T, h, w) of the size of its input.
        image: (3, H, W) RGB in 0..255, of any dtype and device.
        tile: Side (px) of a tile.
        overlap: Overlap (px) of neighbouring tiles.
        views: Test-time augmentation of every tile.
        **options: Further keywords of the model's call.

    Returns:
        Logits (T, H, W) float32 on the CPU.

    Raises:
        ConfigError: Unless tile >= 1 and 0 <= overlap < tile, and if there are no views.
    """

    def predict(images: Tensor) -> Tensor:
        return average_views(lambda view: model(view, **options).logits, images.to(model.device), views)

    return tiled(predict, image, tile=tile, overlap=overlap)


def tile_grid(height: int, width: int, *, tile: int, overlap: int) -> tuple[Window, ...]:
    """Return the tiles of an image, all of one size, row by row.

    Args:
        height: Rows of the image, in cells.
        width: Columns of the image, in cells.
        tile: Side of a tile in cells; 0 stands for 1.
        overlap: Overlap of neighbouring tiles in cells, at most one less than a tile.

    Returns:
        The windows; an image of at most a tile has one of its own size.
    """
    side = max(1, tile)
    return window_grid(height, width, side, side - min(overlap, side - 1))


def tiled(
    predict: Callable[[Tensor], Tensor], image: Tensor, *, tile: int, overlap: int = 0, stride: int = 1
) -> Tensor:
    """Apply a function to the tiles of an image; where tiles overlap, the mean of their maps counts.

    Tiles begin every `tile - overlap` px; the last of each axis is shifted inside the image.

    Args:
        predict: Maps (1, 3, h, w) float32 to (1, K, ceil(h / stride), ceil(w / stride)).
        image: (3, H, W).
        tile: Side (px) of a tile.
        overlap: Overlap (px) of neighbouring tiles.
        stride: Pixels of a cell of the maps. Tile and overlap are rounded down to whole cells, so that the
            cells of all tiles lie on one grid.

    Returns:
        Maps (K, ceil(H / stride), ceil(W / stride)) float32 on the CPU.

    Raises:
        ConfigError: Unless tile >= 1 and 0 <= overlap < tile.
    """
    if not (tile >= 1 and 0 <= overlap < tile):
        raise ConfigError(f"tile >= 1 and 0 <= overlap < tile expected; found tile {tile}, overlap {overlap}")
    height, width = (-(-side // stride) for side in image.shape[1:])
    grid = tile_grid(height, width, tile=tile // stride, overlap=overlap // stride)

    def tiles() -> Iterator[tuple[Window, Tensor]]:
        hidden = None if len(grid) > 1 else True  # None shows the bar in a terminal only
        for window in tqdm(grid, desc="tiles", unit="tile", leave=False, disable=hidden):
            rows, columns = (slice(s.start * stride, s.stop * stride) for s in window.slices)
            yield window, predict(image[None, :, rows, columns].float())[0].float().cpu()

    return blend(tiles(), width)
