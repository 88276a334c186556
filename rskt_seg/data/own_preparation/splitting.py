"""The division of tiles into splits, so that no pixel and no piece of ground is in two of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rskt_seg.data.class_sets import listed
from rskt_seg.data.own_preparation.description import Division
from rskt_seg.data.own_preparation.files import PathPattern
from rskt_seg.data.preparation.sampling import rank
from rskt_seg.errors import DatasetError
from rskt_seg.geo.footprints import ground_boxes, metres_per_unit, overlapping
from rskt_seg.geo.georeference import Georeference
from rskt_seg.windows import Window
from rskt_seg.wording import counted

_BLOCK = tuple[object, int, int]
"""What a block is anchored to, and its row and column."""


class CutImage(NamedTuple):
    """An image and its tiles.

    Attributes:
        name: What it is called in the set.
        path: The image file.
        place: Its path from the YAML file, or from the folder of all images.
        georeference: Where it lies; None if unknown.
        windows: Its tiles, px.
    """

    name: str
    path: Path
    place: str
    georeference: Georeference | None
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class Divided:
    """The splits of all tiles.

    Attributes:
        splits: Of each image, of each tile: the index of its split in `Division.names`; -1 if it is dropped.
        crossing: How many tiles were dropped because they reach into blocks of several splits.
        shared: How many were dropped because a tile of a later split shows the same ground in another image.
    """

    splits: tuple[np.ndarray, ...]
    crossing: int
    shared: int


def divide(division: Division, images: Sequence[CutImage], where: str, base: Path) -> Divided:
    """Divide the tiles of images into splits.

    Images are divided, or blocks of ground: a tile then belongs to the split of all blocks that it reaches
    into, or to none. Where images overlap on the ground, tiles that show what another split shows are
    dropped: those of the split that comes first, which takes the rest.

    Args:
        division: How to divide.
        images: The images and their tiles.
        where: The YAML file, for messages.
        base: The folder of the YAML file, to which patterns are relative.

    Returns:
        The split of each tile.

    Raises:
        DatasetError: A split would be empty; a list names no image, or two lists the same; or blocks in
            metres are asked for images whose CRS is not in metres.
    """
    known = [image.georeference for image in images if image.georeference is not None]
    crs = next((each.crs for each in known if each.crs is not None), None)
    boxes = [ground_boxes(image.windows, image.georeference, crs) for image in images]
    if division.blocks is not None:
        splits, crossing = _by_blocks(division, images, boxes, where)
    else:
        per_image = _by_lists(division, images, where, base) if division.lists else _by_shares(
            division, [image.name for image in images], "image", where
        )  # fmt: skip
        splits = [
            np.full(len(image.windows), number) for image, number in zip(images, per_image, strict=True)
        ]
        crossing = 0
    shared = _drop_shared_ground(splits, boxes, len(division.names))
    left = Counter(np.concatenate(splits).tolist())
    if empty := [name for k, name in enumerate(division.names) if not left[k]]:
        raise DatasetError(
            f"{where}: split: {listed(empty)} would be empty: of {sum(map(len, splits))} tiles {crossing} "
            f"reach into blocks of several splits, and {shared} show ground of another split; take smaller "
            "tiles, larger blocks, or another division"
        )
    return Divided(tuple(splits), crossing, shared)


def _by_shares(division: Division, names: Sequence[str], what: str, where: str) -> list[int]:
    """Return the split of each name: the first of a random order are in the last split, and so on."""
    parts = list(division.shares.items())
    wanted = [max(1, round(share * len(names))) for _, share in parts[1:]]
    wanted.insert(0, len(names) - sum(wanted))
    if wanted[0] < 1:
        raise DatasetError(
            f"{where}: split: {counted(len(names), what)} cannot be divided into {', '.join(division.names)} "
            "without an empty split; divide by other shares, by lists of images, or by `blocks`"
        )
    order = sorted(range(len(names)), key=lambda k: rank(division.seed, names[k]))
    numbers, found = np.repeat(range(len(wanted))[::-1], wanted[::-1]), [0] * len(names)
    for place, number in zip(order, numbers.tolist(), strict=True):
        found[place] = number
    return found


def _by_lists(division: Division, images: Sequence[CutImage], where: str, base: Path) -> list[int]:
    found, rest = [-1] * len(images), -1
    for number, name in enumerate(division.names):
        patterns = division.lists[name]
        if not patterns:
            if rest >= 0:
                raise DatasetError(
                    f"{where}: split: {division.names[rest]} and {name} cannot both take the rest"
                )
            rest = number
        for pattern in patterns:
            by_path, by_place = PathPattern(pattern, base), PathPattern(pattern, Path("/"))
            taken = [k for k, image in enumerate(images) if pattern in (image.name, image.place)] or [
                k
                for k, image in enumerate(images)
                if by_path.matches(image.path.absolute()) or by_place.matches(Path("/", image.place))
            ]
            if not taken:
                raise DatasetError(
                    f"{where}: split.{name}: no image is called or matches {pattern!r}; images are such as "
                    f"{images[0].place}"
                )
            for k in taken:
                if found[k] not in (-1, number):
                    raise DatasetError(
                        f"{where}: split: {images[k].place} is in {division.names[found[k]]} and in {name}; "
                        "an image is in one split"
                    )
                found[k] = number
    lonely = [image.place for k, image in enumerate(images) if found[k] < 0]
    if lonely and rest < 0:
        raise DatasetError(
            f"{where}: split: {counted(len(lonely), 'image')} in no split: {listed(lonely)}; list them, or "
            "give one split the word rest"
        )
    return [rest if number < 0 else number for number in found]


def _by_blocks(
    division: Division, images: Sequence[CutImage], boxes: Sequence[np.ndarray | None], where: str
) -> tuple[list[np.ndarray], int]:
    """Return the split of each tile, -1 where it reaches into several, and the number of these."""
    reached = [
        _blocks_of(division, image, of_image, where) for image, of_image in zip(images, boxes, strict=True)
    ]
    whole = {tile[0] for of_image in reached for tile in of_image if len(tile) == 1}
    if not whole:
        raise DatasetError(f"{where}: split.blocks: no tile lies within a block; take larger blocks")
    blocks = sorted(whole, key=repr)
    numbers = _by_shares(division, [repr(block) for block in blocks], "block", where)
    split_of = dict(zip(blocks, numbers, strict=True))
    splits = []
    for of_image in reached:
        of_tiles = [{split_of.get(block, 0) for block in tile} for tile in of_image]
        splits.append(np.array([each.pop() if len(each) == 1 else -1 for each in of_tiles], int))
    return splits, int(sum((each < 0).sum() for each in splits))


def _blocks_of(
    division: Division, image: CutImage, boxes: np.ndarray | None, where: str
) -> list[list[_BLOCK]]:
    """Return the blocks that each tile of an image reaches into."""
    assert division.blocks is not None
    side, anchor = division.blocks, image.name
    extents = np.array([(w.left, w.top, w.right - 1, w.bottom - 1) for w in image.windows], float)
    if division.unit == "m":
        metres = metres_per_unit(image.georeference)
        if metres is None or boxes is None:
            raise DatasetError(
                f"{where}: split.blocks: {image.place} has no projected CRS, so metres are not known there; "
                "give "
                'blocks in pixels, such as "2048 px"'
            )
        side, anchor, extents = side / metres, "ground", boxes
    first, last = np.floor(extents[:, :2] / side).astype(int), np.floor(extents[:, 2:] / side).astype(int)
    return [
        [(anchor, row, column) for row in range(y0, y1 + 1) for column in range(x0, x1 + 1)]
        for (x0, y0), (x1, y1) in zip(first.tolist(), last.tolist(), strict=True)
    ]


def _drop_shared_ground(splits: Sequence[np.ndarray], boxes: Sequence[np.ndarray | None], number: int) -> int:
    """Set tiles to -1 that show ground of a later split in another image. Return how many."""
    placed = [(k, each) for k, each in enumerate(boxes) if each is not None and len(each)]
    if number < 2 or len(placed) < 2:
        return 0
    extents = np.array([(*each[:, :2].min(axis=0), *each[:, 2:].max(axis=0)) for _, each in placed])
    dropped = 0
    for split in reversed(range(number - 1)):
        for place, (k, of_image) in enumerate(placed):
            mine = np.flatnonzero(splits[k] == split)
            near = np.flatnonzero(overlapping(extents, extents[[place]]))
            for other, of_other in (placed[j] for j in near.tolist() if j != place and len(mine)):
                hit = overlapping(of_image[mine], of_other[splits[other] > split])
                splits[k][mine[hit]] = -1
                dropped += int(hit.sum())
                mine = mine[~hit]
    return dropped
