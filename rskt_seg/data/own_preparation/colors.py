"""Masks in which each class has a colour, read by colour, whatever a palette or a decoder makes of them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rskt_seg.data.class_sets import IGNORE_LABEL, RGB
from rskt_seg.data.labels import ColorTable, remap_colors
from rskt_seg.data.own_preparation.label_forms import ColorMasks, hex_color
from rskt_seg.data.own_preparation.label_maps import LabelFacts, strips
from rskt_seg.errors import ImageReadError, LabelError
from rskt_seg.geo.grids import grid_difference
from rskt_seg.geo.image_sets import SetImage, examine_image, open_reader
from rskt_seg.geo.stretch import parse_stretch
from rskt_seg.windows import Window

_MANY = 64
"""Colours of no class in one mask from which it is told that they were blurred, not chosen."""
_SHOWN = 6
_AS_THEY_ARE = (None, None, None)
"""The limits of masks, whose values are never scaled."""


class ColorMask:
    """The mask of an image, ready to be read; see `OpenLabel`.

    Args:
        form: The colours.
        known: The same as a table.
        names: The class names.
        path: The file: RGB, RGBA, a palette or gray; what is transparent or has no data is ignored.
        mask: What the file is.
    """

    def __init__(
        self, form: ColorMasks, known: ColorTable, names: tuple[str, ...], path: Path, mask: SetImage
    ) -> None:
        self._form, self._known, self._names, self._path, self._mask = form, known, names, path, mask
        with _of_mask():
            self._reader = open_reader(mask, _AS_THEY_ARE, None)

    def survey(self) -> LabelFacts:
        """See `OpenLabel.survey`; colours of no class that are tolerated are told."""
        unknown: Counter[RGB] = Counter()
        snapped = 0
        for strip in strips(self._mask.size):
            _, others, number = self._classes(strip)
            unknown.update(others)
            snapped += number
        pixels = self._mask.size[0] * self._mask.size[1]
        if sum(unknown.values()) > self._form.tolerance * pixels:
            driver = self._mask.driver
            raise LabelError(_describe_unknown(self._path, unknown, pixels, self._form, self._names, driver))
        return LabelFacts(dict(unknown), snapped)

    def read(self, window: Window) -> np.ndarray:
        """See `OpenLabel.read`."""
        return self._classes(window)[0]

    def _classes(self, window: Window) -> tuple[np.ndarray, dict[RGB, int], int]:
        """Return ids (h, w), the pixels of each colour of no class, and how many took the nearest colour."""
        with _of_mask():
            part = self._reader.read(window)
        ids, unknown = self._known.look_up(part.pixels)
        ids[~part.valid] = IGNORE_LABEL
        if not part.valid.all() and unknown:
            _, unknown = self._known.look_up(part.pixels[part.valid][None])
        snapped = 0
        if unknown and self._form.snap:
            snapped, unknown = _snap(ids, part.pixels, part.valid, unknown, self._form)
        return ids, unknown, snapped


def open_color_mask(
    form: ColorMasks, known: ColorTable, names: tuple[str, ...], path: Path, image: SetImage
) -> ColorMask:
    """Open the colour mask of an image.

    Args:
        form: The colours.
        known: The same as a table.
        names: The class names.
        path: The mask.
        image: The image that it belongs to.

    Returns:
        The label.

    Raises:
        LabelError: The mask cannot be read, or has another size or grid than its image.
    """
    with _of_mask():
        mask = examine_image(path, None, parse_stretch("none"), None, 1)
    height, width = mask.size
    if mask.dtype != "uint8":
        raise LabelError(f"{path}: expected a mask of 8-bit colours; found {mask.dtype} samples")
    if mask.size != image.size:
        raise LabelError(
            f"{path}: the mask is {height} x {width} but its image {image.path} is {image.size[0]} x "
            f"{image.size[1]} (height x width); masks are never resized: find the one that belongs here"
        )
    if how := grid_difference(image.georeference, mask.georeference, image.size):
        raise LabelError(f"{path}: mask and image lie on different grids of the ground: {how}")
    return ColorMask(form, known, names, path, mask)


@contextmanager
def _of_mask() -> Iterator[None]:
    """Raise `LabelError` in place of `ImageReadError`, which speaks of images."""
    try:
        yield
    except ImageReadError as error:
        raise LabelError(f"{error} (it is the mask of an image)") from error


def _snap(
    ids: np.ndarray, pixels: np.ndarray, valid: np.ndarray, unknown: dict[RGB, int], form: ColorMasks
) -> tuple[int, dict[RGB, int]]:
    """Give pixels the class of the nearest colour within reach. Return how many, and other colours."""
    near = {color: _nearest(color, form) for color in unknown}
    reached = {
        color: form.table.get(found, IGNORE_LABEL)
        for color, (found, distance) in near.items()
        if distance <= form.snap
    }
    if not reached:
        return 0, unknown
    table = {color: number for color, number in reached.items() if number != IGNORE_LABEL}
    snapped, _ = remap_colors(pixels, table, [color for color in reached if color not in table])
    chosen = valid & (snapped != IGNORE_LABEL)
    ids[chosen] = snapped[chosen]
    return sum(unknown[color] for color in reached), {c: n for c, n in unknown.items() if c not in reached}


def _nearest(color: RGB, form: ColorMasks) -> tuple[RGB, float]:
    """Return the nearest colour of the form, the first of equals, and its distance in RGB."""
    known = [*form.table, *form.ignored]
    distances = np.linalg.norm(np.array(known, float) - np.array(color, float), axis=1)
    return known[int(distances.argmin())], float(distances.min())


def _describe_unknown(
    path: Path,
    unknown: Mapping[RGB, int],
    pixels: int,
    form: ColorMasks,
    names: tuple[str, ...],
    driver: str,
) -> str:
    ordered = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
    shown = []
    for color, count in ordered[:_SHOWN]:
        near, distance = _nearest(color, form)
        what = names[form.table[near]] if near in form.table else "ignored"
        shown.append(
            f"{hex_color(color)} {count} ({count / pixels:.2%}, nearest {what} {hex_color(near)} at "
            f"{distance:.0f})"
        )
    more = f" and {len(ordered) - _SHOWN} more colours" if len(ordered) > _SHOWN else ""
    total = sum(unknown.values())
    reason = "name them in `colors`, or in `ignore`"
    if len(unknown) >= _MANY or driver == "JPEG":
        kind = "JPEG compression" if driver == "JPEG" else "smoothing or compression"
        farther = f"a greater one than {form.snap:g}" if form.snap else "such as snap: 12"
        reason = (
            f"{len(unknown)} different ones: {kind} has blurred the colours, so get the lossless masks, or "
            f"give the distance up to which a pixel takes the nearest colour, {farther}, and a `tolerance` "
            "for those that are farther"
        )
    return (
        f"{path}: {total} of {pixels} pixels ({total / pixels:.3%}) have colours of no class: "
        f"{', '.join(shown)}{more}; at most {form.tolerance:.3%} is tolerated; {reason}"
    )
