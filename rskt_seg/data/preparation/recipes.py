"""The one table of recipes: where the official files of a dataset are, and what becomes of them.

A row is data: patterns, names of converters, a tiling. Nothing here looks at a disk. Facts of the official
archives (folders, names, counts, parts) are those of the owners' pages and archives; the layout that comes
out is that of the rows of `rskt_seg.data.catalog`.
"""

import difflib
from dataclasses import dataclass

from rskt_seg.data.catalog import SPLITS, Split
from rskt_seg.data.preparation.windows import Tiling
from rskt_seg.errors import DatasetError


@dataclass(frozen=True)
class Part:
    """A part of the official data. `count`: how many images of it are labelled, where that is known.

    `stems` name its images where no folder tells the part. `labelled` False: the owners publish no
    labels, so images without any are no mistake.
    """

    name: str
    count: int | None = None
    stems: frozenset[str] = frozenset()
    labelled: bool = True


@dataclass(frozen=True)
class Holdout:
    """A share of 1 / `one_in` of each group is `held`, the rest is `kept`; fixed by `seed` alone."""

    group: str
    one_in: int
    kept: str
    held: str
    seed: int = 0


@dataclass(frozen=True)
class Rules:
    """What becomes of one image and its label.

    `encode`: `png`, `jpg`, or empty to keep the file as it is. `trim`: by how many pixels the two may
    differ in height or width; the common upper left part of both is then kept.
    """

    encode: str = ""
    tiling: Tiling | None = None
    trim: int = 0


@dataclass(frozen=True)
class Layout:
    """One form in which a dataset is found.

    `images`, `labels`: regular expressions, searched in a file's path with `/`, in any case of letters;
    the named groups fill `stem`, the name that both share and that the output gets. `targets`: (split of
    the catalog, converter); `{part}` stands for the part, or for the side of `holdout`. `unused`: stems of
    labels that are published without an image.
    """

    name: str
    images: str
    labels: str
    targets: tuple[tuple[str, str], ...]
    stem: str = "{stem}"
    capital: bool = False
    parts: tuple[Part, ...] = (Part("all"),)
    holdout: Holdout | None = None
    unused: frozenset[str] = frozenset()
    rules: Rules = Rules()


@dataclass(frozen=True)
class Recipe:
    """All forms of a dataset. `skip`: files and archives that are known and not needed (a regular
    expression, as in `Layout`); `advice`: what to download, for the error where it is missing."""

    dataset: str
    layouts: tuple[Layout, ...]
    advice: str
    skip: str = ""

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
        """The folder, relative to the root, that holds `all` and the manifest."""
        return self.splits["all"].images.split("/")[0]


def _package(dataset: str, converter: str) -> tuple[Layout, ...]:
    """The form of the published package: the folders of the catalog, holding final ids."""
    return tuple(
        Layout(
            name=f"package ({row.split})",
            images=rf"(?:^|/){row.images}/(?P<stem>[^/]+)\.(?:{'|'.join(row.image_extensions)})$",
            labels=rf"(?:^|/){row.labels}/(?P<stem>[^/]+)\.(?:{'|'.join(row.label_extensions)})$",
            targets=((row.split, converter),),
            parts=(Part(row.split),),
        )
        for row in SPLITS
        if row.dataset == dataset
    )


_POTSDAM_TRAIN = "2_10 2_11 2_12 3_10 3_11 3_12 4_10 4_11 4_12 5_10 5_11 5_12 " \
    "6_7 6_8 6_9 6_10 6_11 6_12 7_7 7_8 7_9 7_10 7_11 7_12"  # fmt: skip
_POTSDAM_TEST = "2_13 2_14 3_13 3_14 4_13 4_14 4_15 5_13 5_14 5_15 6_13 6_14 6_15 7_13"
_VAIHINGEN_TRAIN = "1 3 5 7 11 13 15 17 21 23 26 28 30 32 34 37"
_VAIHINGEN_TEST = "2 4 6 8 10 12 14 16 20 22 24 27 29 31 33 35 38"
_ISPRS_RULES = Rules("png", Tiling(512, 512))
_FRAMES = r"(?:^|/){kind}/(?P<stem>[^/]+)\.{extension}$"


def _tiles(prefix: str, train: str, test: str) -> tuple[Part, ...]:
    words = {"train": train.split(), "test": test.split()}
    return tuple(Part(name, len(ids), frozenset(prefix + i for i in ids)) for name, ids in words.items())


def _frames(extension: str, kind: str, other: str) -> str:
    """`train/src/x.JPG` and the like, anywhere but below a folder or archive called `other`."""
    away = rf"^(?!(?:.*/)?(?:{other})(?:\.zip)?/)"
    return rf"{away}(?:.*/)?[^/]*(?:train|val|test)[^/]*/{kind}/(?P<stem>[^/]+)\.{extension}$"


RECIPES: dict[str, Recipe] = {
    recipe.dataset: recipe
    for recipe in (
        Recipe(
            "DLRSD",
            (
                Layout(
                    "official",
                    r"(?:^|/)(?P<scene>[a-z]+)/(?P=scene)(?P<number>\d+)\.tiff?$",
                    r"(?:^|/)(?P<scene>[a-z]+)/(?P=scene)(?P<number>\d+)\.png$",
                    (("{part}", "dlrsd"), ("all", "dlrsd")),
                    stem="{scene}{number}",
                    capital=True,
                    parts=(Part("all", 2100),),
                    holdout=Holdout("scene", 5, kept="train", held="val"),
                    rules=Rules("jpg", trim=2),
                ),
                *_package("DLRSD", "dlrsd_ids"),
            ),
            "UCMerced_LandUse.zip (Images/airplane/airplane00.tif ...) and DLRSD.zip "
            "(Images/airplane/airplane00.png ..., palette labels)",
        ),
        Recipe(
            "iSAID",
            (
                Layout(
                    "official",
                    r"(?:^|/)(?P<stem>P\d+)\.png$",
                    r"(?:^|/)(?P<stem>P\d+)_instance_color_RGB\.png$",
                    (("{part}", "isaid"), ("all", "isaid")),
                    parts=(Part("train", 1411), Part("val", 458), Part("test", labelled=False)),
                    rules=Rules("png", Tiling(256, 206, drop_empty=True)),
                ),
                *_package("iSAID", "isaid_ids"),
            ),
            "DOTA-v1.0 images train/images/part1.zip ... part3.zip, val/images/part1.zip, and iSAID masks "
            "train/Semantic_masks/images.zip, val/Semantic_masks/images.zip",
            skip=r"Instance_masks|_instance_id_RGB\.png$",
        ),
        Recipe(
            "LoveDA",
            (
                Layout(
                    "official",
                    r"(?:^|/)(?:Urban|Rural)/images_png/(?P<stem>\d+)\.png$",
                    r"(?:^|/)(?:Urban|Rural)/masks_png/(?P<stem>\d+)\.png$",
                    (("all", "loveda"), ("all_8c", "loveda_8c")),
                    parts=(Part("Train", 2522), Part("Val", 1669), Part("Test", labelled=False)),
                ),
                Layout(
                    "package",
                    r"(?:^|/)LoveDA/images_png/(?P<stem>[^/]+)\.png$",
                    r"(?:^|/)LoveDA/masks_png/(?P<stem>[^/]+)\.png$",
                    (("all", "loveda"), ("all_8c", "loveda_8c")),
                ),
            ),
            "Train.zip and Val.zip (Train/Urban/images_png/1366.png, Train/Urban/masks_png/1366.png ...)",
        ),
        Recipe(
            "Potsdam",
            (
                Layout(
                    "official",
                    r"(?:^|/)top_potsdam_0*(?P<row>\d+)_0*(?P<column>\d+)_RGB\.tiff?$",
                    r"(?:^|/)top_potsdam_0*(?P<row>\d+)_0*(?P<column>\d+)_label_noBoundary\.(?:tiff?|png)$",
                    (("all", "isprs"),),
                    stem="top_potsdam_{row}_{column}",
                    parts=_tiles("top_potsdam_", _POTSDAM_TRAIN, _POTSDAM_TEST),
                    rules=_ISPRS_RULES,
                ),
                *_package("Potsdam", "isprs_ids"),
            ),
            "2_Ortho_RGB.zip (not IRRG, not RGBIR) and 5_Labels_all_noBoundary.zip (the labels with eroded "
            "borders, not 5_Labels_all.zip)",
            skip=r"1_DSM|3_Ortho_IRRG|4_Ortho_RGBIR|5_Labels_all\.zip$|5_Labels_for_participants\.zip$"
            r"|_(?:IRRG|RGBIR|label)\.tiff?$|dsm_potsdam",
        ),
        Recipe(
            "Vaihingen",
            (
                Layout(
                    "official",
                    r"(?:^|/)top/top_mosaic_09cm_area(?P<area>\d+)\.tiff?$",
                    r"(?:^|/)top_mosaic_09cm_area(?P<area>\d+)_noBoundary\.(?:tiff?|png)$",
                    (("all", "isprs"),),
                    stem="top_mosaic_09cm_area{area}",
                    parts=_tiles("top_mosaic_09cm_area", _VAIHINGEN_TRAIN, _VAIHINGEN_TEST),
                    unused=frozenset({"top_mosaic_09cm_area9"}),
                    rules=_ISPRS_RULES,
                ),
                *_package("Vaihingen", "isprs_ids"),
            ),
            "ISPRS_semantic_labeling_Vaihingen.zip (top/top_mosaic_09cm_area1.tif ...) and "
            "ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE.zip (..._noBoundary.tif)",
            skip=r"ground_truth_COMPLETE\.zip$|dsm_09cm",
        ),
        Recipe(
            "UAVid",
            (
                Layout(
                    "official",
                    r"(?:^|/)(?P<sequence>seq\d+)/Images/(?P<frame>\d+)\.png$",
                    r"(?:^|/)(?P<sequence>seq\d+)/Labels/(?P<frame>\d+)\.png$",
                    (("all", "uavid"),),
                    stem="{sequence}_{frame}",
                    parts=(Part("train", 200), Part("val", 70), Part("test", 150, labelled=False)),
                ),
                *_package("UAVid", "uavid_ids"),
            ),
            "uavid_train and uavid_val (uavid_train/seq1/Images/000000.png, .../Labels/000000.png ...)",
        ),
        Recipe(
            "UDD5",
            (
                Layout(
                    "official",
                    _frames("jpe?g", "src", other="UDD-?6|VDD"),
                    _frames("png", "gt", other="UDD-?6|VDD"),
                    (("all", "udd5"),),
                    parts=(Part("train"), Part("val")),
                ),
                *_package("UDD5", "udd5_ids"),
            ),
            "the UDD archive or its folder UDD5 (UDD5/train/src/*.JPG, UDD5/train/gt/*.png; not UDD6)",
            skip=r"(?:^|/)UDD-?6(?:/|\.zip$)",
        ),
        Recipe(
            "VDD",
            (
                Layout(
                    "official",
                    _frames("jpe?g", "src", other="UDD(?:-?[56])?"),
                    _frames("png", "gt", other="UDD(?:-?[56])?"),
                    (("all", "vdd"),),
                    parts=(Part("train"), Part("val"), Part("test")),
                ),
                *_package("VDD", "vdd"),
            ),
            "the VDD archive or its folder (VDD/train/src/*.JPG, VDD/train/gt/*.png; val and test alike)",
        ),
    )
}
"""Dataset -> recipe, in the order of the catalog."""


def find_recipe(name: str) -> Recipe:
    """The recipe of a dataset, in any case of letters. Raises `DatasetError` with the nearest names."""
    folded = {known.casefold(): known for known in RECIPES}
    if name.casefold() in folded:
        return RECIPES[folded[name.casefold()]]
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    advice = f"did you mean {folded[near[0]]}? " if near else ""
    raise DatasetError(f"no recipe for a dataset {name!r}; {advice}Known: {', '.join(RECIPES)}")
