"""BiCoR-Seg as one plain torch module.

Source: "BiCoR-Seg: Bidirectional Co-Refinement Framework for High-Resolution Remote Sensing Image
Segmentation" and its published code. Shapes: B image, N class, C channel, H W pixel, h w cell of 4 x 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.encoders.convnext import CONVNEXT_PRESETS, ConvNeXt
from rskt_seg.encoders.presets import IMAGENET_PIXEL_MEAN, IMAGENET_PIXEL_STD
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.layers.images import stack_images
from rskt_seg.losses.dice import dice_loss
from rskt_seg.losses.pixel import check_target, one_hot_cross_entropy
from rskt_seg.losses.separation import fisher_loss
from rskt_seg.models.bicor.decoder import STRIDE, Aggregation, Decoder, upsample_cells
from rskt_seg.models.bicor.spec import BiCoRSpec
from rskt_seg.vocabulary import fixed_names

_LEAST_SIDE = 32  # stride of the encoder's last stage
_MULTIPLES = {"published": STRIDE, "aligned": _LEAST_SIDE}


@dataclass(frozen=True)
class BiCoROutput:
    """`logits` (B, N, H, W) at the size of the images.

    `heatmaps`: of each HBIS layer the logits (B, N, h, w) of its class heatmaps, h = ceil(H / 4) and
    w = ceil(W / 4); their sigmoid is what the paper shows. `class_embeddings`: (B, N, C) after each layer.
    `auxiliary`: logits (B, N, H, W) of the auxiliary head, in training mode only.
    """

    logits: Tensor
    heatmaps: tuple[Tensor, ...]
    class_embeddings: tuple[Tensor, ...]
    auxiliary: Tensor | None = None


class BiCoR(nn.Module):
    """Closed-set segmentation with class embeddings and pixel features that refine each other.

    All weights start at random; see `rskt_seg.checkpoints` for the encoder or a whole checkpoint.
    """

    def __init__(self, spec: BiCoRSpec, class_names: Sequence[str] | None = None) -> None:
        """`class_names`: what the N classes are called, None if unknown. Raises `VocabularyError`."""
        super().__init__()
        self.spec = spec
        self.class_names = fixed_names(class_names, spec.num_classes)
        self.register_buffer("pixel_mean", torch.tensor(IMAGENET_PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(IMAGENET_PIXEL_STD).view(3, 1, 1), persistent=False)
        self.convnext = ConvNeXt(CONVNEXT_PRESETS[spec.encoder], spec.stochastic_depth)
        self.aggregation = Aggregation(self.convnext.widths, spec.width)
        self.decoder = Decoder(spec)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def forward(self, images: Tensor | Sequence[Tensor], padding: str | None = None) -> BiCoROutput:
        """Logits of the N classes at the size of the images.

        Args:
            images: RGB in 0..255, (B, 3, H, W) of any dtype, or a list of (3, H, W), all of one size. Any H
                and W will do; multiples of 4 from 32 on are those that the published code handles.
            padding: "published" or "aligned" for this call (see `BiCoRSpec.padding`); None: the spec's.

        What is padded is seen by the encoder alone: the layers, whose pooling spans the whole map, get the
        cells that hold a pixel of the image, and logits are cut to H x W.

        Raises `ConfigError` for images or a padding that cannot be used.
        """
        batch = stack_images(images)
        height, width = batch.shape[2:]
        features = self.features(batch, padding or self.spec.padding)
        refined = self.decoder.refine(features)
        logits = self.decoder.head(refined.features, refined.class_embeddings[-1])
        auxiliary = None
        if self.training and self.spec.aux_weight > 0:
            auxiliary = self.decoder.auxiliary_logits(features)[..., :height, :width]
        return BiCoROutput(
            logits[..., :height, :width], refined.heatmaps, refined.class_embeddings, auxiliary
        )

    def features(self, images: Tensor, padding: str) -> Tensor:
        """The feature map (B, C, h, w) that the layers start from, for images (B, 3, H, W) in 0..255."""
        if padding not in _MULTIPLES:
            raise ConfigError(f"padding must be one of {', '.join(_MULTIPLES)}; found {padding!r}")
        height, width = images.shape[2:]
        missing = [_missing(side, _MULTIPLES[padding]) for side in (width, height)]
        # In float32 whatever the model's precision, which the encoder takes at the end.
        x = (images.to(self.device, torch.float32) - self.pixel_mean.float()) / self.pixel_std.float()
        x = F.pad(x.to(self.pixel_mean.dtype), (0, missing[0], 0, missing[1]))
        features = self.aggregation(list(self.convnext(x).taps.values()))
        return features[..., : -(-height // STRIDE), : -(-width // STRIDE)]

    def losses(self, output: BiCoROutput, target: Tensor, ignore_value: int = 255) -> dict[str, Tensor]:
        """Weighted terms whose sum is the training objective (equation 12), for targets (B, H, W) int64.

        "loss_ce" and "loss_dice" of the logits; "loss_aux", where the output has auxiliary logits;
        "loss_heat", cross-entropy and Dice of every layer's heatmap, resized to H x W; "loss_fisher", summed
        over layers, and "loss_final_fisher" of the last, both zero for a batch of one. A term of weight 0 is
        left out. Fisher terms see the batch as it comes: on several devices each its own share.

        Raises `LabelError` for an id outside 0..N-1 and `ignore_value`, `DatasetError` for targets of another
        size than the logits.
        """
        _check_size(output.logits, target)
        check_target(target, self.spec.num_classes, ignore_value)
        spec, classes = self.spec, output.class_embeddings
        terms = self._segmentation_losses(output.logits, target, ignore_value)
        if output.auxiliary is not None:
            terms["aux"] = spec.aux_weight * self._cross_entropy(output.auxiliary, target, ignore_value)
        if spec.heat_weight > 0 and output.heatmaps:
            terms["heat"] = spec.heat_weight * self._heat_loss(output.heatmaps, target, ignore_value)
        if spec.fisher_weight > 0:
            terms["fisher"] = spec.fisher_weight * sum(fisher_loss(x, spec.between) for x in classes)
        if spec.final_fisher_weight > 0:
            terms["final_fisher"] = spec.final_fisher_weight * fisher_loss(classes[-1], spec.between)
        return {f"loss_{name}": term for name, term in terms.items()}

    def scores(self, output: BiCoROutput) -> Tensor:
        """Class probabilities (B, N, H, W), which sum to one."""
        return output.logits.softmax(dim=1)

    def _segmentation_losses(self, logits: Tensor, target: Tensor, ignore_value: int) -> dict[str, Tensor]:
        """Equation 13, apart."""
        dice = dice_loss(logits, target, ignore_value)
        return {"ce": self._cross_entropy(logits, target, ignore_value), "dice": dice}

    def _cross_entropy(self, logits: Tensor, target: Tensor, ignore_value: int) -> Tensor:
        return one_hot_cross_entropy(
            logits, target, ignore_value, self.spec.mask_ignored, self.spec.label_smoothing
        )

    def _heat_loss(self, heatmaps: Sequence[Tensor], target: Tensor, ignore_value: int) -> Tensor:
        """Equation 11."""
        height, width = target.shape[1:]
        if self.spec.heat_loss == "heatmap":
            heatmaps = [heat.sigmoid() for heat in heatmaps]
        resized = [upsample_cells(heat)[..., :height, :width] for heat in heatmaps]
        return sum(sum(self._segmentation_losses(x, target, ignore_value).values()) for x in resized)


def _missing(side: int, multiple: int) -> int:
    """Pixels that `side` lacks to the next multiple, and to the least side that the encoder takes."""
    return max(-side % multiple, _LEAST_SIDE - side)


def _check_size(logits: Tensor, target: Tensor) -> None:
    expected = (len(logits), *logits.shape[2:])
    if tuple(target.shape) != expected:
        raise DatasetError(
            f"labels must have the size of their images, {expected}; found {tuple(target.shape)}"
        )
