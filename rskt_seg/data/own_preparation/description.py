"""The YAML file from which a dataset is prepared: images, labels, tiles and the division into splits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from rskt_seg.class_colors import class_colors
from rskt_seg.data.catalog import SPLITS, Split
from rskt_seg.data.class_sets import RGB, ClassSet
from rskt_seg.data.own_preparation.label_forms import ColorMasks, ImageLevel, LabelForm, parse_labels
from rskt_seg.data.yaml_files import check_keys, check_path, check_share, check_word, read_yaml
from rskt_seg.errors import ConfigError, DatasetError, VocabularyError
from rskt_seg.geo.stretch import Stretch, parse_stretch
from rskt_seg.reading import brief
from rskt_seg.vocabulary import check_names

_KEYS = {
    "name": True, "classes": True, "palette": False, "images": True, "labels": True, "tiles": False,
    "split": False,
}  # fmt: skip
_IMAGE_KEYS = {"path": True, "bands": False, "stretch": False, "nodata": False}
_TILE_KEYS = {"size": True, "overlap": False, "keep_empty": False, "background": False}
RASTERS = ("jpg", "jpeg", "png", "tif", "tiff", "bmp", "jp2", "webp", "vrt", "img", "gif")
"""Extensions of the images and masks that are looked for in a folder; a pattern takes any."""
_BLOCKS = re.compile(r"([1-9]\d*(?:\.\d+)?)\s*(m|px)")
WHOLE = "all"
"""The split of a description without `split`."""
_REST = "train"
"""The split of what no other one takes."""


@dataclass(frozen=True)
class Images:
    """Which images there are, and how they become 8-bit RGB.

    Attributes:
        path: A file, a folder or a pattern, absolute.
        bands: Numbers or descriptions of the bands; None for those that a file suggests.
        stretch: How the values of the whole set become 8 bits.
        nodata: Pixels with this value in all bands have no data; None for no such value.
    """

    path: str
    bands: tuple[int | str, ...] | None
    stretch: Stretch
    nodata: float | None


@dataclass(frozen=True)
class Tiles:
    """How images are cut.

    Attributes:
        size: Side of a tile, px.
        overlap: Pixels that neighbours share.
        keep_empty: Share (0..1) of the tiles that is kept of those with nothing but background.
        background: The id of the class that makes a tile empty where it is alone; None for none.
    """

    size: int
    overlap: int = 0
    keep_empty: float = 1.0
    background: int | None = None


@dataclass(frozen=True)
class Division:
    """How tiles are divided into splits.

    Attributes:
        names: The splits, first the one that takes the rest, else train: where images overlap on the ground,
            tiles of splits that come earlier give way.
        shares: Split -> its share (0..1) of the images or blocks; empty if lists are given.
        lists: Split -> patterns of its images, of paths from the YAML file or from
            the folder of all images; a split without any takes the rest.
        seed: Another seed divides otherwise.
        blocks: Side of blocks of ground that are divided in place of images; None for images.
        unit: The unit of `blocks`.
    """

    names: tuple[str, ...]
    shares: Mapping[str, float]
    lists: Mapping[str, tuple[str, ...]]
    seed: int = 0
    blocks: float | None = None
    unit: Literal["m", "px"] = "px"


@dataclass(frozen=True)
class Description:
    """What a YAML file says.

    Attributes:
        path: The file.
        class_set: Name of the set, class names and colours.
        images: The images.
        labels: The labels.
        tiles: How images are cut; None to keep them whole.
        division: How tiles are divided into splits.
    """

    path: Path
    class_set: ClassSet
    images: Images
    labels: LabelForm
    tiles: Tiles | None
    division: Division

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits as entries of the catalog; their folders are those of the sources."""
        given, of_images = self.labels.path, isinstance(self.labels, ImageLevel)
        labels, image_labels = ("", given or "folders") if of_images else (given, "")
        return tuple(
            Split(
                f"{self.class_set.name}_{name}_sem_seg", self.class_set.name, name, self.images.path, labels,
                RASTERS, RASTERS, self.class_set, image_labels=image_labels,
            )
            for name in self.division.names
        )  # fmt: skip


def is_description(path: str | Path) -> bool:
    """Return whether a YAML file describes sources, not a dataset in the form that training reads.

    Args:
        path: The file.

    Returns:
        Whether it has `images`, which a dataset has for each of its splits, and no `splits`.

    Raises:
        DatasetError: It is missing, cannot be read or is not YAML.
    """
    tree = read_yaml(Path(path), 'datasets/README.md, "Your own data"')
    return isinstance(tree, dict) and "images" in tree and "splits" not in tree


def read_description(path: str | Path) -> Description:
    """Read the YAML file from which a dataset is prepared.

    Args:
        path: The file. Paths in it are relative to it.

    Returns:
        What it says.

    Raises:
        DatasetError: An unknown or missing key or a value that it cannot have; the message is one line that
            starts with the file and the key.
    """
    path = Path(path)
    tree = check_keys(read_yaml(path, "docs/own_data.md"), _KEYS, f"{path}")
    name = check_word(tree["name"], f"{path}: name")
    if name.casefold() in {split.dataset.casefold() for split in SPLITS}:
        raise DatasetError(f"{path}: name: {name} is a dataset of the table; choose another name")
    if not isinstance(tree["classes"], list):
        raise DatasetError(f"{path}: classes must be a list of names; found {brief(tree['classes'])}")
    try:
        names = check_names(tree["classes"])
    except VocabularyError as error:
        raise DatasetError(f"{path}: classes: {error}; quote names such as 'no' or '1'") from error
    labels = parse_labels(tree["labels"], path, names)
    if isinstance(labels, ImageLevel) and "tiles" in tree:
        raise DatasetError(
            f"{path}: tiles: labels of whole images do not hold for their parts; leave tiles out, or give "
            "masks"
        )
    colors = _class_colors(tree.get("palette"), labels, names, f"{path}: palette")
    return Description(
        path,
        ClassSet(name, names, colors),
        _images(tree["images"], path),
        labels,
        _tiles(tree["tiles"], names, labels, f"{path}: tiles") if "tiles" in tree else None,
        _division(tree.get("split"), path) if "split" in tree else Division((WHOLE,), {}, {WHOLE: ()}),
    )


def _class_colors(value: object, labels: LabelForm, names: tuple[str, ...], where: str) -> tuple[RGB, ...]:
    """Return the colours of the classes: those of the file, of the masks, or generated ones."""
    if value is None:
        if isinstance(labels, ColorMasks):
            first = {k: color for color, k in reversed(list(labels.table.items()))}
            return tuple(first[k] for k in range(len(names)))
        return tuple(class_colors(names))
    if not isinstance(value, list) or not all(isinstance(color, list) for color in value):
        raise DatasetError(f"{where} must be a list of [R, G, B], one per class; found {brief(value)}")
    colors = tuple(tuple(color) for color in value)
    try:
        return ClassSet("palette", names, colors).colors
    except DatasetError as error:
        raise DatasetError(f"{where}: {str(error).removeprefix('palette: ')}") from error


def _images(value: object, path: Path) -> Images:
    where = f"{path}: images"
    keys = {"path": value} if isinstance(value, str) else check_keys(value, _IMAGE_KEYS, where)
    place = str(path.parent.absolute() / Path(check_path(keys["path"], f"{where}.path")).expanduser())
    bands = keys.get("bands")
    chosen = tuple(bands) if isinstance(bands, list) else ()
    if bands is not None and not (
        len(chosen) in (1, 3)
        and all(isinstance(each, str) or (type(each) is int and each >= 1) for each in chosen)
    ):
        raise DatasetError(
            f"{where}.bands must be one or three numbers from 1 or descriptions, such as [4, 3, 2]; found "
            f"{brief(bands)}"
        )
    stretch = keys.get("stretch", "auto")
    if isinstance(stretch, list):
        stretch = ",".join(map(str, stretch))
    try:
        rule = parse_stretch(str(stretch))
    except ConfigError as error:
        raise DatasetError(f"{where}.stretch: {error}") from error
    nodata = keys.get("nodata")
    if nodata is not None and type(nodata) not in (int, float):
        raise DatasetError(f"{where}.nodata must be a number; found {brief(nodata)}")
    return Images(place, chosen or None, rule, None if nodata is None else float(str(nodata)))


def _tiles(value: object, names: tuple[str, ...], labels: LabelForm, where: str) -> Tiles:
    keys = check_keys(value, _TILE_KEYS, where)
    size, overlap = keys["size"], keys.get("overlap", 0)
    if type(size) is not int or size < 1:
        raise DatasetError(f"{where}.size must be a number of pixels, such as 512; found {brief(size)}")
    if type(overlap) is not int or not 0 <= overlap < size:
        raise DatasetError(
            f"{where}.overlap must be a number of pixels of 0..{size - 1}; found {brief(overlap)}"
        )
    keep = check_share(keys.get("keep_empty", 1.0), f"{where}.keep_empty")
    background = keys.get("background")
    if background is None:
        return Tiles(size, overlap, keep, labels.background)
    if background not in names:
        raise DatasetError(f"{where}.background must be a class of the file; found {brief(background)}")
    return Tiles(size, overlap, keep, names.index(str(background)))


def _division(value: object, path: Path) -> Division:
    where = f"{path}: split"
    if not isinstance(value, dict) or not value:
        raise DatasetError(f"{where} must name splits, such as {{val: 0.2}}; found {brief(value)}")
    seed, blocks = value.get("seed", 0), value.get("blocks")
    if type(seed) is not int:
        raise DatasetError(f"{where}.seed must be a whole number; found {brief(seed)}")
    parts = {
        check_word(name, f"{where}.{name}"): part
        for name, part in value.items()
        if name not in ("seed", "blocks")
    }
    for name in parts:
        if near := get_close_matches(name, ("seed", "blocks"), n=1, cutoff=0.8):
            raise DatasetError(f"{where}: unknown key {brief(name)}; did you mean {near[0]}?")
    if not parts:
        raise DatasetError(f"{where} names no split; give each its share or its images, such as val: 0.2")
    side, unit = _blocks(blocks, f"{where}.blocks")
    if any(isinstance(part, str | list) for part in parts.values()):
        if blocks is not None:
            raise DatasetError(f"{where}: blocks are divided by shares, such as val: 0.2, not by lists")
        lists = {name: _patterns(part, path, f"{where}.{name}") for name, part in parts.items()}
        names = tuple(sorted(lists, key=lambda name: (lists[name] != (), name != _REST)))
        return Division(names, {}, lists, seed)
    shares = {name: check_share(part, f"{where}.{name}") for name, part in parts.items()}
    if zero := [name for name, share in shares.items() if not share]:
        raise DatasetError(f"{where}.{zero[0]} has the share 0, which leaves it empty; leave the key out")
    total = sum(shares.values())
    if _REST not in shares and total < 1 - 1e-9:
        shares = {_REST: 1 - total, **shares}
    elif abs(total - 1) > 1e-9:
        raise DatasetError(
            f"{where}: the shares sum to {total:g}; they must sum to 1, or to less without {_REST}, which "
            "takes the rest"
        )
    shares = dict(sorted(shares.items(), key=lambda item: item[0] != _REST))
    return Division(tuple(shares), shares, {}, seed, side, unit)


def _blocks(value: object, where: str) -> tuple[float | None, Literal["m", "px"]]:
    if value is None:
        return None, "px"
    found = _BLOCKS.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise DatasetError(f'{where} must be a length such as "512 m" or "2048 px"; found {brief(value)}')
    return float(found[1]), "m" if found[2] == "m" else "px"


def _patterns(part: object, path: Path, where: str) -> tuple[str, ...]:
    """Return the patterns of a split: a list, a file with one a line, or `rest`."""
    if part == "rest":
        return ()
    if isinstance(part, str):
        file = path.parent / Path(check_path(part, where)).expanduser()
        try:
            part = [
                line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()
            ]
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(
                f"{where} must be a list of patterns, the word rest, or a text file with one a line; {file} "
                f"cannot be read: {error}"
            ) from error
    if not isinstance(part, list) or not part or not all(isinstance(each, str) and each for each in part):
        raise DatasetError(
            f"{where} must be a list of patterns of images, such as [tile5/**]; found {brief(part)}"
        )
    return tuple(part)
