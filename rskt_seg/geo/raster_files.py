"""Raster files that appear whole or not at all, with what GDAL and QGIS keep beside them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from rskt_seg.errors import ImageReadError
from rskt_seg.geo.georeference import Georeference, ignore_georeference_warnings
from rskt_seg.geo.names import gdal_name
from rskt_seg.windows import Window
from rskt_seg.writing import replacing_with_companions

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

BLOCK = 512
"""Side of the blocks of the GeoTIFFs that are written."""


def open_part(path: Path) -> "DatasetReader":
    """Open a raster that this package wrote.

    Args:
        path: Its file.

    Returns:
        The open raster.

    Raises:
        ImageReadError: It is missing or damaged.
    """
    import rasterio
    from rasterio.errors import RasterioIOError

    try:
        with ignore_georeference_warnings():  # parts of a map state no place; the whole does
            return rasterio.open(gdal_name(path))
    except RasterioIOError as error:
        raise ImageReadError(f"{path}: this raster cannot be read ({error}); make it again") from error


def read_part(dataset: "DatasetReader", band: int, window: tuple[slice, slice]) -> np.ndarray:
    """Read some pixels of a raster of `open_part`.

    Args:
        dataset: The raster.
        band: Number of a band, from 1.
        window: Its rows and columns.

    Returns:
        (h, w) of the dtype of the raster.

    Raises:
        ImageReadError: The file is damaged there.
    """
    from rasterio.errors import RasterioIOError

    try:
        return dataset.read(band, window=window)
    except RasterioIOError as error:
        raise ImageReadError(f"{dataset.name}: this raster is damaged ({error}); make it again") from error


def read_reduced(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Read the first band of a raster that this package wrote, reduced by nearest neighbour.

    Args:
        path: Its file.
        size: (h, w) of the result.

    Returns:
        (h, w) of the dtype of the raster.

    Raises:
        ImageReadError: It is missing or damaged.
    """
    from rasterio.errors import RasterioIOError

    with ignore_georeference_warnings(), open_part(path) as dataset:
        try:
            return np.asarray(dataset.read(1, out_shape=size))
        except RasterioIOError as error:
            raise ImageReadError(f"{path}: this raster is damaged ({error}); make it again") from error


def read_bands(path: Path, bands: Sequence[int] | None = None, window: Window | None = None) -> np.ndarray:
    """Read pixels of a raster that this package wrote.

    Args:
        path: Its file.
        bands: Numbers of n bands, from 1; None: all.
        window: The pixels to read; None: all.

    Returns:
        (n, h, w) of the dtype of the raster.

    Raises:
        ImageReadError: It is missing or damaged.
    """
    with ignore_georeference_warnings(), open_part(path) as dataset:
        area = Window(0, 0, dataset.height, dataset.width) if window is None else window
        chosen = dataset.indexes if bands is None else bands
        return np.stack([read_part(dataset, band, area.slices) for band in chosen])


@contextmanager
def replacing_raster(path: str | os.PathLike[str], *beside: str) -> Iterator[Path]:
    """Replace a raster together with what GDAL keeps beside it, which describes the former one.

    That is a CRS that a GeoTIFF cannot hold (`.aux.xml`), overviews and masks.

    Args:
        path: The file to write or to replace.
        *beside: Names of other files that the block writes beside it.

    Yields:
        The file to write to, of the same name, in a folder of its own.

    Raises:
        OSError: The block failed to write, or found the file incomplete.
        ImageReadError: Of the block.
    """
    name = Path(path).name
    companions = [*(f"{name}{ending}" for ending in (".aux.xml", ".ovr", ".msk")), *beside]
    with replacing_with_companions(path, companions) as partial, ignore_georeference_warnings():
        try:
            yield partial
        except ImageReadError:  # what is read, or a name that is not UTF-8
            raise
        except (OSError, ElementTree.ParseError) as error:
            raise OSError(
                f"{path} could not be written completely ({error.__cause__ or error}); "
                "check the space left on its disk"
            ) from error


def check_place(dataset: "DatasetReader", path: Path, georeference: Georeference | None) -> None:
    """Raise an error unless a raster that was written lies where it should.

    rasterio reports no error where the last bytes of a file did not fit. The coordinate system is looked for,
    but not compared: formats describe one system in several ways.

    Args:
        dataset: The raster, opened again.
        path: Its file.
        georeference: What was written, or None.

    Raises:
        OSError: Coordinate system, transform, points or polynomials are missing or differ.
        ElementTree.ParseError: The file beside it is cut.
    """
    beside = path.with_name(f"{path.name}.aux.xml")
    if beside.exists():
        ElementTree.parse(beside)
    if georeference is None:
        return
    if georeference.crs is not None and dataset.crs is None:
        raise OSError("its coordinate system is missing")
    if georeference.transform is not None:
        if not np.allclose(list(dataset.transform), list(georeference.transform), rtol=1e-12, atol=0):
            raise OSError(f"its transform is {dataset.transform!r} instead of {georeference.transform!r}")
        return
    if len(dataset.gcps[0]) != len(georeference.gcps):
        raise OSError("its ground control points are missing")
    if georeference.rpcs is not None and dataset.rpcs is None:
        raise OSError("its rational polynomials are missing")
