"""Pictures of what became of class activation maps: from the texts' answer to a pseudo label.

matplotlib draws off screen and is imported on use.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rskt_seg.inference.cams import CamView
from rskt_seg.visualization.figures import (
    EMPTY,
    NOTHING,
    color_patches,
    drawn,
    new_figure,
    panel_inches,
    reduced,
    show,
)
from rskt_seg.visualization.labels import colorize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.patches import Patch

_ROWS = 8
_COLUMNS = 4
_HEAT = {"cmap": "turbo", "interpolation": "bilinear", "vmin": 0, "vmax": 1, "alpha": 0.6}
_CHOSEN_BY = {
    "request": "as asked for",
    "truth": "the classes of the ground truth",
    "prediction": "the classes of the prediction",
}


def cam_pictures(view: CamView, colors: np.ndarray) -> list[np.ndarray]:
    """The stages of the CAMs of a tile, RGB pictures (H, W, 3) uint8, one for every 8 present classes.

    For each present class a row with the image, the initial CAM, the one after USR and the one after VPE:
    over the image, all on one colour scale from 0 to 1, with the outline of the class where its truth is
    known. Below them the truth if there is one, the pseudo label and the prediction in the classes' colours.
    Where the tile holds no data the image is drawn alone, and the label maps are empty.

    Args: `colors` (K, 3) uint8, those of `view.class_names`.
    """
    named = view.present if view.valid.any() else ()
    pages = [named[first : first + _ROWS] for first in range(0, len(named), _ROWS)]
    return [_page(view, names, colors) for names in pages or [()]]


def _page(view: CamView, names: Sequence[str], colors: np.ndarray) -> np.ndarray:
    size, labels = view.pixels.shape[:2], _label_maps(view)
    width, height = panel_inches(*size, 2.4, 1.2)
    # Without a class the label maps stand beside the image.
    rows, columns = (len(names) + 1, _COLUMNS) if names else (1, len(labels) + 2)
    figure = new_figure(columns * (width + 0.15) + 1.0, rows * (height + 0.15) + 1.0)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(_escaped(_headline(view)), fontsize=9, wrap=True)
    backdrop = reduced(view.pixels, Image.Resampling.BILINEAR)
    show(axes[0, 0], backdrop, "Image", size, "antialiased")
    for line, name in zip(axes, names, strict=False):
        heat = _draw_class(line, view, name, backdrop)
    if names:
        for axis, title in zip(axes[0, 1:], _stage_titles(view), strict=True):
            axis.set_title(title, fontsize=10)
        figure.colorbar(heat, ax=axes[:-1], shrink=min(0.8, 2 / len(names)), pad=0.01)
    _draw_labels(axes[-1, 0 if names else 1 :], view, labels, colors)
    return drawn(figure)


def _headline(view: CamView) -> str:
    top, left, height, width = view.window
    place = f"rows {top} to {top + height - 1}, columns {left} to {left + width - 1}"
    if not view.valid.any():
        return f"No data in this tile; {place}"
    named = ", ".join(view.present) or "no class"
    outlined = "" if view.truth is None or not view.present else "; white outlines: ground truth"
    return f"Image-level label: {named} ({_CHOSEN_BY[view.chosen_by]}); {place}{outlined}"


def _stage_titles(view: CamView) -> tuple[str, str, str]:
    usr, vpe = ("" if on else " (off)" for on in (view.refines, view.compares))
    return "Initial CAM", f"After USR{usr}", f"After VPE{vpe}"


def _label_maps(view: CamView) -> dict[str, np.ndarray]:
    known = {} if view.truth is None else {"Ground truth": view.truth}
    return known | {"Pseudo label": view.pseudo_labels, "Prediction": view.prediction}


def _draw_class(line: "Sequence[Axes]", view: CamView, name: str, backdrop: np.ndarray) -> "AxesImage":
    """The image and the three stages of one class."""
    size, channel = view.pixels.shape[:2], 1 + view.foreground.index(name)
    label = line[0].text(-0.04, 0.5, _escaped(name), transform=line[0].transAxes, rotation=90, fontsize=10)
    label.set(ha="right", va="center")
    for axis in line:
        axis.imshow(backdrop, extent=(0, size[1], size[0], 0), interpolation="antialiased")
    for axis, stage in zip(line[1:], (view.initial, view.refined, view.final), strict=True):
        rows, columns = (cells * view.stride for cells in stage.shape[1:])
        heat = axis.imshow(stage[channel], extent=(0, columns, rows, 0), **_HEAT)
        _cover_no_data(axis, view, backdrop)
    for axis in line:
        if view.truth is not None:
            _outline(axis, view.truth == view.class_names.index(name))
        axis.set(xlim=(0, size[1]), ylim=(size[0], 0))  # without the cells that hang over
    return heat


def _cover_no_data(axis: "Axes", view: CamView, backdrop: np.ndarray) -> None:
    """The image again, where it holds no data: cells of a heat map reach beyond what was seen."""
    if not view.valid.all():
        opaque = np.where(_reduced_mask(view.valid), 0, 255).astype(np.uint8)
        height, width = view.valid.shape
        axis.imshow(np.dstack([backdrop, opaque]), extent=(0, width, height, 0), interpolation="nearest")


def _draw_labels(
    line: "Sequence[Axes]", view: CamView, maps: dict[str, np.ndarray], colors: np.ndarray
) -> None:
    """The label maps, and a legend in the place after them."""
    data = _reduced_mask(view.valid)
    for axis, (title, labels) in zip(line, maps.items(), strict=False):
        right = "" if labels is view.truth else _share_right(labels, view.truth, len(colors))
        picture = colorize(reduced(labels, Image.Resampling.NEAREST), colors)
        picture[~data] = EMPTY
        show(axis, picture, title + right, labels.shape, "nearest")
        if not data.all():
            _frame(axis, labels.shape)
    handles = _legend_handles(view, maps, colors)
    place = line[len(maps)]
    place.legend(handles=handles, loc="center left", frameon=False, fontsize=9, ncols=1 + len(handles) // 13)


def _frame(axis: "Axes", size: tuple[int, ...]) -> None:
    """The border of a map: what is left empty at its sides would look like a smaller map."""
    from matplotlib.patches import Rectangle

    axis.add_patch(Rectangle((0, 0), size[1], size[0], fill=False, edgecolor="0.4", lw=0.5, clip_on=False))


def _legend_handles(view: CamView, maps: dict[str, np.ndarray], colors: np.ndarray) -> "list[Patch]":
    shown = np.unique(np.concatenate([labels[view.valid] for labels in maps.values()]))
    named = view.present if shown.size else ()
    listed = [k for k, name in enumerate(view.class_names) if k in shown or name in named]
    handles = color_patches(view.class_names, colors, listed, [""] * len(colors))
    if (shown >= len(colors)).any():
        handles += color_patches(["no class"], NOTHING[None], [0], [""])
    if not view.valid.all():
        handles += color_patches(["no data"], EMPTY[None], [0], [""])
    return handles


def _reduced_mask(mask: np.ndarray) -> np.ndarray:
    return reduced(mask.astype(np.uint8), Image.Resampling.NEAREST).astype(bool)


def _share_right(labels: np.ndarray, truth: np.ndarray | None, classes: int) -> str:
    scored = np.zeros(1, bool) if truth is None else (truth < classes) & (labels < classes)
    return f", {(labels == truth)[scored].mean():.0%} right" if scored.any() else ""


def _outline(axis: "Axes", mask: np.ndarray) -> None:
    if mask.any() and not mask.all():
        rows, columns = (np.arange(side) + 0.5 for side in mask.shape)
        axis.contour(columns, rows, mask, levels=[0.5], colors="white", linewidths=0.8)


def _escaped(text: str) -> str:
    return text.replace("$", r"\$")  # a dollar sign would start a formula
