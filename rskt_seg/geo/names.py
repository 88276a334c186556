"""Names of files for GDAL, which takes them in UTF-8, whatever encoding the system uses."""

import os

from rskt_seg.errors import ImageReadError, UnreadableError
from rskt_seg.quoting import printable
from rskt_seg.reading import text_of_name


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
