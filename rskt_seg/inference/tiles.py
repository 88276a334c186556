"""A large image in tiles, for models that answer at the size of what they see (BiCoR-Seg)."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn
from tqdm import tqdm

from rskt_seg.errors import ConfigError
from rskt_seg.inference.blend import blend
from rskt_seg.inference.views import VIEWS, View, average_views
from rskt_seg.windows import Window, window_grid

TILE = 1024
"""Side (px) of a tile: that of the patches of the published evaluation."""


def tile_logits(
    model: nn.Module,
    image: Tensor,
    *,
    tile: int = TILE,
    overlap: int = 0,
    views: Sequence[View] = VIEWS["none"],
    **options: object,
) -> Tensor:
    """Logits (T, H, W) float32 on the CPU of one image (3, H, W) RGB in 0..255, of any dtype and device.

    An image of at most `tile` px a side is seen as a whole. A larger one is seen in tiles every
    `tile - overlap` px, the last of each axis shifted inside; where tiles overlap, the mean of their logits
    counts. The published evaluation has tiles without overlap. `views` are those of every tile.

    The model is called as `model(images, **options)` with images (1, 3, h, w) and returns an object with
    `.logits` (1, T, h, w). Call it inside `rskt_seg.inference.predict.evaluating(model)`.

    Raises `ConfigError` unless tile >= 1 and 0 <= overlap < tile, and without views.
    """

    def predict(images: Tensor) -> Tensor:
        return average_views(lambda view: model(view, **options).logits, images.to(model.device), views)

    return tiled(predict, image, tile=tile, overlap=overlap)


def tiled(
    predict: Callable[[Tensor], Tensor], image: Tensor, *, tile: int, overlap: int = 0, stride: int = 1
) -> Tensor:
    """The mean of what `predict` says of the tiles of an image (3, H, W): float32 on the CPU.

    `predict` maps (1, 3, h, w) float32 to (1, K, ceil(h / stride), ceil(w / stride)); the result is (K,
    ceil(H / stride), ceil(W / stride)). Tiles and overlaps are rounded down to whole cells of `stride` px, so
    that the cells of all tiles lie on one grid. Raises as `tile_logits`.
    """
    if not (tile >= 1 and 0 <= overlap < tile):
        raise ConfigError(
            f"tiles need a side of at least 1 and 0 <= overlap < side; found side {tile}, overlap {overlap}"
        )
    height, width = (-(-side // stride) for side in image.shape[1:])
    side = max(1, tile // stride)
    grid = window_grid(height, width, side, side - min(overlap // stride, side - 1))

    def tiles() -> Iterator[tuple[Window, Tensor]]:
        hidden = None if len(grid) > 1 else True  # None shows the bar in a terminal alone
        for window in tqdm(grid, desc="tiles", unit="tile", leave=False, disable=hidden):
            rows, columns = (slice(s.start * stride, s.stop * stride) for s in (window.rows, window.columns))
            yield window, predict(image[None, :, rows, columns].float())[0].float().cpu()

    return blend(tiles(), width)
