"""Label files: reading ids or colours as stored, checking ids, and mapping colours to ids.

Nothing here shifts, converts or resizes a label, because every such repair hides a wrong score. A label that
does not hold ids of its dataset is refused with a hint at the fix, which is a converter
(`rskt_seg.data.convert`).
"""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from rskt_seg.data.class_sets import IGNORE_LABEL, RGB
from rskt_seg.errors import ImageReadError, LabelError
from rskt_seg.geo import png, tiff
from rskt_seg.geo.declared import describe_samples, read_declared
from rskt_seg.geo.deflate import deflate_fault
from rskt_seg.mistaken import BEGINNING, recognise
from rskt_seg.wording import counted

LabelFile = str | Path | BinaryIO
"""The path of a label file, or an open file whose `str()` is the name that errors give."""
_LOSSLESS_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "PPM")
_LOSSY_COMPRESSIONS = ("jpeg", "tiff_jpeg", "webp")
_CONVERT = "convert the official files with `rskt-seg prepare`"
_REFUSED_MODES = {
    "1": "1 bit a pixel (its polarity is ambiguous); save 8-bit ids",
    "I": "signed or 32-bit integers; save ids as 8-bit gray",
    "F": "floating-point values; save ids as 8-bit gray",
    "LA": "gray with alpha; save ids as 8-bit gray without alpha",
    "PA": "a palette with alpha; save ids as 8-bit gray without alpha",
}
_CHUNK = 1 << 22
_SHOWN = 10


def read_label(path: LabelFile, colour_advice: str = _CONVERT) -> np.ndarray:
    """Read the class ids of a label file as stored.

    A palette file gives its indices, never its colours or gray values. EXIF orientation is not applied.

    Args:
        path: A lossless image of 8-bit gray, palette indices or 16-bit gray.
        colour_advice: What the error for a colour image tells to do.

    Returns:
        (H, W) uint8, or uint16 from a 16-bit gray file.

    Raises:
        LabelError: The file is missing, truncated, not an image, lossily compressed, coloured (run the
            converter), 1-bit, 2- or 4-bit gray (whose ids the decoder would stretch to 0..255), 32-bit,
            floating-point, or has alpha or several pages.
    """
    image, stored = _decode(path)
    mode = image.mode
    if mode in ("L", "P"):
        if mode == "L" and stored != "L":
            raise LabelError(
                f"{path}: gray samples are stored as {stored}, which is not plain 8 bit, "
                "so ids would be changed on reading; save ids as 8-bit gray"
            )
        return np.array(image)
    if mode.startswith("I;16"):
        return np.array(image).astype(np.uint16)
    if mode in _REFUSED_MODES:
        raise LabelError(f"{path}: expected a label of class ids, found {_REFUSED_MODES[mode]}")
    raise LabelError(f"{path}: expected a label of class ids, found a colour image ({mode}); {colour_advice}")


def without_nodata(ids: np.ndarray, path: str | Path, ignore_label: int) -> np.ndarray:
    """Leave out the pixels that a label file, or a side-car of GDAL beside it, declares to have no data.

    Args:
        ids: The ids as `read_label` returned them, (H, W) uint8 or uint16.
        path: The file that they come from.
        ignore_label: The id that pixels with the nodata value of the file, or masked ones, get.

    Returns:
        A new array; the same array if the file declares neither nodata nor a mask.

    Raises:
        LabelError: The mask of the label has another size.
    """
    try:
        declared = read_declared(path)
    except ImageReadError as error:
        raise LabelError(str(error)) from error
    if declared.mask is not None:
        return np.where(declared.mask, ids, ids.dtype.type(ignore_label))
    if declared.nodata is not None:
        return np.where(ids == declared.nodata, ids.dtype.type(ignore_label), ids)
    return ids


def read_colors(path: LabelFile) -> np.ndarray:
    """Read the colours of an official colour mask; a palette file gives the colours of its palette.

    Args:
        path: A lossless image in colour or with a palette.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        LabelError: The file is missing, truncated, not an image, lossily compressed, partly transparent, of
            several pages, or gray (it then holds ids, and may have been converted already).
    """
    image, _ = _decode(path)
    if image.mode == "RGB":
        return np.array(image)
    if image.mode == "P" and "transparency" not in image.info:
        return np.array(image.convert("RGB"))
    if image.mode in ("RGBA", "P"):
        rgba = np.array(image.convert("RGBA"))
        if (rgba[..., 3] == 255).all():
            return rgba[..., :3]
        raise LabelError(f"{path}: expected a mask of class colours, found transparent pixels")
    raise LabelError(
        f"{path}: expected a mask of class colours, found mode {image.mode}; "
        "was the file converted to ids already?"
    )


def check_label(
    label: np.ndarray,
    num_classes: int,
    ignore_label: int,
    path: LabelFile,
    image_size: tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Check that a label can be trained on and scored.

    With `ignore_label` 255 a single 0/255 mask cannot be told from class 0 beside ignored pixels, and passes.

    Args:
        label: (H, W) integer ids.
        num_classes: K; ids must be 0..K-1 or `ignore_label`.
        ignore_label: The id of pixels that are neither trained nor scored.
        path: The file to name in the error.
        image_size: (height, width) that the label must have, None for any.
        class_names: K names to list in the error.

    Raises:
        LabelError: The label has another shape, dtype or size, or other ids. The message gives each wrong id
            with its pixel count, and a hint if the ids look shifted by one, lowered twice, or like a 0/255
            mask.
    """
    if label.ndim != 2 or label.dtype.kind not in "ui":
        raise LabelError(
            f"{path}: expected integer ids of shape (H, W), found {label.dtype} of shape {label.shape}"
        )
    if image_size is not None and label.shape != tuple(image_size):
        raise LabelError(
            f"{path}: the label is {_size(label.shape)} but its image is {_size(image_size)} (height x "
            "width); labels are never resized, so find the label or the image that belongs here"
        )
    wrong = label >= num_classes
    wrong &= label != ignore_label
    if label.dtype.kind == "i":
        wrong |= label < 0
    if not wrong.any():
        return
    values, counts = np.unique(label[wrong], return_counts=True)
    names = f": {', '.join(class_names)}" if class_names else ""
    classes = counted(num_classes, "class", "classes")
    raise LabelError(
        f"{path}: found ids {pixel_counts(dict(zip(values.tolist(), counts.tolist(), strict=True)))}; "
        f"expected 0..{num_classes - 1} ({classes}{names}) or {ignore_label} (ignored)"
        f"{likely_mistake(set(np.unique(label).tolist()), num_classes, ignore_label)}"
    )


class ColorTable:
    """Colours and the class ids that they stand for, to be looked up in any number of images.

    Args:
        table: Colour -> id, 0..254.
        ignore_colors: Colours that become `ignore_label`.
        ignore_label: Also the id of pixels of an unknown colour, of which the caller decides how many are too
            many (`refuse_unknown`).

    Raises:
        LabelError: An id outside 0..255, or a colour that is both a class and ignored.
    """

    def __init__(
        self, table: Mapping[RGB, int], ignore_colors: Iterable[RGB] = (), ignore_label: int = IGNORE_LABEL
    ) -> None:
        ignored = set(ignore_colors)
        if both := sorted(ignored & table.keys()):
            raise LabelError(f"colours are listed both as a class and as ignored: {both}")
        known = dict.fromkeys(ignored, ignore_label) | dict(table)
        if wrong := {color: k for color, k in known.items() if not 0 <= k <= 255}:
            raise LabelError(f"expected ids 0..255 for colours, found {wrong}")
        self._known, self._ignore_label = (dict(table), ignored), ignore_label
        self._ids = np.full(1 << 24, -1, np.int16)
        self._ids[[_pack(np.array(color, np.uint8)) for color in known]] = list(known.values())

    def __reduce__(self) -> tuple[object, ...]:
        return ColorTable, (*self._known, self._ignore_label)  # small, other than the array

    def look_up(self, rgb: np.ndarray) -> tuple[np.ndarray, dict[RGB, int]]:
        """Map colours to class ids by exact match.

        Args:
            rgb: (H, W, 3) uint8.

        Returns:
            The ids (H, W) uint8, and the unknown colours, which are neither classes nor ignored, each with
            its pixel count.

        Raises:
            LabelError: An array of another dtype or shape.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise LabelError(f"expected uint8 colours (H, W, 3), found {rgb.dtype} of shape {rgb.shape}")
        pixels = rgb.reshape(-1, 3)
        ids = np.empty(len(pixels), np.uint8)
        unknown: dict[RGB, int] = {}
        for start in range(0, len(pixels), _CHUNK):
            packed = _pack(pixels[start : start + _CHUNK])
            found = self._ids[packed]
            missing = found < 0
            ids[start : start + _CHUNK] = np.where(missing, self._ignore_label, found)
            for code, count in zip(*np.unique(packed[missing], return_counts=True), strict=True):
                color = (int(code) >> 16, int(code) >> 8 & 255, int(code) & 255)
                unknown[color] = unknown.get(color, 0) + int(count)
        return ids.reshape(rgb.shape[:2]), unknown


def remap_colors(
    rgb: np.ndarray,
    table: Mapping[RGB, int],
    ignore_colors: Iterable[RGB] = (),
    ignore_label: int = IGNORE_LABEL,
) -> tuple[np.ndarray, dict[RGB, int]]:
    """Return what `ColorTable(table, ignore_colors, ignore_label).look_up(rgb)` does, for one image."""
    return ColorTable(table, ignore_colors, ignore_label).look_up(rgb)


def threshold_colors(rgb: np.ndarray) -> np.ndarray:
    """Return `rgb` (H, W, 3) uint8 with each channel set to 255 where it is at least 128, else to 0.

    Meant for DeepGlobe alone, whose masks were compressed and whose authors advise this threshold; in other
    masks it would turn unknown colours into classes.
    """
    return np.where(rgb >= 128, np.uint8(255), np.uint8(0))


def refuse_unknown(unknown: Mapping[RGB, int], pixels: int, tolerance: float, path: LabelFile) -> None:
    """Refuse a label in which too many pixels have colours of no class.

    Args:
        unknown: The colours of no class, each with its pixel count.
        pixels: The number of pixels of the label.
        tolerance: Share (0..1) of the pixels that may have such colours.
        path: The file to name in the error.

    Raises:
        LabelError: A larger share has.
    """
    total = sum(unknown.values())
    if total > tolerance * pixels:
        raise LabelError(
            f"{path}: {total} of {pixels} pixels ({total / pixels:.3%}) have colours of no class: "
            f"{pixel_counts(unknown)}; at most {tolerance:.3%} is tolerated. Is this the mask of another "
            "dataset or version?"
        )


def _wrong_sum(content: bytes) -> str:
    """Return what is wrong with the bytes of a PNG or TIFF file by its checksums; "" if nothing is."""
    if content.startswith(png.SIGNATURE):
        return png.png_fault(content)
    return deflate_fault(BytesIO(content)) if content.startswith(tiff.SIGNATURES) else ""


def _pages(image: ImageFile.ImageFile, content: bytes) -> int:
    """Return the number of pictures in a file; reduced versions and masks of a GeoTIFF are none."""
    if content.startswith(tiff.SIGNATURES):
        return tiff.count_pages(BytesIO(content))
    frames: int = getattr(image, "n_frames", 1)  # only some formats of Pillow have it
    return frames


def _decode(path: LabelFile) -> tuple[Image.Image, str]:
    """Return the decoded file and its stored mode, which Pillow forgets on loading."""
    content = b""
    try:
        if isinstance(path, str | Path):
            if Path(path).exists() and not Path(path).is_file():  # opening a pipe would wait for a writer
                raise LabelError(f"{path}: expected a label file; it is a folder, a pipe or a device")
            content = Path(path).read_bytes()
        else:
            path.seek(0)
            content = path.read()
        # Decoders skip checksums, and a flipped bit is another class.
        if fault := _wrong_sum(content):
            raise OSError(fault)
        with Image.open(BytesIO(content)) as image:
            stored = stored_mode(image)
            compression = image.info.get("compression")
            if image.format not in _LOSSLESS_FORMATS or compression in _LOSSY_COMPRESSIONS:
                raise LabelError(
                    f"{path}: expected a lossless label ({', '.join(_LOSSLESS_FORMATS)}), found "
                    f"{image.format} {compression or ''}: lossy compression invents ids"
                )
            if (pages := _pages(image, content)) > 1:
                raise LabelError(
                    f"{path}: expected one label, found {pages} pages or frames, of which none can be chosen "
                    "for you; save the one that is meant as a file of its own"
                )
            image.load()
            return image, stored
    except LabelError:
        raise
    except FileNotFoundError as error:
        raise LabelError(f"{path}: the label file does not exist") from error
    except Image.DecompressionBombError as error:
        raise LabelError(f"{path}: more pixels than Pillow opens; cut the label into tiles") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow's message names the buffer that the file was read into.
        unknown = isinstance(error, UnidentifiedImageError)
        if unknown and (mistaken := recognise(content[:BEGINNING])):
            raise LabelError(
                f"{path}: expected a label of class ids, found {mistaken.what}; {mistaken.remedy}, or get "
                "the file again"
            ) from None
        if unknown and isinstance(path, str | Path) and (found := describe_samples(path)):
            raise LabelError(
                f"{path}: expected a label of class ids as 8-bit gray, found a TIFF of {found}; save it "
                "anew: gdal_translate -ot Byte -co COMPRESS=DEFLATE IN OUT"
            ) from None
        why = "no image of a known format" if unknown else str(error)
        raise LabelError(f"{path}: the label cannot be read; copy or unpack it again: {why}") from error


def stored_mode(image: ImageFile.ImageFile) -> str:
    """Return Pillow's name for the sample layout in the file, such as `L`, or `L;2` for 2-bit gray.

    `image` must not be loaded yet.
    """
    arguments = image.tile[0].args if image.tile else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else image.mode


def id_counts(ids: np.ndarray) -> dict[int, int]:
    """Return the ids that occur in a label (H, W) uint8 or uint16, each with its number of pixels."""
    flat = ids.reshape(-1)
    counts = np.zeros(int(np.iinfo(ids.dtype).max) + 1, np.int64)
    for start in range(0, len(flat), _CHUNK):
        counts += np.bincount(flat[start : start + _CHUNK], minlength=len(counts))
    return {int(k): int(counts[k]) for k in np.flatnonzero(counts)}


def _pack(pixels: np.ndarray) -> np.ndarray:
    """Return 65536 R + 256 G + B, int32, of uint8 colours (..., 3)."""
    wide = pixels.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def likely_mistake(values: set[int], num_classes: int, ignore_label: int) -> str:
    """Return a hint at the usual mistake behind wrong ids.

    Args:
        values: The ids of one label or of all labels of a dataset, some of them wrong.
        num_classes: How many classes the dataset has.
        ignore_label: The id of pixels that are neither trained nor scored.

    Returns:
        The hint, starting with ". ", or "" if none fits.
    """
    seen = values - {ignore_label}
    if seen <= {0, 255}:
        return ". It looks like a 0/255 mask of one class: convert it to ids"
    if seen <= set(range(1, num_classes + 1)):
        return f". The ids look shifted by one (1..{num_classes}, no 0): {_CONVERT}"
    if seen <= set(range(num_classes + 1)):
        return f". If 0 stands for unlabelled and 1..{num_classes} for the classes, {_CONVERT}"
    if seen <= set(range(num_classes)) | {254}:
        return ". 254 appears when ids are lowered by one twice: convert the official file once"
    return ""


def pixel_counts(counts: Mapping[int, int] | Mapping[RGB, int]) -> str:
    """Format the ten most frequent ids or colours with their pixel counts, and how many more there are."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{value} ({count} px)" for value, count in ranked[:_SHOWN])
    return shown + (f" and {len(ranked) - _SHOWN} more values" if len(ranked) > _SHOWN else "")


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"
