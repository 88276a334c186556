"""Label files: reading ids or colours without touching them, checking them, and mapping colours to ids.

Ids are read as they are stored: nothing here shifts, converts or resizes a label, because every such
repair hides a wrong score. What does not hold ids of its dataset is refused with a hint at the cure;
the cure itself is a converter (`rskt_seg.data.convert`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg.data.class_sets import IGNORE_LABEL, RGB
from rskt_seg.errors import LabelError

_LOSSLESS_FORMATS = ("PNG", "TIFF", "BMP", "GIF", "PPM")
_LOSSY_COMPRESSIONS = ("jpeg", "tiff_jpeg", "webp")
_CONVERT = "convert the official files with `rskt-seg prepare`"
_REFUSED_MODES = {
    "1": "1 bit a pixel (its polarity is ambiguous); save 8-bit ids",
    "I": "32-bit integers; save ids as 8-bit gray",
    "F": "floating-point values; save ids as 8-bit gray",
    "LA": "gray with alpha; save ids as 8-bit gray without alpha",
    "PA": "a palette with alpha; save ids as 8-bit gray without alpha",
}
_CHUNK = 1 << 22
_SHOWN = 10


@dataclass(frozen=True)
class _Decoded:
    image: Image.Image
    stored_mode: str


def read_label(path: str | Path) -> np.ndarray:
    """The class ids of a label file as stored: (H, W), uint8, or uint16 from a 16-bit gray file.

    A palette file gives its indices, never its colours or gray values. EXIF orientation is not
    applied. Raises `LabelError` naming the file when it is missing, truncated, not an image, lossily
    compressed, coloured (run the converter), 1-bit, 2- or 4-bit gray (whose ids the decoder would
    stretch to 0..255), 32-bit, floating-point, or has alpha.
    """
    decoded = _decode(path)
    mode = decoded.image.mode
    if mode in ("L", "P"):
        if mode == "L" and decoded.stored_mode != "L":
            raise LabelError(
                f"{path}: gray samples are stored as {decoded.stored_mode}, which is not plain 8 bit, "
                "so ids would be changed on reading; save ids as 8-bit gray"
            )
        return np.array(decoded.image)
    if mode.startswith("I;16"):
        return np.array(decoded.image).astype(np.uint16)
    if mode in _REFUSED_MODES:
        raise LabelError(f"{path}: a label of class ids was expected, found {_REFUSED_MODES[mode]}")
    raise LabelError(f"{path}: a label of class ids was expected, found a colour image ({mode}); {_CONVERT}")


def read_colors(path: str | Path) -> np.ndarray:
    """The colours of an official colour mask: (H, W, 3) uint8 R, G, B.

    A palette file gives its colours. Raises `LabelError` naming the file when it is missing,
    truncated, not an image, lossily compressed, partly transparent, or gray (then it holds ids, and
    may be converted already).
    """
    decoded = _decode(path)
    if decoded.image.mode == "RGB":
        return np.array(decoded.image)
    if decoded.image.mode == "P" and "transparency" not in decoded.image.info:
        return np.array(decoded.image.convert("RGB"))
    if decoded.image.mode in ("RGBA", "P"):
        rgba = np.array(decoded.image.convert("RGBA"))
        if (rgba[..., 3] == 255).all():
            return rgba[..., :3]
        raise LabelError(f"{path}: a mask of class colours was expected, found transparent pixels")
    raise LabelError(
        f"{path}: a mask of class colours was expected, found mode {decoded.image.mode}; "
        "was the file converted to ids already?"
    )


def check_label(
    label: np.ndarray,
    num_classes: int,
    ignore: int,
    path: str | Path,
    image_size: tuple[int, int] | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Raise `LabelError` naming `path` unless `label` can be trained on and scored.

    `label` must be an integer (H, W) array of ids 0..num_classes - 1 or `ignore`; `image_size` is
    (height, width) of its image. The message gives each wrong value with its pixel count, and a hint
    when the ids look shifted by one, lowered twice, or like a 0/255 mask. With `ignore` 255 a single
    0/255 mask cannot be told from class 0 beside ignored pixels, and passes.
    """
    if label.ndim != 2 or label.dtype.kind not in "ui":
        raise LabelError(
            f"{path}: integer ids of shape (H, W) were expected, found {label.dtype} of shape {label.shape}"
        )
    if image_size is not None and label.shape != tuple(image_size):
        raise LabelError(
            f"{path}: the label is {_size(label.shape)} but its image is {_size(image_size)} (height x "
            "width); labels are never resized, so find the label or the image that belongs here"
        )
    wrong = (label < 0) | (label >= num_classes)
    wrong &= label != ignore
    if not wrong.any():
        return
    values, counts = np.unique(label[wrong], return_counts=True)
    names = f": {', '.join(class_names)}" if class_names else ""
    raise LabelError(
        f"{path}: found ids {pixel_counts(dict(zip(values.tolist(), counts.tolist(), strict=True)))}; "
        f"expected 0..{num_classes - 1} ({num_classes} classes{names}) or {ignore} (ignored)"
        f"{likely_mistake(set(np.unique(label).tolist()), num_classes, ignore)}"
    )


def remap_colors(
    rgb: np.ndarray,
    table: Mapping[RGB, int],
    ignore_colors: Iterable[RGB] = (),
    ignore: int = IGNORE_LABEL,
) -> tuple[np.ndarray, dict[RGB, int]]:
    """Class ids of the colours of `rgb` (H, W, 3) uint8, by exact match.

    Returns the ids (H, W) uint8, and the colours that are neither in `table` (colour -> id 0..254)
    nor in `ignore_colors`, each with its pixel count; such pixels get `ignore`, and whoever calls
    decides how many are too many (`refuse_unknown`). Raises `LabelError` for an array of another
    kind, and for a colour that is both a class and ignored.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise LabelError(f"uint8 colours of shape (H, W, 3) were expected, found {rgb.dtype} {rgb.shape}")
    ignore_colors = set(ignore_colors)
    if both := sorted(ignore_colors & table.keys()):
        raise LabelError(f"colours are listed both as a class and as ignored: {both}")
    known = dict.fromkeys(ignore_colors, ignore) | dict(table)
    if wrong := {color: k for color, k in known.items() if not 0 <= k <= 255}:
        raise LabelError(f"ids 0..255 were expected for colours, found {wrong}")
    lookup = np.full(1 << 24, -1, np.int16)
    lookup[[_packed(np.array(color, np.uint8)) for color in known]] = list(known.values())
    pixels = rgb.reshape(-1, 3)
    ids = np.empty(len(pixels), np.uint8)
    unknown: dict[RGB, int] = {}
    for start in range(0, len(pixels), _CHUNK):
        packed = _packed(pixels[start : start + _CHUNK])
        found = lookup[packed]
        missing = found < 0
        ids[start : start + _CHUNK] = np.where(missing, ignore, found)
        for code, count in zip(*np.unique(packed[missing], return_counts=True), strict=True):
            color = (int(code) >> 16, int(code) >> 8 & 255, int(code) & 255)
            unknown[color] = unknown.get(color, 0) + int(count)
    return ids.reshape(rgb.shape[:2]), unknown


def threshold_colors(rgb: np.ndarray) -> np.ndarray:
    """Each channel of `rgb` (H, W, 3) uint8 set to 255 where it is at least 128, else to 0.

    For DeepGlobe alone, whose masks were compressed and whose authors advise this threshold; for
    other masks it would turn unknown colours into classes.
    """
    return np.where(rgb >= 128, np.uint8(255), np.uint8(0))


def refuse_unknown(unknown: Mapping[RGB, int], pixels: int, tolerance: float, path: str | Path) -> None:
    """Raise `LabelError` when more than `tolerance` (0..1) of `pixels` have an unknown colour."""
    total = sum(unknown.values())
    if total > tolerance * pixels:
        raise LabelError(
            f"{path}: {total} of {pixels} pixels ({total / pixels:.3%}) have colours of no class: "
            f"{pixel_counts(unknown)}; at most {tolerance:.3%} is tolerated. Is this the mask of another "
            "dataset or version?"
        )


def _decode(path: str | Path) -> _Decoded:
    """The decoded file, with the sample layout that it had on disk (Pillow forgets it on loading)."""
    try:
        with Image.open(path) as image:
            stored = stored_mode(image)
            compression = image.info.get("compression")
            if image.format not in _LOSSLESS_FORMATS or compression in _LOSSY_COMPRESSIONS:
                raise LabelError(
                    f"{path}: a lossless label ({', '.join(_LOSSLESS_FORMATS)}) was expected, found "
                    f"{image.format} {compression or ''}: lossy compression invents ids"
                )
            image.load()
            return _Decoded(image, stored)
    except LabelError:
        raise
    except FileNotFoundError as error:
        raise LabelError(f"{path}: the label file does not exist") from error
    except Image.DecompressionBombError as error:
        raise LabelError(f"{path}: more pixels than Pillow opens; cut the mask into tiles") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise LabelError(f"{path}: the label cannot be read, copy or unpack it again: {error}") from error


def stored_mode(image: Image.Image) -> str:
    """Pillow's name of the sample layout in the file, such as `L`, or `L;2` for 2-bit gray."""
    arguments = image.tile[0].args if image.tile else image.mode
    first = arguments if isinstance(arguments, str) else arguments[0]
    return first if isinstance(first, str) else image.mode


def _packed(pixels: np.ndarray) -> np.ndarray:
    """R, G, B in the last axis, uint8 -> 65536 R + 256 G + B, int32."""
    wide = pixels.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def likely_mistake(values: set[int], num_classes: int, ignore: int) -> str:
    """A hint, after ". ", at the usual mistake that leads to `values` in labels of ids; else "".

    `values` come from one label or from a whole set, and some of them are no id.
    """
    seen = values - {ignore}
    if seen <= {0, 255}:
        return ". It looks like a 0/255 mask of one class: convert it to ids"
    if seen <= set(range(1, num_classes + 1)):
        return f". The ids look shifted by one (1..{num_classes}, no 0): {_CONVERT}"
    if seen <= set(range(num_classes + 1)):
        return f". If 0 stands for unlabelled and 1..{num_classes} for the classes, {_CONVERT}"
    if seen <= set(range(num_classes)) | {254}:
        return ". 254 appears when ids are lowered by one twice: convert the official file once"
    return ""


def pixel_counts(counts: Mapping) -> str:
    """The ten most frequent values with their pixel counts, and how many more values there are."""
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{value} ({count} px)" for value, count in ranked[:_SHOWN])
    return shown + (f" and {len(ranked) - _SHOWN} more values" if len(ranked) > _SHOWN else "")


def _size(shape: Sequence[int]) -> str:
    return f"{shape[0]}x{shape[1]}"
