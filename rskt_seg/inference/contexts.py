"""The patches of FCtL and their contexts: where they lie in an image, and how a model is given them.

Source: section 3.1 of the paper and the published code. Images are (H, W, 3) uint8 RGB.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.inference.resize import image_tensor, resize_image
from rskt_seg.windows import Window

PATCH_OVERLAP = 50
"""Least overlap (px) of neighbouring patches in the published code, whatever their side."""


class ContextMaps(Protocol):
    """What the contexts did in a batch of patches; mappings are by name of a context.

    Attributes:
        attention: (B, h * w, h * w), from cells of the patch to cells of the context.
        weights: (B, C, h, w), share of each context in the fusion.
        enhancement: (B, C, h, w), the map E of equation 6; None without ALE.
    """

    @property
    def attention(self) -> Mapping[str, Tensor]: ...
    @property
    def weights(self) -> Mapping[str, Tensor]: ...
    @property
    def enhancement(self) -> Tensor | None: ...


class PatchOutput(Protocol):
    """Logits (B, T, h, w) of patches; `maps` if they were asked for."""

    @property
    def logits(self) -> Tensor: ...
    @property
    def maps(self) -> ContextMaps | None: ...


class PatchModel(Protocol):
    """A model of patches with contexts, or of whole images.

    A call's `contexts` are images or what `encode_context` returned, its `windows` (B, 4) say where the
    contexts lie (see `relative_window`).

    Attributes:
        device: Device of its parameters.
        working_side: Side (px) that everything is resized to.
        patch_side: Side (px) of a patch in the image.
        context_factors: Name of each context -> its side in patch sides, 0 for the whole image.
        sees_whole: Whether the model is meant for whole images.
    """

    @property
    def device(self) -> torch.device: ...
    @property
    def working_side(self) -> int: ...
    @property
    def patch_side(self) -> int: ...
    @property
    def context_factors(self) -> Mapping[str, float]: ...
    @property
    def sees_whole(self) -> bool: ...

    def encode_context(self, name: str, images: Tensor, /) -> object:
        """Encode images of a context once for many calls.

        Args:
            name: Name of the context.
            images: (B or 1, 3, H, W) RGB in 0..255.

        Returns:
            What a call takes in place of the context's images.
        """

    def __call__(
        self,
        patches: Tensor,
        /,
        contexts: Mapping[str, object] | None = None,
        windows: Mapping[str, Tensor] | None = None,
        return_maps: bool = False,
    ) -> PatchOutput: ...


def patch_starts(length: int, side: int, overlap: int = PATCH_OVERLAP) -> tuple[int, ...]:
    """Return the first pixels of the fewest patches that cover 0..length with at least `overlap`.

    They are spread evenly and rounded half to even, as published: 6 starts for 2448 px (120 px overlap), 11
    for 5000 (about 59 px). A length of at most `side` has the one start 0.

    Args:
        length: Pixels to cover.
        side: Side (px) of a patch.
        overlap: Least overlap (px) of neighbouring patches.

    Returns:
        First pixels in ascending order.

    Raises:
        ConfigError: Unless length >= 1 and 0 <= overlap < side.
    """
    if length < 1 or not 0 <= overlap < side:
        raise ConfigError(
            f"length >= 1 and 0 <= overlap < side expected for patches; found length {length}, overlap "
            f"{overlap}, side {side}"
        )
    if length <= side:
        return (0,)
    count = -(-length // side)
    while side - (length - side) / (count - 1) < overlap:
        count += 1
    step = (length - side) / (count - 1)
    return (*(round(i * step) for i in range(count - 1)), length - side)


def patch_counts(height: int, width: int, side: int, overlap: int = PATCH_OVERLAP) -> Tensor:
    """Count the patches of `patch_grid` over each pixel.

    Args:
        height: Height (px) of the image.
        width: Width (px) of the image.
        side: Side (px) of a patch.
        overlap: Least overlap (px) of neighbouring patches.

    Returns:
        (height, width) float32, at least 1.

    Raises:
        ConfigError: As `patch_starts`.
    """
    rows, columns = (torch.zeros(max(length, side)) for length in (height, width))
    for counts in (rows, columns):
        for start in patch_starts(len(counts), side, overlap):
            counts[start : start + side] += 1
    return rows[:height, None] * columns[:width]


def patch_grid(height: int, width: int, side: int, overlap: int = PATCH_OVERLAP) -> tuple[Window, ...]:
    """Return square patches that cover an image of height x width, row by row; see `patch_starts`.

    If the image is smaller than a patch, the patch reaches beyond it.

    Args:
        height: Height (px) of the image.
        width: Width (px) of the image.
        side: Side (px) of a patch.
        overlap: Least overlap (px) of neighbouring patches.

    Returns:
        Windows in row-major order.

    Raises:
        ConfigError: As `patch_starts`.
    """
    tops, lefts = (patch_starts(length, side, overlap) for length in (height, width))
    return tuple(Window(top, left, side, side) for top in tops for left in lefts)


def context_window(patch: Window, factor: float) -> Window:
    """Return the square of `factor` patch sides around a patch; it may leave the image.

    Sides and margins are rounded down, as published.

    Args:
        patch: Window (px) of the patch, a square.
        factor: Side of the context in patch sides, above 0.

    Returns:
        Window (px) of the context.
    """
    margin, side = int(patch.height / 2 * (factor - 1)), int(patch.height * factor)
    return Window(patch.top - margin, patch.left - margin, side, side)


def relative_window(window: Window, patch: Window) -> tuple[float, float, float, float]:
    """Return the position of a window in patch sides.

    Args:
        window: A window (px) of the image.
        patch: Window (px) of the patch, a square.

    Returns:
        (top, left, height, width), measured from the patch's upper left corner.
    """
    side = patch.height
    top, left = (window.top - patch.top) / side, (window.left - patch.left) / side
    return top, left, window.height / side, window.width / side


def crop_window(image: np.ndarray, window: Window) -> np.ndarray:
    """Return the pixels of a window, black outside of the image.

    Args:
        image: (H, W, 3) or (H, W).
        window: Window (px), which may leave the image.

    Returns:
        (height, width, 3) or (height, width) of the window, a copy of the dtype of the image.
    """
    pixels = np.zeros((window.height, window.width, *image.shape[2:]), image.dtype)
    top, left = max(window.top, 0), max(window.left, 0)
    inside = image[top : max(window.bottom, 0), left : max(window.right, 0)]
    rows, columns = top - window.top, left - window.left
    pixels[rows : rows + inside.shape[0], columns : columns + inside.shape[1]] = inside
    return pixels


def pad_image(image: np.ndarray, side: int) -> np.ndarray:
    """Pad an image with black at the bottom and right.

    Args:
        image: (H, W, 3).
        side: Least height and width (px) of the result.

    Returns:
        The padded image; `image` itself if it is large enough.
    """
    height, width = (max(length, side) for length in image.shape[:2])
    return image if image.shape[:2] == (height, width) else crop_window(image, Window(0, 0, height, width))


def resize_square(image: np.ndarray, side: int) -> np.ndarray:
    """Resize an image to a square with Pillow's bilinear filter, antialiased where it shrinks.

    Args:
        image: (H, W, 3) uint8.
        side: Side (px) of the result.

    Returns:
        (side, side, 3) uint8.
    """
    return resize_image(image, (side, side))


def encode_whole(model: PatchModel, image: np.ndarray) -> dict[str, object]:
    """Encode an image once for all contexts that are the whole image.

    Args:
        model: The model.
        image: (H, W, 3) uint8 RGB, of any size; resized if it is not a square of the model's working side.

    Returns:
        Name of each such context -> what a call takes.
    """
    names = [name for name, factor in model.context_factors.items() if factor == 0]
    if not names:
        return {}
    images = image_tensor(resize_square(image, model.working_side), model.device)[None]
    return {name: model.encode_context(name, images) for name in names}


class ContextReader:
    """Feeds the patches of one image to a model, each with its contexts and where they lie.

    A context that is the whole image is encoded once.

    Args:
        model: The model.
        image: At least a patch high and wide (see `pad_image`); of a scene the pixels that are needed.
        encoded: What `encode_whole` returned for the whole image; None: it is encoded now.
        extent: Where the whole image lies in `image`; None: it is all of it.
    """

    def __init__(
        self,
        model: PatchModel,
        image: np.ndarray,
        encoded: Mapping[str, object] | None = None,
        extent: Window | None = None,
    ) -> None:
        self.model, self.image = model, image
        self.extent = Window(0, 0, *image.shape[:2]) if extent is None else extent
        self._encoded = encode_whole(model, image) if encoded is None else encoded

    def window(self, name: str, patch: Window) -> Window:
        """Return the window of a context of a patch.

        Args:
            name: Name of the context.
            patch: Window (px) of the patch.

        Returns:
            Window (px) in the image; for a context of the whole image, all of it.
        """
        factor = self.model.context_factors[name]
        return context_window(patch, factor) if factor else self.extent

    def pixels(self, window: Window) -> np.ndarray:
        """Return a window as the model sees it, black outside of the image: (side, side, 3) uint8."""
        return resize_square(crop_window(self.image, window), self.model.working_side)

    def predict(self, patches: Sequence[Window], *, return_maps: bool = False) -> PatchOutput:
        """Call the model with several patches and their contexts.

        Args:
            patches: Windows (px) of B patches.
            return_maps: Whether the output has `maps`.

        Returns:
            The output of the model for the B patches.
        """
        contexts, windows = {}, {}
        for name in self.model.context_factors:
            areas = [self.window(name, patch) for patch in patches]
            if name not in self._encoded:
                contexts[name] = self._batch(areas)
            relative = [relative_window(area, patch) for area, patch in zip(areas, patches, strict=True)]
            windows[name] = torch.tensor(relative)
        return self.model(
            self._batch(patches),
            contexts={**contexts, **self._encoded},
            windows=windows,
            return_maps=return_maps,
        )

    def _batch(self, windows: Sequence[Window]) -> Tensor:
        return torch.stack([image_tensor(self.pixels(window), self.model.device) for window in windows])
