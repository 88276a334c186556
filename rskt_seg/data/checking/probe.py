"""What one image and its label file are: from their headers, or from reading both to the end.

An image is seen as the training and test mappers see it, that is turned as its EXIF orientation says; a
label is never turned.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageMode, TiffImagePlugin

from rskt_seg.data.catalog import Pair
from rskt_seg.data.checking.findings import ERROR, NOTE, Fault, Kind
from rskt_seg.data.fingerprint import Digests, image_digest, label_digest
from rskt_seg.data.labels import read_label, stored_mode
from rskt_seg.errors import LabelError

_TO_8_BITS = "gdal_translate -ot Byte -scale LOW HIGH 0 255"
BROKEN_IMAGE = Kind(
    ERROR,
    "image cannot be read",
    "copy or unpack the file again; a raster of another kind than 8-bit gray or RGB, such as one of 16 bits "
    "or more than four bands, is to be saved as 8-bit RGB first: "
    f"{_TO_8_BITS} -b RED -b GREEN -b BLUE IN OUT (datasets/README.md has it in Python)",
)
BROKEN_LABEL = Kind(ERROR, "label cannot be read", "copy or unpack the file again, or remove the pair")
SIZES = Kind(
    ERROR,
    "label and image differ in size (height x width)",
    "nothing is resized: find the image or the label that belongs here",
)
TURNED = Kind(
    ERROR,
    "label has the size of its image before the EXIF rotation that every reader applies",
    "if the label lies right on the stored pixels, remove the EXIF orientation from the image (exiftool "
    "-Orientation= FILE); else turn the label like the image",
)
UNCERTAIN = Kind(
    ERROR,
    "image has an EXIF orientation, and sizes do not tell whether its label follows",
    "look at both: if the label fits the image as viewers show it, save the image upright (PIL.ImageOps."
    "exif_transpose); if it fits the stored pixels, remove the EXIF orientation",
)
PALETTE = Kind(NOTE, "palette labels", "nothing to do: the index is the class id, its colour plays no role")
DEEP = Kind(
    ERROR,
    "images with more than 8 bits a sample",
    f"stretch all of them to 8 bits by the same limits first: {_TO_8_BITS} IN OUT (datasets/README.md has "
    "it in Python); training and evaluation would cut values above 255 or drop the low byte. The demo "
    "stretches by itself",
)
BANDS = Kind(
    NOTE,
    "images that are neither RGB nor gray",
    "nothing to do if this is meant: they are converted to RGB, of several bands the first one or three are "
    "taken, and alpha is dropped",
)
_REFUSED_CURE = (
    "labels hold one class id a pixel, best as 8-bit gray PNG; official archives are converted by "
    "`rskt-seg prepare` (datasets/README.md)"
)

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_LOSSLESS_FILES = ("PNG", "BMP", "GIF")
_LOSSLESS_TIFFS = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate")
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Header:
    """An image file as its header describes it; sizes are (height, width), `bits` are those of a sample.

    `bands` may be more than those of `mode`, which are all that Pillow decodes.
    """

    size: tuple[int, int]
    stored_size: tuple[int, int]
    orientation: int
    format: str
    mode: str
    stored_mode: str
    compression: str
    bits: int
    bands: int


@dataclass(frozen=True)
class ImageFacts:
    """Faults of one image file; its header and the digest of its bytes where it could be read."""

    path: Path
    faults: tuple[Fault, ...]
    header: Header | None = None
    digest: bytes | None = None


@dataclass(frozen=True)
class Facts:
    """Faults of one pair, and where its files could be read their digests and the pixels of each id."""

    pair: Pair
    faults: tuple[Fault, ...]
    digests: Digests | None = None
    image: bytes | None = None
    counts: dict[int, int] = field(default_factory=dict)


def read_header(source: str | Path | BinaryIO, decode: bool = False) -> Header:
    """The header of an image file; with `decode` all its pixels are read too, and what follows them.

    Raises what Pillow raises for a file that is missing, truncated or no image (`OSError`, `SyntaxError`,
    `ValueError`, `EOFError`, `DecompressionBombError`).
    """
    with Image.open(source) as image:
        stored = stored_mode(image)
        compression = str(image.info.get("compression", ""))
        samples = _samples(image, stored)
        # Pillow reads a PNG to its end to find the orientation; a TIFF forgets it when it is read.
        if decode and image.format == "PNG":
            image.load()
        orientation = _orientation(image)
        height, width = image.height, image.width
        if decode:
            image.load()
        turned = 5 <= orientation <= 8 and image.format != "TIFF"
        size = (width, height) if turned else (height, width)
        kind = (image.format or "", image.mode, stored, compression)
        return Header(size, (height, width), orientation, *kind, *samples)


def image_faults(path: Path) -> list[Fault]:
    """What the header of an image tells: an unreadable file, notes."""
    try:
        return list(_image_notes(path, read_header(path)))
    except _UNREADABLE as error:
        return [_unreadable(BROKEN_IMAGE, path, error)]


def header_faults(pair: Pair) -> list[Fault]:
    """What the headers of a pair tell: unreadable files, labels of another kind than ids, sizes, notes."""
    try:
        image = read_header(pair.image)
    except _UNREADABLE as error:
        return [_unreadable(BROKEN_IMAGE, pair.image, error)]
    try:
        label = read_header(pair.label)
        if not _holds_ids(label):
            # Anything unusual is left to the reader of labels, which knows what is refused and why.
            read_label(pair.label)
    except LabelError as error:
        return [refused(pair.label, error)]
    except _UNREADABLE as error:
        return [_unreadable(BROKEN_LABEL, pair.label, error)]
    return [
        *_size_faults(pair, image, label.stored_size),
        *_image_notes(pair.image, image),
        *_label_notes(pair, label),
    ]


def read_image(path: Path) -> ImageFacts:
    """Everything that reading an image file to its end tells."""
    digest = None
    try:
        digest = image_digest(data := path.read_bytes())
        header = read_header(BytesIO(data), decode=True)
    except _UNREADABLE as error:
        return ImageFacts(path, (_unreadable(BROKEN_IMAGE, path, error),), digest=digest)
    return ImageFacts(path, tuple(_image_notes(path, header)), header, digest)


def read_pair(pair: Pair) -> Facts:
    """Everything that reading both files of a pair to the end tells, except what its ids mean."""
    image = read_image(pair.image)
    try:
        ids = read_label(pair.label)
    except LabelError as error:
        return Facts(pair, (*image.faults, refused(pair.label, error)), image=image.digest)
    sizes = _size_faults(pair, image.header, ids.shape) if image.header else ()
    faults = (*sizes, *image.faults, *_label_notes(pair, read_header(pair.label)))
    digests = Digests(pair.image.stem, image.digest, label_digest(ids)) if image.header else None
    return Facts(pair, faults, digests, image.digest, id_counts(ids))


def id_counts(ids: np.ndarray) -> dict[int, int]:
    """The ids of a label (H, W) uint8 or uint16 that occur, each with its number of pixels."""
    flat = ids.reshape(-1)
    counts = np.zeros(int(np.iinfo(ids.dtype).max) + 1, np.int64)
    for start in range(0, len(flat), _CHUNK):
        counts += np.bincount(flat[start : start + _CHUNK], minlength=len(counts))
    return {int(k): int(counts[k]) for k in np.flatnonzero(counts)}


def refused(path: Path, error: LabelError) -> Fault:
    """The fault of a label that `read_label` refuses."""
    message = str(error).removeprefix(f"{path}: ")
    if error.__cause__ is not None:
        return _unreadable(BROKEN_LABEL, path, error.__cause__)
    return Fault(Kind(ERROR, message, _REFUSED_CURE), str(path))


def _unreadable(kind: Kind, path: Path, error: BaseException) -> Fault:
    if isinstance(error, FileNotFoundError):
        return Fault(kind, str(path), "does not exist")
    # Pillow names the file, which is named already, or the buffer that it was read into.
    what = "no image of a known format" if type(error).__name__ == "UnidentifiedImageError" else str(error)
    return Fault(kind, str(path), what)


def _size_faults(pair: Pair, image: Header, label: tuple[int, int]) -> Iterator[Fault]:
    oriented = 2 <= image.orientation <= 8
    detail = f"label {label[0]}x{label[1]}, image {image.size[0]}x{image.size[1]}"
    if oriented and label in (image.size, image.stored_size):
        telling = image.orientation >= 5 and image.size != image.stored_size
        if not telling:
            yield Fault(UNCERTAIN, str(pair.image), f"EXIF orientation {image.orientation}")
        elif label == image.stored_size:
            yield Fault(TURNED, str(pair.label), f"{detail} with EXIF orientation {image.orientation}")
    elif label != image.size:
        yield Fault(SIZES, str(pair.label), f"{detail} ({pair.image.name})")


def _label_notes(pair: Pair, label: Header) -> Iterator[Fault]:
    if label.mode == "P":
        yield Fault(PALETTE, str(pair.label))


def _image_notes(path: Path, image: Header) -> Iterator[Fault]:
    further = image.bands > len(ImageMode.getmode(image.mode).bands)
    if image.bits > 8:
        yield Fault(DEEP, str(path), f"{image.bits} bits")
    elif further or image.mode not in ("RGB", "L", "P"):
        yield Fault(BANDS, str(path), f"{image.mode} of {image.bands} bands" if further else image.mode)


def _samples(image: Image.Image, stored: str) -> tuple[int, int]:
    """Bits of a sample and number of bands in the file."""
    if image.format == "TIFF":
        # The layout does not tell: that of planes is the one of a single band, and libtiff's hides them.
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        return int(np.max(bits)), int(image.tag_v2.get(TiffImagePlugin.SAMPLESPERPIXEL, 1))
    wide = 16 if "16" in f"{stored}{image.mode}" else 32 if image.mode[0] in "IF" else 8
    return wide, len(image.getbands())


def _holds_ids(label: Header) -> bool:
    plain = label.mode == label.stored_mode == "L" or label.mode == "P"
    tiff = label.format == "TIFF" and label.compression in _LOSSLESS_TIFFS
    return plain and (label.format in _LOSSLESS_FILES or tiff)


def _orientation(image: Image.Image) -> int:
    try:
        # The base class, because PngImageFile would read the whole file first.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:
        # As the readers of the mappers: an EXIF block that cannot be parsed turns nothing.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
