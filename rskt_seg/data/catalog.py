"""The table of datasets: names, classes and folders; and the pairing of images with labels.

No file is read before `find_files` is called, and nothing reads the environment: folders are relative to a
root that the caller passes. The classes are those of `rskt_seg.data.class_sets`.
"""

import difflib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rskt_seg.data.class_sets import (
    DEEPGLOBE,
    DEEPGLOBE_WITH_UNKNOWN,
    DLRSD,
    IGNORE_LABEL,
    INRIA,
    ISAID,
    ISAID_16,
    ISPRS,
    LOVEDA,
    LOVEDA_8C,
    RGB,
    UAVID,
    UDD5,
    VDD,
    ClassSet,
    listed,
    repeated,
)
from rskt_seg.data.isprs import POTSDAM_TEST, POTSDAM_TRAIN, potsdam_tiles
from rskt_seg.data.pairing import Files, Pair, spelling_advice
from rskt_seg.errors import DatasetError, DatasetNotFoundError
from rskt_seg.wording import counted

logger = logging.getLogger(__name__)

ROOT_VARIABLE = "DETECTRON2_DATASETS"
"""Environment variable with the root of all datasets; read by the entry points, never here."""


@dataclass(frozen=True)
class Split:
    """A split of a dataset: a folder of images and one of labels, paired by stem, and their classes.

    A user's own dataset is a `Split` like every row of the table.

    Attributes:
        name: The registered name.
        dataset: The dataset it belongs to.
        split: Its part of the dataset, such as "train".
        images: Folder relative to the root, or an absolute folder.
        labels: Folder of the label maps, likewise; may be empty if there are `image_labels`.
        image_extensions: Without a dot, in the case of the published files; matched in any case.
        label_extensions: Likewise.
        class_set: The classes.
        note: A remark for the list of datasets.
        ignore_label: Id (0..255) in the label files that is neither trained nor scored.
        stems: If not empty, the split has these files alone.
        protocol: Published rule by which the split is scored besides the common one; may be empty.
        image_labels: File, relative to the root, of the classes that each image shows
            (`rskt_seg.data.image_labels`). A split without `labels` serves weak supervision alone.
        states_palette: Whether the colours of `class_set` are those of the palettes of its label files.

    Raises:
        DatasetError: A field is invalid, or there are neither `labels` nor `image_labels`.
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
    ignore_label: int = IGNORE_LABEL
    stems: tuple[str, ...] = field(default=(), repr=False)
    protocol: str = ""
    image_labels: str = ""
    states_palette: bool = False

    @property
    def palette_colors(self) -> dict[int, RGB]:
        """Class id -> colour that the palettes of label files must have; empty if none is stated."""
        return dict(enumerate(self.class_set.colors)) if self.states_palette else {}

    def __post_init__(self) -> None:
        if not self.labels and not self.image_labels:
            raise DatasetError(f"{self.name}: a folder of labels or a file of image-level labels is needed")
        if type(self.ignore_label) is not int or not 0 <= self.ignore_label <= 255:
            raise DatasetError(f"{self.name}: ignore_label must be 0..255, found {self.ignore_label!r}")
        for extensions in (self.image_extensions, self.label_extensions):
            if not isinstance(extensions, tuple) or not extensions:
                raise DatasetError(f"{self.name}: extensions must be a tuple of words, found {extensions!r}")


_JPG, _PNG, _UPPER_JPG = ("jpg",), ("png",), ("JPG",)
_OFFICIAL = "every officially labelled image"
_ISPRS = ("Vaihingen", "Potsdam")
_PADDED = "published form: the black padding of the patches is labelled class 0"


def _loveda_by_number(split: str, first: int, last: int) -> Split:
    """Return an official part: Train holds the files 0..2521, Val 2522..4190, and no number repeats."""
    return Split(
        f"LoveDA_geoseg_{split}_sem_seg", "LoveDA_geoseg", split, "LoveDA/images_png", "LoveDA/D2masks", _PNG,
        _PNG, LOVEDA, stems=tuple(map(str, range(first, last + 1))), protocol="geoseg_loveda",
    )  # fmt: skip


def _isprs_patches(place: str, split: str, padded: bool = False) -> Split:
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
              _PNG, DEEPGLOBE_WITH_UNKNOWN, "published form: unknown is class 0", protocol="fctl_deepglobe"),
    )  # fmt: skip


def _potsdam_by_area(split: str, areas: str) -> Split:
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
    _loveda_by_number("train", 0, 2521),
    _loveda_by_number("val", 2522, 4190),
    _loveda_by_number("train_val", 0, 4190),
    *(_isprs_patches(place, split) for place in _ISPRS for split in ("train", "val", "test")),
    *(_isprs_patches(place, split, padded=True) for place in _ISPRS for split in ("train", "test")),
    *(row for split in ("train", "val", "test") for row in _deepglobe(split)),
    *(Split(f"inria_{split}_sem_seg", "inria", split, f"inria/{split}/images", f"inria/{split}/labels",
            ("tif",), _PNG, INRIA, protocol="fctl_inria")
      for split in ("train", "val", "test")),
    *(Split(f"iSAID_wsss_{split}_sem_seg", "iSAID_wsss", split, f"iSAID_wsss/{split}/images",
            f"iSAID_wsss/{split}/labels", _PNG, _PNG, ISAID_16, "crops drawn here, not the published ones",
            protocol="wsss_isaid")
      for split in ("train", "val", "test")),
    _potsdam_by_area("train", POTSDAM_TRAIN),
    _potsdam_by_area("test", POTSDAM_TEST),
)  # fmt: skip
"""All registered splits: those of OVRSISBench in the layout of the published registrations; those of the
closed-set methods, GeoSeg and BiCoR-Seg (`*_geoseg_*`) and FCtL (`deepglobe_*`, `inria_*`); and those of the
weakly supervised method (`*_wsss_*`)."""


_LAND = (
    "`python tools/wsss_ablation.py --set land` draws it, with a land.yaml beside it that DATASETS.OWN names"
)
DRAWN: Mapping[str, str] = {f"land_{split}_sem_seg": _LAND for split in ("train", "test")}
"""Dataset that a configuration names and a tool of the repository draws -> how to have it."""


_LABEL_FORMATS = {"", "8c", "padded", "fctl"}
"""Words of a split's name that tell the format of its labels, not which images it has."""


def share_images(part: tuple[str, str], other: tuple[str, str]) -> bool:
    """Return whether two parts of datasets have images in common, whatever crops and labels they have.

    Args:
        part: Dataset and split, such as ("LoveDA_geoseg", "train_val").
        other: Those of the other part.

    Returns:
        Whether the images come from the same dataset and the same part of it.
    """
    sources = {dataset.removesuffix("_geoseg").removesuffix("_wsss") for dataset, _ in (part, other)}
    parts, others = (frozenset(split.split("_")) - _LABEL_FORMATS for _, split in (part, other))
    return len(sources) == 1 and ("all" in parts | others or not parts.isdisjoint(others))


def find_split(name: str, splits: Iterable[Split] = SPLITS) -> Split:
    """Return the split called `name`.

    Args:
        name: The registered name.
        splits: The splits to search.

    Returns:
        The split.

    Raises:
        DatasetError: An unknown name; the message suggests the nearest known ones.
    """
    by_name = {split.name: split for split in splits}
    if name in by_name:
        return by_name[name]
    folded = {known.casefold(): known for known in by_name}
    near = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=5, cutoff=0.5)]
    advice = f"did you mean {listed(near)}?" if near else f"known names: {', '.join(by_name)}"
    raise DatasetError(f"unknown dataset {name!r}; {advice}")


def pairs(split: Split, root: str | Path) -> list[Pair]:
    """Return all images of a split under `root`, each with its label, in the order of stems.

    Files are found as by `find_files` and paired by stem, never by position.

    Args:
        split: A split of the table or of a user's dataset.
        root: The root of all datasets.

    Returns:
        Image and label files.

    Raises:
        DatasetNotFoundError: A folder is missing.
        DatasetError: As `find_files`; an image or a label is unpaired (the message names the first ten); or
            the split has image-level labels alone.
    """
    if not split.labels:
        raise DatasetError(
            f"{split.name} has no masks, only the image-level labels of {split.image_labels}, from which "
            "only the weakly supervised method learns"
        )
    files = _find_and_log(split, root)
    found = []
    kinds = ("image", split.images, "a label"), ("label", split.labels, "an image")
    for paths, (kind, folder, missing) in zip(files.unpaired, kinds, strict=True):
        if paths:
            names = listed(path.name for path in paths)
            found.append(f"{counted(len(paths), kind)} in {Path(root) / folder} without {missing}: {names}")
    if found:
        case = f" ({files.spelling})" if files.spelling else ""
        raise DatasetError(
            f"{split.name}: {'; '.join(found)}. Images and labels pair by equal stems; add or remove the "
            f"rest{case}"
        )
    return files.pairs


def images_of(split: Split, root: str | Path) -> list[Path]:
    """Return all images of a split under `root`, with or without labels, in the order of stems.

    Args:
        split: A split of the table or of a user's dataset.
        root: The root of all datasets.

    Returns:
        Image files.

    Raises:
        DatasetNotFoundError: A folder is missing.
        DatasetError: As `find_files`.
    """
    return list(_find_and_log(split, root).images.values())


def find_files(split: Split, root: str | Path) -> Files:
    """Return the files of a split under `root`, paired or not.

    Extensions match in any case, sub-folders are not searched, hidden files are left out. A split with
    image-level labels alone has no label files.

    Args:
        split: A split of the table or of a user's dataset.
        root: The root of all datasets.

    Returns:
        Files by stem, and what was skipped.

    Raises:
        DatasetNotFoundError: A folder is missing; the message shows the expected layout.
        DatasetError: A folder has no file of the given extensions, two files share a stem, or a listed stem
            has no file; the message names the first ten.
    """
    folders = [(Path(root) / split.images, split.image_extensions)]
    if split.labels:
        folders.append((Path(root) / split.labels, split.label_extensions))
    for folder, _ in folders:
        if not folder.is_dir():
            raise DatasetNotFoundError(
                f"{split.name}: the folder {folder} does not exist.\n{expected_layout(split, root)}"
            )
    found: list[dict[str, Path]] = []
    skipped: list[str] = []
    for folder, extensions in folders:
        files, others = _index_by_stem(split, folder, extensions)
        found.append(_select_stems(split, files, folder) if split.stems else files)
        skipped += [f"{folder}: {others}"] if others else []
    return Files(found[0], found[1] if split.labels else {}, tuple(skipped))


def _find_and_log(split: Split, root: str | Path) -> Files:
    files = find_files(split, root)
    for folder in files.skipped:
        logger.warning("%s: files of other extensions skipped in %s", split.name, folder)
    return files


def expected_layout(split: Split, root: str | Path) -> str:
    """Return the folders that a split needs under `root`, one per line, and how to set another root.

    Args:
        split: A split of the table or of a user's dataset.
        root: The root of all datasets.

    Returns:
        Lines of text for an error message.
    """
    rows = [(split.images, split.image_extensions, "images")]
    if split.labels:
        rows.append((split.labels, split.label_extensions, "labels, one class id per pixel, same stems"))
    lines = [f"  {Path(root) / folder}/<name>.{'|'.join(ext)} ({what})" for folder, ext, what in rows]
    advice = f"Put the files there, or set {ROOT_VARIABLE} to the folder that holds {split.images}"
    return "\n".join(["Expected layout:", ";\n".join(lines) + ".", f"{advice} (see datasets/README.md)."])


def _index_by_stem(split: Split, folder: Path, extensions: tuple[str, ...]) -> tuple[dict[str, Path], str]:
    """Return stem -> file of the given extensions, and the counts of other extensions as text."""
    accepted = {"." + extension.lstrip(".").lower() for extension in extensions}
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    matching = [p for p in files if p.suffix.lower() in accepted]
    others = Counter(
        p.suffix.lower() or "without extension" for p in files if p.suffix.lower() not in accepted
    )
    skipped = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
    if not matching:
        raise DatasetError(
            f"{split.name}: no file *.{'|'.join(extensions)} (any case) in {folder}, "
            f"which holds {skipped or 'no file'}; sub-folders are not searched"
        )
    if twice := repeated(p.stem for p in matching):
        names = [p.name for p in matching if p.stem in set(twice)]
        raise DatasetError(f"{split.name}: {folder} has several files of one stem: {listed(names)}")
    return {p.stem: p for p in sorted(matching, key=lambda p: p.stem)}, skipped


def _select_stems(split: Split, files: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    if missing := [stem for stem in split.stems if stem not in files]:
        hint = "; a stem is a name without its extension" if Path(missing[0]).stem in files else ""
        hint += f"; {advice}" if (advice := spelling_advice(missing, files)) else ""
        raise DatasetError(
            f"{split.name}: {counted(len(missing), 'listed stem')} without a file in {folder}: "
            f"{listed(missing)}{hint}"
        )
    return {stem: files[stem] for stem in sorted(split.stems)}
