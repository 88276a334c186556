"""Whether an image and its label lie on the same grid of the ground."""

from pathlib import Path
from typing import TYPE_CHECKING

from rskt_seg.geo.georeference import Georeference, ignore_georeference_warnings
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.pillow_source import has_gdal_facts
from rskt_seg.geo.tiff import SIGNATURES

if TYPE_CHECKING:
    from affine import Affine

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
    systems_differ = image.crs is not None and label.crs is not None and image.crs != label.crs
    if not systems_differ and _corners_agree(image.transform, label.transform, size):
        return ""
    return f"image {_describe(image)}; label {_describe(label)}"


def _corners_agree(image: "Affine", label: "Affine", size: tuple[int, int]) -> bool:
    """Return whether the corners of the label lie at those of the image, measured in its pixels."""
    if image.is_degenerate:
        return image == label
    height, width = size
    for corner in ((0, 0), (width, 0), (0, height), (width, height)):
        column, row = ~image * (label * corner)
        if max(abs(column - corner[0]), abs(row - corner[1])) > _TOLERANCE:
            return False
    return True


def _describe(georeference: Georeference) -> str:
    transform, crs = georeference.transform, georeference.crs
    name = "no CRS" if crs is None else crs.to_string()
    if transform is None:
        return name
    name = name if len(name) <= 40 else f"{name[:37]}..."
    origin, pixel = f"({transform.c:.10g}, {transform.f:.10g})", f"({transform.a:g}, {transform.e:g})"
    return f"{name}, origin {origin}, pixel {pixel}"
