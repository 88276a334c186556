"""Class activation maps (CAMs) of one tile: the stages of the weakly supervised method."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rskt_seg.errors import VocabularyError
from rskt_seg.finite import check_scores
from rskt_seg.vocabulary import check_names
from rskt_seg.windows import Window, point_in

_IGNORE_LABEL = 255


@dataclass(frozen=True)
class TileCams:
    """The CAMs of a tile of H x W px, of a model with K classes, T of them foreground, and stride s.

    Attributes:
        window: The tile in the image.
        pixels: (H, W, 3) uint8 RGB.
        valid: (H, W) bool, False for nodata. The label maps are 255 there.
        class_names: K names; ids of the label maps are their positions.
        foreground: The T names that have a map.
        present: Those in the image-level label, which the maps were made for, in the order of `foreground`.
        chosen_by: Where the image-level label comes from: "request", "truth" or "prediction".
        stride: Pixels of a cell. The last cells of the maps may hang over the tile.
        initial: (1 + T, h, w) float32, h = ceil(H / s): the CAMs from texts. First the background (-1
            throughout if no class stands for it), then the foreground in 0..1; absent classes are 0.
        refined: The same after affinity refinement (USR).
        final: The same after visual prototypes (VPE).
        refines: Whether the model has USR; without it, `refined` repeats `initial`.
        compares: Whether the model has VPE; without it, `final` repeats `refined`.
        pseudo_labels: (H, W) uint8 class ids from the final CAMs, which training would learn; 255: ignored.
        prediction: (H, W) uint8 class ids that the model predicts without an image-level label; 255: nodata.
        truth: (H, W) uint8 class ids if they are known; 255: not labelled.
    """

    window: Window
    pixels: np.ndarray
    valid: np.ndarray
    class_names: tuple[str, ...]
    foreground: tuple[str, ...]
    present: tuple[str, ...]
    chosen_by: str
    stride: int
    initial: np.ndarray
    refined: np.ndarray
    final: np.ndarray
    refines: bool
    compares: bool
    pseudo_labels: np.ndarray
    prediction: np.ndarray
    truth: np.ndarray | None = None


class CamStages(Protocol):
    """The stages of the CAMs of B images, each (B, 1 + T, h, w), and pseudo labels (B, H, W)."""

    @property
    def initial(self) -> Tensor: ...
    @property
    def refined(self) -> Tensor: ...
    @property
    def final(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...


class CamModules(Protocol):
    """The switches of a specification that say which stages the model has."""

    @property
    def usr(self) -> bool: ...
    @property
    def vpe(self) -> bool: ...


class CamModel(Protocol):
    """A weakly supervised model that can show its CAMs.

    Attributes:
        device: Device of its parameters.
        stride: Side (px) of a cell of the CAMs.
        class_names: The K classes, in the order of their ids.
        foreground: The T classes that are not the background.
        channel_ids: Class id of each of the 1 + T maps, 255 for a background that is no class.
        spec: Which modules the model has.
    """

    @property
    def device(self) -> torch.device: ...
    @property
    def stride(self) -> int: ...
    @property
    def class_names(self) -> Sequence[str]: ...
    @property
    def foreground(self) -> Sequence[str]: ...
    @property
    def channel_ids(self) -> Sequence[int]: ...
    @property
    def spec(self) -> CamModules: ...

    def stages(self, images: Tensor, present: Tensor, /) -> CamStages:
        """Return CAMs and pseudo labels of images.

        Args:
            images: (B, 3, H, W) float32 RGB in 0..255.
            present: (B, T) bool, the image-level labels, on the CPU.

        Returns:
            The stages of the CAMs, and the labels (B, H, W).
        """


def tile_cams(
    model: CamModel,
    score_map: Callable[[np.ndarray], Tensor],
    pixels: np.ndarray,
    valid: np.ndarray,
    *,
    tile: int,
    present: Sequence[str] | None = None,
    at: tuple[int, int] | None = None,
    truth: np.ndarray | None = None,
) -> TileCams:
    """Compute the stages of the CAMs of the tile around a pixel, with all that they are made from.

    Call it inside `rskt_seg.inference.predict.evaluating(model)`.

    Args:
        model: The weakly supervised model.
        score_map: Maps pixels to class scores (K, H, W), for the prediction.
        pixels: Image (H, W, 3) uint8 RGB.
        valid: (H, W) bool, False for nodata.
        tile: Largest side (px) of the tile.
        present: Names of the image-level label. None: the classes that `truth` has in the tile, or without
            `truth` those that the prediction of the tile has.
        at: Pixel (row, column), None for the centre of the image. The tile around it is shifted inside.
        truth: (H, W) class ids of the image; ids that are no class are not labelled.

    Returns:
        The maps of the tile, as arrays on the CPU; labels of pixels that are nodata are masked.

    Raises:
        ConfigError: If the pixel lies outside of the image.
        VocabularyError: For names that are no foreground class.
        NotFiniteError: If a class score is NaN or infinite.
    """
    height, width = pixels.shape[:2]
    window = tile_around((height, width), at, tile)
    tile_pixels, tile_valid = pixels[window.slices], valid[window.slices]
    prediction = _mask_labels(_best_class(score_map(tile_pixels)), tile_valid)
    tile_truth = None if truth is None else _mask_labels(truth[window.slices], tile_valid)
    chosen, chosen_by = _image_level_label(model, present, prediction, tile_truth)
    images = torch.tensor(tile_pixels).permute(2, 0, 1)[None].float().to(model.device)
    stages = model.stages(images, torch.from_numpy(chosen)[None])
    return TileCams(
        window=window,
        pixels=tile_pixels,
        valid=tile_valid,
        class_names=tuple(model.class_names),
        foreground=tuple(model.foreground),
        present=tuple(name for name, named in zip(model.foreground, chosen, strict=True) if named),
        chosen_by=chosen_by,
        stride=model.stride,
        initial=_to_numpy(stages.initial),
        refined=_to_numpy(stages.refined),
        final=_to_numpy(stages.final),
        refines=model.spec.usr,
        compares=model.spec.vpe,
        pseudo_labels=_mask_labels(stages.labels[0].cpu().numpy(), tile_valid),
        prediction=prediction,
        truth=tile_truth,
    )


def _image_level_label(
    model: CamModel, present: Sequence[str] | None, prediction: np.ndarray, truth: np.ndarray | None
) -> tuple[np.ndarray, str]:
    """Return the image-level label (T,) bool, and where it comes from (see `TileCams.chosen_by`)."""
    if present is not None:
        return foreground_named(model.foreground, present), "request"
    labels, chosen_by = (prediction, "prediction") if truth is None else (truth, "truth")
    return np.isin(model.channel_ids[1:], labels), chosen_by


def _to_numpy(maps: Tensor) -> np.ndarray:
    return maps[0].float().cpu().numpy()


def tile_around(size: tuple[int, int], at: tuple[int, int] | None, tile: int) -> Window:
    """Return the window of at most `tile` px a side around a pixel, shifted inside the image.

    Args:
        size: (H, W) of the image.
        at: Pixel (row, column), None for the centre.
        tile: Largest side (px).

    Returns:
        The window, smaller than `tile` only where the image is.

    Raises:
        ConfigError: If the pixel lies outside of the image.
    """
    row, column = point_in(size, at)
    height, width = (min(tile, side) for side in size)
    top = min(max(row - height // 2, 0), size[0] - height)
    left = min(max(column - width // 2, 0), size[1] - width)
    return Window(top, left, height, width)


def foreground_named(foreground: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return which foreground classes are named, ignoring case and surrounding blanks.

    Args:
        foreground: T names of the foreground classes.
        names: Names to find among them; may be empty.

    Returns:
        (T,) bool.

    Raises:
        VocabularyError: For an empty name, or one that is no foreground class.
    """
    requested = {name.casefold(): name for name in check_names(names)} if len(names) else {}
    known = [name.casefold() for name in foreground]
    unknown = [name for folded, name in requested.items() if folded not in known]
    if unknown:
        raise VocabularyError(
            f"no foreground class of this model: {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(map(repr, foreground))}"
        )
    return np.array([name in requested for name in known], bool)


def _best_class(scores: Tensor) -> np.ndarray:
    check_scores(scores, "the tile")
    ids: np.ndarray = scores.argmax(dim=0).cpu().numpy()
    return ids


def _mask_labels(labels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    return np.where(valid, labels, _IGNORE_LABEL).astype(np.uint8)
