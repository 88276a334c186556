"""FCtL behind Detectron2: whole images in, patches with their contexts through the model."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from PIL import Image
from torch import Tensor

from rskt_seg.d2.augmentation import RandomQuarterTurn
from rskt_seg.d2.chains import check_probability
from rskt_seg.d2.devices import peak_memory
from rskt_seg.d2.heads import ClosedSetHead, Entries
from rskt_seg.d2.methods.record import Chain, DetectronMethod
from rskt_seg.errors import ConfigError
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

logger = logging.getLogger(__name__)


@SEM_SEG_HEADS_REGISTRY.register()
class FCtLHead(ClosedSetHead):
    """FCtL (`rskt_seg.models.fctl.FCtL`).

    `overlap`: least overlap (px) of neighbouring patches; `sub_batch`: patches that go through the model at a
    time. In training every patch of every image of a batch is seen before the step, as published.
    """

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
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict:
        """As `ClosedSetHead.from_config`."""
        own = {"overlap": cfg.INPUT.PATCH_OVERLAP, "sub_batch": cfg.SOLVER.SUB_BATCH}
        return super().from_config(cfg, input_shape) | own

    def parts(self, entries: Entries) -> Iterator[Entries]:
        """The patches of each image, `sub_batch` at a time; with `view="whole"` the images themselves."""
        if self.model.sees_whole:
            whole = [self._whole(entry) for entry in entries]
            yield from (whole[i : i + self.sub_batch] for i in range(0, len(whole), self.sub_batch))
            return
        for entry in entries:
            yield from self._patches(entry)

    def losses(self, entries: Entries, vocabulary: Sequence[str]) -> dict[str, Tensor]:
        """Named scalars for one of the `parts`."""
        self.check_classes(vocabulary)
        contexts, windows = {}, {}
        for name in self.model.context_factors:
            # The whole image stands in the first entry of a part, for all of them.
            given = [entry["contexts"][name] for entry in entries if name in entry["contexts"]]
            encoded = isinstance(given[0], ContextFeatures)
            contexts[name] = given[0] if encoded else self._on_device(given)
            windows[name] = torch.stack([entry["windows"][name] for entry in entries])
        patches = self._on_device([entry["image"] for entry in entries])
        output = self.model(patches, contexts=contexts, windows=windows)
        return self.model.losses(output, self.targets(entries), self.ignore_value)

    def probabilities(self, entry: Mapping, views: Sequence[View]) -> Tensor:
        """Scores (T, H, W) in 0..1 of one image at the size at which it is given; logs time and memory."""
        image, start = _pixels(entry), time.perf_counter()
        options = {"overlap": self.overlap, "batch_size": self.sub_batch}
        scores = probabilities(self.model, image, views, **options)
        self._log(entry, image.shape[:2], len(views), time.perf_counter() - start)
        return scores

    def _log(self, entry: Mapping, size: tuple[int, int], views: int, seconds: float) -> None:
        patches = 1 if self.model.sees_whole else len(patch_grid(*size, self.model.patch_side, self.overlap))
        logger.info(
            "%s: %d x %d px, %d patches in %d views, %.3f s a patch, peak memory %.2f GB",
            entry.get("file_name", "image"),
            size[1],
            size[0],
            patches,
            views,
            seconds / (patches * views),
            peak_memory(self.model.device) / 1e9,
        )

    def _on_device(self, images: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(images)).to(self.model.device, torch.float32)

    def _whole(self, entry: Mapping) -> dict:
        side = self.model.working_side
        label = _resized_label(entry["sem_seg"].numpy(), side)
        return {
            **entry,
            "image": _tensor(resize_square(_pixels(entry), side)),
            "sem_seg": torch.from_numpy(label),
        }

    def _whole_contexts(self, image: np.ndarray) -> dict[str, Tensor | ContextFeatures]:
        """The contexts that are the whole image; encoded already where the encoder does not train."""
        names = [name for name, factor in self.model.context_factors.items() if not factor]
        if not names:
            return {}
        whole = _tensor(resize_square(image, self.model.working_side))
        if self.model.spec.context_encoder != "frozen":
            return dict.fromkeys(names, whole)
        with torch.no_grad():
            return {name: self.model.encode_context(name, self._on_device([whole])) for name in names}

    def _patches(self, entry: Mapping) -> Iterator[list[dict]]:
        model, side = self.model, self.model.working_side
        image = pad_image(_pixels(entry), model.patch_side)
        label = _padded_label(entry["sem_seg"].numpy(), image.shape[:2], self.ignore_value)
        extent = Window(0, 0, *image.shape[:2])
        whole = self._whole_contexts(image)
        patches = []
        grid = patch_grid(*image.shape[:2], model.patch_side, self.overlap)
        for patch in grid:
            contexts, windows = {}, {}
            for name, factor in model.context_factors.items():
                area = context_window(patch, factor) if factor else extent
                if factor:
                    contexts[name] = _tensor(resize_square(crop_window(image, area), side))
                elif not patches:
                    contexts[name] = whole[name]
                windows[name] = torch.tensor(relative_window(area, patch))
            target = _resized_label(label[patch.rows, patch.columns], side)
            patches.append(
                {
                    **entry,
                    "image": _tensor(resize_square(crop_window(image, patch), side)),
                    "sem_seg": torch.from_numpy(target),
                    "contexts": contexts,
                    "windows": windows,
                }
            )
            if len(patches) == self.sub_batch or patch is grid[-1]:
                yield patches
                patches = []


def _pixels(entry: Mapping) -> np.ndarray:
    """The image of an entry as (H, W, 3) uint8."""
    return entry["image"].cpu().permute(1, 2, 0).contiguous().numpy().astype(np.uint8, copy=False)


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.tensor(pixels).permute(2, 0, 1)


def _padded_label(label: np.ndarray, size: tuple[int, int], ignore: int) -> np.ndarray:
    missing = [(0, want - have) for want, have in zip(size, label.shape, strict=True)]
    return np.pad(label, missing, constant_values=ignore)


def _resized_label(label: np.ndarray, side: int) -> np.ndarray:
    """A label (H, W) as int64 at side x side, by the nearest pixel."""
    if label.shape != (side, side):
        label = np.asarray(Image.fromarray(label.astype(np.uint8)).resize((side, side), Image.NEAREST))
    return np.array(label, np.int64)


def _fctl_chain(cfg: CfgNode, *_: object) -> list[T.Augmentation]:
    return [
        T.RandomFlip(check_probability("HFLIP", cfg.INPUT.HFLIP), horizontal=True, vertical=False),
        RandomQuarterTurn(check_probability("ROTATE90", cfg.INPUT.ROTATE90)),
    ]


@dataclass(frozen=True)
class _FCtLMethod(DetectronMethod):
    def check_config(self, cfg: CfgNode, spec: FCtLSpec) -> None:
        if cfg.SOLVER.SUB_BATCH < 1:
            raise ConfigError(f"SOLVER.SUB_BATCH must be at least 1; found {cfg.SOLVER.SUB_BATCH}")
        if not 0 <= cfg.INPUT.PATCH_OVERLAP < spec.patch_side:
            raise ConfigError(
                "0 <= INPUT.PATCH_OVERLAP < MODEL.FCTL.PATCH_SIDE expected; found "
                f"{cfg.INPUT.PATCH_OVERLAP} and {spec.patch_side}"
            )

    def segmenter_options(self, cfg: CfgNode) -> dict[str, Any]:
        return {} if cfg.MODEL.FCTL.VIEW == "whole" else {"patch_overlap": cfg.INPUT.PATCH_OVERLAP}


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
