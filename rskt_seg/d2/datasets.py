"""The dataset table in Detectron2's catalogs, and the loading of the datasets of a run."""

import difflib
import logging
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts

from rskt_seg.data.catalog import IGNORE_LABEL, ROOT_VARIABLE, SPLITS, Split, images_of, pairs
from rskt_seg.data.image_labels import classes_of_mask, split_image_labels
from rskt_seg.data.own import read_own
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.palette import palette

logger = logging.getLogger(__name__)


def register_splits(splits: Iterable[Split] = SPLITS) -> None:
    """Register datasets under their names; a name that is registered already is left as it is.

    Nothing is read before a dataset is asked for. A user's own `Split` is registered the same way.
    """
    for split in splits:
        if split.name in DatasetCatalog.list():
            continue
        DatasetCatalog.register(split.name, partial(load_split, split))
        MetadataCatalog.get(split.name).set(
            stuff_classes=list(split.class_set.names),
            stuff_colors=[list(color) for color in split.class_set.colors],
            ignore_label=split.ignore_label,
            evaluator_type="sem_seg",
            dataset=split.dataset,
            split=split.split,
            note=split.note,
            protocol=split.protocol,
        )


def register_own(files: Sequence[str]) -> dict[str, str]:
    """Register the datasets of a user's YAML files (`DATASETS.OWN`); the file of each name.

    To be called in every process of a run. Again, it takes the files as they are then. Raises
    `DatasetError` as `read_own`, and for a name that another file or other code has taken.
    """
    sources: dict[str, str] = {}
    for file in files:
        for split in read_own(file, palette):
            if split.name in sources:
                raise DatasetError(f"{file}: name: {split.name} is in {sources[split.name]} too")
            sources[split.name] = file
            _forget_own(split.name, file)
            register_splits([split])
    return sources


def _forget_own(name: str, file: str) -> None:
    if name in DatasetCatalog.list():
        loader = DatasetCatalog[name]
        if not (isinstance(loader, partial) and loader.func is load_split):
            raise DatasetError(f"{file}: name: {name} is registered by other code; choose another name")
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def load_split(split: Split) -> list[dict]:
    """The image/label pairs of `split` in Detectron2's form, under the root of this moment.

    The root is the environment variable `DETECTRON2_DATASETS`, or `datasets` in the working directory.
    Each dict has `file_name`, `vocabulary` (tuple of class names), `sem_seg_file_name` where there are masks
    and `image_labels` (tuple of class ids) where a file has them. Raises as `rskt_seg.data.catalog.pairs` and
    `rskt_seg.data.image_labels.split_image_labels`.
    """
    root = os.environ.get(ROOT_VARIABLE, "datasets")
    if split.labels:
        found = pairs(split, root)
        entries = [{"file_name": str(p.image), "sem_seg_file_name": str(p.label)} for p in found]
    else:
        entries = [{"file_name": str(image)} for image in images_of(split, root)]
    if split.image_labels:
        labels = split_image_labels(split, root)
        entries = [entry | {"image_labels": labels[Path(entry["file_name"]).stem]} for entry in entries]
    return [entry | {"vocabulary": split.class_set.names} for entry in entries]


def load_datasets(names: Sequence[str]) -> list[dict]:
    """The dicts of one or several registered datasets that share a vocabulary.

    Each dict has `vocabulary` and `ignore`, the id that its label file ignores; a dataset registered by
    someone else takes them from its metadata (`stuff_classes`, `ignore_label`). Raises `ConfigError` for
    an unknown name, `DatasetError` where the vocabulary and the metadata of a dataset, or the
    vocabularies of two datasets, disagree.
    """
    vocabularies: dict[tuple[str, ...], str] = {}
    dicts: list[dict] = []
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
            f"{' and '.join(vocabularies.values())} have different classes and so cannot be one dataset"
        )
    logger.info("%s: %d images, %d classes", ", ".join(names), len(dicts), len(next(iter(vocabularies), ())))
    return dicts


def with_image_labels(entries: Sequence[dict], min_pixels: int) -> list[dict]:
    """The dicts of `load_datasets`, each with `image_labels`: the ids of its classes, ascending.

    Where a dict has none, they are the classes of which its mask has at least `min_pixels`; all masks are
    then read here, and none of them later. Raises `LabelError` for a faulty mask, and `DatasetError` where
    there is no mask either.
    """
    labelled = partial(with_labels_of_image, min_pixels=min_pixels)
    return list(map_files(labelled, entries, "image-level labels", delay=2.0))


def with_labels_of_image(entry: dict, min_pixels: int) -> dict:
    """`with_image_labels` for one dict."""
    if "image_labels" in entry:
        return entry
    shown = classes_of_mask(mask_of(entry), entry["vocabulary"], entry["ignore"], min_pixels)
    return entry | {"image_labels": shown}


def mask_of(entry: dict) -> str:
    """The label file of a dict. Raises `DatasetError` where there is none."""
    if "sem_seg_file_name" in entry:
        return entry["sem_seg_file_name"]
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
    """Raise `ConfigError` with near names unless a dataset is registered under `name`."""
    known = DatasetCatalog.list()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
        hint += " (one of your own is known by its YAML file in DATASETS.OWN)"
        raise ConfigError(f"DATASETS: {name!r} is not registered; {hint}")
