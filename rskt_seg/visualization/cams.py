"""Pictures of how class activation maps (CAMs) become a pseudo label."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rskt_seg.inference.cams import TileCams
from rskt_seg.visualization.errors import pixel_accuracy
from rskt_seg.visualization.figures import (
    NODATA_COLOR,
    UNLABELLED_COLOR,
    add_panels,
    draw_heat,
    escape_dollars,
    fill_panel,
    full_extent,
    image_size,
    legend_patch,
    new_figure,
    panel_inches,
    render,
    shrink_image,
    shrink_labels,
)
from rskt_seg.visualization.labels import colorize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.patches import Patch

_MAX_CLASSES = 8
_CHOSEN_BY = {
    "request": "as asked for",
    "truth": "the classes of the ground truth",
    "prediction": "the classes of the prediction",
}


def draw_cams(maps: TileCams, colors: np.ndarray) -> list[np.ndarray]:
    """Draw the stages of the CAMs of a tile.

    Each present class has a row with the image, the initial CAM, the one after USR and the one after VPE, all
    over the image on one colour scale from 0 to 1, with the outline of the class where its truth is known.
    Below them are the truth if there is one, the pseudo label and the prediction in the colours of the
    classes. Where the tile holds no data, heat maps show the image alone and label maps are empty.

    Args:
        maps: What `rskt_seg.inference.cams.tile_cams` returned; it holds the image and the class names.
        colors: (K, 3) uint8 RGB, those of `maps.class_names`.

    Returns:
        Pictures (H, W, 3) uint8 RGB, one for every 8 present classes.
    """
    present = maps.present if maps.valid.any() else ()
    pages = [present[first : first + _MAX_CLASSES] for first in range(0, len(present), _MAX_CLASSES)]
    return [_draw_page(maps, class_names, colors) for class_names in pages or [()]]


def _draw_page(maps: TileCams, class_names: Sequence[str], colors: np.ndarray) -> np.ndarray:
    """Draw the rows of some of the present classes, and the label maps."""
    label_maps = {} if maps.truth is None else {"Ground truth": maps.truth}
    label_maps |= {"Pseudo label": maps.pseudo_labels, "Prediction": maps.prediction}
    size = image_size(maps.pixels)
    width, height = panel_inches(size, 2.4, 1.2)
    # Without a class the label maps stand beside the image.
    rows, columns = (len(class_names) + 1, 4) if class_names else (1, len(label_maps) + 2)
    figure = new_figure(columns * (width + 0.15) + 1.0, rows * (height + 0.15) + 1.0)
    panels = add_panels(figure, rows, columns)
    figure.suptitle(escape_dollars(_headline(maps)), fontsize=9, wrap=True)
    backdrop = shrink_image(maps.pixels)
    fill_panel(panels[0][0], backdrop, "Image", size, "antialiased")
    for row, name in zip(panels, class_names, strict=False):
        heat = _draw_class(row, maps, name, backdrop)
    if class_names:
        usr, vpe = ("" if on else " (off)" for on in (maps.refines, maps.compares))
        titles = ("Initial CAM", f"After USR{usr}", f"After VPE{vpe}")
        for panel, title in zip(panels[0][1:], titles, strict=True):
            panel.set_title(title, fontsize=10)
        with_heat = [panel for row in panels[:-1] for panel in row]
        figure.colorbar(heat, ax=with_heat, shrink=min(0.8, 2 / len(class_names)), pad=0.01)
    _draw_label_maps(panels[-1][0 if class_names else 1 :], maps, label_maps, colors)
    return render(figure)


def _headline(maps: TileCams) -> str:
    top, left, height, width = maps.window
    window = f"rows {top} to {top + height - 1}, columns {left} to {left + width - 1}"
    if not maps.valid.any():
        return f"No data in this tile; {window}"
    present = ", ".join(maps.present) or "no class"
    outlined = "" if maps.truth is None or not maps.present else "; white outlines: ground truth"
    return f"Image-level label: {present} ({_CHOSEN_BY[maps.chosen_by]}); {window}{outlined}"


def _draw_class(row: "Sequence[Axes]", maps: TileCams, name: str, backdrop: np.ndarray) -> "AxesImage":
    """Draw the image and the three stages of one class, and return the last heat map."""
    size, channel = image_size(maps.pixels), 1 + maps.foreground.index(name)
    label = row[0].text(
        -0.04, 0.5, escape_dollars(name), transform=row[0].transAxes, rotation=90, fontsize=10
    )
    label.set(ha="right", va="center")
    for panel in row:
        panel.imshow(backdrop, extent=full_extent(size), interpolation="antialiased")
    for panel, stage in zip(row[1:], (maps.initial, maps.refined, maps.final), strict=True):
        rows, columns = (cells * maps.stride for cells in stage.shape[1:])
        heat = draw_heat(panel, stage[channel], full_extent((rows, columns)))
        if not maps.valid.all():  # the image again where it holds no data: cells reach beyond valid pixels
            opaque = np.where(shrink_labels(maps.valid), 0, 255).astype(np.uint8)
            panel.imshow(np.dstack([backdrop, opaque]), extent=full_extent(size), interpolation="nearest")
    mask = None if maps.truth is None else maps.truth == maps.class_names.index(name)
    for panel in row:
        if mask is not None and mask.any() and not mask.all():
            y, x = (np.arange(side) + 0.5 for side in mask.shape)
            panel.contour(x, y, mask, levels=[0.5], colors="white", linewidths=0.8)
        panel.set(xlim=(0, size[1]), ylim=(size[0], 0))  # the last cells may hang over the tile
    return heat


def _draw_label_maps(
    panels: "Sequence[Axes]", maps: TileCams, label_maps: dict[str, np.ndarray], colors: np.ndarray
) -> None:
    """Draw the label maps, and a legend in the panel after them."""
    from matplotlib.patches import Rectangle

    valid = shrink_labels(maps.valid)
    for panel, (title, labels) in zip(panels, label_maps.items(), strict=False):
        size = image_size(labels)
        if maps.truth is not None and labels is not maps.truth:
            accuracy = pixel_accuracy(labels, maps.truth, len(colors))
            title += "" if np.isnan(accuracy) else f", {accuracy:.0%} right"
        picture = colorize(shrink_labels(labels), colors)
        picture[~valid] = NODATA_COLOR
        fill_panel(panel, picture, title, size, "nearest")
        if not valid.all():  # a frame, because the map would look smaller where its sides are empty
            height, width = size
            frame = Rectangle((0, 0), width, height, fill=False, edgecolor="0.4", lw=0.5, clip_on=False)
            panel.add_patch(frame)
    handles = _legend_handles(maps, label_maps, colors)
    panels[len(label_maps)].legend(
        handles=handles, loc="center left", frameon=False, fontsize=9, ncols=1 + len(handles) // 13
    )


def _legend_handles(maps: TileCams, label_maps: dict[str, np.ndarray], colors: np.ndarray) -> "list[Patch]":
    """Return legend handles of the classes that are drawn or present."""
    drawn = np.unique(np.concatenate([labels[maps.valid] for labels in label_maps.values()]))
    present = maps.present if drawn.size else ()
    handles = [
        legend_patch(colors[k], name)
        for k, name in enumerate(maps.class_names)
        if k in drawn or name in present
    ]
    if (drawn >= len(colors)).any():
        handles.append(legend_patch(UNLABELLED_COLOR, "no class"))
    if not maps.valid.all():
        handles.append(legend_patch(NODATA_COLOR, "no data"))
    return handles
