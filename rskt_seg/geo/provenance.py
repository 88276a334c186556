"""What a map was made of: settings, digests, and the versions of the software."""

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from rskt_seg.writing import replace_text

_PACKAGES = ("torch", "numpy", "rasterio")
_OPTIONAL = ("pyogrio", "shapely", "pyarrow", "dask")


def write_provenance(path: str | os.PathLike[str], facts: Mapping[str, object], device: str) -> None:
    """Write what a map was made of as JSON, whole or not at all.

    The entry `versions` is added: of this package, PyTorch, NumPy, rasterio and GDAL, of the optional
    libraries that are installed, of Python, and the name of the device. The same facts give the same bytes.

    Args:
        path: The file to write or to replace.
        facts: Such as the command, settings, and digests of weights, vocabulary and raster: texts, numbers,
            None, paths, and lists and mappings of them.
        device: The device of the model, such as "cpu".

    Raises:
        ValueError: A fact is NaN or infinite, or is named `versions`.
        TypeError: A fact is something else.
        DiskFullError: There is no room for the file.
    """
    if "versions" in facts:
        raise ValueError("`versions` is added by write_provenance")
    content = {**facts, "versions": map_versions(device)}
    replace_text(
        path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    )


def map_versions(device: str) -> dict[str, str]:
    """Return name -> version of the software that makes a map.

    Args:
        device: The device of the model.

    Returns:
        The versions, and the name of the device as `device`.
    """
    # With torch, for which what only reads rasters need not wait.
    import rasterio

    import rskt_seg
    from rskt_seg.devices import describe_device

    found = {"rskt_seg": rskt_seg.__version__, **{package: version(package) for package in _PACKAGES}}
    found["GDAL"] = rasterio.__gdal_version__
    for package in _OPTIONAL:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, "Python": platform.python_version(), "device": describe_device(device)}


def _plain(value: object) -> Any:
    """Return a path or a number of NumPy as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a fact of the provenance is a {type(value).__name__}: {value!r}")
