"""Datasets of users, described by a small YAML file (datasets/README.md, "Your own data")."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from rskt_seg.class_colors import class_colors
from rskt_seg.data.catalog import SPLITS, Split, find_files
from rskt_seg.data.class_sets import IGNORE_LABEL, ClassSet, listed, repeated
from rskt_seg.data.pairing import spelling_advice
from rskt_seg.data.yaml_files import check_keys, check_path, check_word, read_yaml
from rskt_seg.errors import DatasetError, UnreadableError, VocabularyError
from rskt_seg.reading import brief, file_name, read_text
from rskt_seg.vocabulary import check_names

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "tif", "tiff", "bmp")
LABEL_EXTENSIONS = ("png", "tif", "tiff")
"""Extensions of label files, and above of images, unless the YAML file gives others; in any case."""

# Key -> whether it is required.
_KEYS = {"name": True, "classes": True, "palette": False, "ignore": False, "splits": True}
_SPLIT_KEYS = {
    "images": True,
    "labels": False,
    "image_labels": False,
    "list": False,
    "image_extensions": False,
    "label_extensions": False,
}


def read_own(path: str | Path) -> tuple[Split, ...]:
    """Read the splits of the dataset that a YAML file describes; they are called `<name>_<split>_sem_seg`.

    A split has `labels` (masks), `image_labels` (a file that is read later, `rskt_seg.data.image_labels`), or
    both.

    Args:
        path: The YAML file. Its folders are relative to it and must exist; the splits hold absolute folders.
            Without a palette, the classes have the colours of `rskt_seg.class_colors`.

    Returns:
        One split for each entry of `splits`, in the order of the file.

    Raises:
        DatasetError: An unknown, missing or repeated key; class names that are not words or repeat; invalid
            colours; an `ignore` outside 0..255; a missing folder; a list that is invalid or names stems
            without a file; or the name of a dataset of the table. The message is one line that starts with
            the file and the key.
    """
    path = Path(path)
    tree = read_yaml(path, 'datasets/README.md, "Your own data"')
    if isinstance(tree, dict) and "images" in tree and "splits" not in tree:
        raise DatasetError(
            f"{path} describes sources, not a dataset: `rskt-seg prepare own {path.name}` makes one, and "
            "`rskt-seg train --data` also reads windows of the sources directly (docs/own_data.md)"
        )
    tree = check_keys(tree, _KEYS, f"{path}")
    name = check_word(tree["name"], f"{path}: name")
    if name.casefold() in {split.dataset.casefold() for split in SPLITS}:
        raise DatasetError(f"{path}: name: {name} is a dataset of the table; choose another name")
    classes = _class_set(tree, path, name)
    ignore_label = tree.get("ignore", IGNORE_LABEL)
    # Not isinstance: True is an int.
    if type(ignore_label) is not int or not 0 <= ignore_label <= 255:
        raise DatasetError(f"{path}: ignore must be an id 0..255; found {brief(ignore_label)}")
    splits = tree["splits"]
    if not isinstance(splits, dict) or not splits:
        raise DatasetError(
            f"{path}: splits must name at least one split, such as train; found {brief(splits)}"
        )
    found = (_split(key, value, path, name, classes, ignore_label) for key, value in splits.items())
    return tuple(replace(split, states_palette="palette" in tree) for split in found)


def _split(
    key: object, value: object, path: Path, dataset: str, classes: ClassSet, ignore_label: int
) -> Split:
    where = f"{path}: splits.{key}"
    name = check_word(key, where)
    values = check_keys(value, _SPLIT_KEYS, where)
    if not {"labels", "image_labels"} & values.keys():
        raise DatasetError(
            f"{where}: missing key labels (a folder of masks), or image_labels (a file that names the "
            "classes of each image)"
        )
    split = Split(
        f"{dataset}_{name}_sem_seg",
        dataset,
        name,
        _existing("folder", values["images"], path, f"{where}.images"),
        _existing("folder", values["labels"], path, f"{where}.labels") if "labels" in values else "",
        _extensions(values, "image_extensions", IMAGE_EXTENSIONS, where),
        _extensions(values, "label_extensions", LABEL_EXTENSIONS, where),
        classes,
        ignore_label=ignore_label,
        stems=_stems(values["list"], path, f"{where}.list") if "list" in values else (),
        image_labels=_existing("file", values["image_labels"], path, f"{where}.image_labels")
        if "image_labels" in values
        else "",
    )
    if split.stems:
        try:
            find_files(split, path.parent)
        except DatasetError as error:
            raise DatasetError(f"{where}.list: {error}") from error
    return split


def _class_set(tree: Mapping[str, object], path: Path, name: str) -> ClassSet:
    classes = tree["classes"]
    if not isinstance(classes, list):
        raise DatasetError(f"{path}: classes must be a list of names; found {brief(classes)}")
    try:
        names = check_names(classes)
    except VocabularyError as error:
        raise DatasetError(f"{path}: classes: {error}; quote names such as 'no' or '1'") from error
    palette = tree.get("palette")
    if palette is None:
        palette = [list(color) for color in class_colors(names)]
    if not isinstance(palette, list) or not all(isinstance(color, list) for color in palette):
        raise DatasetError(
            f"{path}: palette must be a list of [R, G, B], one per class; found {brief(palette)}"
        )
    try:
        return ClassSet(name, names, tuple(tuple(color) for color in palette))
    except DatasetError as error:
        key = "palette" if "colour" in str(error) else "classes"
        raise DatasetError(f"{path}: {key}: {str(error).removeprefix(f'{name}: ')}") from error


def _existing(kind: Literal["file", "folder"], value: object, path: Path, where: str) -> str:
    """Return the absolute path of a file or folder that a YAML file names relative to itself."""
    found = (path.parent / Path(check_path(value, where)).expanduser()).absolute()
    if not (found.is_file() if kind == "file" else found.is_dir()):
        beside = [each.name for each in found.parent.iterdir()] if found.parent.is_dir() else []
        advice = spelling_advice([found.name], beside)
        raise DatasetError(
            f"{where}: the {kind} {found} does not exist (paths are relative to the YAML file)"
            f"{f'; {advice}' if advice else ''}"
        )
    return str(found)


def _stems(value: object, path: Path, where: str) -> tuple[str, ...]:
    file = path.parent / Path(check_path(value, where)).expanduser()
    try:
        lines = [line.strip() for line in read_text(file).splitlines()]
    except FileNotFoundError as error:
        raise DatasetError(f"{where}: the list {file} cannot be read: it does not exist") from error
    except UnreadableError as error:
        raise DatasetError(f"{where}: the list {file} cannot be read: {error}") from error
    stems = [file_name(line) for line in lines if line]
    twice = repeated(stems)
    if twice or not stems:
        fault = f"repeats {listed(twice)}" if twice else "is empty"
        raise DatasetError(f"{where}: the list {file} {fault}; it must have one stem per line, each once")
    return tuple(stems)


def _extensions(
    values: Mapping[str, object], key: str, default: tuple[str, ...], where: str
) -> tuple[str, ...]:
    given = values.get(key, list(default))
    if not isinstance(given, list) or not given or not all(isinstance(e, str) and e for e in given):
        raise DatasetError(f"{where}.{key} must be a list such as [jpg, png]; found {brief(given)}")
    return tuple(extension.lstrip(".") for extension in given)
