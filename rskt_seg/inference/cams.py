"""What became of the class activation maps (CAMs) of one tile: the stages of the weakly supervised method."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rskt_seg.errors import VocabularyError
from rskt_seg.vocabulary import check_names
from rskt_seg.windows import Window, point_in

_IGNORED = 255
_STAGES = ("initial", "refined", "final")


@dataclass(frozen=True)
class TileCams:
    """A tile of H x W px of an image, K classes of which T are foreground, and a model's CAMs of stride s.

    Attributes:
        window: where the tile lies in the image.
        pixels: (H, W, 3) uint8 RGB.
        valid: (H, W) bool, which pixels are data. The label maps are 255 elsewhere.
        class_names: K names; ids of the label maps are their positions.
        foreground: the T names that have a map.
        present: those of the image-level label, which the maps were made for; in the order of `foreground`.
        chosen_by: where the image-level label is from: "request", "truth" or "prediction".
        stride: px of a cell. The last cells of the maps may hang over the tile.
        initial, refined, final: (1 + T, h, w) float32, h = ceil(H / s): the CAM from texts, after affinity
            refinement (USR), after visual prototypes (VPE). First the background (-1 throughout where no
            class plays it), then the foreground in 0..1; classes that are not present are 0.
        refines, compares: whether the model has USR and VPE; without one, its stage repeats the one before.
        pseudo_labels: (H, W) uint8 class ids made of the final CAM, which training would learn; 255: ignored.
        prediction: (H, W) uint8 class ids, what the model says without being told any class; 255: no data.
        truth: (H, W) uint8 class ids where they are known; 255: not labelled.
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


def tile_cams(
    model: nn.Module,
    score_map: Callable[[np.ndarray], Tensor],
    pixels: np.ndarray,
    valid: np.ndarray,
    *,
    tile: int,
    present: Sequence[str] | None = None,
    at: tuple[int, int] | None = None,
    truth: np.ndarray | None = None,
) -> TileCams:
    """The stages of the CAMs of the tile around a pixel.

    Args:
        model: has `class_names`, `foreground`, `channel_ids`, `stride`, `device`, a `spec` with `usr` and
            `vpe`, and `stages(images (1, 3, H, W), present (1, T) bool)`, which returns `initial`, `refined`
            and `final` (1, 1 + T, h, w) and `labels` (1, H, W).
        score_map: pixels (H, W, 3) uint8 -> class scores (K, H, W), for the prediction.
        pixels, valid: the image (H, W, 3) uint8, and where it is data (H, W).
        tile: largest side (px) of the tile.
        present: names of the image-level label. None: the classes that `truth` has in the tile, or without
            `truth` those that the prediction of the tile has.
        at: (row, column), None for the centre of the image. The tile around it is shifted inside.
        truth: (H, W) uint8 class ids of the image; ids that are no class are not labelled.

    Call it inside `rskt_seg.inference.predict.evaluating`. Raises `ConfigError` for a pixel outside of the
    image, `VocabularyError` for names that are no foreground class.
    """
    window = tile_around(pixels.shape[:2], at, tile)
    seen, data = pixels[window.rows, window.columns], valid[window.rows, window.columns]
    prediction = _masked(score_map(seen).argmax(dim=0).cpu().numpy(), data)
    known = None if truth is None else _masked(truth[window.rows, window.columns], data)
    if present is not None:
        chosen, chosen_by = foreground_named(model.foreground, present), "request"
    else:
        shown, chosen_by = (prediction, "prediction") if known is None else (known, "truth")
        chosen = np.isin(model.channel_ids[1:], shown)
    images = torch.tensor(seen).permute(2, 0, 1)[None].float().to(model.device)
    stages = model.stages(images, torch.from_numpy(chosen)[None].to(model.device))
    return TileCams(
        window=window,
        pixels=seen,
        valid=data,
        class_names=tuple(model.class_names),
        foreground=tuple(model.foreground),
        present=tuple(name for name, named in zip(model.foreground, chosen, strict=True) if named),
        chosen_by=chosen_by,
        stride=model.stride,
        **{stage: getattr(stages, stage)[0].float().cpu().numpy() for stage in _STAGES},
        refines=model.spec.usr,
        compares=model.spec.vpe,
        pseudo_labels=_masked(stages.labels[0].cpu().numpy(), data),
        prediction=prediction,
        truth=known,
    )


def tile_around(size: tuple[int, int], at: tuple[int, int] | None, tile: int) -> Window:
    """The window of at most `tile` px a side around a pixel (row, column) of an image of `size` (H, W).

    None is the centre; near a border the window is shifted inside. Raises `ConfigError` for a pixel outside.
    """
    sides = [min(tile, side) for side in size]
    starts = [
        min(max(place - side // 2, 0), whole - side)
        for place, side, whole in zip(point_in(size, at), sides, size, strict=True)
    ]
    return Window(*starts, *sides)


def foreground_named(foreground: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """(T,) bool: which foreground classes are among `names`, blanks and case aside; none may be empty.

    Raises `VocabularyError` for other names.
    """
    asked = {name.casefold(): name for name in check_names(names)} if len(names) else {}
    known = [name.casefold() for name in foreground]
    other = [name for folded, name in asked.items() if folded not in known]
    if other:
        raise VocabularyError(
            f"no class of this model to make a CAM of: {', '.join(map(repr, other))}; it has "
            f"{', '.join(map(repr, foreground))}"
        )
    return np.array([name in asked for name in known], bool)


def _masked(labels: np.ndarray, data: np.ndarray) -> np.ndarray:
    return np.where(data, labels, _IGNORED).astype(np.uint8)
