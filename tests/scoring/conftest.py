"""A dataset of one's own with predictions of two methods; one image has pixels without data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("building", "road", "water")
STEMS = ("a", "b.1", "ç")
SIZE = (14, 11)


def predict(seed: int) -> dict[str, np.ndarray]:
    """The ids that a method predicts for each image, some pixels without a class."""
    rng = np.random.default_rng(seed)
    found = {stem: rng.integers(0, 3, SIZE, dtype=np.uint8) for stem in STEMS}
    for ids in found.values():
        ids[3, :2] = 255
    return found


@pytest.fixture
def farm(tmp_path) -> Path:
    """The YAML file of the dataset `farm`, whose label 9 is ignored; split `val` is `farm_val_sem_seg`."""
    rng = np.random.default_rng(0)
    for folder in ("images", "labels", "first", "second"):
        (tmp_path / folder).mkdir()
    for i, stem in enumerate(STEMS):
        image = rng.integers(0, 256, (*SIZE, 4), dtype=np.uint8)
        image[..., 3] = 255
        image[:2, :, 3] = 0 if i == 0 else 255
        label = rng.integers(0, 3, SIZE, dtype=np.uint8)
        label[5] = 9
        Image.fromarray(image).save(tmp_path / "images" / f"{stem}.png")
        Image.fromarray(label).save(tmp_path / "labels" / f"{stem}.png")
    for seed, name in enumerate(("first", "second")):
        for stem, ids in predict(seed).items():
            Image.fromarray(ids).save(tmp_path / name / f"{stem}.png")
    file = tmp_path / "farm.yaml"
    file.write_text(
        "name: farm\nclasses: [building, road, water]\nignore: 9\n"
        "splits: {val: {images: images, labels: labels}}\n"
    )
    return file
