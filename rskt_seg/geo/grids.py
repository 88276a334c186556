"""Whether an image and its label lie on the same grid of the ground."""

from pathlib import Path

import numpy as np

from rskt_seg.geo.georeference import Georeference, ignore_georeference_warnings
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.pillow_source import has_gdal_facts
from rskt_seg.geo.tiff import SIGNATURES

_TOLERANCE = 0.25
"""Distance of corners, in pixels, up to which two grids are the same."""


def read_georeference(path: str | Path) -> Georeference | None:
    """Read the georeference of an image or label file, without its pixels.

    Args:
        path: The file.

    Returns:
        The georeference of the file or of its side-cars; None if there is none, or if GDAL cannot read it.
    """
    path = Path(path)
    with path.open("rb") as file:
        is_tiff = file.read(4) in SIGNATURES
    if not is_tiff and not has_gdal_facts(path, b""):
        return None
    import rasterio
    from rasterio.errors import RasterioError

    with ignore_georeference_warnings():
        try:
            with rasterio.open(gdal_name(path)) as dataset:
                return Georeference.from_dataset(dataset)
        except RasterioError:
            return None


def grid_difference(image: Georeference | None, label: Georeference | None, size: tuple[int, int]) -> str:
    """Return how the grids of an image and its label differ, "" if they agree or one of them is unknown.

    Args:
        image: Georeference of the image.
        label: Georeference of the label.
        size: (height, width) of both.

    Returns:
        Both grids in words, such as "image EPSG:32632, origin (0, 10), pixel (1, -1); label ...".
    """
    if image is None or label is None or image.transform is None or label.transform is None:
        return ""
    if _corners_agree(image, label, size):
        return ""
    return f"image {_describe(image)}; label {_describe(label)}"


def _corners_agree(image: Georeference, label: Georeference, size: tuple[int, int]) -> bool:
    """Return whether the corners of the label lie at those of the image, measured in its pixels."""
    image_grid, label_grid = image.transform, label.transform
    if image_grid is None or label_grid is None or image_grid.is_degenerate:
        return image == label
    height, width = size
    corners = np.array([(0, width, 0, width), (0, 0, height, height)], float)
    places = np.array(label_grid * tuple(corners))
    if image.crs is not None and label.crs is not None and image.crs != label.crs:
        # One ground has many systems: with heights, of another datum of the same continent, in other units.
        from rasterio.warp import transform

        try:
            places = np.array(transform(label.crs, image.crs, *places.tolist()))
        except Exception:  # PROJ's errors, of a private type of rasterio: there is no way between the two
            return False
    distance = np.abs(np.array(~image_grid * tuple(places)) - corners)
    return bool((distance <= _TOLERANCE).all())


def _describe(georeference: Georeference) -> str:
    transform, crs = georeference.transform, georeference.crs
    name = "no CRS" if crs is None else crs.to_string()
    if transform is None:
        return name
    name = name if len(name) <= 40 else f"{name[:37]}..."
    origin, pixel = f"({transform.c:.10g}, {transform.f:.10g})", f"({transform.a:g}, {transform.e:g})"
    return f"{name}, origin {origin}, pixel {pixel}"
