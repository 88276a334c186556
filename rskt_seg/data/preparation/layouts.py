"""The vocabulary of recipes: parts, layouts, rules and targets. Plain data; nothing here touches the disk."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rskt_seg.data.catalog import SPLITS, Split
from rskt_seg.data.class_sets import IGNORE_LABEL
from rskt_seg.data.preparation.patches import Patches
from rskt_seg.data.preparation.windows import Patch, RandomCrops, Tiling
from rskt_seg.windows import Window

# The names of `Target`, of `Rules` and of their fields are part of the digests of jobs (`plan.Job.digest`).

UNLISTED = "unlisted"
"""The part of images that are in no list, in layouts whose parts are lists."""


class Target(NamedTuple):
    """What an image becomes.

    Attributes:
        split: The split of the catalog that it joins.
        converter: The converter of its label, a name in `rskt_seg.data.convert.CONVERTERS`.
        padding: The id of padded pixels.
    """

    split: str
    converter: str
    padding: int = IGNORE_LABEL


@dataclass(frozen=True)
class Part:
    """A part of the official data, such as train or val.

    Attributes:
        name: The word in folder or archive names by which the part is recognized.
        count: How many labelled images the owners publish; None if unknown.
        stems: The images of the part, if folders do not tell.
        labelled: False if the owners publish no labels, so that images without a label are no mistake.
        list_name: The published list of its images (see `rskt_seg.data.split_lists`), if it is one.
    """

    name: str
    count: int | None = None
    stems: frozenset[str] = frozenset()
    labelled: bool = True
    list_name: str = ""


@dataclass(frozen=True)
class Holdout:
    """A random part of each group of images, fixed by the seed and the names of the images.

    Attributes:
        group: The named group of `Layout.images` whose value is the group of an image.
        one_in: One image in so many is held out, at least one of each group.
        kept: The name of the larger side, which takes the place of `{part}` in targets.
        held: The name of the side that is held out.
        seed: Another seed holds out other images.
    """

    group: str
    one_in: int
    kept: str
    held: str
    seed: int = 0


@dataclass(frozen=True)
class CropSampling:
    """Splits that are made of some of the random crops of the scenes of each part.

    Attributes:
        counts: (part, ((split, number of crops), ...)) for a download with all official scenes.
        seed: Another seed samples other crops.
    """

    counts: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    seed: int = 0


@dataclass(frozen=True)
class Rules:
    """How an image and its label are written.

    Attributes:
        encode: `png`, `jpg`, or empty to keep the bytes of the image file.
        tiling: How the scene is cut; None to keep it whole.
        trim: By how many pixels image and label may differ in height or width; both are then trimmed to their
            common upper left part.
        drop_empty: Whether patches without any labelled pixel are left out.
    """

    encode: str = ""
    tiling: Tiling | Patches | RandomCrops | None = None
    trim: int = 0
    drop_empty: bool = False

    def cut(self, stem: str, ids: np.ndarray) -> list[Patch]:
        """Return the patches of the scene whose label is `ids` (H, W).

        Args:
            stem: The stem of the scene.
            ids: The label of the scene, (H, W) uint8.

        Returns:
            The patches; one of the whole scene without a tiling.
        """
        if self.tiling is None:
            return [Patch(stem, Window(0, 0, *ids.shape))]
        return self.tiling.cut(stem, ids)


@dataclass(frozen=True)
class Layout:
    """One form in which the files of a dataset are published.

    Attributes:
        name: The name that is reported; those of the published package start with `package`.
        images: Regular expression, searched in the path of a file (with `/`) in any case of letters.
        labels: The same for the label files.
        targets: What each image becomes. `{part}` in a split stands for the part of the image, for its side
            of the holdout, or for the splits of `sampling`.
        stem: The stem that image and label share and that is written, from the named groups of the
            expressions.
        capitalize: Whether the stem is written with a capital letter.
        parts: The official parts.
        holdout: How the images are divided into two sides, if they are.
        sampling: Which random crops are written; needs `RandomCrops` as tiling and parts with a count.
        unused: Stems of labels that are published without an image.
        rules: How images and labels are written.
    """

    name: str
    images: str
    labels: str
    targets: tuple[Target, ...]
    stem: str = "{stem}"
    capitalize: bool = False
    parts: tuple[Part, ...] = (Part("all"),)
    holdout: Holdout | None = None
    sampling: CropSampling | None = None
    unused: frozenset[str] = frozenset()
    rules: Rules = Rules()


@dataclass(frozen=True)
class Recipe:
    """All layouts of a dataset.

    Attributes:
        dataset: The name of the dataset in the catalog.
        layouts: The forms in which it is published.
        advice: What to download, for the error if nothing is found.
        skip: Regular expression of files and archives that are known and not needed.
        remark: What users should know about the result.
    """

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
        """The folder of journal and manifest, relative to the root: that of the split `all` if any."""
        rows = self.splits
        return (rows.get("all") or next(iter(rows.values()))).images.split("/")[0]
