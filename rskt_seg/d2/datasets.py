"""Registration of datasets in Detectron2's catalogs, and loading of the datasets of a run."""

import difflib
import logging
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from PIL import Image

from rskt_seg.d2.typing import DatasetDict, Entry
from rskt_seg.data.catalog import DRAWN, ROOT_VARIABLE, SPLITS, Split, images_of, pairs
from rskt_seg.data.class_sets import IGNORE_LABEL
from rskt_seg.data.image_labels import classes_of_pair, present_classes, split_image_labels
from rskt_seg.data.own import read_own
from rskt_seg.data.own_preparation import OwnWindows, is_description, read_description
from rskt_seg.data.pairing import Pair
from rskt_seg.data.parallel import map_files
from rskt_seg.data.published_sets import why_unpublished
from rskt_seg.errors import ConfigError, DatasetError, ImageReadError

logger = logging.getLogger(__name__)


def register_splits(splits: Iterable[Split] = SPLITS) -> None:
    """Register datasets under their names; names that are registered already are skipped.

    No file is read before a dataset is loaded.

    Args:
        splits: Entries of the catalog, or of your own.
    """
    for split in splits:
        if split.name not in DatasetCatalog.list():
            _register(split, partial(load_split, split))


def _register(split: Split, load: "partial[list[DatasetDict]]", windows: OwnWindows | None = None) -> None:
    DatasetCatalog.register(split.name, load)
    MetadataCatalog.get(split.name).set(
        stuff_classes=list(split.class_set.names),
        stuff_colors=[list(color) for color in split.class_set.colors],
        ignore_label=split.ignore_label,
        evaluator_type="sem_seg",
        dataset=split.dataset,
        split=split.split,
        note=split.note,
        protocol=split.protocol,
        palette_colors=split.palette_colors,
        windows=windows,
    )


def own_splits(file: str) -> tuple[Split, ...]:
    """Return the splits of a YAML file of a user: of a dataset, or of sources that are read in windows.

    Args:
        file: The file.

    Returns:
        One split for each part of the data.

    Raises:
        DatasetError: The file cannot be used (see `read_own` and `read_description`).
    """
    return read_description(file).splits if is_description(file) else read_own(file)


def register_own(files: Sequence[str], folder: str | Path = "output", renew: bool = False) -> dict[str, str]:
    """Register the datasets of a user's YAML files (`DATASETS.OWN`).

    Every process of a run must call it. A second call reads the files again; only sources that have not
    changed since are not planned anew.

    Args:
        files: Paths of the YAML files.
        folder: `OUTPUT_DIR`, which keeps what was decided on windows of sources.
        renew: Whether decisions on other sources that are there are replaced, by a training that begins; else
            such sources are refused when they are loaded.

    Returns:
        Name of each dataset -> the file that defines it.

    Raises:
        DatasetError: A file cannot be used (see `own_splits`), or another file or other code has registered
            the same name.
    """
    sources: dict[str, str] = {}
    for file in files:
        splits = own_splits(file)
        windows = _windows_of(file, Path(folder), renew, splits[0]) if is_description(file) else None
        for split in splits:
            if split.name in sources:
                raise DatasetError(f"{file}: name: {split.name} is in {sources[split.name]} too")
            sources[split.name] = file
            if split.name in DatasetCatalog.list():  # by an earlier call, or by other code
                loader = DatasetCatalog[split.name]
                if not (isinstance(loader, partial) and loader.func in (load_split, load_windows)):
                    raise DatasetError(
                        f"{file}: name: {split.name} is registered by other code; choose another name"
                    )
                DatasetCatalog.remove(split.name)
                MetadataCatalog.remove(split.name)
            load = partial(load_split, split) if windows is None else partial(load_windows, split, windows)
            _register(split, load, windows)
    return sources


def _windows_of(file: str, folder: Path, renew: bool, split: Split) -> OwnWindows:
    """Return the windows of a file: those of an earlier call if they are the same, as planning takes long."""
    windows = OwnWindows(Path(file), folder, renew)
    known = MetadataCatalog.get(split.name).get("windows") if split.name in DatasetCatalog.list() else None
    return known if known is not None and known.serves(windows) else windows


def load_windows(split: Split, windows: OwnWindows) -> list[DatasetDict]:
    """Return the windows of a split in Detectron2's format, in the order that their tiles would have.

    Args:
        split: The split.
        windows: The windows of its set.

    Returns:
        Dicts as of `load_split`, with `window`, `height` and `width`; where their names say that files are,
        none can be.

    Raises:
        DatasetError: As `OwnWindows.of_split`.
        ImageReadError: As there.
    """
    entries: list[DatasetDict] = []
    for each in windows.of_split(split.split):
        entry: DatasetDict = {"file_name": each.image, "window": (split.name, each.stem)}
        entry |= {"height": each.size[0], "width": each.size[1], "vocabulary": split.class_set.names}
        entry |= {"sem_seg_file_name": each.label} if each.label else {"image_labels": each.classes}
        entries.append(entry)
    return entries


def size_of(entry: Entry) -> tuple[int, int]:
    """Return the size (H, W) that a dict states, or its image file as it is stored.

    Raises:
        ImageReadError: It cannot be read.
    """
    if "height" in entry:
        return entry["height"], entry["width"]
    try:
        with Image.open(entry["file_name"]) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageReadError(f"{entry['file_name']} cannot be read as an image: {error}") from error


def load_split(split: Split) -> list[DatasetDict]:
    """Return the images of a split in Detectron2's format, with their labels.

    The root folder is the environment variable `DETECTRON2_DATASETS` at the time of the call, or
    `datasets` in the working directory.

    Args:
        split: An entry of the catalog.

    Returns:
        Dicts with `file_name`, `vocabulary`, `sem_seg_file_name` if the split has masks, and `image_labels`
        if it has a file of image-level labels.

    Raises:
        DatasetError: Folders or files are missing or do not match; see `rskt_seg.data.catalog.pairs` and
            `rskt_seg.data.image_labels.split_image_labels`.
    """
    root = os.environ.get(ROOT_VARIABLE, "datasets")
    if split.labels:
        found = pairs(split, root)
        entries: list[DatasetDict] = [
            {"file_name": str(pair.image), "sem_seg_file_name": str(pair.label)} for pair in found
        ]
    else:
        entries = [{"file_name": str(image)} for image in images_of(split, root)]
    if split.image_labels:
        labels = split_image_labels(split, root)
        entries = [entry | {"image_labels": labels[Path(entry["file_name"]).stem]} for entry in entries]
    return [entry | {"vocabulary": split.class_set.names} for entry in entries]


def why_other_than_published(name: str, images: int) -> str:
    """Return why a registered set of the catalog is not the one that papers scored.

    Args:
        name: Registered name.
        images: Number of its images.

    Returns:
        See `why_unpublished`; "" for sets that are not of the catalog, of which no paper prints anything.
    """
    split = next((split for split in SPLITS if split.name == name), None)
    return why_unpublished(split, os.environ.get(ROOT_VARIABLE, "datasets"), images) if split else ""


def load_datasets(names: Sequence[str]) -> list[DatasetDict]:
    """Return the dicts of one or several registered datasets that share a vocabulary.

    Args:
        names: Registered names.

    Returns:
        Dicts with `vocabulary` and `ignore`; those of a dataset that other code registered are taken from
        its metadata (`stuff_classes`, `ignore_label`).

    Raises:
        ConfigError: A name is not registered.
        DatasetError: The vocabulary and the metadata of a dataset, or the vocabularies of two datasets,
            differ.
    """
    vocabularies: dict[tuple[str, ...], str] = {}
    dicts: list[DatasetDict] = []
    for name in names:
        check_registered(name)
        metadata = MetadataCatalog.get(name)
        classes = tuple(metadata.get("stuff_classes", ()))
        ignore = metadata.get("ignore_label", IGNORE_LABEL)
        for entry in get_detection_dataset_dicts(name):
            vocabulary = tuple(entry.get("vocabulary", classes))
            if not vocabulary or vocabulary != classes:
                raise DatasetError(
                    f"{name}: the vocabulary of {entry['file_name']} and stuff_classes of the metadata must "
                    f"be the same names in the same order; found {vocabulary} and {classes}"
                )
            dicts.append({**entry, "vocabulary": vocabulary, "ignore": ignore})
        vocabularies.setdefault(classes, name)
    if len(vocabularies) > 1:
        raise DatasetError(
            f"{' and '.join(vocabularies.values())} have different classes; datasets that are loaded "
            "together must have the same classes in the same order"
        )
    logger.debug("%s: %d images, %d classes", ", ".join(names), len(dicts), len(next(iter(vocabularies), ())))
    return dicts


def with_image_labels(entries: Sequence[DatasetDict], min_pixels: int) -> list[DatasetDict]:
    """Return the dicts of `load_datasets`, each with `image_labels`.

    Args:
        entries: The dicts. Files of those without `image_labels` are read here: masks for what they show,
            images for where they have data.
        min_pixels: Least number of pixels of a class in a mask.

    Returns:
        New dicts; `image_labels` from masks are ascending class ids.

    Raises:
        LabelError: A mask cannot be used.
        ImageReadError: An image cannot be used.
        DatasetError: A dict has neither a mask nor image-level labels.
    """
    labelled = partial(with_labels_of_image, min_pixels=min_pixels)
    return list(map_files(labelled, entries, "image-level labels", delay=2.0))


def with_labels_of_image(entry: DatasetDict, min_pixels: int) -> DatasetDict:
    """Return one dict with `image_labels`.

    Args:
        entry: A dict of `load_datasets`; one that has `image_labels` is returned as it is.
        min_pixels: Least number of pixels of a class in the mask.

    Returns:
        A new dict; its `image_labels` are ascending class ids.

    Raises:
        LabelError: The mask cannot be used.
        ImageReadError: The image cannot be used.
        DatasetError: The dict has neither a mask nor image-level labels.
    """
    if "image_labels" in entry:
        return entry
    if "window" in entry:
        name, stem = entry["window"]
        _, ids = MetadataCatalog.get(name).windows.read(stem)
        return entry | {"image_labels": present_classes(ids, len(entry["vocabulary"]), 255, min_pixels)}
    pair = Pair(Path(entry["file_name"]), Path(mask_of(entry)))
    shown = classes_of_pair(pair, entry["vocabulary"], entry["ignore"], min_pixels)
    return entry | {"image_labels": shown}


def mask_of(entry: Entry) -> str:
    """Return the path of the label file of a dict.

    Raises:
        DatasetError: It has none.
    """
    if "sem_seg_file_name" in entry:
        return str(entry["sem_seg_file_name"])
    if "image_labels" not in entry:
        raise DatasetError(
            f"{entry['file_name']} has neither a mask nor image-level labels: there is nothing to learn from "
            "or to score"
        )
    raise DatasetError(
        f"{entry['file_name']} has no mask: nothing can be scored without masks, leave the dataset out of "
        "DATASETS.TEST; in DATASETS.TRAIN it needs a method that learns from image-level labels "
        "(MODEL.SEM_SEG_HEAD.NAME)"
    )


def check_registered(name: str) -> None:
    """Check that a dataset is registered as `name`.

    Raises:
        ConfigError: It is not; the message lists the nearest known names, or tells which tool draws it.
    """
    known = DatasetCatalog.list()
    if name not in known:
        if name in DRAWN:
            raise ConfigError(f"DATASETS: {name!r} is not registered; {DRAWN[name]}")
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
        hint += " (to register your own, name its YAML file in DATASETS.OWN)"
        raise ConfigError(f"DATASETS: {name!r} is not registered; {hint}")
