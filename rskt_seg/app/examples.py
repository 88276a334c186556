"""Generated scenes to try a page with, which are the same for all of its users."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.raster import RasterImage
from rskt_seg.geo.tile_files import write_picture
from rskt_seg.synthetic import MINIATURES, render_unseen

_SET, _SEED, _SIDE = "DLRSD", 1, 96
_SMALL = 4
_ROWS = 8
"""Scenes along a side of the large example."""
_EPSG, _WEST, _NORTH, _METRES = 32632, 500_000.0, 5_300_000.0, 0.5


@dataclass(frozen=True)
class Example:
    """A generated scene.

    Attributes:
        title: What the page calls it.
        file: The file.
        words: Names of what there is, a class a line.
    """

    title: str
    file: Path
    words: str


def write_examples(folder: Path) -> tuple[Example, ...]:
    """Draw small scenes as PNG, and one large enough for windows as GeoTIFF.

    Args:
        folder: Where they are written.

    Returns:
        The examples.

    Raises:
        OSError: A file cannot be written.
    """
    row = MINIATURES[_SET]
    drawn = [render_unseen(row, _SEED, index, _SIDE) for index in range(_ROWS**2)]
    found = [np.unique(row.labels(scene)).tolist() for scene in drawn]
    names = [[row.classes[k] for k in ids if k < len(row.classes)] for ids in found]
    folder.mkdir(parents=True, exist_ok=True)
    examples = []
    for index in range(_SMALL):
        file = folder / f"scene{index}.png"
        write_picture(file, _whole(drawn[index].image), None)
        examples.append(Example(f"scene {index + 1}: {', '.join(names[index])}", file, _lines(names[index])))
    pixels = np.concatenate(
        [
            np.concatenate([scene.image for scene in drawn[k : k + _ROWS]], 1)
            for k in range(0, _ROWS**2, _ROWS)
        ]
    )
    large = folder / "large_scene.tif"
    write_picture(large, _whole(pixels), Georeference.at(_EPSG, (_WEST, _NORTH), _METRES))
    side, words = _ROWS * _SIDE, sorted({name for each in names[:_ROWS] for name in each})
    examples.append(Example(f"large scene: GeoTIFF of {side} x {side} px", large, _lines(words)))
    return tuple(examples)


def _whole(pixels: np.ndarray) -> RasterImage:
    return RasterImage(pixels, np.ones(pixels.shape[:2], bool))


def _lines(names: Sequence[str]) -> str:
    return "\n".join(names)
