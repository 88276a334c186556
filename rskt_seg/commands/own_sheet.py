"""The contact sheet of a prepared dataset."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.data.labels import read_label
from rskt_seg.data.own_preparation import OwnSummary
from rskt_seg.data.preparation.sampling import rank
from rskt_seg.geo import read_image
from rskt_seg.visualization import draw_contact_sheet
from rskt_seg.visualization.scenes import Scene
from rskt_seg.writing import replacing

SHEET = "contact_sheet.png"
_KINDS = (".png", ".tif")
_MOST = 12
"""Tiles on a sheet."""


def draw_sheet(summary: OwnSummary) -> None:
    """Draw some tiles of all splits with their labels, unless nothing has changed since it was drawn.

    Args:
        summary: The prepared dataset, beside whose YAML file the sheet is written.
    """
    path = summary.folder / SHEET
    if path.exists() and not summary.fresh:
        return
    chosen = _choose(summary)
    class_set = summary.class_set
    scenes = []
    for image, label in chosen:
        pixels = read_image(image).filled()
        labels = np.full(pixels.shape[:2], 255) if summary.image_level else read_label(label)
        scenes.append(Scene(f"{image.parent.parent.name}: {image.stem}", pixels, labels, ()))
    sheet = draw_contact_sheet(scenes, class_set.names, np.array(class_set.colors, np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG")
    with replacing(path) as partial:
        partial.write_bytes(buffer.getvalue())


def _choose(summary: OwnSummary) -> list[tuple[Path, Path]]:
    """Return image and label files of tiles, by turns of the splits, always the same of the same names."""
    per_split = []
    for split in summary.tiles:
        files = (path for path in (summary.folder / split / "images").glob("[!.]*") if path.suffix in _KINDS)
        per_split.append(sorted(files, key=lambda path: rank(0, path.name)))
    turns = [images[turn] for turn in range(_MOST) for images in per_split if turn < len(images)]
    return [(path, path.parent.parent / "labels" / path.name) for path in sorted(turns[:_MOST])]
