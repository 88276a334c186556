"""The one table of datasets: names, classes, folders; and the pairing of images with labels.

Nothing here touches the disk before `pairs` is called, and nothing reads the environment: folders
are relative to a root that the caller passes. The classes are those of `rskt_seg.data.class_sets`.
"""

import difflib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rskt_seg.data.class_sets import (
    DEEPGLOBE,
    DEEPGLOBE_FCTL,
    DLRSD,
    IGNORE_LABEL,
    INRIA,
    ISAID,
    ISAID_16,
    ISPRS,
    LOVEDA,
    LOVEDA_8C,
    UAVID,
    UDD5,
    VDD,
    ClassSet,
    listed,
    repeated,
)
from rskt_seg.data.isprs import POTSDAM_TEST, POTSDAM_TRAIN, potsdam_tiles
from rskt_seg.errors import DatasetError, DatasetNotFoundError

logger = logging.getLogger(__name__)

ROOT_VARIABLE = "DETECTRON2_DATASETS"
"""Environment variable that names the root of all datasets; read by the entry points, never here."""


@dataclass(frozen=True)
class Split:
    """One registered name: two folders of files that belong together by stem, and their classes.

    `images` and `labels` are folders relative to the root (an absolute folder stands for itself, as
    with `pathlib`). Extensions are without a dot, in the case of the published files, and match in any
    case. `ignore` (0..255) is the id in the files that is neither trained nor scored. With `stems` the
    split is those files alone. `protocol`: name of the published rule by which it is scored beside the common
    one, if there is one. `image_labels`: a file, relative to the root, that says which classes each image
    shows (`rskt_seg.data.image_labels`); `labels` may then be empty, and weak supervision alone can use the
    split. A user's own dataset is a `Split` like every row of the table.
    """

    name: str
    dataset: str
    split: str
    images: str
    labels: str
    image_extensions: tuple[str, ...]
    label_extensions: tuple[str, ...]
    class_set: ClassSet
    note: str = ""
    ignore: int = IGNORE_LABEL
    stems: tuple[str, ...] = field(default=(), repr=False)
    protocol: str = ""
    image_labels: str = ""

    def __post_init__(self) -> None:
        if not self.labels and not self.image_labels:
            raise DatasetError(f"{self.name}: a folder of labels or a file of image-level labels is needed")
        if type(self.ignore) is not int or not 0 <= self.ignore <= 255:
            raise DatasetError(f"{self.name}: ignore must be a number 0..255, found {self.ignore!r}")
        for extensions in (self.image_extensions, self.label_extensions):
            if isinstance(extensions, str) or not extensions:
                raise DatasetError(f"{self.name}: extensions must be a tuple of words, found {extensions!r}")


@dataclass(frozen=True)
class Pair:
    """An image file and the label file of the same stem."""

    image: Path
    label: Path


@dataclass(frozen=True)
class Files:
    """The image and label files of a split in the order of stems; `passed_over` tells what lies beside."""

    images: dict[str, Path]
    labels: dict[str, Path]
    passed_over: tuple[str, ...] = ()

    @property
    def pairs(self) -> list[Pair]:
        """Every image that has a label, in the order of stems."""
        return [Pair(image, self.labels[stem]) for stem, image in self.images.items() if stem in self.labels]

    @property
    def alone(self) -> tuple[list[Path], list[Path]]:
        """The images without a label, and the labels without an image."""
        return _without(self.images, self.labels), _without(self.labels, self.images)

    @property
    def alone_by_case(self) -> bool:
        """Whether some of `alone` would have a partner if case did not matter."""
        images, labels = ({path.stem.casefold() for path in paths} for paths in self.alone)
        return bool(images & labels)


_JPG, _PNG, _UPPER_JPG = ("jpg",), ("png",), ("JPG",)
_OFFICIAL = "every officially labelled image"
_ISPRS = ("Vaihingen", "Potsdam")
_PADDED = "published form: the black padding of the patches is labelled class 0"


def _geoseg_loveda(split: str, first: int, last: int) -> Split:
    """File numbers do not repeat across the official parts: Train holds 0..2521, Val 2522..4190."""
    return Split(
        f"LoveDA_geoseg_{split}_sem_seg", "LoveDA_geoseg", split, "LoveDA/images_png", "LoveDA/D2masks", _PNG,
        _PNG, LOVEDA, stems=tuple(map(str, range(first, last + 1))), protocol="geoseg_loveda",
    )  # fmt: skip


def _geoseg_isprs(place: str, split: str, padded: bool = False) -> Split:
    name, kind = ("padded_", "labels_padded") if padded else ("", "labels")
    folder = f"{place}_geoseg/{split}"
    return Split(
        f"{place}_geoseg_{name}{split}_sem_seg", f"{place}_geoseg", name + split, f"{folder}/images",
        f"{folder}/{kind}", _PNG, _PNG, ISPRS, _PADDED if padded else "", protocol="geoseg_isprs",
    )  # fmt: skip


def _deepglobe(split: str) -> tuple[Split, Split]:
    images, labels = f"deepglobe/{split}/images", f"deepglobe/{split}/labels"
    return (
        Split(f"deepglobe_{split}_sem_seg", "deepglobe", split, images, labels, _JPG, _PNG, DEEPGLOBE,
              "unknown is ignored", protocol="deepglobe"),
        Split(f"deepglobe_fctl_{split}_sem_seg", "deepglobe", f"fctl_{split}", images, f"{labels}_fctl", _JPG,
              _PNG, DEEPGLOBE_FCTL, "published form: unknown is class 0", protocol="fctl_deepglobe"),
    )  # fmt: skip


def _inria(split: str) -> Split:
    folder = f"inria/{split}"
    return Split(f"inria_{split}_sem_seg", "inria", split, f"{folder}/images", f"{folder}/labels", ("tif",),
                 _PNG, INRIA, protocol="fctl_inria")  # fmt: skip


def _wsss_isaid(split: str) -> Split:
    folder = f"iSAID_wsss/{split}"
    return Split(
        f"iSAID_wsss_{split}_sem_seg", "iSAID_wsss", split, f"{folder}/images", f"{folder}/labels", _PNG,
        _PNG, ISAID_16, "crops drawn here, not the published ones", protocol="wsss_isaid",
    )  # fmt: skip


def _wsss_potsdam(split: str, areas: str) -> Split:
    return Split(
        f"Potsdam_wsss_{split}_sem_seg", "Potsdam_wsss", split, "Potsdam/imgs", "Potsdam/D2masks", _PNG, _PNG,
        ISPRS, stems=potsdam_tiles(areas), protocol="wsss_potsdam",
    )  # fmt: skip


SPLITS: tuple[Split, ...] = (
    Split("DLRSD_train_sem_seg", "DLRSD", "train", "DLRSD_split/train/imgs", "DLRSD_split/train/D2masks",
          _JPG, _PNG, DLRSD),
    Split("DLRSD_val_sem_seg", "DLRSD", "val", "DLRSD_split/val/imgs", "DLRSD_split/val/D2masks",
          _JPG, _PNG, DLRSD),
    Split("DLRSD_all_sem_seg", "DLRSD", "all", "DLRSD/imgs", "DLRSD/D2masks", _JPG, _PNG, DLRSD),
    Split("iSAID_train_sem_seg", "iSAID", "train", "iSAID_split/train/imgs", "iSAID_split/train/D2masks",
          _PNG, _PNG, ISAID),
    Split("iSAID_val_sem_seg", "iSAID", "val", "iSAID_split/val/imgs", "iSAID_split/val/D2masks",
          _PNG, _PNG, ISAID),
    Split("iSAID_all_sem_seg", "iSAID", "all", "iSAID/imgs", "iSAID/D2masks", _PNG, _PNG, ISAID),
    Split("LoveDA_all_sem_seg", "LoveDA", "all", "LoveDA/images_png", "LoveDA/D2masks", _PNG, _PNG, LOVEDA,
          "official meaning: 7 classes, no-data ignored"),
    Split("LoveDA_all_8c_sem_seg", "LoveDA", "all_8c", "LoveDA/images_png", "LoveDA/masks_png", _PNG, _PNG,
          LOVEDA_8C, "published form: raw official masks, no-data scored as class 0"),
    Split("Potsdam_all_sem_seg", "Potsdam", "all", "Potsdam/imgs", "Potsdam/D2masks", _PNG, _PNG, ISPRS,
          _OFFICIAL),
    Split("Vaihingen_all_sem_seg", "Vaihingen", "all", "Vaihingen/imgs", "Vaihingen/D2masks", _PNG, _PNG,
          ISPRS, "channels are near infrared, red, green, fed in that order"),
    Split("uavid_all_sem_seg", "UAVid", "all", "uavid/Images", "uavid/Labels", _PNG, _PNG, UAVID, _OFFICIAL),
    Split("UDD5_all_sem_seg", "UDD5", "all", "UDD5/all/src", "UDD5/all/gt", _UPPER_JPG, _PNG, UDD5,
          _OFFICIAL),
    Split("VDD_all_sem_seg", "VDD", "all", "VDD/src", "VDD/gt", _UPPER_JPG, _PNG, VDD, _OFFICIAL),
    _geoseg_loveda("train", 0, 2521),
    _geoseg_loveda("val", 2522, 4190),
    _geoseg_loveda("train_val", 0, 4190),
    *(_geoseg_isprs(place, split) for place in _ISPRS for split in ("train", "val", "test")),
    *(_geoseg_isprs(place, split, padded=True) for place in _ISPRS for split in ("train", "test")),
    *(row for split in ("train", "val", "test") for row in _deepglobe(split)),
    *(_inria(split) for split in ("train", "val", "test")),
    *(_wsss_isaid(split) for split in ("train", "val", "test")),
    _wsss_potsdam("train", POTSDAM_TRAIN),
    _wsss_potsdam("test", POTSDAM_TEST),
)  # fmt: skip
"""Every row of OVRSISBench in the layout of the published registrations, and those of the closed-set methods:
GeoSeg's and BiCoR-Seg's (`*_geoseg_*`), FCtL's (`deepglobe_*`, `inria_*`); and those of the weakly supervised
method (`*_wsss_*`)."""


def find_split(name: str, splits: Iterable[Split] = SPLITS) -> Split:
    """The row called `name`. Raises `DatasetError` with the nearest names when there is none."""
    by_name = {split.name: split for split in splits}
    if name in by_name:
        return by_name[name]
    folded = {known.casefold(): known for known in by_name}
    near = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=5, cutoff=0.5)]
    advice = f"did you mean {listed(near)}?" if near else f"known names: {', '.join(by_name)}"
    raise DatasetError(f"unknown dataset {name!r}; {advice}")


def pairs(split: Split, root: str | Path) -> list[Pair]:
    """All images of `split` under `root`, each with its label, in the order of their stems.

    Files pair by stem (never by position), extensions match in any case, sub-folders are not
    entered, hidden files are left out. Raises as `find_files`, and `DatasetError` naming the first ten
    files when an image or a label is left alone, or where the split has image-level labels alone.
    """
    if not split.labels:
        raise DatasetError(
            f"{split.name} has no masks but the image-level labels of {split.image_labels} alone, from which "
            "only the weakly supervised method learns"
        )
    files = _found(split, root)
    if files.images.keys() != files.labels.keys():
        raise DatasetError(_describe_orphans(split, root, files))
    return files.pairs


def images_of(split: Split, root: str | Path) -> list[Path]:
    """All images of `split` under `root`, in the order of their stems, with or without labels.

    Raises as `find_files`.
    """
    return list(_found(split, root).images.values())


def find_files(split: Split, root: str | Path) -> Files:
    """The files of `split` under `root`, found as `pairs` says, before partners are looked for.

    A split of image-level labels alone has no label files. Raises `DatasetNotFoundError` with the expected
    layout when a folder is missing; `DatasetError` naming the first ten when a folder holds no fitting file,
    two files share a stem, or a listed stem is absent.
    """
    places = [(Path(root) / split.images, split.image_extensions)]
    if split.labels:
        places.append((Path(root) / split.labels, split.label_extensions))
    for folder, _ in places:
        if not folder.is_dir():
            raise DatasetNotFoundError(
                f"{split.name}: the folder {folder} does not exist.\n{expected_layout(split, root)}"
            )
    found, passed_over = [], []
    for folder, extensions in places:
        files, others = _by_stem(split, folder, extensions)
        found.append(_of_stems(split, files, folder) if split.stems else files)
        passed_over += [f"{folder}: {others}"] if others else []
    return Files(found[0], found[1] if split.labels else {}, tuple(passed_over))


def _found(split: Split, root: str | Path) -> Files:
    files = find_files(split, root)
    for folder in files.passed_over:
        logger.warning("%s: passed over in %s", split.name, folder)
    return files


def expected_layout(split: Split, root: str | Path) -> str:
    """What `pairs` expects on disk, a line for each folder, and how to point to another root."""
    rows = [(split.images, split.image_extensions, "images")]
    if split.labels:
        rows.append((split.labels, split.label_extensions, "labels, one class id a pixel, same stems"))
    lines = [f"  {Path(root) / where}/<name>.{'|'.join(ext)} ({what});" for where, ext, what in rows]
    advice = f"Put the files there, or set {ROOT_VARIABLE} to the folder that holds {split.images}"
    return "\n".join(["Expected layout:", *lines, f"{advice} (see datasets/README.md)."])


def _by_stem(split: Split, folder: Path, extensions: tuple[str, ...]) -> tuple[dict[str, Path], str]:
    accepted = {"." + extension.lstrip(".").lower() for extension in extensions}
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    fitting = [p for p in files if p.suffix.lower() in accepted]
    others = Counter(
        p.suffix.lower() or "without extension" for p in files if p.suffix.lower() not in accepted
    )
    passed_over = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
    if not fitting:
        raise DatasetError(
            f"{split.name}: no file *.{'|'.join(extensions)} (any case) in {folder}, "
            f"which holds {passed_over or 'no file'}; sub-folders are not searched"
        )
    if twice := repeated(p.stem for p in fitting):
        names = [p.name for p in fitting if p.stem in set(twice)]
        raise DatasetError(f"{split.name}: {folder} has several files of one stem: {listed(names)}")
    return {p.stem: p for p in sorted(fitting, key=lambda p: p.stem)}, passed_over


def _of_stems(split: Split, files: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    if missing := [stem for stem in split.stems if stem not in files]:
        hint = "; a stem is a name without its extension" if Path(missing[0]).stem in files else ""
        raise DatasetError(
            f"{split.name}: {len(missing)} listed stems have no file in {folder}: {listed(missing)}{hint}"
        )
    return {stem: files[stem] for stem in sorted(split.stems)}


def _without(files: Mapping[str, Path], others: Mapping[str, Path]) -> list[Path]:
    return [path for stem, path in files.items() if stem not in others]


def _describe_orphans(split: Split, root: str | Path, files: Files) -> str:
    parts = []
    kinds = ("images", split.images, "label"), ("labels", split.labels, "image")
    for paths, (kind, folder, missing) in zip(files.alone, kinds, strict=True):
        if paths:
            names = listed(path.name for path in paths)
            parts.append(f"{len(paths)} {kind} in {Path(root) / folder} have no {missing}: {names}")
    text = f"{split.name}: {'; '.join(parts)}. Images and labels pair by equal stems; add or remove the rest"
    return text + (" (some stems differ in case alone: rename them)" if files.alone_by_case else "")
