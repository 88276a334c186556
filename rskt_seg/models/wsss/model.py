"""The weakly supervised method as one plain torch module.

Source: Li, Genzano, Gianinetto, Scaioni, "Leveraging Pretrained Priors for Weakly Supervised Semantic
Segmentation of Remote Sensing Images". Shapes: B image, T class besides the background, K class, L token,
C channel, d adapter width, E embedding, H W pixel, h w cell of CLIP's grid. Stacks of CAMs have 1 + T
channels, the background first.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.dinov2 import DinoV2
from rskt_seg.encoders.features import TracedFeatures
from rskt_seg.encoders.presets import (
    CLIP_PIXEL_MEAN,
    CLIP_PIXEL_STD,
    DINO_PIXEL_MEAN,
    DINO_PIXEL_STD,
    DINOV2_PRESETS,
)
from rskt_seg.encoders.text import build_tokenizer, expand_templates, vocabulary_size
from rskt_seg.errors import ConfigError
from rskt_seg.layers.images import enlarge, stack_images
from rskt_seg.layers.inference_form import FormBuilder, copy_around
from rskt_seg.layers.training_form import HasTrainingForm
from rskt_seg.losses.affinity import affinity_loss, affinity_target
from rskt_seg.losses.pixel import balanced_cross_entropy, check_target, one_hot_cross_entropy
from rskt_seg.models.wsss.adapters import Adapter, Decoder
from rskt_seg.models.wsss.cams import initial_cam, min_max_normalize, stack_cams, valid_cells
from rskt_seg.models.wsss.classes import IGNORE_LABEL, check_present, find_channels
from rskt_seg.models.wsss.outputs import Cams, Evidence, PriorOutput, Stages
from rskt_seg.models.wsss.par import ParOptions
from rskt_seg.models.wsss.prototypes import VisualPrototypes, select_seeds
from rskt_seg.models.wsss.pseudo import complement_labels, dual_threshold_labels
from rskt_seg.models.wsss.relations import joint_affinity, refine_cams
from rskt_seg.models.wsss.spec import CLIP_PRESETS, NO_BACKGROUND, PriorWSSSSpec
from rskt_seg.models.wsss.text import ReadOnce, describe_classes, encode_class_texts
from rskt_seg.vocabulary import check_names, fixed_names

FROZEN = ("clip", "dinov2")
"""Names of the parts that are never trained."""


class PriorWSSS(HasTrainingForm):
    """Segmentation trained with image-level labels, on frozen CLIP and DINOv2.

    All weights are random at first: load CLIP and DINOv2 (`rskt_seg.load_encoder`) and call `encode_classes`,
    or load a complete checkpoint. CLIP and DINOv2 have no gradient and stay in evaluation mode.

    Buffers of the state: `text_enriched` (T, E) float32, the class texts, zero until they are encoded;
    `steps` () int64, training steps so far.

    Args:
        spec: Options of the model.
        class_names: The K classes, in the order of their ids.

    Raises:
        ConfigError: If the spec's background is not among the classes, or the encoder has too few blocks.
        VocabularyError: If the names are not K distinct class names.
    """

    clip_mean: Tensor
    clip_std: Tensor
    dino_mean: Tensor
    dino_std: Tensor
    text_enriched: Tensor
    id_table: Tensor
    steps: Tensor

    def __init__(self, spec: PriorWSSSSpec, class_names: Sequence[str]) -> None:
        super().__init__()
        self.spec = spec
        self.class_names = check_names(class_names)
        fixed_names(self.class_names, spec.num_classes)
        self.channels = find_channels(self.class_names, spec.background)
        # Exponent of the background's map, None if no class is the background.
        self._power = None if spec.background == NO_BACKGROUND else spec.background_power
        clip, dino = CLIP_PRESETS[spec.encoder], DINOV2_PRESETS[spec.dino]
        for name, block in (("clip_levels", max(spec.clip_levels)), ("first_layer", spec.first_layer)):
            if block > clip.vision.layers and (name != "first_layer" or spec.usr):
                raise ConfigError(
                    f"{name}={getattr(spec, name)} is too large: the encoder {spec.encoder} has "
                    f"{clip.vision.layers} blocks"
                )
        expand_templates([spec.template])
        for name, values in (
            ("clip_mean", CLIP_PIXEL_MEAN), ("clip_std", CLIP_PIXEL_STD),
            ("dino_mean", DINO_PIXEL_MEAN), ("dino_std", DINO_PIXEL_STD),
        ):  # fmt: skip
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.clip = CLIP(clip, vocabulary_size(clip.text))
        self.dinov2 = DinoV2(dino, spec.positions)
        self.tokenizer = build_tokenizer(clip.text)
        self.stride, self.dino_stride = clip.vision.patch_size, dino.patch_size
        self.clip_adapter = Adapter(len(spec.clip_levels), clip.vision.width, spec.dim)
        self.dino_adapter = Adapter(1, dino.width, spec.dim)
        self.dropout = nn.Dropout2d(spec.dropout)
        self.decoder = Decoder(spec.dim, spec.decoder_layers, spec.heads, spec.num_classes)
        self.register_buffer("text_enriched", torch.zeros(len(self.foreground), clip.embed_dim))
        self.encoded = ReadOnce()
        ids = torch.tensor([*self.channel_ids, *[IGNORE_LABEL] * (256 - len(self.channel_ids))])
        self.register_buffer("id_table", ids, persistent=False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.vpe = VisualPrototypes(len(self.foreground), 2 * spec.dim, spec.momentum)
        for frozen in (self.clip, self.dinov2):
            frozen.requires_grad_(False)

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the T foreground classes, which image-level labels refer to."""
        return self.channels.foreground

    @property
    def channel_ids(self) -> tuple[int, ...]:
        """Class ids of the 1 + T channels of CAMs; the first is 255 if no class is the background."""
        return self.channels.ids

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.clip_mean.device

    def train(self, mode: bool = True) -> "PriorWSSS":
        """See `nn.Module.train`; the frozen encoders stay in evaluation mode."""
        super().train(mode)
        for frozen in (self.clip, self.dinov2):
            frozen.eval()
        return self

    def training_form(self, builder: FormBuilder, recompute: bool) -> Self:
        """See `HasTrainingForm`; the encoders keep nothing for the backward pass in any case.

        Args:
            builder: As there.
            recompute: As there.

        Returns:
            The form.
        """
        clip = copy_around(self.clip, {"visual": builder.convert(self.clip.visual)})
        return copy_around(self, {"clip": clip, "dinov2": builder.convert(self.dinov2)})

    def encode_classes(self, cache: Path | None = None) -> None:
        """Encode the classes with the current weights of CLIP (TPE, equations 1 to 4).

        Call it once CLIP's weights are loaded; the result is part of the state dict.

        Args:
            cache: Folder for the result, see `rskt_seg.models.wsss.text.encode_class_texts`.

        Raises:
            ConfigError: If the classes have no usable descriptions.
            VocabularyError: If a class name cannot be encoded.
        """
        described = describe_classes(self.spec, self.foreground)
        self.text_enriched.copy_(encode_class_texts(self.clip, self.tokenizer, self.spec, described, cache))

    def forward(self, images: Tensor | Sequence[Tensor], evidence: bool = False) -> PriorOutput:
        """Return the logits of the K classes at CLIP's grid.

        Args:
            images: RGB in 0..255, (B, 3, H, W) of any dtype, or a list of (3, H, W), all of one size. Sides
                are padded to multiples of the stride (16 px) by the mean color, at the right and the bottom.
            evidence: Also return the input of the pseudo labels. CLIP's last block, its attention and DINO
                are computed only for it (DINO also with `decode_dino`).

        Returns:
            Logits (B, K, h, w), and the evidence if it is requested.

        Raises:
            ConfigError: If the images have another shape or different sizes, or if evidence is requested
                before the classes are encoded.
        """
        batch = self._pad(stack_images(images))
        trace = self._trace_clip(batch) if evidence else None
        taps = self._clip_taps(batch) if trace is None else trace.taps
        clip = self.clip_adapter([taps[level - 1] for level in self.spec.clip_levels])  # (B, d, h, w)
        logits = self.decoder(self.dropout(clip))  # (B, K, h, w)
        if trace is None and not self.spec.decode_dino:
            return PriorOutput(logits)
        dino = self.dino_adapter([self._dino_features(batch)])
        dino = F.interpolate(dino, clip.shape[2:], mode="bilinear", align_corners=False)  # (B, d, h, w)
        if self.spec.decode_dino:
            logits = (logits + self.decoder(self.dropout(dino))) / 2
        return PriorOutput(logits, None if trace is None else self._evidence(trace, clip, dino))

    def scores(self, output: PriorOutput) -> Tensor:
        """See `SegmentationModel.scores`: (B, K, h, w), which sum to one over the classes."""
        return output.logits.softmax(dim=1)

    @torch.no_grad()
    def cams(
        self, evidence: Evidence, present: Tensor, learn: bool = False, valid: Tensor | None = None
    ) -> Cams:
        """Return the stages of the CAM for image-level labels (equations 9 and 12 to 20).

        Args:
            evidence: As `forward` returns it.
            present: (B, T) bool, the image-level labels.
            learn: Update the visual prototypes by the seeds of this batch before they are compared, and
                count one more step.
            valid: (B, H, W) bool, pixels that are data. Cells with less than half of them are no seeds.

        Returns:
            The three CAMs (B, 1 + T, L), L cells in row-major order.
        """
        spec, power = self.spec, self._power
        joint, affinity = evidence.joint.float(), evidence.affinity.float()
        with torch.autocast(self.device.type, enabled=False):
            initial = initial_cam(evidence.features, self.text_enriched, present, power)
            refined = final = initial
            if spec.usr:
                kept = self.steps < spec.start_iter if spec.start_iter > 0 else None
                refined = final = refine_cams(
                    affinity,
                    evidence.attention,
                    initial,
                    present,
                    steps=spec.alpha,
                    rounds=spec.rounds,
                    power=power,
                    renorm=spec.renorm,
                    kept=kept,
                ).cams
            if spec.vpe:
                if learn:
                    candidates = refined if valid is None else refined * valid_cells(valid, self.stride)
                    self.vpe.update(joint, select_seeds(candidates, present, spec.seed_percent))
                final = self.vpe.cam(joint, refined, present, power)
        if learn:
            self.steps += 1
        return Cams(initial, refined, final)

    @torch.no_grad()
    def normalize_cams(self, maps: Tensor, present: Tensor) -> Tensor:
        """Stretch mean CAMs of several passes to 0..1 per class and rebuild the background.

        The paper averages the CAMs of multi-scale testing (section 4.2).

        Args:
            maps: (B, 1 + T, H, W).
            present: (B, T) bool, the image-level labels.

        Returns:
            (B, 1 + T, H, W) float32.
        """
        foreground = min_max_normalize(maps[:, 1:].float().flatten(2))
        return stack_cams(foreground, present, self._power).unflatten(2, maps.shape[2:])

    @torch.no_grad()
    def pseudo_labels(
        self,
        images: Tensor | Sequence[Tensor],
        cams: Tensor,
        present: Tensor,
        valid: Tensor | None = None,
        scheme: str | None = None,
    ) -> Tensor:
        """Derive pseudo labels from CAMs.

        Args:
            images: As in `forward`.
            cams: (B, 1 + T, h, w) on CLIP's grid of the images, or (B, 1 + T, H, W).
            present: (B, T) bool, the image-level labels; best on the CPU, where they are read.
            valid: (B, H, W) bool, pixels that are data.
            scheme: "complement" or "dual_threshold"; None: the spec's `pseudo`.

        Returns:
            (B, H, W) int64: class ids, or 255 where pixels are ignored.
        """
        spec, images = self.spec, stack_images(images).to(self.device, torch.float32)
        size = images.shape[2:]
        with torch.autocast(self.device.type, enabled=False):
            maps = cams if cams.shape[2:] == size else enlarge(cams, size, self.stride)
            label: Callable[..., Tensor] = complement_labels
            if (scheme or spec.pseudo) == "dual_threshold":
                label = partial(dual_threshold_labels, high=spec.high, low=spec.low)
            labels = label(
                images,
                maps,
                present,
                par=ParOptions(spec.par_dilations, spec.par_iters, spec.par_w1, spec.par_w2),
                valid=valid,
                background=spec.background != NO_BACKGROUND,
                ignore_value=IGNORE_LABEL,
            )
        return self.id_table[labels]

    def stages(self, images: Tensor | Sequence[Tensor], present: Tensor) -> Stages:
        """Return CAMs and pseudo labels of images; nothing is learned.

        Args:
            images: As in `forward`.
            present: (B, T) bool, the image-level labels.

        Returns:
            The three CAMs (B, 1 + T, h, w), and the pseudo labels (B, H, W) made from the last.

        Raises:
            ConfigError: If the images cannot be used, or the labels have another shape or dtype.
        """
        present = check_present(torch.as_tensor(present), len(images), self.foreground)
        with torch.no_grad():
            evidence: Evidence = self(images, evidence=True).evidence
        cams = self.cams(evidence, present.to(self.device))
        initial, refined, final = (
            stage.unflatten(2, evidence.grid) for stage in (cams.initial, cams.refined, cams.final)
        )
        return Stages(initial, refined, final, self.pseudo_labels(images, final, present))

    def losses(
        self, output: PriorOutput, target: Tensor, ignore_value: int = IGNORE_LABEL
    ) -> dict[str, Tensor]:
        """Return the weighted terms whose sum is equation 21.

        Args:
            output: Output for a batch of images.
            target: (B, H, W) int64 class ids, at the size of the images.
            ignore_value: Id of pixels without a label.

        Returns:
            "loss_seg", and "loss_affinity" if the output has evidence; a term of weight 0 is omitted.

        Raises:
            LabelError: If a target on the CPU has an id that is neither 0..K-1 nor `ignore_value`.
        """
        spec = self.spec
        check_target(target, spec.num_classes, ignore_value)
        terms = {}
        if spec.seg_weight > 0:
            logits = enlarge(output.logits.float(), target.shape[1:], self.stride)  # (B, K, H, W)
            if spec.seg_loss == "plain":
                loss = one_hot_cross_entropy(logits, target, ignore_value, mask_ignored=True)
            else:
                loss = balanced_cross_entropy(logits, target, ignore_value, self.channels.background)
            terms["loss_seg"] = spec.seg_weight * loss
        if spec.affinity_weight > 0 and output.evidence is not None:
            grid = output.evidence.grid
            bottom, right = (n * self.stride - side for n, side in zip(grid, target.shape[1:], strict=True))
            padded = F.pad(target, (0, right, 0, bottom), value=ignore_value)
            pairs = affinity_target(padded, grid, spec.radius, ignore_value)
            terms["loss_affinity"] = spec.affinity_weight * affinity_loss(output.evidence.affinity, pairs)
        return terms

    def _pad(self, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W) as float32 with sides that are multiples of the stride."""
        images = images.to(self.device, torch.float32)
        bottom, right = (-side % self.stride for side in images.shape[2:])
        if not (bottom or right):
            return images
        # Zero after the subtraction of the mean color.
        return F.pad(images - self.clip_mean, (0, right, 0, bottom)) + self.clip_mean

    @torch.no_grad()
    def _clip_taps(self, images: Tensor) -> dict[int, Tensor]:
        """Return CLIP block (from 0) -> tokens (B, C, h, w), for the blocks that the adapter reads."""
        pixels = (images - self.clip_mean) / self.clip_std
        return self.clip.visual.tapped(pixels, self._tapped_blocks, antialias=True).taps

    @torch.no_grad()
    def _trace_clip(self, images: Tensor) -> TracedFeatures:
        """Return the same taps together with the attention and the final tokens of CLIP."""
        if not self.encoded.has_values(self.text_enriched):
            raise ConfigError(
                "the classes are not encoded: load CLIP (rskt_seg.load_encoder) and call encode_classes(), "
                "or load a complete checkpoint"
            )
        pixels = (images - self.clip_mean) / self.clip_std
        visual = self.clip.visual
        first = self.spec.first_layer - 1 if self.spec.usr else len(visual.transformer.resblocks)
        value = self.spec.cam_attention == "value"
        return visual.traced(pixels, self._tapped_blocks, first, value_path=value, antialias=True)

    @property
    def _tapped_blocks(self) -> list[int]:
        return [level - 1 for level in self.spec.clip_levels]

    @torch.no_grad()
    def _dino_features(self, images: Tensor) -> Tensor:
        """Return DINO's tokens (B, C, h', w') of the images, resized to multiples of its own patch."""
        size = [max(side // self.dino_stride, 1) * self.dino_stride for side in images.shape[2:]]
        resized = F.interpolate(images, size, mode="bilinear", align_corners=False)
        return self.dinov2((resized - self.dino_mean) / self.dino_std)

    def _evidence(self, trace: TracedFeatures, clip: Tensor, dino: Tensor) -> Evidence:
        """Return the evidence from CLIP's trace and the adapted features (B, d, h, w) of both encoders."""
        with torch.autocast(self.device.type, enabled=False):
            joint = torch.cat([clip.float(), dino.float()], dim=1).flatten(2)
            affinity = joint_affinity(joint, self.spec.affinity)
        grid = (clip.shape[2], clip.shape[3])
        maps = [trace.attention[index].float() for index in sorted(trace.attention)]
        attention = torch.stack(maps, dim=1) if maps else joint.new_zeros(len(joint), 0, 0, 0)
        return Evidence(trace.final.float().flatten(2), attention, joint, affinity, grid)
