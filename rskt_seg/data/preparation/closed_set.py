"""Recipes of the closed-set methods: GeoSeg's patches of the ISPRS scenes, and FCtL's uncut images.

Source: the data pipelines of GeoSeg (used by BiCoR-Seg) and of FCtL (lists of its splits).
"""

from collections.abc import Iterable

from rskt_seg.data import isprs
from rskt_seg.data.class_sets import ISPRS
from rskt_seg.data.preparation.layouts import Layout, Part, Recipe, Rules, Target
from rskt_seg.data.preparation.patches import COPIES, Enlargement, Patches
from rskt_seg.data.split_lists import LISTS

_SIDE, _IMPERVIOUS = 1024, 0
_CARS = Enlargement(ISPRS.names.index("Car"), share=0.1, low=384, high=512)
_TEST = Patches(_SIDE, _SIDE)
_REMARK = "colours of no class become ignored within the tolerance; GeoSeg's code makes them class 0"


def _geoseg(
    images: str, full: str, eroded: str, stem: str, areas: dict[str, list[str]], train: Patches
) -> tuple[Layout, ...]:
    """Return one layout for each of train (full labels), val and test (labels with eroded borders).

    Args:
        images: Pattern of the image files, with `{areas}` in front of the number of the area.
        full: The same for the full labels.
        eroded: The same for the labels with eroded borders.
        stem: The stem that is written, from the named groups of the patterns.
        areas: Part -> numbers of its areas.
        train: How training scenes are cut.
    """
    ignored, padded = Target("{part}", "isprs"), Target("padded_{part}", "isprs", _IMPERVIOUS)
    kinds = {
        "train": (full, train, (ignored, padded)),
        "val": (eroded, _TEST, (ignored,)),
        "test": (eroded, _TEST, (ignored, padded)),
    }
    return tuple(
        Layout(
            name,
            images.replace("{areas}", _lookahead(areas[name])),
            labels.replace("{areas}", _lookahead(areas[name])),
            targets,
            stem=stem,
            parts=(Part(name, len(areas[name])),),
            rules=Rules("png", tiling),
        )
        for name, (labels, tiling, targets) in kinds.items()
    )


def _lookahead(areas: Iterable[str]) -> str:
    """Return a lookahead for the number of one of the areas, with or without leading zeros."""
    numbers = "|".join(area.replace("_", "_0*") for area in areas)
    return rf"(?=0*(?:{numbers})(?![0-9]))"


def _areas(train: str, val: str, test: str, faulty: str = "") -> dict[str, list[str]]:
    """Return the areas of each part; `val` is one of the official training areas."""
    trained = [area for area in train.split() if area not in (val, faulty)]
    return {"train": trained, "val": [val], "test": test.split()}


def _listed_parts(dataset: str) -> tuple[Part, ...]:
    return tuple(Part(part, count, list_name=f"{dataset}_{part}") for part, count in LISTS[dataset].items())


_FULL_LABEL = r"(?:^|/)(?!top/)[^/]+/top_mosaic_09cm_area{areas}(?P<area>\d+)\.(?:tiff?|png)$"
_TILE = r"(?:^|/)top_potsdam_{areas}0*(?P<row>\d+)_0*(?P<column>\d+)"

CLOSED_SET: tuple[Recipe, ...] = (
    Recipe(
        "Vaihingen_geoseg",
        _geoseg(
            r"(?:^|/)top/top_mosaic_09cm_area{areas}(?P<area>\d+)\.tiff?$",
            _FULL_LABEL,
            r"(?:^|/)top_mosaic_09cm_area{areas}(?P<area>\d+)_noBoundary\.(?:tiff?|png)$",
            "top_mosaic_09cm_area{area}",
            _areas(isprs.VAIHINGEN_TRAIN, isprs.VAIHINGEN_VAL, isprs.VAIHINGEN_TEST),
            Patches(_SIDE, _SIDE // 2, COPIES, _CARS),
        ),
        "ISPRS_semantic_labeling_Vaihingen.zip (top/top_mosaic_09cm_area1.tif ...), "
        "ISPRS_semantic_labeling_Vaihingen_ground_truth_COMPLETE.zip (to train) and "
        "ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE.zip (to test)",
        skip=r"gts_for_participants|dsm_09cm",
        remark=_REMARK,
    ),
    Recipe(
        "Potsdam_geoseg",
        _geoseg(
            rf"{_TILE}_RGB\.tiff?$",
            rf"{_TILE}_label\.(?:tiff?|png)$",
            rf"{_TILE}_label_noBoundary\.(?:tiff?|png)$",
            "top_potsdam_{row}_{column}",
            _areas(isprs.POTSDAM_TRAIN, isprs.POTSDAM_VAL, isprs.POTSDAM_TEST, isprs.POTSDAM_FAULTY),
            Patches(_SIDE, _SIDE, COPIES),
        ),
        "2_Ortho_RGB.zip (not IRRG, not RGBIR), 5_Labels_all.zip (to train) and 5_Labels_all_noBoundary.zip "
        "(to test)",
        skip=r"1_DSM|3_Ortho_IRRG|4_Ortho_RGBIR|5_Labels_for_participants|_(?:IRRG|RGBIR)\.tiff?$|dsm_potsdam",
        remark=f"area {isprs.POTSDAM_FAULTY} is left out, its label being wrong; {_REMARK}",
    ),
    Recipe(
        "deepglobe",
        (
            Layout(
                "official",
                r"(?:^|/)(?P<stem>\d+)_sat\.jpe?g$",
                r"(?:^|/)(?P<stem>\d+)_mask\.png$",
                (Target("{part}", "deepglobe"), Target("fctl_{part}", "deepglobe_fctl")),
                parts=_listed_parts("deepglobe"),
            ),
        ),
        "the land cover data of DeepGlobe, whose labelled part is called train (train/6399_sat.jpg, "
        "train/6399_mask.png ...)",
    ),
    Recipe(
        "inria",
        (
            Layout(
                "official",
                r"(?:^|/)train/images/(?P<stem>[a-z-]+\d+)\.tiff?$",
                r"(?:^|/)train/gt/(?P<stem>[a-z-]+\d+)\.tiff?$",
                (Target("{part}", "inria"),),
                parts=_listed_parts("inria"),
            ),
            Layout(
                "package (folders of FCtL)",
                r"(?:^|/)Sat/(?P<stem>[a-z-]+\d+)_sat\.tiff?$",
                r"(?:^|/)Label/(?P<stem>[a-z-]+\d+)_mask\.png$",
                (Target("{part}", "inria_ids"),),
                parts=_listed_parts("inria"),
            ),
        ),
        "the Inria aerial image labeling data, unpacked from its 7z volumes "
        "(AerialImageDataset/train/images/austin1.tif, AerialImageDataset/train/gt/austin1.tif ...)",
    ),
)
"""One recipe for each dataset of the closed-set methods that has files of its own."""
