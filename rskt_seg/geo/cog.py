"""Writing of Cloud Optimized GeoTIFFs from the finished parts of a map."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rskt_seg.errors import ImageReadError
from rskt_seg.geo.georeference import Georeference
from rskt_seg.geo.map_layers import MapLayer
from rskt_seg.geo.names import gdal_name
from rskt_seg.geo.raster_files import BLOCK, check_place, open_part, read_part, replacing_raster
from rskt_seg.geo.vrt import mosaic
from rskt_seg.windows import Window, window_grid

_MOST_VALUES = 2**24
"""Values of a block of all bands, which a Cloud Optimized GeoTIFF keeps together."""
_CACHE = 2**24, 2**26
"""Least and most bytes of decoded blocks that GDAL keeps: more than it needs would grow with the map."""


def write_cog(
    path: str | os.PathLike[str],
    parts: Sequence[tuple[Window, Path]],
    size: tuple[int, int],
    layer: MapLayer,
    georeference: Georeference | None,
) -> None:
    """Write a map as a Cloud Optimized GeoTIFF from rasters that lie side by side.

    The file has blocks of 512 x 512 px (smaller with more than 64 bands), overviews of nearest pixels,
    compression (deflate, predictor 2), and is a BigTIFF if needed. Grid, CRS, ground control points and
    rational polynomials are those of `georeference`; what a GeoTIFF cannot hold goes into `NAME.tif.aux.xml`.
    The style of the layer for QGIS is `NAME.qml` beside it. The file is read again and compared with the
    parts, a block at a time, before it takes its name; all files appear whole or not at all. Its bytes do not
    depend on how the parts cut the map.

    Args:
        path: The file to write or to replace.
        parts: Where each part lies, and its raster; together they cover the map once.
        size: (H, W) of the map.
        layer: What the file states beside its pixels.
        georeference: That of the image, or None.

    Raises:
        ValueError: The parts leave a gap or overlap.
        ImageReadError: A part cannot be read, or has another size, dtype or number of bands.
        OSError: The file cannot be written, or not completely.
    """
    import rasterio
    import rasterio.shutil

    _check_cover([window for window, _ in parts], size)
    for window, part in parts:
        with open_part(part) as dataset:
            found = (dataset.shape, dataset.count, set(dataset.dtypes))
        expected = ((window.height, window.width), len(layer.bands), {layer.dtype})
        if found != expected:
            raise ImageReadError(
                f"{part}: expected (size, bands, dtypes) {expected}, found {found}; compute it again"
            )
    block, cache = _layout(layer, size[1])
    style = Path(path).with_suffix(".qml").name
    with replacing_raster(path, style) as partial, rasterio.Env(GDAL_CACHEMAX=cache):
        whole = partial.with_name("parts.vrt")
        whole.write_text(mosaic(parts, size, layer, georeference), encoding="utf-8")
        try:
            rasterio.shutil.copy(
                gdal_name(whole), gdal_name(partial), driver="COG", blocksize=block, compress="deflate",
                predictor="YES", bigtiff="IF_SAFER", overviews="IGNORE_EXISTING",
                overview_resampling="nearest",
            )  # fmt: skip
        except Exception as error:  # those of GDAL have no public base
            for _, part in parts:  # to name the part that cannot be read, if that is why
                deque(_blocks(part), maxlen=0)
            raise OSError(str(error)) from error
        partial.with_name(style).write_text(layer.style, encoding="utf-8")
        _compare(partial, parts, layer, georeference)


def _layout(layer: MapLayer, width: int) -> tuple[int, int]:
    """Return the side (px) of the blocks of a map, and how many bytes of decoded ones GDAL shall keep."""
    block = BLOCK
    while block > 128 and block**2 * len(layer.bands) > _MOST_VALUES:
        block //= 2
    row = block * width * len(layer.bands) * np.dtype(layer.dtype).itemsize
    return block, min(max(4 * row, _CACHE[0]), _CACHE[1])


def _check_cover(windows: Sequence[Window], size: tuple[int, int]) -> None:
    """Raise a ValueError unless windows cover an image of `size` (H, W) once."""
    height, width = size
    top, left, bottom, right = np.array([(w.top, w.left, w.bottom, w.right) for w in windows]).T
    inside = top.min() >= 0 and left.min() >= 0 and bottom.max() <= height and right.max() <= width
    pixels = sum(window.height * window.width for window in windows)
    apart = all(
        ((top[k + 1 :] >= bottom[k]) | (bottom[k + 1 :] <= top[k])
         | (left[k + 1 :] >= right[k]) | (right[k + 1 :] <= left[k])).all()
        for k in range(len(windows))
    )  # fmt: skip
    if not (inside and apart and pixels == height * width):
        raise ValueError(f"parts must cover {height} x {width} px once; found {len(windows)}, {pixels} px")


def _blocks(part: Path) -> Iterator[tuple[Window, int, np.ndarray]]:
    """Yield windows of a part that cover it, and for each the number of each band and its pixels (h, w)."""
    with open_part(part) as dataset:
        for window in window_grid(dataset.height, dataset.width, BLOCK, BLOCK):
            for band in dataset.indexes:
                yield window, band, read_part(dataset, band, window.slices)


def _compare(
    path: Path, parts: Sequence[tuple[Window, Path]], layer: MapLayer, georeference: Georeference | None
) -> None:
    """Raise an OSError or a ParseError unless a file states its layer and has the pixels of its parts."""
    import rasterio

    with rasterio.open(gdal_name(path)) as dataset:
        check_place(dataset, path, georeference)
        if dataset.nodata != layer.nodata or dataset.descriptions != layer.bands:
            raise OSError(f"its bands are {dataset.descriptions} with nodata {dataset.nodata}")
        if layer.scale is not None and set(dataset.scales) != {layer.scale}:
            raise OSError(f"the scales of its bands are {sorted(set(dataset.scales))}")
        if layer.tags and not dict(layer.tags).items() <= dataset.tags(1).items():
            raise OSError("its tags are not those given")
        if layer.colors is not None and tuple(dataset.colormap(1).values()) != layer.colors:
            raise OSError("its colour table is not that given")
        for place, part in parts:
            for window, band, pixels in _blocks(part):
                there = Window(place.top + window.top, place.left + window.left, *window[2:])
                if not np.array_equal(dataset.read(band, window=there.slices), pixels):
                    raise OSError(f"its pixels in {there} are not those of {part.name}")
