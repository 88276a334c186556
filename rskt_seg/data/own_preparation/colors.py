"""Masks in which each class has a colour, read by colour, whatever a palette or a decoder makes of them."""

from pathlib import Path

import numpy as np

from rskt_seg.data.class_sets import IGNORE_LABEL, RGB
from rskt_seg.data.labels import remap_colors
from rskt_seg.data.own_preparation.label_forms import ColorMasks, hex_color
from rskt_seg.data.own_preparation.label_maps import LabelMap
from rskt_seg.errors import ImageReadError, LabelError
from rskt_seg.geo import read_image
from rskt_seg.geo.grids import grid_difference
from rskt_seg.geo.image_sets import SetImage

_MANY = 64
"""Colours of no class in one mask from which it is told that they were blurred, not chosen."""
_SHOWN = 6


def read_color_mask(form: ColorMasks, names: tuple[str, ...], image: SetImage, path: Path) -> LabelMap:
    """Read the classes of a colour mask.

    Args:
        form: The colours.
        names: The class names.
        image: The image that the mask belongs to.
        path: The mask: RGB, RGBA, a palette or gray; what is transparent or has no data is ignored.

    Returns:
        The classes, with the colours of no class that are tolerated.

    Raises:
        LabelError: The mask cannot be read, has another size or grid than its image, or too many pixels have
            colours of no class.
    """
    try:
        mask = read_image(path, stretch="none")
    except ImageReadError as error:
        raise LabelError(f"the mask {error}") from error
    height, width = mask.valid.shape
    if mask.dtype != "uint8":
        raise LabelError(f"{path}: expected a mask of 8-bit colours; found {mask.dtype} samples")
    if (height, width) != image.size:
        raise LabelError(
            f"{path}: the mask is {height} x {width} but its image {image.path} is {image.size[0]} x "
            f"{image.size[1]} (height x width); masks are never resized: find the one that belongs here"
        )
    if how := grid_difference(image.georeference, mask.georeference, image.size):
        raise LabelError(f"{path}: mask and image lie on different grids of the ground: {how}")
    ids, unknown = remap_colors(mask.pixels, form.table, form.ignored)
    ids[~mask.valid] = IGNORE_LABEL
    if not mask.valid.all() and unknown:
        _, unknown = remap_colors(mask.pixels[mask.valid][None], form.table, form.ignored)
    snapped = 0
    if unknown and form.snap:
        snapped, unknown = _snap(ids, mask.pixels, mask.valid, unknown, form)
    total = sum(unknown.values())
    if total > form.tolerance * ids.size:
        raise LabelError(_describe_unknown(path, unknown, ids.size, form, names, mask.driver))
    return LabelMap(ids, unknown=unknown, snapped=snapped)


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
    path: Path, unknown: dict[RGB, int], pixels: int, form: ColorMasks, names: tuple[str, ...], driver: str
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
        reason = (
            f"{len(unknown)} different ones: {kind} has blurred the colours, so get the lossless masks, or "
            "give the distance up to which a pixel takes the nearest colour, such as snap: 12"
        )
    return (
        f"{path}: {total} of {pixels} pixels ({total / pixels:.3%}) have colours of no class: "
        f"{', '.join(shown)}{more}; at most {form.tolerance:.3%} is tolerated; {reason}"
    )
