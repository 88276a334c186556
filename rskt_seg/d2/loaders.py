"""Loaders of training and test data."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, MetadataCatalog
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import BatchSampler, DataLoader, Dataset

from rskt_seg.d2.datasets import (
    check_registered,
    load_datasets,
    mask_of,
    register_own,
    with_image_labels,
)
from rskt_seg.d2.mapper import RSDatasetMapper, training_mapper
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.randomness import random_sample, run_seed
from rskt_seg.d2.specs import class_names
from rskt_seg.d2.stream import Draw, TrainingBatches
from rskt_seg.d2.typing import DatasetDict
from rskt_seg.d2.workers import build_loader
from rskt_seg.data.checking.probe import is_wide_image
from rskt_seg.data.checking.quick import quick_check, quick_image_check
from rskt_seg.data.pairing import Pair
from rskt_seg.data.parallel import map_files
from rskt_seg.errors import ConfigError, DatasetError, RSKTSegError, causes
from rskt_seg.scoring.predictions import check_stems

logger = logging.getLogger(__name__)
_UNTIL_TOLD = 2.0
"""Seconds within which the system tells a process that a child of it has died."""


class PlainErrors:
    """A loader that raises the errors of its worker processes as if they came from this one.

    PyTorch puts a worker's traceback into the message of the error; here only the message stays.
    """

    def __init__(self, loader: DataLoader[DatasetDict]) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[DatasetDict]]:
        try:
            yield from self.loader
        except RSKTSegError as error:
            kind = type(error)
            message = str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2]
            raise kind(message.rstrip()) from None
        except (ConnectionError, EOFError):
            # A worker died while it handed a tensor over. The signal of its death, of which PyTorch makes the
            # error that says so, comes a moment after the end of the connection.
            time.sleep(_UNTIL_TOLD)
            raise


def dead_worker(error: BaseException) -> RuntimeError | None:
    """Return PyTorch's error about a loader's worker process that has died, of which another one comes.

    It can come up anywhere in the main process, by a signal: in the middle of `torch.save` too, which fails
    with an error of its own then, because the archive is not complete.

    Args:
        error: Any error of the main process.

    Returns:
        The error, which may be `error` itself; None if there is none.
    """
    for cause in causes(error):
        if isinstance(cause, RuntimeError) and str(cause).startswith("DataLoader worker (pid"):
            return cause
    return None


def check_datasets(cfg: CfgNode, training: bool, resumed: bool = False) -> None:
    """Check every dataset of a run before anything long begins.

    Datasets of `DATASETS.OWN` are registered first. Findings that do not stop a run are logged as warnings.

    Args:
        cfg: The configuration.
        training: Whether the run trains; an evaluation only needs the names of `DATASETS.TRAIN`.
        resumed: Whether it goes on from a checkpoint, so that windows of sources must be those that it was
            begun with.

    Raises:
        ConfigError: A dataset is missing or not registered, or `MODEL.SEM_SEG_HEAD.IGNORE_VALUE` is the id
            of a class.
        DatasetError: A dataset lacks files or masks, has other classes than the model, fails the quick
            check of its files, or has images whose predictions would be saved under one name.
    """
    if training and not cfg.DATASETS.TRAIN:
        raise ConfigError("DATASETS.TRAIN is empty; name a dataset, for example DLRSD_train_sem_seg")
    if not training and not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TEST is empty; name a dataset, for example DLRSD_val_sem_seg")
    own = register_own(cfg.DATASETS.OWN, cfg.OUTPUT_DIR, renew=training and not resumed)
    for name in cfg.DATASETS.TRAIN:
        check_registered(name)
    if training:
        load_datasets(cfg.DATASETS.TRAIN)
    trained = cfg.DATASETS.TRAIN if training else ()
    dicts = {name: load_datasets([name]) for name in (*trained, *cfg.DATASETS.TEST)}
    record = method_of(cfg)
    if record.method.is_closed:
        _check_classes(cfg, dicts, training)
    for name, entries in dicts.items():
        if name in cfg.DATASETS.TEST or not record.method.is_weak:
            _check_masks(name, entries)
    for name in cfg.DATASETS.TEST:
        record.check_test_data(cfg, name, dicts[name])
        if cfg.TEST.SAVE_PREDICTIONS:
            check_stems(name, [entry["file_name"] for entry in dicts[name]])
    for name in trained:
        _check_ignore_value(cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE, name, dicts[name])
    for name, entries in dicts.items():
        _check_files(name, entries, own.get(name, name))


def _check_classes(cfg: CfgNode, dicts: Mapping[str, Sequence[DatasetDict]], training: bool) -> None:
    """Check that all data of a closed-set model has the classes of its training data."""
    known = class_names(cfg)
    for name, entries in dicts.items():
        if entries and entries[0]["vocabulary"] != known:
            advice = 'To train without a test set: DATASETS.TEST "()"'
            if not training:
                advice = (
                    f"They are those of {(cfg.DATASETS.TRAIN or cfg.DATASETS.TEST)[0]}; name in "
                    "DATASETS.TRAIN the set that has the classes of the weights, the one of their training"
                )
            raise DatasetError(
                f"{name} has the classes {', '.join(entries[0]['vocabulary'])}; those of the model are "
                f"fixed: {', '.join(known)}. {advice}"
            )


def _check_masks(name: str, entries: Sequence[DatasetDict]) -> None:
    try:
        for entry in entries:
            mask_of(entry)
    except DatasetError as error:
        raise DatasetError(f"{name}: {error}") from None


def _check_ignore_value(value: int, name: str, entries: Sequence[DatasetDict]) -> None:
    for entry in entries[:1]:
        classes = len(entry["vocabulary"])
        if value != entry["ignore"] and not classes <= value <= 255:
            raise ConfigError(
                f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE {value} would ignore a class of {name}, which has "
                f"{classes}; use 255 (pixels of {entry['ignore']}, which its label files ignore, become 255)"
            )


def _check_files(name: str, entries: Sequence[DatasetDict], known_as: str) -> None:
    """Check the files of a dataset quickly; `rskt-seg check` knows it by `known_as`.

    Windows of sources were all looked at when it was decided which are kept.
    """
    entries = [entry for entry in entries if "window" not in entry]
    unlabelled = [Path(entry["file_name"]) for entry in entries if "sem_seg_file_name" not in entry]
    masked = [entry for entry in entries if "sem_seg_file_name" in entry]
    findings = quick_image_check(name, unlabelled) if unlabelled else []
    if masked:
        pairs = [Pair(Path(entry["file_name"]), Path(entry["sem_seg_file_name"])) for entry in masked]
        colors = MetadataCatalog.get(name).get("palette_colors", {})
        first = masked[0]
        findings += quick_check(name, pairs, first["vocabulary"], first["ignore"], colors=colors)
    for finding in findings:
        if finding.is_error:
            raise DatasetError(
                f"{name}: {finding.line()}. `rskt-seg check {known_as}` gives the complete list"
            )
        logger.warning("%s: %s", name, finding.line())


class MappedDataset(Dataset[DatasetDict]):
    """Dataset dicts, each mapped when it is loaded.

    Detectron2 has such a class (`MapDataset`), but a spawned worker process must unpickle a class of this
    package first, whose import prepares Detectron2 (`rskt_seg.d2.compat`).
    """

    def __init__(self, dicts: Sequence[DatasetDict], mapper: RSDatasetMapper) -> None:
        self.dicts = dicts
        self.mapper = mapper

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, index: int) -> DatasetDict:
        return self.mapper(self.dicts[index])


class DrawnDataset(Dataset[DatasetDict]):
    """Samples of the training stream, each mapped with random numbers of its own.

    So neither the number of worker processes nor what was loaded before changes a sample.
    """

    def __init__(self, dicts: Sequence[DatasetDict], mapper: RSDatasetMapper) -> None:
        self.dicts = dicts
        self.mapper = mapper

    def __getitem__(self, draw: Draw) -> DatasetDict:
        with random_sample(draw.seed, draw.position):
            return self.mapper(self.dicts[draw.sample])


class TrainingLoader(PlainErrors):
    """The loader of a training, whose first batch is that of any iteration.

    Args:
        loader: The loader of `batches`.
        batches: The stream of this process.
    """

    def __init__(self, loader: DataLoader[DatasetDict], batches: TrainingBatches) -> None:
        super().__init__(loader)
        self.batches = batches

    def begin(self, seed: int, iteration: int) -> None:
        """Choose the first batch; it counts until that is taken, for iterators that exist already too.

        Args:
            seed: Seed of the run.
            iteration: Number of the iteration that takes it, from 0.
        """
        self.batches.seed, self.batches.start = seed, iteration


def training_loader(cfg: CfgNode) -> TrainingLoader:
    """Return the loader of endless, shuffled batches of `DATASETS.TRAIN`; this process's share of them.

    Order and augmentation follow from `SEED` alone (`rskt_seg.d2.stream`). For methods that learn from
    image-level labels the dicts have `image_labels`; where no file has them, the masks are read here.

    Raises:
        ConfigError: A dataset is not registered, or an augmentation cannot be built.
        DatasetError: A dataset cannot be used, or there is nothing to learn from its image-level labels.
        LabelError: A mask cannot be used.
    """
    entries = load_datasets(cfg.DATASETS.TRAIN)
    if method_of(cfg).method.is_weak:
        entries = with_image_labels(entries, cfg.DATASETS.MIN_LABEL_PIXELS)
        _check_image_labels(cfg, entries)
    wide: list[bool] | None = None
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        wide = list(map_files(_is_wide, entries, "image sizes", delay=2.0))
    dicts, processes = DatasetFromList(entries, copy=False), comm.get_world_size()
    batches = TrainingBatches(
        len(entries),
        cfg.SOLVER.IMS_PER_BATCH,
        run_seed(cfg),
        comm.get_rank(),
        processes,
        wide,
    )
    loader = build_loader(cfg, DrawnDataset(dicts, training_mapper(cfg, dicts)), batches)
    return TrainingLoader(loader, batches)


def _is_wide(entry: DatasetDict) -> bool:
    if "window" in entry:
        return bool(entry["width"] > entry["height"])
    return is_wide_image(Path(entry["file_name"]))


def _check_image_labels(cfg: CfgNode, entries: Sequence[DatasetDict]) -> None:
    """Raise `DatasetError` if no image shows any foreground class; warn of classes that no image shows."""
    names = class_names(cfg)
    background = method_of(cfg).background(cfg, names)
    shown = {label for entry in entries for label in entry["image_labels"]}
    absent = [name for k, name in enumerate(names) if k not in shown and k != background]
    if len(absent) == len(names) - (background is not None):
        raise DatasetError(
            f"{', '.join(cfg.DATASETS.TRAIN)}: no image shows any of {', '.join(absent)}: there is nothing "
            "to learn; check the image-level labels"
        )
    if absent:
        logger.warning("%s: no image shows %s", ", ".join(cfg.DATASETS.TRAIN), ", ".join(absent))


def evaluation_loader(cfg: CfgNode, dataset_name: str) -> PlainErrors:
    """Return the loader of every image of a dataset, in batches of one; this process's share of them.

    With `TEST.ROTATE_NAMES` N the vocabulary is that of the dataset rotated by N places.

    Args:
        cfg: The configuration.
        dataset_name: Registered name of the dataset.

    Returns:
        The loader, whose batches are lists of one dict.

    Raises:
        ConfigError: The dataset is not registered, or a rotation leaves its vocabulary as it is.
        DatasetError: The dataset cannot be used.
    """
    dicts = load_datasets([dataset_name])
    if cfg.TEST.ROTATE_NAMES:
        dicts = [entry | {"vocabulary": _rotate_names(cfg, entry["vocabulary"])} for entry in dicts]
    mapper = RSDatasetMapper(cfg, is_train=False)
    dataset = MappedDataset(DatasetFromList(dicts, copy=False), mapper)
    single = BatchSampler(InferenceSampler(len(dataset)), batch_size=1, drop_last=False)
    return PlainErrors(build_loader(cfg, dataset, single))


def _rotate_names(cfg: CfgNode, names: tuple[str, ...]) -> tuple[str, ...]:
    places = cfg.TEST.ROTATE_NAMES % len(names)
    if places == 0:
        raise ConfigError(
            f"TEST.ROTATE_NAMES {cfg.TEST.ROTATE_NAMES} leaves a dataset of {len(names)} classes as it is; "
            "choose a number that is no multiple of the number of classes of any test set"
        )
    return names[places:] + names[:places]
