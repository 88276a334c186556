"""FCtL behind Detectron2: whole images in, patches with their contexts through the model."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from detectron2.utils import comm
from PIL import Image
from torch import Tensor

from rskt_seg.d2.augmentation import RandomFlip, RandomQuarterTurn
from rskt_seg.d2.chains import check_probability
from rskt_seg.d2.datasets import load_datasets, size_of
from rskt_seg.d2.devices import peak_memory
from rskt_seg.d2.heads import SHARE, ClosedSetHead
from rskt_seg.d2.methods.record import Chain, DetectronMethod
from rskt_seg.d2.typing import Entries, Entry
from rskt_seg.data.checking.quick import spread
from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.inference.contexts import (
    context_window,
    crop_window,
    pad_image,
    patch_grid,
    relative_window,
    resize_square,
)
from rskt_seg.inference.patches import probabilities
from rskt_seg.inference.views import VIEWS, View
from rskt_seg.methods import fctl
from rskt_seg.models.fctl import ContextFeatures, FCtL, FCtLSpec
from rskt_seg.windows import Window
from rskt_seg.wording import counted

logger = logging.getLogger(__name__)
_MANY_PATCHES = 100
"""Patches of an image from which on a run says how many there are."""


@SEM_SEG_HEADS_REGISTRY.register()
class FCtLHead(ClosedSetHead):
    """FCtL (`rskt_seg.models.fctl.FCtL`).

    In training every patch of every image of a batch is seen before the optimizer steps, as published.

    Args:
        model: The plain model.
        ignore_value: Id of target pixels that the loss ignores.
        views: The views of an image that test-time augmentation averages.
        overlap: Least overlap (px) of neighbouring patches.
        sub_batch: Number of patches that go through the model at a time.
    """

    model: FCtL
    splits_batches = True

    @configurable
    def __init__(
        self,
        *,
        model: FCtL,
        ignore_value: int = 255,
        views: Sequence[View] = VIEWS["dihedral"],
        overlap: int = 50,
        sub_batch: int = 4,
    ) -> None:
        super().__init__(model, ignore_value, views)
        self.overlap, self.sub_batch = overlap, sub_batch

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        own = {"overlap": cfg.INPUT.PATCH_OVERLAP, "sub_batch": cfg.SOLVER.SUB_BATCH}
        return super().from_config(cfg, input_shape) | own

    def parts(self, entries: Entries) -> Iterator[Entries]:
        """Yield the patches of each image, `sub_batch` at a time; with `view="whole"` the images themselves.

        The entry of a patch has the `image` and `sem_seg` of the patch, and by name the images of its
        `contexts` and their `windows`. A context that is the whole image is in the first entry of a part
        alone, for all of them.
        """
        if self.model.sees_whole:
            yield from self._whole_parts([self._whole(entry) for entry in entries])
            return
        for entry in entries:
            yield from self._patches(entry)

    def count_parts(self, entries: Entries) -> int:
        """Return how many `parts` these images make, but for those that are whole images: 1."""
        if self.model.sees_whole:
            return 1
        sizes, side = [entry["image"].shape for entry in entries], self.model.patch_side
        grids = [patch_grid(height, width, side, self.overlap) for _, height, width in sizes]
        return sum(-(-len(grid) // self.sub_batch) for grid in grids)

    def losses(self, entries: Entries, vocabulary: Sequence[str]) -> dict[str, Tensor]:
        """Return named scalars for one of the `parts`."""
        self.check_classes(vocabulary)
        contexts: dict[str, Tensor | ContextFeatures] = {}
        windows: dict[str, Tensor] = {}
        for name in self.model.context_factors:
            given = [entry["contexts"][name] for entry in entries if name in entry["contexts"]]
            encoded = isinstance(given[0], ContextFeatures)
            contexts[name] = given[0] if encoded else self._stack(given)
            windows[name] = torch.stack([entry["windows"][name] for entry in entries])
        patches, targets = self._stack([entry["image"] for entry in entries]), self.targets(entries)
        output = self.model(patches, contexts=contexts, windows=windows)
        share = entries[0].get(SHARE, 1.0)
        losses = self.model.losses(output, targets, self.ignore_value)
        return {name: share * loss for name, loss in losses.items()}

    def probabilities(self, entry: Entry, views: Sequence[View]) -> Tensor:
        """Return scores (T, H, W) in 0..1 of one image, at the size of `entry["image"]`.

        Time and memory go to the log.
        """
        image, start = _pixels(entry), time.perf_counter()
        height, width = image.shape[:2]
        scores = probabilities(self.model, image, views, overlap=self.overlap, batch_size=self.sub_batch)
        seconds = time.perf_counter() - start
        side = self.model.patch_side
        patches = 1 if self.model.sees_whole else len(patch_grid(height, width, side, self.overlap))
        logger.info(
            "%s: %d x %d px, %d patches in %d views, %.3f s a patch, peak memory %.2f GB",
            entry.get("file_name", "image"),
            width,
            height,
            patches,
            len(views),
            seconds / (patches * len(views)),
            peak_memory(self.model.device) / 1e9,
        )
        return scores

    def _stack(self, images: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(images)).to(self.model.device).to(torch.float32)

    def _whole(self, entry: Entry) -> Entry:
        side = self.model.working_side
        label = _resize_label(entry["sem_seg"].numpy(), side)
        return {
            **entry,
            "image": _tensor(resize_square(_pixels(entry), side)),
            "sem_seg": torch.from_numpy(label),
        }

    def _whole_parts(self, entries: Entries) -> Iterator[Entries]:
        """Yield the parts of a batch of whole images that have some of this process.

        The loss is a mean over the labelled pixels of a part, wherever its images are.
        """
        rank, processes = comm.get_rank(), comm.get_world_size()
        labelled = [int((entry["sem_seg"] != self.ignore_value).sum()) for entry in entries]
        shards = comm.all_gather(labelled)
        # As `TrainingBatches` deals them out: image j of process r is number r + j * processes of the batch.
        pixels = [shards[i % processes][i // processes] for i in range(sum(map(len, shards)))]
        for first in range(0, len(pixels), self.sub_batch):
            places = range(first, min(first + self.sub_batch, len(pixels)))
            own = [place for place in places if place % processes == rank]
            share = sum(pixels[i] for i in own) / max(1, sum(pixels[i] for i in places))
            if own:
                yield [{**entries[place // processes], SHARE: share} for place in own]

    def _patches(self, entry: Entry) -> Iterator[list[Entry]]:
        model, side = self.model, self.model.working_side
        image = pad_image(_pixels(entry), model.patch_side)
        height, width = image.shape[:2]
        label = entry["sem_seg"].numpy()
        missing = ((0, height - label.shape[0]), (0, width - label.shape[1]))
        label = np.pad(label, missing, constant_values=self.ignore_value)
        whole = self._whole_contexts(image)
        grid = patch_grid(height, width, model.patch_side, self.overlap)
        for first in range(0, len(grid), self.sub_batch):
            part: list[Entry] = []
            for patch in grid[first : first + self.sub_batch]:
                contexts = {} if part else dict(whole)
                windows = {}
                for name, factor in model.context_factors.items():
                    area = context_window(patch, factor) if factor else Window(0, 0, height, width)
                    if factor:
                        contexts[name] = _tensor(resize_square(crop_window(image, area), side))
                    windows[name] = torch.tensor(relative_window(area, patch))
                pixels = _tensor(resize_square(crop_window(image, patch), side))
                target = torch.from_numpy(_resize_label(label[patch.rows, patch.columns], side))
                own = {"image": pixels, "sem_seg": target, "contexts": contexts, "windows": windows}
                part.append({**entry, **own})
            yield part

    def _whole_contexts(self, image: np.ndarray) -> dict[str, Tensor | ContextFeatures]:
        """Return the contexts that are the whole image, encoded already where the encoder is frozen."""
        names = [name for name, factor in self.model.context_factors.items() if not factor]
        if not names:
            return {}
        whole = _tensor(resize_square(image, self.model.working_side))
        if self.model.spec.context_encoder != "frozen":
            return dict.fromkeys(names, whole)
        with torch.no_grad():
            return {name: self.model.encode_context(name, self._stack([whole])) for name in names}


def _pixels(entry: Entry) -> np.ndarray:
    """Return the image of an entry as (H, W, 3) uint8."""
    pixels: np.ndarray = entry["image"].cpu().permute(1, 2, 0).contiguous().numpy()
    return pixels.astype(np.uint8, copy=False)


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.tensor(pixels).permute(2, 0, 1)


def _resize_label(label: np.ndarray, side: int) -> np.ndarray:
    """Resize a label (H, W) to side x side by the nearest pixel; int64."""
    if label.shape != (side, side):
        image = Image.fromarray(label.astype(np.uint8))
        label = np.asarray(image.resize((side, side), Image.Resampling.NEAREST))
    return np.array(label, np.int64)


def _fctl_chain(cfg: CfgNode, *_: object) -> list[T.Augmentation]:
    return [
        RandomFlip(check_probability("HFLIP", cfg.INPUT.HFLIP), horizontal=True, vertical=False),
        RandomQuarterTurn(check_probability("ROTATE90", cfg.INPUT.ROTATE90)),
    ]


@dataclass(frozen=True)
class _FCtLMethod(DetectronMethod):
    def check_config(self, cfg: CfgNode, spec: FCtLSpec) -> None:
        """Check the sub-batch, and the overlap of patches against their side."""
        if cfg.SOLVER.SUB_BATCH < 1:
            raise ConfigError(f"SOLVER.SUB_BATCH must be at least 1; found {cfg.SOLVER.SUB_BATCH}")
        if not 0 <= cfg.INPUT.PATCH_OVERLAP < spec.patch_side:
            raise ConfigError(
                "INPUT.PATCH_OVERLAP must be at least 0 and below MODEL.FCTL.PATCH_SIDE; found "
                f"{cfg.INPUT.PATCH_OVERLAP} and {spec.patch_side}"
            )

    def check_batch(self, cfg: CfgNode, images: int, processes: int) -> None:
        """Warn where batch norm sees other images together than it does in one process."""
        options = cfg.MODEL.FCTL
        normed = options.ENCODER.startswith("mit") and not options.FCN_DECODER
        if processes > 1 and normed and options.VIEW == "whole":
            logger.warning(
                "with %d processes, the batch norm of %s sees the whole images of one process at a time, and "
                "the gradients are not those of one process with the same batch",
                processes,
                options.ENCODER,
            )

    def check_training_data(self, cfg: CfgNode, class_names: Sequence[str]) -> None:
        """Tell how many patches an iteration has, if they are many."""
        found = _patches(cfg, load_datasets(cfg.DATASETS.TRAIN))
        if found.largest >= _MANY_PATCHES:
            batch = cfg.SOLVER.IMS_PER_BATCH
            logger.warning(
                "DATASETS.TRAIN: %s. Every patch of %s is seen before a step: about %d an iteration, %d in "
                "the %d of SOLVER.MAX_ITER. The first iteration says how long that takes; cut the images, or "
                "raise MODEL.FCTL.PATCH_SIDE (%d px), for fewer",
                found,
                counted(batch, "image"),
                round(batch * found.mean),
                round(batch * found.mean * cfg.SOLVER.MAX_ITER),
                cfg.SOLVER.MAX_ITER,
                cfg.MODEL.FCTL.PATCH_SIDE,
            )

    def check_test_data(self, cfg: CfgNode, name: str, entries: Entries) -> None:
        """Tell how many patches a test set has, if they are many."""
        found = _patches(cfg, entries)
        if found.largest >= _MANY_PATCHES:
            logger.warning(
                "%s: %s, about %d in all that an evaluation scores; the log says how long a patch takes",
                name,
                found,
                round(found.mean * len(entries)),
            )

    def segmenter_options(self, cfg: CfgNode) -> dict[str, Any]:
        """Use the overlap of patches of the evaluation; a model of whole images has no patches."""
        return {} if cfg.MODEL.FCTL.VIEW == "whole" else {"patch_overlap": cfg.INPUT.PATCH_OVERLAP}


class _Patches(NamedTuple):
    """Numbers of patches of the images of a set.

    Attributes:
        mean: Mean over the images that were looked at.
        largest: The most of one image.
        looked: Number of these images.
    """

    mean: float
    largest: int
    looked: int

    def __str__(self) -> str:
        return f"of {counted(self.looked, 'image')} looked at, the largest has {self.largest} patches"


def _patches(cfg: CfgNode, entries: Entries) -> _Patches:
    """Count the patches of a sample of images, by the sizes that their files state; unreadable ones are 0.

    A model that sees whole images has one of each.
    """
    counts = []
    for entry in (entries[i] for i in spread(len(entries))) if entries else ():
        try:
            height, width = size_of(entry)
        except ImageReadError:
            continue  # the check of the data set says so
        whole = cfg.MODEL.FCTL.VIEW == "whole"
        grid = patch_grid(height, width, cfg.MODEL.FCTL.PATCH_SIDE, cfg.INPUT.PATCH_OVERLAP)
        counts.append(1 if whole else len(grid))
    return _Patches(sum(counts) / max(1, len(counts)), max(counts, default=0), len(counts))


FCTL = _FCtLMethod(
    method=fctl.FCTL,
    head=FCtLHead,
    section="FCTL",
    chain="fctl",
    chains={"fctl": Chain(_fctl_chain, reads=frozenset({"INPUT.HFLIP", "INPUT.ROTATE90"}))},
    keys={
        # The checkpoint of the stage before this one; what is new in this stage starts untrained.
        "MODEL.START_FROM": "",
        # Least overlap (px) of neighbouring patches, in training and evaluation.
        "INPUT.PATCH_OVERLAP": 50,
        # Patches of one image that go through the model at a time in training; the gradients of all of them
        # and of all images are added up before the step, as published.
        "SOLVER.SUB_BATCH": 4,
    },
)
