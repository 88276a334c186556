"""The weakly supervised method behind Detectron2's segmentation head."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from rskt_seg.d2.datasets import with_labels_of_image
from rskt_seg.d2.heads import ClosedSetHead, Entries
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.inference.crf import check_crf_installed
from rskt_seg.inference.scales import mean_maps, scaled_scores
from rskt_seg.inference.views import VIEWS, View
from rskt_seg.models.wsss import PriorWSSS

CAM = "_CAM"
"""What ends the names of results of CAMs."""
CAM_NOTE = "CAMs, given image-level labels (of the truth, or the dataset's own): no figures of predictions"


@SEM_SEG_HEADS_REGISTRY.register()
class PriorWSSSHead(ClosedSetHead):
    """The weakly supervised method (`rskt_seg.models.wsss.PriorWSSS`), learnt from image-level labels.

    `tile`, `tile_overlap` (px): how images larger than a tile are evaluated. `scales`, `flip`: which copies
    of a tile are averaged; `crf`: dense CRF after them.
    """

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
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict:
        """As `ClosedSetHead.from_config`."""
        test = cfg.TEST
        tiles = {"tile": test.TILE, "tile_overlap": test.TILE_OVERLAP}
        return (
            super().from_config(cfg, input_shape)
            | tiles
            | {
                "scales": test.SCALES,
                "flip": test.SCALES_FLIP,
                "crf": test.CRF,
            }
        )

    def present(self, entries: Entries) -> Tensor:
        """Which of the T foreground classes each entry's `image_labels` (ids) name, (B, T) bool.

        The id of the background says nothing and is left out. Raises `DatasetError` for an entry without
        image-level labels, and for an id of no class.
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
        return present.to(self.model.device)

    def losses(self, entries: Entries, vocabulary: Sequence[str]) -> dict[str, Tensor]:
        """Named scalars for images of one size with `image_labels` and, where padded, `valid` (H, W) bool."""
        self.check_classes(vocabulary)
        images, present = self.images(entries), self.present(entries)
        valid = None
        if "valid" in entries[0]:
            valid = torch.stack([entry["valid"] for entry in entries]).to(self.model.device)
        output = self.model(images, evidence=True)
        cams = self.model.cams(output.evidence, present, learn=self.training, valid=valid)
        maps = cams.final.unflatten(2, output.evidence.grid)
        return self.model.losses(output, self.model.pseudo_labels(images, maps, present, valid))

    def probabilities(self, entry: Mapping, views: Sequence[View]) -> Tensor:
        """Scores (K, H, W) in 0..1 of one image at the size at which it is given."""
        tiles = {"tile": self.tile, "overlap": self.tile_overlap, "crf": self.crf}
        seen = {"scales": self.scales, "flip": self.flip, "views": views}
        return scaled_scores(self.model, entry["image"], **tiles, **seen)

    def cam_labels(self, entry: Mapping) -> Tensor:
        """What the CAMs say of one image whose `image_labels` are known: ids (height, width), 255 none.

        The mean over scales and mirrored copies, refined by pixels (the paper, section 4.2). Raises
        `ConfigError` for an image larger than a tile: the labels of the whole say nothing of its tiles.
        """
        if max(entry["image"].shape[1:]) > self.tile:
            raise ConfigError(
                f"{entry.get('file_name', 'an image')}: CAMs are scored on images of at most TEST.TILE "
                f"{self.tile} px; found {tuple(entry['image'].shape[1:])}: cut them, or switch TEST.CAM off"
            )
        image, present = self.images([entry])[0][None], self.present([entry])

        def final(seen: Tensor) -> Tensor:
            evidence = self.model(seen, evidence=True).evidence
            return self.model.cams(evidence, present).final.unflatten(2, evidence.grid)

        maps = mean_maps(final, image, stride=self.model.stride, scales=self.scales, flip=self.flip)
        maps = self.model.normalize_cams(maps, present)
        labels = self.model.pseudo_labels(image, maps, present, scheme="complement")
        size = (entry.get("height", image.shape[2]), entry.get("width", image.shape[3]))
        return F.interpolate(labels[None].float(), size, mode="nearest-exact")[0, 0].long()


class SegmentorCams(nn.Module):
    """An `RSSegmentor` with this head, which answers by its CAMs for image-level labels."""

    def __init__(self, segmentor: nn.Module, min_pixels: int = 1) -> None:
        """`segmentor` may be wrapped for distributed training; `min_pixels` as in `with_image_labels`."""
        super().__init__()
        self.segmentor = getattr(segmentor, "module", segmentor)
        self.min_pixels = min_pixels

    def forward(self, batched_inputs: Entries) -> list[dict[str, Tensor]]:
        """Inputs as `RSSegmentor`, with `image_labels` or else a mask to take them from.

        Returns for each `{"labels": (height, width)}`, 255 none. Raises as `with_image_labels`.
        """
        head = self.segmentor.sem_seg_head
        entries = [with_labels_of_image(entry, self.min_pixels) for entry in batched_inputs]
        return [{"labels": head.cam_labels(entry)} for entry in entries]
