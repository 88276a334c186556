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
    """Output of `BiCoR`.

    Attributes:
        logits: (B, N, H, W) at the size of the images.
        heatmaps: Logits (B, N, h, w) of the class heatmaps of each HBIS layer, h = ceil(H / 4) and w = ceil(W
            / 4); the paper shows their sigmoid.
        class_embeddings: (B, N, C) after each layer.
        auxiliary: Logits (B, N, H, W) of the auxiliary head, in training mode only.
    """

    logits: Tensor
    heatmaps: tuple[Tensor, ...]
    class_embeddings: tuple[Tensor, ...]
    auxiliary: Tensor | None = None


class BiCoR(nn.Module):
    """Closed-set segmentation model whose class embeddings and pixel features refine each other.

    All weights are random at first; see `rskt_seg.checkpoints` for loading the encoder or a whole checkpoint.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, spec: BiCoRSpec, class_names: Sequence[str] | None = None) -> None:
        """Build the model with random weights.

        Args:
            spec: Options.
            class_names: Names of the N classes; None if unknown.

        Raises:
            VocabularyError: The names cannot be used, or are not N.
        """
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
        """Device of the model."""
        return self.pixel_mean.device

    def forward(self, images: Tensor | Sequence[Tensor], padding: str | None = None) -> BiCoROutput:
        """Compute the logits of the N classes at the size of the images.

        Only the encoder sees padded pixels: the interaction layers, whose pooling spans the whole map, get
        the cells that hold a pixel of the image, and logits are cropped to H x W.

        Args:
            images: RGB in 0..255, (B, 3, H, W) of any dtype, or a list of (3, H, W), all of one size. H and W
                are arbitrary; the published code handles multiples of 4 from 32 on.
            padding: "published" or "aligned" for this call (see `BiCoRSpec.padding`); None: the spec's.

        Returns:
            Logits, and what the layers computed on the way.

        Raises:
            ConfigError: The images or the padding cannot be used.
        """
        batch = stack_images(images)
        height, width = batch.shape[2:]
        features = self.features(batch, padding or self.spec.padding)  # (B, C, h, w)
        refined = self.decoder.refine(features)
        logits = self.decoder.head(refined.features, refined.class_embeddings[-1])
        auxiliary = None
        if self.training and self.spec.aux_weight > 0:
            auxiliary = self.decoder.auxiliary_logits(features)[..., :height, :width]
        return BiCoROutput(
            logits[..., :height, :width], refined.heatmaps, refined.class_embeddings, auxiliary
        )

    def features(self, images: Tensor, padding: str) -> Tensor:
        """Compute the feature map that goes into the interaction layers.

        Args:
            images: RGB in 0..255, (B, 3, H, W) of any dtype.
            padding: "published" or "aligned", see `BiCoRSpec.padding`.

        Returns:
            (B, C, h, w) with h = ceil(H / 4), w = ceil(W / 4).

        Raises:
            ConfigError: `padding` is another name.
        """
        if padding not in _MULTIPLES:
            raise ConfigError(f"padding must be one of {', '.join(_MULTIPLES)}; found {padding!r}")
        height, width = images.shape[2:]
        right, bottom = (max(-side % _MULTIPLES[padding], _LEAST_SIDE - side) for side in (width, height))
        # Normalised in float32; the encoder takes the model's precision.
        x = (images.to(self.device, torch.float32) - self.pixel_mean.float()) / self.pixel_std.float()
        x = F.pad(x.to(self.pixel_mean.dtype), (0, right, 0, bottom))
        features = self.aggregation(list(self.convnext(x).taps.values()))
        return features[..., : -(-height // STRIDE), : -(-width // STRIDE)]

    def losses(self, output: BiCoROutput, target: Tensor, ignore_value: int = 255) -> dict[str, Tensor]:
        """Compute the weighted terms whose sum is the training objective (equation 12).

        Args:
            output: Output for B images.
            target: (B, H, W) int64, ids 0..N-1 or `ignore_value`.
            ignore_value: Id of unlabelled pixels.

        Returns:
            Scalars: "loss_ce" and "loss_dice" of the logits; "loss_aux", if the output has auxiliary logits;
            "loss_heat", cross-entropy and Dice of every layer's heatmap, resized to H x W; "loss_fisher",
            summed over layers, and "loss_final_fisher" of the last layer, both 0 for a batch of one. Terms
            of weight 0 are left out. All of them are those of the batch of all processes.

        Raises:
            LabelError: The target is on the CPU and has another id.
            DatasetError: The target differs in size from the logits.
        """
        expected = (len(output.logits), *output.logits.shape[2:])
        if tuple(target.shape) != expected:
            raise DatasetError(
                f"labels must have the size of their images, (B, H, W) = {expected}; found "
                f"{tuple(target.shape)}"
            )
        check_target(target, self.spec.num_classes, ignore_value)
        spec, classes = self.spec, output.class_embeddings
        terms = self._segmentation_losses(output.logits, target, ignore_value)
        if output.auxiliary is not None:
            terms["aux"] = spec.aux_weight * self._cross_entropy(output.auxiliary, target, ignore_value)
        if spec.heat_weight > 0 and output.heatmaps:
            terms["heat"] = spec.heat_weight * self._heat_loss(output.heatmaps, target, ignore_value)
        if spec.fisher_weight > 0:
            by_layer = [fisher_loss(x, spec.between) for x in classes]
            terms["fisher"] = spec.fisher_weight * sum(by_layer[1:], by_layer[0])
        if spec.final_fisher_weight > 0:
            terms["final_fisher"] = spec.final_fisher_weight * fisher_loss(classes[-1], spec.between)
        return {f"loss_{name}": term for name, term in terms.items()}

    def scores(self, output: BiCoROutput) -> Tensor:
        """Convert an output to class probabilities.

        Args:
            output: What `forward` returned.

        Returns:
            (B, N, H, W) in 0..1, which sum to one over the classes.
        """
        return output.logits.softmax(dim=1)

    def _segmentation_losses(self, logits: Tensor, target: Tensor, ignore_value: int) -> dict[str, Tensor]:
        """Compute the two terms of equation 13 for logits (B, N, H, W)."""
        dice = dice_loss(logits, target, ignore_value)
        return {"ce": self._cross_entropy(logits, target, ignore_value), "dice": dice}

    def _cross_entropy(self, logits: Tensor, target: Tensor, ignore_value: int) -> Tensor:
        return one_hot_cross_entropy(
            logits, target, ignore_value, self.spec.mask_ignored, self.spec.label_smoothing
        )

    def _heat_loss(self, heatmaps: Sequence[Tensor], target: Tensor, ignore_value: int) -> Tensor:
        """Compute equation 11 for heatmap logits (B, N, h, w) of every layer."""
        height, width = target.shape[1:]
        if self.spec.heat_loss == "heatmap":
            heatmaps = [heat.sigmoid() for heat in heatmaps]
        resized = [upsample_cells(heat)[..., :height, :width] for heat in heatmaps]
        by_layer = [self._segmentation_losses(x, target, ignore_value) for x in resized]
        totals = [terms["ce"] + terms["dice"] for terms in by_layer]
        return sum(totals[1:], totals[0])
