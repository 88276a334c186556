"""The one table of datasets: class names, colours, folders; and the pairing of images with labels.

Nothing here touches the disk before `pairs` is called, and nothing reads the environment: folders
are relative to a root that the caller passes. Class names are exactly the published OVRSISBench
vocabularies (their order is the label id, their case is kept); colours are those of the official
label files where there are any, so that converters and drawings share them.
"""

import difflib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rskt_seg.errors import DatasetError, DatasetNotFoundError

logger = logging.getLogger(__name__)

RGB = tuple[int, int, int]

IGNORE_LABEL = 255
"""The label id that is neither trained nor scored, in every dataset of the table."""
ROOT_VARIABLE = "DETECTRON2_DATASETS"
"""Environment variable that names the root of all datasets; read by the entry points, never here."""
_SHOWN = 10


def _repeated(values: Iterable) -> list:
    return [value for value, count in Counter(values).items() if count > 1]


def _listed(values: Iterable) -> str:
    """The first ten values, and how many more there are."""
    values = [str(value) for value in values]
    rest = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + rest


def _is_rgb(color: object) -> bool:
    values = color if isinstance(color, tuple) else ()
    return len(values) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in values)


@dataclass(frozen=True)
class ClassSet:
    """The classes of a dataset: label id k is `names[k]`, drawn in `colors[k]` (R, G, B of 0..255).

    At most 255 classes, because ids are 8 bit and 255 is ignored. Raises `DatasetError` for a class
    list that is empty, typed as one string, repeats a name or a colour, or has a colour too few.
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[RGB, ...]

    def __post_init__(self) -> None:
        words = isinstance(self.names, tuple) and all(isinstance(n, str) and n.strip() for n in self.names)
        if not words:
            raise DatasetError(f"{self.name}: class names must be a tuple of words, found {self.names!r}")
        if not 1 <= len(self.names) <= IGNORE_LABEL:
            raise DatasetError(f"{self.name}: 1..{IGNORE_LABEL} classes expected, found {len(self.names)}")
        if len(self.names) != len(self.colors):
            raise DatasetError(
                f"{self.name}: one colour for each class expected, found {len(self.names)} names "
                f"and {len(self.colors)} colours"
            )
        if bad := [color for color in self.colors if not _is_rgb(color)]:
            raise DatasetError(f"{self.name}: colours must be (R, G, B) of 0..255, found {_listed(bad)}")
        for kind, values in (("class name", self.names), ("colour", self.colors)):
            if repeated := _repeated(values):
                raise DatasetError(f"{self.name}: repeated {kind}: {_listed(repeated)}")

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Split:
    """One registered name: two folders of files that belong together by stem, and their classes.

    `images` and `labels` are folders relative to the root (an absolute folder stands for itself, as
    with `pathlib`). Extensions are without a dot, in the case of the published files, and match in any
    case. `ignore` (0..255) is the id in the files that is neither trained nor scored. With `stems` the
    split is those files alone. A user's own dataset is a `Split` like every row of the table.
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

    def __post_init__(self) -> None:
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


def _class_set(name: str, classes: Mapping[str, RGB]) -> ClassSet:
    return ClassSet(name, tuple(classes), tuple(classes.values()))


DLRSD = _class_set(
    "DLRSD",
    {
        "airplane": (166, 202, 240),
        "bare soil": (128, 128, 0),
        "buildings": (0, 0, 128),
        "cars": (255, 0, 0),
        "chaparral": (0, 128, 0),
        "court": (128, 0, 0),
        "dock": (255, 233, 233),
        "field": (160, 160, 164),
        "grass": (0, 128, 128),
        "mobile home": (90, 87, 255),
        "pavement": (255, 255, 0),
        "sand": (255, 192, 0),
        "sea": (0, 0, 255),
        "ship": (255, 0, 192),
        "tanks": (128, 0, 128),
        "trees": (0, 255, 0),
        "water": (0, 255, 255),
    },
)
ISAID = _class_set(
    "iSAID",
    {
        "ship": (0, 0, 63),
        "storage tank": (0, 63, 63),
        "baseball diamond": (0, 63, 0),
        "tennis court": (0, 63, 127),
        "basketball court": (0, 63, 191),
        "ground track field": (0, 63, 255),
        "bridge": (0, 127, 63),
        "large vehicle": (0, 127, 127),
        "small vehicle": (0, 0, 127),
        "helicopter": (0, 0, 191),
        "swimming pool": (0, 0, 255),
        "roundabout": (0, 191, 127),
        "soccer ball field": (0, 127, 191),
        "plane": (0, 127, 255),
        "harbor": (0, 100, 155),
    },
)
LOVEDA = _class_set(
    "LoveDA",
    {
        "Background": (255, 255, 255),
        "Building": (255, 0, 0),
        "Road": (255, 255, 0),
        "Water": (0, 0, 255),
        "Barren": (159, 129, 183),
        "Forest": (0, 255, 0),
        "Agriculture": (255, 195, 128),
    },
)
LOVEDA_8C = _class_set(
    "LoveDA_8c",
    {
        "no-data": (255, 255, 255),
        "Background": (255, 248, 220),
        "Building": (100, 149, 237),
        "Road": (102, 205, 170),
        "Water": (205, 133, 63),
        "Barren": (160, 32, 240),
        "Forest": (255, 64, 64),
        "Agriculture": (139, 69, 19),
    },
)
ISPRS = _class_set(
    "ISPRS",
    {
        "Impervious surfaces": (255, 255, 255),
        "Building": (0, 0, 255),
        "Low vegetation": (0, 255, 255),
        "Tree": (0, 255, 0),
        "Car": (255, 255, 0),
        "Clutter/background": (255, 0, 0),
    },
)
UAVID = _class_set(
    "UAVid",
    {
        "Background clutter": (0, 0, 0),
        "Building": (128, 0, 0),
        "Road": (128, 64, 128),
        "Tree": (0, 128, 0),
        "Low vegetation": (128, 128, 0),
        "Moving car": (64, 0, 128),
        "Static car": (192, 0, 192),
        "Human": (64, 64, 0),
    },
)
UDD5 = _class_set(
    "UDD5",
    {
        "Vegetation": (107, 142, 35),
        "Building": (102, 102, 156),
        "Road": (128, 64, 128),
        "Vehicle": (0, 0, 142),
        "Other": (0, 0, 0),
    },
)
VDD = _class_set(
    "VDD",
    {
        "Other": (0, 0, 0),
        "Wall": (128, 0, 0),
        "Road": (128, 64, 128),
        "Vegetation": (0, 128, 0),
        "Vehicle": (64, 0, 128),
        "Roof": (192, 192, 128),
        "Water": (0, 0, 128),
    },
)
DEEPGLOBE = _class_set(
    "DeepGlobe",
    {
        "urban": (0, 255, 255),
        "agriculture": (255, 255, 0),
        "rangeland": (255, 0, 255),
        "forest": (0, 255, 0),
        "water": (0, 0, 255),
        "barren": (255, 255, 255),
    },
)

_JPG, _PNG, _UPPER_JPG = ("jpg",), ("png",), ("JPG",)
_OFFICIAL = "every officially labelled image"

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
)  # fmt: skip
"""Every row of OVRSISBench in the layout of the published registrations."""


def find_split(name: str, splits: Iterable[Split] = SPLITS) -> Split:
    """The row called `name`. Raises `DatasetError` with the nearest names when there is none."""
    by_name = {split.name: split for split in splits}
    if name in by_name:
        return by_name[name]
    folded = {known.casefold(): known for known in by_name}
    near = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=5, cutoff=0.5)]
    advice = f"did you mean {_listed(near)}?" if near else f"known names: {', '.join(by_name)}"
    raise DatasetError(f"unknown dataset {name!r}; {advice}")


def pairs(split: Split, root: str | Path) -> list[Pair]:
    """All images of `split` under `root`, each with its label, in the order of their stems.

    Files pair by stem (never by position), extensions match in any case, sub-folders are not
    entered, hidden files are left out. Raises as `find_files`, and `DatasetError` naming the first ten
    files when an image or a label is left alone.
    """
    files = find_files(split, root)
    for folder in files.passed_over:
        logger.warning("%s: passed over in %s", split.name, folder)
    if files.images.keys() != files.labels.keys():
        raise DatasetError(_describe_orphans(split, root, files))
    return files.pairs


def find_files(split: Split, root: str | Path) -> Files:
    """The files of `split` under `root`, found as `pairs` says, before partners are looked for.

    Raises `DatasetNotFoundError` with the expected layout when a folder is missing; `DatasetError` naming
    the first ten when a folder holds no fitting file, two files share a stem, or a listed stem is absent.
    """
    folders = [Path(root) / split.images, Path(root) / split.labels]
    for folder in folders:
        if not folder.is_dir():
            raise DatasetNotFoundError(
                f"{split.name}: the folder {folder} does not exist.\n{expected_layout(split, root)}"
            )
    images, over_images = _by_stem(split, folders[0], split.image_extensions)
    labels, over_labels = _by_stem(split, folders[1], split.label_extensions)
    passed_over = [f"{f}: {o}" for f, o in zip(folders, (over_images, over_labels), strict=True) if o]
    if split.stems:
        images = _of_stems(split, images, folders[0])
        labels = _of_stems(split, labels, folders[1])
    return Files(images, labels, tuple(passed_over))


def expected_layout(split: Split, root: str | Path) -> str:
    """What `pairs` expects on disk, a line for each folder, and how to point to another root."""
    rows = [(split.images, split.image_extensions, "images")]
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
    if repeated := _repeated(p.stem for p in fitting):
        names = [p.name for p in fitting if p.stem in set(repeated)]
        raise DatasetError(f"{split.name}: {folder} has several files of one stem: {_listed(names)}")
    return {p.stem: p for p in sorted(fitting, key=lambda p: p.stem)}, passed_over


def _of_stems(split: Split, files: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    if missing := [stem for stem in split.stems if stem not in files]:
        hint = "; a stem is a name without its extension" if Path(missing[0]).stem in files else ""
        raise DatasetError(
            f"{split.name}: {len(missing)} listed stems have no file in {folder}: {_listed(missing)}{hint}"
        )
    return {stem: files[stem] for stem in sorted(split.stems)}


def _without(files: Mapping[str, Path], others: Mapping[str, Path]) -> list[Path]:
    return [path for stem, path in files.items() if stem not in others]


def _describe_orphans(split: Split, root: str | Path, files: Files) -> str:
    parts = []
    kinds = ("images", split.images, "label"), ("labels", split.labels, "image")
    for paths, (kind, folder, missing) in zip(files.alone, kinds, strict=True):
        if paths:
            names = _listed(path.name for path in paths)
            parts.append(f"{len(paths)} {kind} in {Path(root) / folder} have no {missing}: {names}")
    text = f"{split.name}: {'; '.join(parts)}. Images and labels pair by equal stems; add or remove the rest"
    return text + (" (some stems differ in case alone: rename them)" if files.alone_by_case else "")
