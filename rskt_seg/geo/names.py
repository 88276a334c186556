"""Names of files and URLs for GDAL, which takes them in UTF-8, whatever encoding the system uses."""

import os
import re
from pathlib import Path

from rskt_seg.errors import ImageReadError, UnreadableError
from rskt_seg.quoting import printable
from rskt_seg.reading import text_of_name

_FOLDERS = {"http": "/vsicurl/", "https": "/vsicurl/", "s3": "/vsis3/"}
"""Scheme of a URL -> GDAL's folder of what it fetches."""
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/(/?)(.*)", re.IGNORECASE | re.DOTALL)


def gdal_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a file, or GDAL's name of a part of one, as rasterio takes it.

    Args:
        path: The name as Python has it: bytes that the encoding of the system does not know are surrogates.

    Returns:
        The same name without surrogates.

    Raises:
        ImageReadError: It is not UTF-8, which no setting changes; the message says what to rename.
    """
    try:
        return text_of_name(os.fspath(path))
    except UnreadableError as error:
        raise ImageReadError(
            f"{printable(os.fspath(path))} cannot be read or written by GDAL: {error}"
        ) from error


def url_name(source: str | os.PathLike[str]) -> str:
    """Return GDAL's name of what a URL stands for.

    Args:
        source: A URL, as text; or the name of a file, or a name of GDAL's own.

    Returns:
        `/vsicurl/https://...` or `/vsis3/...` for URLs; other names as they are.

    Raises:
        ImageReadError: The URL has another scheme, or is a `Path`, which merges slashes.
    """
    name = os.fspath(source)
    found = _URL.fullmatch(name)
    if found is None or os.path.exists(name):
        return name
    scheme = found[1].lower()
    if scheme in _FOLDERS and not found[2]:
        raise ImageReadError(f"{name} is a URL without one of its slashes; give it as text, no Path")
    if scheme in _FOLDERS:
        return f"{_FOLDERS[scheme]}{found[3] if scheme == 's3' else name}"
    if found[2]:
        raise ImageReadError(f"expected a path, or a URL of {', '.join(_FOLDERS)}; found {name}; download it")
    return name


def source_name(path: Path | str) -> str:
    """Return a name for the results of a scene: the stem of its file, without marks that no file should have.

    Args:
        path: The file, or a name of GDAL's own.

    Returns:
        The name.
    """
    stem = Path(str(path).rstrip('"')).stem
    return re.sub(r'[\\/:*?"<>|\s]+', "_", stem).strip("._") or "scene"
