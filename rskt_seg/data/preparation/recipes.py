"""The table of recipes: where the official files of a dataset are, and what becomes of them.

A row is data: patterns, names of converters, a tiling. Nothing here touches the disk. Folders, names, counts
and parts of the official archives are taken from their owners' pages and archives; the layout that is written
is that of the rows of `rskt_seg.data.catalog`. The recipes of the closed-set methods are those of
`rskt_seg.data.preparation.closed_set`.
"""

import difflib

from rskt_seg.data import isprs
from rskt_seg.data.catalog import SPLITS
from rskt_seg.data.preparation.closed_set import CLOSED_SET
from rskt_seg.data.preparation.layouts import CropSampling, Holdout, Layout, Part, Recipe, Rules, Target
from rskt_seg.data.preparation.windows import RandomCrops, Tiling
from rskt_seg.errors import DatasetError


def _package(dataset: str, converter: str) -> tuple[Layout, ...]:
    """Return the layouts of the published package: the folders of the catalog, with final class ids."""
    return tuple(
        Layout(
            name=f"package ({row.split})",
            images=rf"(?:^|/){row.images}/(?P<stem>[^/]+)\.(?:{'|'.join(row.image_extensions)})$",
            labels=rf"(?:^|/){row.labels}/(?P<stem>[^/]+)\.(?:{'|'.join(row.label_extensions)})$",
            targets=(Target(row.split, converter),),
            parts=(Part(row.split),),
        )
        for row in SPLITS
        if row.dataset == dataset
    )


_ISAID_FILES = (r"(?:^|/)(?P<stem>P\d+)\.png$", r"(?:^|/)(?P<stem>P\d+)_instance_color_RGB\.png$")
_ISAID_PARTS = (Part("train", 1411), Part("val", 458), Part("test", labelled=False))
_ISAID_ADVICE = (
    "DOTA-v1.0 images train/images/part1.zip ... part3.zip, val/images/part1.zip, and iSAID masks "
    "train/Semantic_masks/images.zip, val/Semantic_masks/images.zip"
)
_ISAID_SKIP = r"Instance_masks|_instance_id_RGB\.png$"
_ISPRS_RULES = Rules("png", Tiling(isprs.TILE, isprs.TILE))


def _scene_parts(prefix: str, train: str, test: str) -> tuple[Part, ...]:
    """Return the parts whose scenes are `prefix` with one of the space-separated numbers."""
    words = {"train": train.split(), "test": test.split()}
    return tuple(Part(name, len(ids), frozenset(prefix + i for i in ids)) for name, ids in words.items())


def _frames(extension: str, kind: str, other: str) -> str:
    """Return the pattern of `train/src/x.JPG` and the like, except below a folder or archive `other`."""
    elsewhere = rf"^(?!(?:.*/)?(?:{other})(?:\.zip)?/)"
    return rf"{elsewhere}(?:.*/)?[^/]*(?:train|val|test)[^/]*/{kind}/(?P<stem>[^/]+)\.{extension}$"


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
                    (Target("{part}", "dlrsd"), Target("all", "dlrsd")),
                    stem="{scene}{number}",
                    capitalize=True,
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
                    *_ISAID_FILES,
                    (Target("{part}", "isaid"), Target("all", "isaid")),
                    parts=_ISAID_PARTS,
                    rules=Rules("png", Tiling(256, 206), drop_empty=True),
                ),
                *_package("iSAID", "isaid_ids"),
            ),
            _ISAID_ADVICE,
            skip=_ISAID_SKIP,
        ),
        Recipe(
            "LoveDA",
            (
                Layout(
                    "official",
                    r"(?:^|/)(?:Urban|Rural)/images_png/(?P<stem>\d+)\.png$",
                    r"(?:^|/)(?:Urban|Rural)/masks_png/(?P<stem>\d+)\.png$",
                    (Target("all", "loveda"), Target("all_8c", "loveda_8c")),
                    parts=(Part("Train", 2522), Part("Val", 1669), Part("Test", labelled=False)),
                ),
                Layout(
                    "package",
                    r"(?:^|/)LoveDA/images_png/(?P<stem>[^/]+)\.png$",
                    r"(?:^|/)LoveDA/masks_png/(?P<stem>[^/]+)\.png$",
                    (Target("all", "loveda"), Target("all_8c", "loveda_8c")),
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
                    (Target("all", "isprs"),),
                    stem="top_potsdam_{row}_{column}",
                    parts=_scene_parts("top_potsdam_", isprs.POTSDAM_TRAIN, isprs.POTSDAM_TEST),
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
                    (Target("all", "isprs"),),
                    stem="top_mosaic_09cm_area{area}",
                    parts=_scene_parts("top_mosaic_09cm_area", isprs.VAIHINGEN_TRAIN, isprs.VAIHINGEN_TEST),
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
                    (Target("all", "uavid"),),
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
                    (Target("all", "udd5"),),
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
                    (Target("all", "vdd"),),
                    parts=(Part("train"), Part("val"), Part("test")),
                ),
                *_package("VDD", "vdd"),
            ),
            "the VDD archive or its folder (VDD/train/src/*.JPG, VDD/train/gt/*.png; val and test alike)",
        ),
        *CLOSED_SET,
        Recipe(
            "iSAID_wsss",
            (
                Layout(
                    "official",
                    *_ISAID_FILES,
                    (Target("{part}", "isaid_background"),),
                    parts=_ISAID_PARTS,
                    sampling=CropSampling(
                        (("train", (("train", 7500), ("val", 1653))), ("val", (("test", 1315),)))
                    ),
                    rules=Rules("png", RandomCrops(512, 8)),
                ),
            ),
            _ISAID_ADVICE,
            skip=_ISAID_SKIP,
            remark="crops are sampled here, because the published ones are not known; crops.csv lists them",
        ),
    )
}
"""Dataset -> recipe, in the order of the catalog."""
PREPARED_AS = {"LoveDA_geoseg": "LoveDA", "Potsdam_wsss": "Potsdam"}
"""Dataset of the catalog that lists files of another dataset -> the dataset that is prepared for it."""


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a dataset.

    Args:
        name: The name of the dataset, in any case of letters.

    Returns:
        How the official download becomes the dataset.

    Raises:
        DatasetError: If there is no recipe of that name; the message names the nearest one and all.
    """
    folded = {known.casefold(): PREPARED_AS.get(known, known) for known in (*RECIPES, *PREPARED_AS)}
    if name.casefold() in folded:
        return RECIPES[folded[name.casefold()]]
    near = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    advice = f"did you mean {folded[near[0]]}? " if near else ""
    raise DatasetError(f"no recipe for a dataset {name!r}; {advice}Known: {', '.join(RECIPES)}")
