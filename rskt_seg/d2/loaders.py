"""Loaders of training and test data."""

from collections.abc import Iterable, Iterator

from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, build_detection_test_loader, build_detection_train_loader
from torch.utils.data import Dataset

from rskt_seg.d2.datasets import load_datasets
from rskt_seg.d2.mapper import RSDatasetMapper
from rskt_seg.errors import ConfigError, RSKTSegError


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
    """Look for every dataset of a run before anything long begins. Raises as `load_datasets`."""
    if training and not cfg.DATASETS.TRAIN:
        raise ConfigError("DATASETS.TRAIN is empty; name a dataset, for example DLRSD_train_sem_seg")
    if not training and not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TEST is empty; name a dataset, for example DLRSD_val_sem_seg")
    if training:
        load_datasets(cfg.DATASETS.TRAIN)
    for name in cfg.DATASETS.TEST:
        load_datasets([name])


class MappedDataset(Dataset):
    """Dataset dicts, each through a mapper when it is asked for.

    A class of this package and not Detectron2's: a worker process that starts afresh unpickles it first,
    and so prepares Detectron2 before it meets a part of it.
    """

    def __init__(self, dicts: list[dict], mapper: RSDatasetMapper) -> None:
        self.dicts = DatasetFromList(dicts, copy=False)
        self.mapper = mapper

    def __len__(self) -> int:
        return len(self.dicts)

    def __getitem__(self, index: int) -> dict:
        return self.mapper(self.dicts[index])


def training_loader(cfg: CfgNode) -> PlainErrors:
    """Endless batches of mapped dicts of `DATASETS.TRAIN`, shuffled; this process's share of them."""
    mapper = RSDatasetMapper(cfg, is_train=True)
    return PlainErrors(
        build_detection_train_loader(
            MappedDataset(load_datasets(cfg.DATASETS.TRAIN), mapper),
            mapper=None,
            total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
            aspect_ratio_grouping=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )
    )


def evaluation_loader(cfg: CfgNode, dataset_name: str) -> PlainErrors:
    """Every image of a dataset once, in batches of one, this process's share of them."""
    dataset = MappedDataset(load_datasets([dataset_name]), RSDatasetMapper(cfg, is_train=False))
    return PlainErrors(
        build_detection_test_loader(dataset, mapper=None, num_workers=cfg.DATALOADER.NUM_WORKERS)
    )
