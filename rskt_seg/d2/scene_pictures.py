"""A few images of a test set with truth and prediction, the same ones in every evaluation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.d2.datasets import load_datasets
from rskt_seg.d2.typing import DatasetDict
from rskt_seg.visualization.figures import shrink_image, shrink_labels
from rskt_seg.visualization.scenes import Scene
from rskt_seg.writing import replacing


def chosen_entries(dataset_name: str, number: int) -> dict[str, DatasetDict]:
    """Return the images that pictures show.

    Args:
        dataset_name: Registered name of the test set.
        number: How many at most.

    Returns:
        Image file -> dict, evenly spread over the set, in its order, which is that of their names.
    """
    entries = load_datasets([dataset_name]) if number else []
    places = np.linspace(0, len(entries) - 1, min(number, len(entries))).round().astype(int)
    return {entries[place]["file_name"]: entries[place] for place in places}


def shrunk_scene(
    file: str, pixels: np.ndarray, truth: np.ndarray, labels: np.ndarray, num_classes: int
) -> Scene:
    """Return what a picture needs of an image, at the size that it shows.

    Args:
        file: The image file.
        pixels: (H, W, 3) uint8 RGB.
        truth: (H, W) class ids; any other is no class.
        labels: (H, W) predicted class ids or 255.
        num_classes: K.

    Returns:
        The row of `rskt_seg.visualization.draw_scenes`.
    """
    drawn = [np.where(each < num_classes, each, 255).astype(np.uint8) for each in (truth, labels)]
    return Scene(Path(file).stem, shrink_image(pixels), shrink_labels(drawn[0]), [shrink_labels(drawn[1])])


def in_order(scenes: Sequence[tuple[str, Scene]], files: Sequence[str]) -> list[Scene]:
    """Return the scenes of all processes in the order of their files, each once."""
    known = dict(scenes)
    return [known[file] for file in files if file in known]


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 RGB as a PNG file, whole or not at all."""
    with replacing(path) as partial:
        Image.fromarray(picture).save(partial, format="PNG")
