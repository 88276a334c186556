"""What a preparation has made: its YAML file, its manifest, and a report."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from rskt_seg.data.class_sets import IGNORE_LABEL, RGB, ClassSet, listed
from rskt_seg.data.image_labels import write_image_labels
from rskt_seg.data.labels import pixel_counts
from rskt_seg.data.own_preparation.description import Description
from rskt_seg.data.own_preparation.scenes import SceneResult
from rskt_seg.data.own_preparation.splitting import Divided
from rskt_seg.errors import DatasetError
from rskt_seg.wording import counted
from rskt_seg.writing import replace_text

_MANIFEST = "prepare.json"


@dataclass(frozen=True)
class OwnSummary:
    """The result of a preparation; `str()` gives a report of several lines.

    Attributes:
        class_set: Name of the set, class names and colours.
        folder: The folder of the set.
        file: The YAML file of the set, for `DATASETS.OWN`.
        notes: Sentences on what was found and decided.
        images: Number of images.
        tiles: Split -> number of tiles.
        pixels: Split -> class id -> number of pixels.
        mean: Mean of the valid pixels of each channel, 0..255.
        std: Their standard deviation.
        fresh: Number of images that this run converted.
        image_level: Whether labels are those of whole images, and `pixels` thereby counts images.
    """

    class_set: ClassSet
    folder: Path
    file: Path
    notes: tuple[str, ...]
    images: int
    tiles: dict[str, int]
    pixels: dict[str, dict[int, int]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fresh: int
    image_level: bool = False

    def __str__(self) -> str:
        tiles = ", ".join(f"{count} {split}" for split, count in self.tiles.items())
        lines = [f"{self.class_set.name}: {counted(self.images, 'image')}, tiles: {tiles}"]
        lines += [f"  {note}" for note in self.notes]
        width = max(map(len, (*self.class_set.names, "ignored"))) + 2
        lines.append(f"  {'share of':{width}}" + "".join(f"{split:>10}" for split in self.tiles))
        rows = list(enumerate(self.class_set.names))
        rows += [] if self.image_level else [(IGNORE_LABEL, "ignored")]
        for number, name in rows:
            lines.append(f"  {name:{width}}" + "".join(f"{s:>10.2%}" for s in self._shares(number)))
        lines.append(f"  {self.file}")
        done = f"{counted(self.fresh, 'image')} converted" if self.fresh else "nothing was left to do"
        file = shlex.quote(str(self.file))
        advice = f"rskt-seg check {file}; rskt-seg train --model NAME --data {file}"
        return "\n".join([*lines, f"  {done}; next: {advice}"])

    def _shares(self, number: int) -> list[float]:
        """Return the share of a class in the labelled pixels, or the images, of each split."""
        shares = []
        for split in self.tiles:
            counts = self.pixels[split]
            total = self.tiles[split] if self.image_level else sum(counts.values())
            total -= 0 if number == IGNORE_LABEL else counts.get(IGNORE_LABEL, 0)
            shares.append(counts.get(number, 0) / max(total, 1))
        return shares


def summarize(
    description: Description,
    classes: Mapping[str, tuple[int, ...]] | None,
    results: Sequence[SceneResult],
    divided: Divided,
    notes: Sequence[str],
    folder: Path,
    fresh: int,
) -> OwnSummary:
    """Write the YAML file and the manifest of a complete set.

    Args:
        description: What was asked for.
        classes: Image -> ids of the classes that it shows; None if pixels have labels.
        results: What became of the images.
        divided: What was dropped when tiles were divided.
        notes: Sentences on what was found.
        folder: The folder of the set.
        fresh: Number of images that this run converted.

    Returns:
        The summary.

    Raises:
        DatasetError: A split has no tile.
    """
    names = description.division.names
    tiles, pixels = count_tiles(description, results)
    mean, std = _mean_and_deviation(results)
    set_name = description.class_set.name
    summary = OwnSummary(
        description.class_set, folder, folder / f"{set_name}.yaml",
        (*notes, *describe_results(results, divided), *describe_absent(description.class_set, pixels)),
        len(results), tiles,
        {split: dict(sorted(counts.items())) for split, counts in pixels.items()}, mean, std, fresh,
        classes is not None,
    )  # fmt: skip
    if classes is not None:
        for name in names:
            shown = {result.scene: classes[result.scene] for result in results if name in result.pixels}
            write_image_labels(folder / f"{name}.csv", shown, description.class_set.names)
    replace_text(summary.file, _own_yaml(description, "labels" if classes is None else "image_labels"))
    manifest = {
        "dataset": set_name, "notes": summary.notes, "images": summary.images, "tiles": tiles,
        "pixels": {split: {str(k): n for k, n in counts.items()} for split, counts in summary.pixels.items()},
        "classes": description.class_set.names, "mean": mean, "std": std, "seed": description.division.seed,
    }  # fmt: skip
    replace_text(folder / _MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return summary


def count_tiles(
    description: Description, results: Sequence[SceneResult]
) -> tuple[dict[str, int], dict[str, Counter[int]]]:
    """Count what is kept.

    Args:
        description: What was asked for.
        results: What became of the images.

    Returns:
        Split -> number of tiles, and split -> class id -> number of pixels, or of images that show it.

    Raises:
        DatasetError: A split has no tile.
    """
    names = description.division.names
    tiles, pixels = dict.fromkeys(names, 0), {name: Counter[int]() for name in names}
    for result in results:
        for split, counts in result.pixels.items():
            pixels[split].update(counts)
        for output in result.outputs:
            split, kind, _ = output.split("/", 2)
            tiles[split] += kind == "images"
    if empty := [name for name in names if not tiles[name]]:
        raise DatasetError(
            f"{description.path}: split.{empty[0]} is left without a tile: none of those in it has a "
            "labelled pixel that is kept; divide otherwise, or raise tiles.keep_empty"
        )
    return tiles, pixels


def _mean_and_deviation(results: Sequence[SceneResult]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of the valid pixels of each channel; zeros if there are none."""
    moments = [sum(result.moments[k] for result in results) for k in range(7)]
    number, sums, squares = max(moments[0], 1), moments[1:4], moments[4:]
    spreads = (number * square - total**2 for total, square in zip(sums, squares, strict=True))
    return tuple(total / number for total in sums), tuple(each**0.5 / number for each in spreads)


def describe_results(results: Sequence[SceneResult], divided: Divided) -> list[str]:
    """Return sentences on what was left out, ignored or changed."""
    unknown: Counter[RGB] = Counter()
    for result in results:
        unknown.update(result.unknown)
    sums = {
        "reach into blocks of several splits": divided.crossing,
        "show ground of another split": divided.shared,
        "have no labelled pixel": sum(result.unlabelled for result in results),
        "show background alone and are thinned": sum(result.thinned for result in results),
    }
    notes = [f"{counted(count, 'tile')} left out, which {why}" for why, count in sums.items() if count]
    if snapped := sum(result.snapped for result in results):
        notes.append(f"{counted(snapped, 'pixel')} of the masks took the nearest colour")
    if unknown:
        notes.append(f"colours of no class, now ignored: {pixel_counts(unknown)}")
    if warped := sum(result.warped for result in results):
        notes.append(f"{counted(warped, 'label')} warped by nearest neighbour onto the grid of the image")
    return notes


def describe_absent(class_set: ClassSet, pixels: Mapping[str, Mapping[int, int]]) -> list[str]:
    """Return sentences on classes that no tile of a split shows."""
    absent = {
        split: [name for k, name in enumerate(class_set.names) if not counts.get(k)]
        for split, counts in pixels.items()
    }
    return [
        f"no label in {split} shows {listed(names)}; if some should, are the values or colours right?"
        for split, names in absent.items()
        if names
    ]


def _own_yaml(description: Description, key: str) -> str:
    """Return the text of the YAML file of the set, as `rskt_seg.data.read_own` reads it."""
    tree = {
        "name": description.class_set.name,
        "classes": list(description.class_set.names),
        "palette": [list(color) for color in description.class_set.colors],
        "splits": {
            name: {"images": f"{name}/images", key: f"{name}/labels" if key == "labels" else f"{name}.csv"}
            for name in description.division.names
        },
    }
    head = f"# Written by `rskt-seg prepare own {description.path.name}`; another run replaces it.\n"
    return head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, default_flow_style=None)
