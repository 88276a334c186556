"""Loaders of training and test data."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, build_detection_test_loader, build_detection_train_loader
from torch.utils.data import Dataset

from rskt_seg.d2.datasets import (
    check_registered,
    load_datasets,
    mask_of,
    register_own,
    with_image_labels,
)
from rskt_seg.d2.mapper import RSDatasetMapper, training_mapper
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.specs import class_names
from rskt_seg.data.catalog import Pair
from rskt_seg.data.checking.quick import quick_check, quick_image_check
from rskt_seg.errors import ConfigError, DatasetError, RSKTSegError

logger = logging.getLogger(__name__)


class PlainErrors:
    """A loader that raises the errors of its worker processes as if they came from this one.

    PyTorch puts a worker's traceback into the message of the error; here only the message stays.
    """

    def __init__(self, loader: Iterable) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        try:
            yield from self.loader
        except RSKTSegError as error:
            kind = type(error)
            message = str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2]
            raise kind(message.rstrip()) from None


def check_datasets(cfg: CfgNode, training: bool) -> None:
    """Look for every dataset of a run, and quickly through it, before anything long begins.

    Datasets of `DATASETS.OWN` are registered first. What is remarkable is logged as a warning. Raises as
    `register_own` and `load_datasets`; `DatasetError` for what `quick_check` finds wrong; `ConfigError`
    where `MODEL.SEM_SEG_HEAD.IGNORE_VALUE` is the id of a class.
    """
    if training and not cfg.DATASETS.TRAIN:
        raise ConfigError("DATASETS.TRAIN is empty; name a dataset, for example DLRSD_train_sem_seg")
    if not training and not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TEST is empty; name a dataset, for example DLRSD_val_sem_seg")
    own = register_own(cfg.DATASETS.OWN)
    for name in cfg.DATASETS.TRAIN:  # an evaluation tells seen classes by them, and reads nothing of them
        check_registered(name)
    if training:
        load_datasets(cfg.DATASETS.TRAIN)
    trained = cfg.DATASETS.TRAIN if training else ()
    dicts = {name: load_datasets([name]) for name in (*trained, *cfg.DATASETS.TEST)}
    record = method_of(cfg)
    if record.method.is_closed:
        _check_classes(cfg, dicts)
    for name, entries in dicts.items():
        if name in cfg.DATASETS.TEST or not record.method.is_weak:
            _check_masks(name, entries)
    for name in cfg.DATASETS.TEST:
        record.check_test_data(cfg, name, dicts[name])
    for name in trained:
        _check_ignore(cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE, name, dicts[name])
    for name, entries in dicts.items():
        _check_files(name, entries, own.get(name, name))


def _check_classes(cfg: CfgNode, dicts: dict[str, list[dict]]) -> None:
    """The classes of a closed-set model are those of its training data, in all of its data."""
    known = class_names(cfg)
    for name, entries in dicts.items():
        if entries and entries[0]["vocabulary"] != known:
            raise DatasetError(
                f"{name} has the classes {', '.join(entries[0]['vocabulary'])}; those of the model are "
                f'fixed: {", ".join(known)}. To train without a test set: DATASETS.TEST "()"'
            )


def _check_masks(name: str, entries: Sequence[dict]) -> None:
    try:
        for entry in entries:
            mask_of(entry)
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from None


def _check_ignore(value: int, name: str, entries: Sequence[dict]) -> None:
    for entry in entries[:1]:
        classes = len(entry["vocabulary"])
        if value != entry["ignore"] and not classes <= value <= 255:
            raise ConfigError(
                f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE {value} would ignore a class of {name}, which has "
                f"{classes}; take 255 (what its label files ignore, {entry['ignore']}, is translated)"
            )


def _check_files(name: str, entries: Sequence[dict], known_as: str) -> None:
    alone = [Path(entry["file_name"]) for entry in entries if "sem_seg_file_name" not in entry]
    masked = [entry for entry in entries if "sem_seg_file_name" in entry]
    findings = quick_image_check(name, alone) if alone else []
    if masked:
        pairs = [Pair(Path(entry["file_name"]), Path(entry["sem_seg_file_name"])) for entry in masked]
        findings += quick_check(name, pairs, masked[0]["vocabulary"], masked[0]["ignore"])
    for finding in findings:
        if finding.is_error:
            raise DatasetError(
                f"{name}: {finding.line()}. `rskt-seg check {known_as}` gives the complete list"
            )
        logger.warning("%s: %s", name, finding.line())


class MappedDataset(Dataset):
    """Dataset dicts, each through a mapper when it is asked for.

    A class of this package and not Detectron2's: a worker process that starts afresh unpickles it first,
    and so prepares Detectron2 before it meets a part of it.
    """

    def __init__(self, dicts: Sequence[dict], mapper: RSDatasetMapper) -> None:
        self.dicts = dicts
        self.mapper = mapper

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, index: int) -> dict:
        return self.mapper(self.dicts[index])


def training_loader(cfg: CfgNode) -> PlainErrors:
    """Endless batches of mapped dicts of `DATASETS.TRAIN`, shuffled; this process's share of them.

    For weak supervision they have `image_labels`, which are counted in the masks here where no file has them.
    """
    entries = load_datasets(cfg.DATASETS.TRAIN)
    if method_of(cfg).method.is_weak:
        entries = with_image_labels(entries, cfg.DATASETS.MIN_LABEL_PIXELS)
        _check_image_labels(cfg, entries)
    dicts = DatasetFromList(entries, copy=False)
    return PlainErrors(
        build_detection_train_loader(
            MappedDataset(dicts, training_mapper(cfg, dicts)),
            mapper=None,
            total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
            aspect_ratio_grouping=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )
    )


def _check_image_labels(cfg: CfgNode, entries: Sequence[dict]) -> None:
    """Raise `DatasetError` where no image shows a class that has a text; say which classes none shows."""
    names = class_names(cfg)
    background = method_of(cfg).background(cfg, names)
    shown = {label for entry in entries for label in entry["image_labels"]}
    absent = [name for k, name in enumerate(names) if k not in shown and k != background]
    if len(absent) == len(names) - (background is not None):
        raise DatasetError(
            f"{', '.join(cfg.DATASETS.TRAIN)}: no image shows any of {', '.join(absent)}: there is nothing "
            "to learn; look at the image-level labels"
        )
    if absent:
        logger.warning("%s: no image shows %s", ", ".join(cfg.DATASETS.TRAIN), ", ".join(absent))


def evaluation_loader(cfg: CfgNode, dataset_name: str) -> PlainErrors:
    """Every image of a dataset once, in batches of one, this process's share of them.

    With `TEST.ROTATE_NAMES` their vocabulary is not that of the dataset.
    """
    dicts = load_datasets([dataset_name])
    if cfg.TEST.ROTATE_NAMES:
        dicts = [entry | {"vocabulary": _rotated(cfg, entry["vocabulary"])} for entry in dicts]
    mapper = RSDatasetMapper(cfg, is_train=False)
    dataset = MappedDataset(DatasetFromList(dicts, copy=False), mapper)
    return PlainErrors(
        build_detection_test_loader(dataset, mapper=None, num_workers=cfg.DATALOADER.NUM_WORKERS)
    )


def _rotated(cfg: CfgNode, names: tuple[str, ...]) -> tuple[str, ...]:
    places = cfg.TEST.ROTATE_NAMES % len(names)
    if places == 0:
        raise ConfigError(
            f"TEST.ROTATE_NAMES {cfg.TEST.ROTATE_NAMES} leaves a dataset of {len(names)} classes as it is; "
            "choose a number that is no multiple of any number of classes"
        )
    return names[places:] + names[:places]
