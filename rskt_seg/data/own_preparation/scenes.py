"""What is done for one image of a set: its tiles are read, of image and label, and kept or left out."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from rskt_seg.data.class_sets import IGNORE_LABEL, RGB
from rskt_seg.data.own_preparation.description import Description, Tiles
from rskt_seg.data.own_preparation.files import Source
from rskt_seg.data.own_preparation.label_maps import OpenLabel
from rskt_seg.data.own_preparation.readers import Labels
from rskt_seg.data.preparation.output_journal import OutputJournal
from rskt_seg.data.preparation.sampling import rank
from rskt_seg.geo import RasterImage, write_labels
from rskt_seg.geo.image_sets import Limits, SetImage, open_reader
from rskt_seg.geo.tile_files import write_picture
from rskt_seg.geo.windowed import WindowReader
from rskt_seg.legend import Legend
from rskt_seg.windows import Window, tile_stem
from rskt_seg.writing import replacing


@dataclass(frozen=True)
class SceneTiles:
    """An image and what is written of it.

    Attributes:
        source: The image and its label.
        image: What the image is.
        tiles: Stem of a tile, its pixels, and its split.
        digest: SHA-256 of the sources and of all that is made of them.
        stamps: Name, bytes and time of change (ns) of all files of image and label.
        classes: Ids of the classes that the image shows, if that is all that is known; None if pixels have
            labels.
    """

    source: Source
    image: SetImage
    tiles: tuple[tuple[str, Window, str], ...]
    digest: str
    stamps: tuple[tuple[str, int, int], ...] = ()
    classes: tuple[int, ...] | None = None

    def files(self, stem: str, split: str) -> tuple[str, ...]:
        """Return the image and, if there is one, the label file of a tile, relative to the set's folder."""
        extension = "png" if self.image.georeference is None else "tif"
        kinds = ("images", "labels") if self.classes is None else ("images",)
        return tuple(f"{split}/{kind}/{stem}.{extension}" for kind in kinds)

    @property
    def outputs(self) -> tuple[str, ...]:
        """All files that may be written."""
        return tuple(file for stem, _, split in self.tiles for file in self.files(stem, split))


@dataclass(frozen=True)
class SceneResult:
    """What became of an image; its fields are those of a line of the journal.

    Attributes:
        scene: The name of the image.
        source: The digest of `SceneTiles`.
        outputs: The files written, relative to the folder of the set.
        unlabelled: Tiles left out because no pixel of them has a class.
        thinned: Tiles left out because they show background alone.
        pixels: Split -> class id -> pixels; of labels of whole images, images that show the class.
        moments: Of the valid pixels of all tiles: their number, and of each channel the sum and the sum of
            squares.
        unknown: Colour of no class -> pixels of the mask.
        snapped: Pixels of the mask that took the nearest colour.
        warped: Whether the label was on another grid.
    """

    scene: str
    source: str
    outputs: tuple[str, ...]
    unlabelled: int
    thinned: int
    pixels: dict[str, dict[int, int]]
    moments: tuple[int, ...]
    unknown: dict[RGB, int]
    snapped: int
    warped: bool

    def to_row(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self) | {
            "pixels": {split: {str(k): n for k, n in each.items()} for split, each in self.pixels.items()},
            "unknown": [[*color, n] for color, n in self.unknown.items()],
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "SceneResult":
        """Return the result from the values that `to_row` gave."""
        values = dict(row) | {
            "outputs": tuple(row["outputs"]),
            "pixels": {split: {int(k): n for k, n in each.items()} for split, each in row["pixels"].items()},
            "moments": tuple(row["moments"]),
            "unknown": {(r, g, b): n for r, g, b, n in row["unknown"]},
        }
        return cls(**values)


def name_tiles(name: str, size: tuple[int, int], windows: Sequence[Window]) -> list[str]:
    """Return the stems of the tiles of an image; the only tile of it is called as the image."""
    if len(windows) == 1 and windows[0] == Window(0, 0, *size):
        return [name]
    return [tile_stem(name, window) for window in windows]


def digest_of(*facts: object) -> str:
    """Return the SHA-256 of the text of some values."""
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()


class Tile(NamedTuple):
    """A tile of an image as it is read.

    Attributes:
        stem: Its name.
        window: Its pixels of the image.
        split: Its split.
        picture: Its pixels (h, w, 3) and where they are valid (h, w).
        ids: (h, w) uint8, 255 where there is no class.
    """

    stem: str
    window: Window
    split: str
    picture: RasterImage
    ids: np.ndarray


def read_tile(reader: WindowReader, label: OpenLabel, window: Window) -> tuple[RasterImage, np.ndarray]:
    """Read a tile, for whatever use.

    Args:
        reader: The open image.
        label: Its open label.
        window: The pixels of the tile.

    Returns:
        The image, and ids (h, w) uint8. Pixels without data in the image are black and have no class: 255.

    Raises:
        LabelError: The label is not what the description says.
        ImageReadError: The image cannot be read.
    """
    picture = reader.read(window)
    ids = label.read(window)
    if picture.valid.all():
        return picture, ids
    pixels = np.where(picture.valid[:, :, None], picture.pixels, np.uint8(0))
    return replace(picture, pixels=pixels), np.where(picture.valid, ids, np.uint8(IGNORE_LABEL))


def survey_scene(
    scene: SceneTiles,
    description: Description,
    labels: Labels,
    limits: Limits,
    keep: Callable[[Tile], None] = lambda tile: None,
    leave_out: Callable[[Tile], None] = lambda tile: None,
) -> SceneResult:
    """Read the label of an image and all of its tiles, and find which of these are kept.

    Tiles without any class are left out, and as many of those with background alone as `tiles.keep_empty`
    says, by their names.

    Args:
        scene: The image and its tiles.
        description: What the YAML file of the set says.
        labels: The labels of the set.
        limits: How bands become 8 bits.
        keep: Called with each tile that is kept.
        leave_out: Called with every other one.

    Returns:
        What was found; `outputs` are the files of the tiles that are kept.

    Raises:
        LabelError: The label is not what the description says.
        ImageReadError: The image cannot be read.
    """
    reader = open_reader(scene.image, limits, description.images.nodata)
    left_out: Counter[str] = Counter()
    pixels: dict[str, Counter[int]] = {}
    outputs: list[str] = []
    moments = np.zeros(7, object)
    with labels.open(scene.source, scene.image) as label:
        facts = label.survey()
        for stem, window, split in scene.tiles:
            tile = Tile(stem, window, split, *read_tile(reader, label, window))
            counts = np.bincount(tile.ids.reshape(-1), minlength=256)
            if scene.classes is not None:
                counts = np.bincount(scene.classes, minlength=256)
            elif reason := _reason_to_leave_out(counts, stem, description.tiles):
                left_out[reason] += 1
                leave_out(tile)
                continue
            keep(tile)
            outputs += scene.files(stem, split)
            found = {int(k): int(counts[k]) for k in np.flatnonzero(counts)}
            pixels.setdefault(split, Counter()).update(found)
            moments += _moments(tile.picture)
    return SceneResult(
        scene.source.name, scene.digest, tuple(outputs), left_out["unlabelled"], left_out["thinned"],
        {split: dict(each) for split, each in pixels.items()}, tuple(int(each) for each in moments),
        dict(facts.unknown), facts.snapped, facts.warped,
    )  # fmt: skip


def convert_scene(
    scene: SceneTiles,
    description: Description,
    labels: Labels,
    limits: Limits,
    journal: OutputJournal[SceneResult],
    root: Path,
) -> None:
    """Write the tiles of an image, and record it in the journal when it is begun and done.

    Args:
        scene: The image and its tiles.
        description: What the YAML file of the set says.
        labels: The labels of the set.
        limits: How bands become 8 bits.
        journal: The journal of the set.
        root: The folder of the set.

    Raises:
        LabelError: The label is not what the description says.
        ImageReadError: The image cannot be read.
        DatasetError: A file exists that no run has written.
    """
    class_set = description.class_set
    legend = Legend.of(class_set.names, np.array(class_set.colors, np.uint8))

    def files(tile: Tile) -> list[Path]:
        return [root / file for file in scene.files(tile.stem, tile.split)]

    def write(tile: Tile) -> None:
        _write_tile(scene, tile, legend, files(tile))

    def delete(tile: Tile) -> None:
        for file in files(tile):
            file.unlink(missing_ok=True)

    journal.begin((scene.source.name,), scene.outputs)
    journal.add((scene.source.name,), survey_scene(scene, description, labels, limits, write, delete))


def _reason_to_leave_out(counts: np.ndarray, stem: str, tiles: Tiles | None) -> str:
    labelled = int(counts[:IGNORE_LABEL].sum())
    if not labelled:
        return "unlabelled"
    if tiles is None or tiles.background is None or counts[tiles.background] < labelled:
        return ""
    place = int(rank(0, stem)[:13], 16) / 16**13
    return "thinned" if place >= tiles.keep_empty else ""


def _write_tile(scene: SceneTiles, tile: Tile, legend: Legend, files: Sequence[Path]) -> None:
    """Write the image and the label of a tile: GeoTIFFs where the image is georeferenced, else PNGs."""
    place = None if scene.image.georeference is None else scene.image.georeference.part(tile.window)
    write_picture(files[0], tile.picture, place)
    for label in files[1:]:
        if place is not None:
            write_labels(label, tile.ids, place, legend)
            continue
        with replacing(label) as partial:
            Image.fromarray(tile.ids).save(partial, "PNG")


def _moments(picture: RasterImage) -> np.ndarray:
    """Return the number of valid pixels, the sums of the channels and those of their squares, (7,)."""
    values = np.arange(256, dtype=np.int64)
    counts = [
        np.bincount(picture.pixels[:, :, k][picture.valid], minlength=256).astype(np.int64) for k in range(3)
    ]
    sums, squares = [each @ values for each in counts], [each @ values**2 for each in counts]
    return np.array([int(counts[0].sum()), *map(int, sums), *map(int, squares)], object)
