"""Maps as pictures: files whose names begin with that of their image."""

from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.legend import Legend
from rskt_seg.visualization import draw_labels, draw_legend, draw_overlay
from rskt_seg.writing import replacing

MOST_PIXELS = 2**24
"""Pixels of the largest scene that is also drawn as a picture."""


def named(base: Path, kind: str, suffix: str) -> Path:
    """Return the file `<base>_<kind>.<suffix>`."""
    return base.with_name(f"{base.name}_{kind}.{suffix}")


def save_picture(base: Path, kind: str, picture: np.ndarray) -> None:
    """Write a picture as PNG, whole or not at all.

    Args:
        base: Folder and beginning of the name of the file.
        kind: What it shows, the end of the name.
        picture: (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(named(base, kind, "png")) as partial:
        Image.fromarray(picture).save(partial, format="PNG")


def write_pictures(
    base: Path, pixels: np.ndarray, ids: np.ndarray, legend: Legend, background: int | None
) -> None:
    """Write the map of an image as pictures: overlay, labels with their legend, legend, and ids.

    Args:
        base: Folder and beginning of the names of the files.
        pixels: (H, W, 3) uint8 RGB, the image.
        ids: (H, W) ids of the legend.
        legend: The classes.
        background: Position of the class that the overlay leaves untinted, or None.

    Raises:
        OSError: A file cannot be written.
    """
    names, colors, labels = [entry.name for entry in legend.entries], legend.colors, legend.positions(ids)
    save_picture(base, "overlay", draw_overlay(pixels, labels, colors, background=background))
    save_picture(base, "labels", draw_labels(pixels, labels, names, colors))
    save_picture(base, "legend", draw_legend(names, colors))
    save_picture(base, "ids", ids)
