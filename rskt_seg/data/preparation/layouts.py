"""What a recipe consists of: parts, layouts, rules and targets. Plain data; nothing here looks at a disk."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rskt_seg.data.catalog import SPLITS, Split
from rskt_seg.data.class_sets import IGNORE_LABEL
from rskt_seg.data.preparation.patches import Patches
from rskt_seg.data.preparation.windows import Cut, RandomCrops, Tiling
from rskt_seg.windows import Window

UNLISTED = "unlisted"
"""The part of images that no list names, where lists make up the parts."""


class Target(NamedTuple):
    """What an image becomes: a split of the catalog, by a converter; padded pixels get the id `padding`."""

    split: str
    converter: str
    padding: int = IGNORE_LABEL


@dataclass(frozen=True)
class Part:
    """A part of the official data. `count`: how many images of it are labelled, where that is known.

    `stems` name its images where no folder tells the part, `listed` a published list of them (see
    `rskt_seg.data.split_lists`). `labelled` False: the owners publish no labels, so images without any are
    no mistake.
    """

    name: str
    count: int | None = None
    stems: frozenset[str] = frozenset()
    labelled: bool = True
    listed: str = ""


@dataclass(frozen=True)
class Holdout:
    """A share of 1 / `one_in` of each group is `held`, the rest is `kept`; fixed by `seed` alone."""

    group: str
    one_in: int
    kept: str
    held: str
    seed: int = 0


@dataclass(frozen=True)
class Draw:
    """Some of the crops of the scenes of each part make up splits; `seed` and their names fix which ones.

    `shares`: part -> splits with their numbers of crops, where all official scenes (`Part.count`) are there.
    """

    shares: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    seed: int = 0


@dataclass(frozen=True)
class Rules:
    """What becomes of one image and its label.

    `encode`: `png`, `jpg`, or empty to keep the file as it is. `trim`: by how many pixels the two may
    differ in height or width; the common upper left part of both is then kept. `drop_empty`: pieces of which
    every label pixel is ignored are not written.
    """

    encode: str = ""
    tiling: Tiling | Patches | RandomCrops | None = None
    trim: int = 0
    drop_empty: bool = False

    def cuts(self, stem: str, ids: np.ndarray) -> list[Cut]:
        """The pieces of the scene whose label is `ids` (H, W)."""
        if self.tiling is None:
            return [Cut(stem, Window(0, 0, *ids.shape))]
        return self.tiling.cuts(stem, ids)


@dataclass(frozen=True)
class Layout:
    """One form in which a dataset is found.

    `images`, `labels`: regular expressions, searched in a file's path with `/`, in any case of letters;
    the named groups fill `stem`, the name that both share and that the output gets. In the splits of
    `targets`, `{part}` stands for the part, or for the side of `holdout`, or for the splits of `draw`, which
    goes with `RandomCrops`. `unused`: stems of labels that are published without an image.
    """

    name: str
    images: str
    labels: str
    targets: tuple[Target, ...]
    stem: str = "{stem}"
    capital: bool = False
    parts: tuple[Part, ...] = (Part("all"),)
    holdout: Holdout | None = None
    draw: Draw | None = None
    unused: frozenset[str] = frozenset()
    rules: Rules = Rules()


@dataclass(frozen=True)
class Recipe:
    """All forms of a dataset. `skip`: files and archives that are known and not needed (a regular
    expression, as in `Layout`); `advice`: what to download, for the error where it is missing; `remark`: what
    else people should know about what comes out."""

    dataset: str
    layouts: tuple[Layout, ...]
    advice: str
    skip: str = ""
    remark: str = ""

    @property
    def splits(self) -> dict[str, Split]:
        """The rows of the catalog that are written, by the name of the split."""
        return {row.split: row for row in SPLITS if row.dataset == self.dataset}

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder that may be written, relative to the root."""
        rows = self.splits.values()
        return tuple(dict.fromkeys(folder for row in rows for folder in (row.images, row.labels)))

    @property
    def folder(self) -> str:
        """The folder, relative to the root, that holds the manifest, and `all` where there is that split."""
        rows = self.splits
        return (rows.get("all") or next(iter(rows.values()))).images.split("/")[0]
