"""Inspection of one image and its label file: of their headers, or of all bytes of both.

Sizes of images are those that the training and test mappers see, after the EXIF orientation is applied;
labels are never rotated.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageMode, TiffImagePlugin, UnidentifiedImageError

from rskt_seg.data.checking.facts import PALETTE, grid_faults, nodata_notes, reading_faults, used_colors
from rskt_seg.data.checking.findings import ERROR, NOTE, Fault, Kind
from rskt_seg.data.class_sets import RGB
from rskt_seg.data.fingerprint import Digests, image_digest, label_digest
from rskt_seg.data.labels import id_counts, read_label, stored_mode
from rskt_seg.data.pairing import Pair
from rskt_seg.data.samples import SCALE_COMMAND
from rskt_seg.errors import LabelError
from rskt_seg.geo import MAX_PIXELS
from rskt_seg.geo.sources import open_source
from rskt_seg.geo.tiff import SIGNATURES

BROKEN_IMAGE = Kind(
    ERROR,
    "image cannot be read",
    "copy or unpack the file again; save a raster that is not 8-bit gray or RGB (16 bits, more than four "
    "bands) as 8-bit RGB first: "
    f"{SCALE_COMMAND} -b RED -b GREEN -b BLUE IN OUT (datasets/README.md has it in Python)",
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
    "if the label fits the stored pixels, remove the EXIF orientation from the image (exiftool "
    "-Orientation= FILE); else rotate the label like the image",
)
UNCERTAIN = Kind(
    ERROR,
    "image has an EXIF orientation, and sizes do not tell whether its label follows",
    "look at both: if the label fits the image as viewers show it, save the image upright (PIL.ImageOps."
    "exif_transpose); if it fits the stored pixels, remove the EXIF orientation",
)
DEEP = Kind(
    ERROR,
    "images whose samples are not unsigned 8-bit integers",
    f"stretch all of them to 8 bits by the same limits first: {SCALE_COMMAND} IN OUT (datasets/README.md has "
    "it in Python); each image would get a stretch of its own. rskt-seg segment stretches by itself",
)
BANDS = Kind(
    NOTE,
    "images that are neither RGB nor gray",
    "nothing to do if this is intended: they are converted to RGB, the first one or three are taken of "
    "several bands, and pixels of alpha 0 have no data",
)
_REFUSED_CURE = (
    "labels hold one class id a pixel, best as 8-bit gray PNG; official archives are converted by "
    "`rskt-seg prepare` (datasets/README.md)"
)

_READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_LOSSLESS_FILES = ("PNG", "BMP", "GIF")
_LOSSLESS_TIFFS = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate")


@dataclass(frozen=True)
class ImageHeader:
    """An image file as its header describes it.

    Attributes:
        size: (height, width) after the EXIF orientation is applied.
        stored_size: (height, width) in the file.
        orientation: EXIF orientation, 1..8.
        format: Pillow's name of the file format.
        mode: Pillow's mode of the decoded image.
        stored_mode: Pillow's name of the sample layout in the file (see `stored_mode`).
        compression: Pillow's name of the compression.
        bits: Bits of a sample.
        bands: Number of bands in the file, which may be more than Pillow decodes.
        signed: Whether samples are signed or floating-point numbers.
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
    signed: bool = False


@dataclass(frozen=True)
class ImageFacts:
    """What reading an image file to its end shows.

    Attributes:
        path: The file.
        faults: What is wrong with it.
        header: Its header; None if it could not be decoded.
        digest: The digest of its bytes; None if it could not be read.
    """

    path: Path
    faults: tuple[Fault, ...]
    header: ImageHeader | None = None
    digest: bytes | None = None


@dataclass(frozen=True)
class PairFacts:
    """What reading an image and its label to their ends shows.

    Attributes:
        pair: The files.
        faults: What is wrong with them.
        digests: What the pair adds to a fingerprint; None unless both files could be decoded.
        image: The digest of the bytes of the image; None if it could not be read.
        counts: Class id -> number of pixels; empty if the label could not be read.
        colors: Class id -> colour of the palette, of the ids that occur; empty without a palette.
        bands: Number of bands of the image; 0 if it could not be read.
    """

    pair: Pair
    faults: tuple[Fault, ...]
    digests: Digests | None = None
    image: bytes | None = None
    counts: dict[int, int] = field(default_factory=dict)
    colors: dict[int, RGB] = field(default_factory=dict)
    bands: int = 0


def read_header(source: str | Path | BinaryIO, decode: bool = False) -> ImageHeader:
    """Return the header of an image file.

    Args:
        source: The path or the open file.
        decode: Whether all pixels are decoded too, so that truncated files are found.

    Returns:
        The header.

    Raises:
        OSError, SyntaxError, ValueError, EOFError, DecompressionBombError: As Pillow, if the file is missing,
            truncated or not an image.
    """
    with Image.open(source) as image:
        stored = stored_mode(image)
        compression = str(image.info.get("compression", ""))
        samples = _samples(image, stored)
        # Pillow finds an orientation behind the pixels of a PNG only after loading; loading a TIFF drops it.
        if decode and image.format == "PNG":
            image.load()
        orientation = _orientation(image)
        height, width = image.height, image.width
        if decode:
            image.load()
        turned = 5 <= orientation <= 8 and image.format != "TIFF"
        size = (width, height) if turned else (height, width)
        kind = (image.format or "", image.mode, stored, compression)
        return ImageHeader(size, (height, width), orientation, *kind, *samples)


def _image_header(path: Path, content: bytes | None = None) -> ImageHeader:
    """Return the header of an image by Pillow, or of a TIFF that it cannot open by the reader of all runs.

    With `content`, the bytes of the file, all pixels are decoded too.
    """
    try:
        return read_header(path) if content is None else read_header(BytesIO(content), decode=True)
    except _READ_ERRORS:
        with path.open("rb") as file:
            if file.read(4) not in SIGNATURES:
                raise
    try:
        with open_source(path, MAX_PIXELS) as source:
            stored = (source.height, source.width)
            size = stored[::-1] if source.orientation >= 5 and source.georeference is None else stored
            samples = np.dtype(source.dtype)
            mode = "RGB" if len(source.default_bands) == 3 else "L"
            kind = ("TIFF", mode, mode, "")
            layout = (8 * samples.itemsize, source.count, samples.kind != "u")
            return ImageHeader(size, stored, source.orientation, *kind, *layout)
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise OSError(str(error)) from error


def is_wide_image(path: Path) -> bool:
    """Return whether an image is wider than high, as its header says; False if that cannot be read."""
    try:
        height, width = _image_header(path).size
    except _READ_ERRORS:
        return False
    return width > height


def image_faults(path: Path) -> list[Fault]:
    """Return the faults that the header of an image shows."""
    try:
        return list(_image_notes(path, _image_header(path)))
    except _READ_ERRORS as error:
        return [_unreadable(BROKEN_IMAGE, path, error)]


def header_faults(pair: Pair) -> list[Fault]:
    """Return the faults that the headers of a pair show: unreadable files, labels without ids, sizes."""
    try:
        image = _image_header(pair.image)
    except _READ_ERRORS as error:
        return [_unreadable(BROKEN_IMAGE, pair.image, error)]
    try:
        label = read_header(pair.label)
        plain = label.mode == label.stored_mode == "L" or label.mode == "P"
        lossless_tiff = label.format == "TIFF" and label.compression in _LOSSLESS_TIFFS
        if not plain or not (label.format in _LOSSLESS_FILES or lossless_tiff):
            # Not certainly 8-bit ids or palette indices: the reader of labels knows what is refused, and why.
            read_label(pair.label)
    except LabelError as error:
        return [label_fault(pair.label, error)]
    except _READ_ERRORS as error:
        return [_unreadable(BROKEN_LABEL, pair.label, error)]
    return [
        *_size_faults(pair, image, label.stored_size),
        *grid_faults(pair, image.size),
        *_image_notes(pair.image, image),
        *_label_notes(pair.label, label),
    ]


def inspect_image(path: Path) -> ImageFacts:
    """Read an image file to its end."""
    digest = None
    try:
        digest = image_digest(data := path.read_bytes())
        header = _image_header(path, data)
    except _READ_ERRORS as error:
        return ImageFacts(path, (_unreadable(BROKEN_IMAGE, path, error),), digest=digest)
    notes = list(_image_notes(path, header))
    if not any(fault.kind.level == ERROR for fault in notes):
        notes += reading_faults(path)
    return ImageFacts(path, tuple(notes), header, digest)


def inspect_pair(pair: Pair) -> PairFacts:
    """Read both files of a pair to their ends; whether the ids are classes is not judged."""
    image = inspect_image(pair.image)
    try:
        ids = read_label(pair.label)
    except LabelError as error:
        return PairFacts(pair, (*image.faults, label_fault(pair.label, error)), image=image.digest)
    sizes: Iterable[Fault] = ()
    digests = None
    if image.header is not None and image.digest is not None:
        sizes = [*_size_faults(pair, image.header, (ids.shape[0], ids.shape[1]))]
        sizes += grid_faults(pair, image.header.size)
        digests = Digests(pair.image.stem, image.digest, label_digest(ids))
    faults = (*sizes, *image.faults, *_label_notes(pair.label, read_header(pair.label)))
    counts = id_counts(ids)
    colors, bands = used_colors(pair.label, counts), image.header.bands if image.header else 0
    return PairFacts(pair, faults, digests, image.digest, counts, colors, bands)


def label_fault(path: Path, error: LabelError) -> Fault:
    """Return the fault of a label that `read_label` refused with `error`.

    Args:
        path: The label file.
        error: The error, with the exception of Pillow as its cause if the file is broken.

    Returns:
        The fault, of the kind `BROKEN_LABEL` for a broken file.
    """
    message = str(error).removeprefix(f"{path}: ")
    if error.__cause__ is not None:
        return _unreadable(BROKEN_LABEL, path, error.__cause__)
    return Fault(Kind(ERROR, message, _REFUSED_CURE), str(path))


def _unreadable(kind: Kind, path: Path, error: BaseException) -> Fault:
    if isinstance(error, FileNotFoundError):
        return Fault(kind, str(path), "does not exist")
    # Pillow's message repeats the file, or names the buffer that it was read into.
    detail = "no image of a known format" if isinstance(error, UnidentifiedImageError) else str(error)
    return Fault(kind, str(path), detail)


def _size_faults(pair: Pair, image: ImageHeader, label: tuple[int, int]) -> Iterator[Fault]:
    oriented = 2 <= image.orientation <= 8
    detail = f"label {label[0]}x{label[1]}, image {image.size[0]}x{image.size[1]}"
    if oriented and label in (image.size, image.stored_size):
        # Only a rotation by 90 degrees of an image that is not square changes its size.
        sizes_tell = image.orientation >= 5 and image.size != image.stored_size
        if not sizes_tell:
            yield Fault(UNCERTAIN, str(pair.image), f"EXIF orientation {image.orientation}")
        elif label == image.stored_size:
            yield Fault(TURNED, str(pair.label), f"{detail} with EXIF orientation {image.orientation}")
    elif label != image.size:
        yield Fault(SIZES, str(pair.label), f"{detail} ({pair.image.name})")


def _label_notes(path: Path, label: ImageHeader) -> Iterator[Fault]:
    if label.mode == "P":
        yield Fault(PALETTE, str(path))
    yield from nodata_notes(path)


def _image_notes(path: Path, image: ImageHeader) -> Iterator[Fault]:
    further = image.bands > len(ImageMode.getmode(image.mode).bands)
    if image.bits > 8 or image.signed:
        yield Fault(DEEP, str(path), f"{image.bits} bits" if image.bits > 8 else "signed")
    elif further or image.mode not in ("RGB", "L", "P"):
        yield Fault(BANDS, str(path), f"{image.mode} of {image.bands} bands" if further else image.mode)


def _samples(image: Image.Image, stored: str) -> tuple[int, int, bool]:
    """Return the bits of a sample, the number of bands in the file, and whether samples are signed."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Tags, because the sample layout is that of one band for separate planes, and unknown with libtiff.
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
        signed = max(image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (1,))) > 1
        return int(np.max(bits)), int(image.tag_v2.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)), signed
    wide = 16 if "16" in f"{stored}{image.mode}" else 32 if image.mode[0] in "IF" else 8
    return wide, len(image.getbands()), image.mode in ("I", "F")


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1..8."""
    try:
        # The method of the base class, because that of PngImageFile would load the whole file.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:
        # As in the readers of the mappers, an EXIF block that cannot be parsed rotates nothing.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
