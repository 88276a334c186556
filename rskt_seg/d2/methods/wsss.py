"""The weakly supervised method behind Detectron2's segmentation head."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from rskt_seg.checkpoints.files import read_weights
from rskt_seg.d2.augmentation import RandomCropOrFill, RandomFlip, RandomQuarterTurn, RandomScaleBetween
from rskt_seg.d2.chains import check_probability, crop_size
from rskt_seg.d2.datasets import size_of, with_labels_of_image
from rskt_seg.d2.heads import ClosedSetHead
from rskt_seg.d2.methods.record import UNKNOWN_WORDS, Chain, DetectronMethod, EvaluationPass
from rskt_seg.d2.segmentor import unwrapped
from rskt_seg.d2.specs import model_spec
from rskt_seg.d2.typing import DatasetDict, Entries, Entry
from rskt_seg.d2.words import check_words
from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.presets import CLIP_PIXEL_MEAN
from rskt_seg.encoders.text import Tokenizer, build_tokenizer
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.finite import check_scores
from rskt_seg.inference.crf import check_crf_installed
from rskt_seg.inference.scales import mean_maps, scaled_scores
from rskt_seg.inference.views import VIEWS, View
from rskt_seg.methods import wsss
from rskt_seg.models.wsss import PriorWSSS, PriorWSSSSpec
from rskt_seg.models.wsss.classes import IGNORE_LABEL, find_channels
from rskt_seg.models.wsss.fit import changed_options, fit_to_classes
from rskt_seg.models.wsss.spec import CLIP_PRESETS
from rskt_seg.models.wsss.text import check_tokens, describe_classes
from rskt_seg.typing import SegmentationModel

logger = logging.getLogger(__name__)
_MEAN_COLOR = tuple(round(mean) for mean in CLIP_PIXEL_MEAN)
CAM_NOTE = "CAMs, given image-level labels (of the truth, or the dataset's own): no figures of predictions"


@SEM_SEG_HEADS_REGISTRY.register()
class PriorWSSSHead(ClosedSetHead):
    """The weakly supervised method (`rskt_seg.models.wsss.PriorWSSS`), trained on image-level labels.

    Args:
        model: The plain model.
        ignore_value: Id of target pixels that the loss ignores.
        views: The views of a tile that test-time augmentation averages.
        tile: Side (px) of the tiles in which larger images are evaluated.
        tile_overlap: Overlap (px) of neighbouring tiles.
        scales: Factors at which a tile is seen; the logits are averaged.
        flip: Whether each of them is also seen mirrored.
        crf: Whether a dense CRF refines the scores.
    """

    model: PriorWSSS

    @configurable
    def __init__(
        self,
        *,
        model: PriorWSSS,
        ignore_value: int = 255,
        views: Sequence[View] = VIEWS["lr"],
        tile: int = 512,
        tile_overlap: int = 128,
        scales: Sequence[float] = (0.75, 1.0, 1.25),
        flip: bool = True,
        crf: bool = False,
    ) -> None:
        if crf:
            check_crf_installed()  # before a training, not after it
        super().__init__(model, ignore_value, views)
        self.tile, self.tile_overlap = tile, tile_overlap
        self.scales, self.flip, self.crf = tuple(scales), flip, crf

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return super().from_config(cfg, input_shape) | _inference_options(cfg)

    def present(self, entries: Entries) -> Tensor:
        """Return which of the T foreground classes `image_labels` (ids) name, (B, T) bool on the CPU.

        The id of the background carries no information and is skipped.

        Raises:
            DatasetError: An entry has no image-level labels, or an id of no class.
        """
        channels = {id_: channel for channel, id_ in enumerate(self.model.channel_ids[1:])}
        known = set(range(len(self.model.class_names)))
        present = torch.zeros(len(entries), len(channels), dtype=torch.bool)
        for row, entry in zip(present, entries, strict=True):
            labels = entry.get("image_labels")
            if labels is None or not set(labels) <= known:
                raise DatasetError(
                    f"{entry.get('file_name', 'an image')}: image_labels must be ids of the "
                    f"{len(known)} classes; found {labels}"
                )
            row[[channels[label] for label in labels if label in channels]] = True
        return present

    def losses(self, entries: Entries, vocabulary: Sequence[str]) -> dict[str, Tensor]:
        """Return named scalars for images of one size, by the pseudo labels of the current model.

        The entries have `image_labels` and, where the images are padded, `valid` (H, W) bool.
        """
        self.check_classes(vocabulary)
        images, present = self.images(entries), self.present(entries)
        valid = None
        if "valid" in entries[0]:
            valid = torch.stack(
                [entry["valid"].to(self.model.device, non_blocking=True) for entry in entries]
            )
        on_device = present.to(self.model.device)
        output = self.trained(images, evidence=True)
        cams = self.model.cams(output.evidence, on_device, learn=self.training, valid=valid)
        maps = cams.final.unflatten(2, output.evidence.grid)
        return self.model.losses(output, self.model.pseudo_labels(images, maps, present, valid))

    def probabilities(self, entry: Entry, views: Sequence[View]) -> Tensor:
        """Return scores (K, H, W) in 0..1 of one image, at the size of `entry["image"]`."""
        return scaled_scores(
            self.model,
            entry["image"],
            tile=self.tile,
            overlap=self.tile_overlap,
            crf=self.crf,
            scales=self.scales,
            flip=self.flip,
            views=views,
        )

    def cam_labels(self, entry: Entry) -> Tensor:
        """Return the labels (height, width) that CAMs give one image with `image_labels`; 255: none.

        The CAMs are the mean over scales and mirrored copies, refined by pixels (the paper, section 4.2).

        Raises:
            ConfigError: The image is larger than a tile; the labels of the whole do not hold for its tiles.
            NotFiniteError: A CAM has values that are NaN or infinite.
        """
        if max(entry["image"].shape[1:]) > self.tile:
            raise ConfigError(
                f"{entry.get('file_name', 'an image')}: CAMs are scored on images of at most TEST.TILE "
                f"{self.tile} px; found {tuple(entry['image'].shape[1:])}: cut them, or switch TEST.CAM off"
            )
        image, present = self.images([entry])[0][None], self.present([entry])
        on_device = present.to(self.model.device)

        def final(seen: Tensor) -> Tensor:
            evidence = self.model(seen, evidence=True).evidence
            return self.model.cams(evidence, on_device).final.unflatten(2, evidence.grid)

        maps = mean_maps(final, image, stride=self.model.stride, scales=self.scales, flip=self.flip)
        check_scores(maps, entry.get("file_name", "an image"))
        maps = self.model.normalize_cams(maps, on_device)
        labels = self.model.pseudo_labels(image, maps, present, scheme="complement")
        size = (entry.get("height", image.shape[2]), entry.get("width", image.shape[3]))
        return F.interpolate(labels[None].float(), size, mode="nearest-exact")[0, 0].long()


class SegmentorCams(nn.Module):
    """A model that answers by the CAMs for the image-level labels of its inputs.

    Args:
        head: The head whose CAMs they are.
        min_pixels: Least number of pixels of a class in a mask that stands in for labels; see
            `with_image_labels`.
    """

    def __init__(self, head: PriorWSSSHead, min_pixels: int = 1) -> None:
        super().__init__()
        self.head = head
        self.min_pixels = min_pixels

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module) -> Self:
        """Build the pass from a segmentor.

        Args:
            cfg: The configuration.
            model: An `RSSegmentor`, which may be wrapped for distributed training.

        Returns:
            The pass.

        Raises:
            TypeError: The head of the segmentor is not a `PriorWSSSHead`.
        """
        head = unwrapped(model).sem_seg_head
        if not isinstance(head, PriorWSSSHead):
            raise TypeError(f"CAMs need the head PriorWSSSHead; found {type(head).__name__}")
        return cls(head, cfg.DATASETS.MIN_LABEL_PIXELS)

    def forward(self, batched_inputs: Sequence[DatasetDict]) -> list[dict[str, Tensor]]:
        """Return `{"labels": (height, width)}` for each input: class ids, 255 none.

        Args:
            batched_inputs: As those of `RSSegmentor`, with `image_labels` or else a mask to take them from.

        Raises:
            DatasetError: An input has neither.
            LabelError: A mask cannot be used.
        """
        entries = [with_labels_of_image(entry, self.min_pixels) for entry in batched_inputs]
        return [{"labels": self.head.cam_labels(entry)} for entry in entries]


def _inference_options(cfg: CfgNode) -> dict[str, Any]:
    test = cfg.TEST
    return {
        "tile": test.TILE,
        "tile_overlap": test.TILE_OVERLAP,
        "scales": test.SCALES,
        "flip": test.SCALES_FLIP,
        "crf": test.CRF,
    }


def _wsss_chain(cfg: CfgNode, *_: object) -> list[T.Augmentation]:
    if not cfg.INPUT.CROP.ENABLED:
        raise ConfigError("INPUT.AUGMENTATION wsss needs crops of one size: set INPUT.CROP.ENABLED True")
    bounds = tuple(cfg.INPUT.SCALE_RANGE)
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
        raise ConfigError(f"INPUT.SCALE_RANGE must be two factors above 0, ascending; found {bounds}")
    return [
        RandomScaleBetween(*bounds),
        RandomFlip(check_probability("HFLIP", cfg.INPUT.HFLIP), horizontal=True, vertical=False),
        RandomFlip(check_probability("VFLIP", cfg.INPUT.VFLIP), horizontal=False, vertical=True),
        RandomQuarterTurn(check_probability("ROTATE90", cfg.INPUT.ROTATE90)),
        RandomCropOrFill(crop_size(cfg), _MEAN_COLOR, cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE),
    ]


_CHAIN_KEYS = ("SCALE_RANGE", "HFLIP", "VFLIP", "ROTATE90", "CROP.ENABLED")


@dataclass(frozen=True)
class _PriorWSSSMethod(DetectronMethod):
    def check_config(self, cfg: CfgNode, spec: PriorWSSSSpec) -> None:
        """Check the scales, and that the ignored id is that of pseudo labels."""
        scales = cfg.TEST.SCALES
        if not scales or not all(isinstance(scale, int | float) for scale in scales) or min(scales) <= 0:
            raise ConfigError(f"TEST.SCALES must be one or more factors above 0; found {tuple(scales)}")
        if cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE != IGNORE_LABEL:
            raise ConfigError(
                f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE must be {IGNORE_LABEL} with {self.name}, the ignored id of "
                f"pseudo labels; found {cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE}"
            )

    def text_encoder(self, model: Any) -> tuple[CLIP, Tokenizer]:
        """Return the frozen CLIP that encodes class texts."""
        return model.clip, model.tokenizer

    def fit(self, cfg: CfgNode, spec: PriorWSSSSpec, class_names: Sequence[str]) -> PriorWSSSSpec:
        """Follow the classes with `MODEL.FIT_TO_CLASSES`; what the user chose by name stays."""
        return fit_to_classes(spec, class_names) if cfg.MODEL.FIT_TO_CLASSES else spec

    def check_training_data(self, cfg: CfgNode, class_names: Sequence[str]) -> None:
        """Raise `ConfigError` if new classes lack the descriptions that a training needs."""
        if cfg.MODEL.WEIGHTS and read_weights(cfg.MODEL.WEIGHTS).class_names == tuple(class_names):
            return
        asked = model_spec(cfg, len(class_names))
        spec = self.fit(cfg, asked, class_names)
        if changes := changed_options(asked, spec):
            told = ", ".join(f"MODEL.WSSS.{name.upper()} {value!r}" for name, value in changes.items())
            logger.warning(
                "MODEL.FIT_TO_CLASSES: no class of %s is a background, or the packaged descriptions lack "
                "some; they are trained with %s",
                ", ".join(class_names),
                told,
            )
        described = describe_classes(spec, find_channels(class_names, spec.background).foreground)
        different = len(set(described.descriptions))
        if spec.tpe and different < spec.clusters:
            raise ConfigError(
                f"MODEL.WSSS.CLUSTERS {spec.clusters} needs at least {spec.clusters} different descriptions; "
                f"found {different}: lower it, or add descriptions"
            )
        tokenizer = build_tokenizer(CLIP_PRESETS[spec.encoder].text)
        if cfg.MODEL.UNKNOWN_WORDS == "noise":
            tokenizer.reads_unknown = tokenizer.rows is not None
        check_words(tokenizer, described.names)
        check_tokens(described, tokenizer)

    def check_test_data(self, cfg: CfgNode, name: str, entries: Entries) -> None:
        """Check that CAMs, if they are scored, are scored on images of at most a tile."""
        for entry in entries if cfg.TEST.CAM else ():
            height, width = size_of(entry)
            if max(width, height) > cfg.TEST.TILE:
                raise ConfigError(
                    f"TEST.CAM: {entry['file_name']} of {name} is {width} x {height} px, larger than "
                    f"TEST.TILE {cfg.TEST.TILE}: cut the images, or switch TEST.CAM off"
                )

    def background(self, cfg: CfgNode, class_names: Sequence[str]) -> int | None:
        """Find the class that is called `MODEL.WSSS.BACKGROUND`."""
        spec = self.fit(cfg, model_spec(cfg, len(class_names)), class_names)
        return find_channels(class_names, spec.background).background

    def finish_start(self, model: SegmentationModel, cfg: CfgNode) -> None:
        """Encode the class texts by the CLIP that has just been loaded; the cache is in `OUTPUT_DIR`."""
        cast(PriorWSSS, model).encode_classes(Path(cfg.OUTPUT_DIR))

    def evaluation_passes(self, cfg: CfgNode) -> Sequence[EvaluationPass]:
        """Score the CAMs with `TEST.CAM`."""
        return (EvaluationPass("_CAM", SegmentorCams.from_config, CAM_NOTE),) if cfg.TEST.CAM else ()

    def segmenter_options(self, cfg: CfgNode) -> dict[str, Any]:
        """See images as the evaluation does."""
        return _inference_options(cfg)

    @property
    def allows_tf32(self) -> bool:
        """Return False, because the refinement compares sums of many terms."""
        return False


PRIOR_WSSS = _PriorWSSSMethod(
    method=wsss.PRIOR_WSSS,
    head=PriorWSSSHead,
    section="WSSS",
    chain="wsss",
    chains={
        "wsss": Chain(_wsss_chain, reads=frozenset(f"INPUT.{key}" for key in _CHAIN_KEYS), uses_masks=False)
    },
    keys={
        # Scales of an image whose logits are averaged, each also mirrored with SCALES_FLIP.
        "TEST.SCALES": (0.75, 1.0, 1.25),
        "TEST.SCALES_FLIP": True,
        # Dense CRF after them (package pydensecrf2).
        "TEST.CRF": False,
        # A further pass that scores the CAMs for the image-level labels of the truth; results end in _CAM.
        "TEST.CAM": False,
        # Follow the classes of the data: no background where no class has that name, and names alone where a
        # packaged file of descriptions lacks a class. A warning says what was changed.
        "MODEL.FIT_TO_CLASSES": False,
    },
    reads=frozenset({"TEST.TILE", "TEST.TILE_OVERLAP", UNKNOWN_WORDS}),
)
