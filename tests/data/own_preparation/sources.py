"""Small sources of a set, as people have them, and what a preparation makes of them."""

from pathlib import Path

import numpy as np
import rasterio
import yaml
from PIL import Image
from rasterio.transform import from_origin

from rskt_seg.data import pairs, read_label, read_own
from rskt_seg.data.own_preparation import OwnSummary, prepare_own

UTM = "EPSG:32632"
ORIGIN = (500_000.0, 5_300_000.0)


def write_description(folder: Path, **keys) -> Path:
    """A YAML file of two classes with other values for some keys; None leaves a key out."""
    tree = {
        "name": "farm",
        "classes": ["field", "house"],
        "images": "images",
        "labels": {"form": "ids", "path": "labels"},
    }
    path = folder / "farm_source.yaml"
    path.write_text(
        yaml.safe_dump({k: v for k, v in (tree | keys).items() if v is not None}, sort_keys=False)
    )
    return path


def write_png(path: Path, array: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def write_tif(
    path: Path,
    bands: np.ndarray,
    origin: tuple[float, float] | None = ORIGIN,
    pixel: float = 1.0,
    crs: str | None = UTM,
    names: tuple[str, ...] = (),
    **profile,
) -> Path:
    """A GeoTIFF of bands (n, H, W), north up; without a place if there is no origin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = bands if bands.ndim == 3 else bands[None]
    place = {} if origin is None else {"transform": from_origin(*origin, pixel, pixel), "crs": crs}
    count, height, width = bands.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=bands.dtype,
        **place,
        **profile,
    ) as dataset:
        dataset.write(bands)
        for number, name in enumerate(names, start=1):
            dataset.set_band_description(number, name)
    return path


def colors_of(seed: int, height: int = 40, width: int = 50) -> np.ndarray:
    """A picture (H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def ids_of(seed: int, height: int = 40, width: int = 50, classes: int = 2) -> np.ndarray:
    """Ids (H, W) uint8 in blocks of 5 px."""
    small = np.random.default_rng(seed).integers(0, classes, (-(-height // 5), -(-width // 5)), np.uint8)
    return np.kron(small, np.ones((5, 5), np.uint8))[:height, :width]


def prepare(path: Path, root: Path, **options) -> OwnSummary:
    return prepare_own(path, root, workers=1, progress=False, **options)


def read_set(summary: OwnSummary) -> dict[str, dict[str, np.ndarray]]:
    """Split -> stem -> ids, as training reads the prepared set."""
    return {
        split.split: {pair.image.stem: read_label(pair.label) for pair in pairs(split, "/nowhere")}
        for split in read_own(summary.file)
    }


def only_labels(summary: OwnSummary) -> dict[str, np.ndarray]:
    """Stem -> ids of a set of one split."""
    (labels,) = read_set(summary).values()
    return labels
