"""The weakly supervised method as one plain torch module.

Source: Li, Genzano, Gianinetto, Scaioni, "Leveraging Pretrained Priors for Weakly Supervised Semantic
Segmentation of Remote Sensing Images". Shapes: B image, T class besides the background, K class, L token,
C channel, d adapter width, H W pixel, h w cell of CLIP's grid. CAM stacks have 1 + T channels, the background
first.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.dinov2 import DinoV2
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
from rskt_seg.losses.affinity import affinity_loss, affinity_target
from rskt_seg.losses.pixel import balanced_cross_entropy, check_target, one_hot_cross_entropy
from rskt_seg.models.wsss.adapters import Adapter, Decoder
from rskt_seg.models.wsss.cams import initial_cam, normalised, stack_cams
from rskt_seg.models.wsss.classes import IGNORED, find_channels
from rskt_seg.models.wsss.par import ParOptions
from rskt_seg.models.wsss.prototypes import VisualPrototypes, seeds
from rskt_seg.models.wsss.pseudo import complement_labels, dual_threshold_labels
from rskt_seg.models.wsss.relations import joint_affinity, refine
from rskt_seg.models.wsss.spec import CLIP_PRESETS, NONE, PriorWSSSSpec
from rskt_seg.models.wsss.text import class_texts, describe_classes
from rskt_seg.vocabulary import check_names, fixed_names

FROZEN = ("clip", "dinov2")
"""The parts that never train."""


@dataclass(frozen=True)
class Evidence:
    """What pseudo labels are made of.

    `features` (B, E, L): CLIP's tokens in the space of its texts. `attention` (B, n, L, L): attention of
    CLIP's blocks N0 to the last, mean over heads, without the class token. `joint` (B, 2 d, L) and `affinity`
    (B, L, L): equations 10 and 11, which carry the gradient. `grid`: (h, w), L = h w.
    """

    features: Tensor
    attention: Tensor
    joint: Tensor
    affinity: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True)
class PriorOutput:
    """`logits` (B, K, h, w) at CLIP's grid, h = ceil(H / stride); `evidence` if it was asked for."""

    logits: Tensor
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Cams:
    """Stacks (B, 1 + T, L) in 0..1: `initial` (equation 9), `refined` by USR (equation 15), `final` after VPE
    (equation 20); a stage that is switched off repeats the one before it."""

    initial: Tensor
    refined: Tensor
    final: Tensor


@dataclass(frozen=True)
class Stages:
    """As `Cams`, each (B, 1 + T, h, w), and the pseudo `labels` (B, H, W) int64, class ids or 255."""

    initial: Tensor
    refined: Tensor
    final: Tensor
    labels: Tensor


class PriorWSSS(nn.Module):
    """Segmentation learnt from image-level labels, on frozen CLIP and DINOv2.

    All weights start at random: load CLIP and DINOv2 (`rskt_seg.load_encoder`) and call `encode_classes`, or
    load a whole checkpoint. CLIP and DINOv2 have no gradient and stay in evaluation mode.
    """

    def __init__(self, spec: PriorWSSSSpec, class_names: Sequence[str]) -> None:
        """`class_names`: the K classes in the order of their ids. Raises `ConfigError`, `VocabularyError`."""
        super().__init__()
        self.spec = spec
        self.class_names = fixed_names(check_names(class_names), spec.num_classes)
        self.channels = find_channels(self.class_names, spec.background)
        clip, dino = CLIP_PRESETS[spec.encoder], DINOV2_PRESETS[spec.dino]
        _check_layers(spec, clip.vision.layers)
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
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.vpe = VisualPrototypes(len(self.foreground), 2 * spec.dim, spec.momentum)
        for part in FROZEN:
            getattr(self, part).requires_grad_(False)

    @property
    def foreground(self) -> tuple[str, ...]:
        """The names of the T classes that image-level labels name."""
        return self.channels.foreground

    @property
    def channel_ids(self) -> tuple[int, ...]:
        """The class ids of the 1 + T channels of CAMs, 255 first where no class is the background."""
        return self.channels.ids

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.clip_mean.device

    def train(self, mode: bool = True) -> "PriorWSSS":
        """Switch the mode of what learns."""
        super().train(mode)
        for part in FROZEN:
            getattr(self, part).eval()
        return self

    def encode_classes(self, cache: Path | None = None) -> None:
        """Encode the classes by the CLIP of this moment (TPE, equations 1 to 4).

        To be called once CLIP's weights are there; the result is part of the state. `cache`: see
        `rskt_seg.models.wsss.text.class_texts`. Raises `ConfigError`, `VocabularyError`.
        """
        described = describe_classes(self.spec, self.foreground)
        self.text_enriched.copy_(class_texts(self.clip, self.tokenizer, self.spec, described, cache))

    def forward(self, images: Tensor | Sequence[Tensor], evidence: bool = False) -> PriorOutput:
        """Logits of the K classes at CLIP's grid.

        Args:
            images: RGB in 0..255, (B, 3, H, W) of any dtype, or a list of (3, H, W), all of one size. Sides
                are padded to multiples of the stride (16 px) by the mean colour, right and bottom.
            evidence: also return what pseudo labels are made of; CLIP's last block, its attention and DINO
                are computed for it alone (DINO also with `decode_dino`).

        Raises `ConfigError` for images that cannot be used, and for evidence before the classes were encoded.
        """
        batch = self._padded(stack_images(images))
        frozen = self._frozen(batch, evidence)
        clip = self.clip_adapter([frozen.taps[level - 1] for level in self.spec.clip_levels])
        logits = self.decoder(self.dropout(clip))
        if not evidence and not self.spec.decode_dino:
            return PriorOutput(logits)
        dino = self.dino_adapter([self._dino_features(batch)])
        dino = F.interpolate(dino, clip.shape[2:], mode="bilinear", align_corners=False)
        if self.spec.decode_dino:
            logits = (logits + self.decoder(self.dropout(dino))) / 2
        return PriorOutput(logits, self._evidence(frozen, clip, dino) if evidence else None)

    def scores(self, output: PriorOutput) -> Tensor:
        """Class probabilities (B, K, h, w), which sum to one."""
        return output.logits.softmax(dim=1)

    @torch.no_grad()
    def cams(
        self, evidence: Evidence, present: Tensor, learn: bool = False, valid: Tensor | None = None
    ) -> Cams:
        """The stages of the CAM for image-level labels `present` (B, T) bool (equations 9 and 12 to 20).

        With `learn` the visual prototypes take the seeds of this batch in before they are compared, and one
        more step is counted; where less than half of a cell is `valid` (B, H, W) bool, it is no seed.
        """
        spec, power = self.spec, self._power
        joint, affinity = evidence.joint.float(), evidence.affinity.float()
        with self._full_precision():
            initial = initial_cam(evidence.features, self.text_enriched, present, power)
            refined = final = initial
            if spec.usr:
                attention = evidence.attention
                early = spec.start_iter > 0 and bool(self.steps < spec.start_iter)
                kept = (
                    torch.ones(attention.shape[:2], dtype=torch.bool, device=self.device) if early else None
                )
                options = {"steps": spec.alpha, "rounds": spec.rounds, "power": power, "renorm": spec.renorm}
                refined = final = refine(affinity, attention, initial, present, kept=kept, **options).cams
            if spec.vpe:
                if learn:
                    candidates = refined if valid is None else refined * self._cells(valid)
                    self.vpe.update(joint, seeds(candidates, present, spec.seed_percent))
                final = self.vpe.cam(joint, refined, present, power)
        if learn:
            self.steps += 1
        return Cams(initial, refined, final)

    @torch.no_grad()
    def restacked(self, maps: Tensor, present: Tensor) -> Tensor:
        """Mean CAMs (B, 1 + T, H, W) of several passes as one stack: every class brought back to 0..1, the
        background rebuilt (the paper, section 4.2, averages what multi-scale testing gives)."""
        foreground = normalised(maps[:, 1:].float().flatten(2))
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
        """Pseudo labels (B, H, W) int64 of the images, class ids or 255 (ignored).

        `cams` (B, 1 + T, h, w) on CLIP's grid of these images, or at their size; `valid` (B, H, W) bool:
        pixels that are data; `scheme`: one in place of the spec's `pseudo`.
        """
        spec, images = self.spec, stack_images(images).to(self.device, torch.float32)
        size = images.shape[2:]
        options = {
            "par": ParOptions(spec.par_dilations, spec.par_iters, spec.par_w1, spec.par_w2),
            "valid": valid,
            "background": spec.background != NONE,
            "ignore_value": IGNORED,
        }
        with self._full_precision():
            maps = cams if cams.shape[2:] == size else enlarge(cams, size, self.stride)
            if (scheme or spec.pseudo) == "dual_threshold":
                found = dual_threshold_labels(images, maps, present, high=spec.high, low=spec.low, **options)
            else:
                found = complement_labels(images, maps, present, **options)
        table = torch.full((256,), IGNORED, device=self.device)
        table[: len(self.channel_ids)] = torch.tensor(self.channel_ids, device=self.device)
        return table[found]

    def stages(self, images: Tensor | Sequence[Tensor], present: Tensor) -> Stages:
        """From images to pseudo labels, for image-level labels `present` (B, T) bool; nothing is learnt.

        Raises `ConfigError` for images or labels that cannot be used.
        """
        present = torch.as_tensor(present)
        if present.shape != (len(images), len(self.foreground)) or present.dtype != torch.bool:
            raise ConfigError(
                "present must be bool, one row an image and one column for each of "
                f"{', '.join(self.foreground)}; found {tuple(present.shape)} {present.dtype}"
            )
        with torch.no_grad():
            evidence = self(images, evidence=True).evidence
        cams = self.cams(evidence, present.to(self.device))
        maps = [stage.unflatten(2, evidence.grid) for stage in (cams.initial, cams.refined, cams.final)]
        return Stages(*maps, self.pseudo_labels(images, maps[-1], present.to(self.device)))

    def losses(self, output: PriorOutput, target: Tensor, ignore_value: int = IGNORED) -> dict[str, Tensor]:
        """Weighted terms whose sum is equation 21, for targets (B, H, W) int64 at the size of the images.

        "loss_seg", and where the output has evidence "loss_affinity"; a term of weight 0 is left out. Raises
        `LabelError` for an id outside 0..K-1 and `ignore_value`.
        """
        spec = self.spec
        check_target(target, spec.num_classes, ignore_value)
        terms = {}
        if spec.seg_weight > 0:
            logits = enlarge(output.logits.float(), target.shape[1:], self.stride)
            terms["loss_seg"] = spec.seg_weight * self._seg_loss(logits, target, ignore_value)
        if spec.affinity_weight > 0 and output.evidence is not None:
            grid = output.evidence.grid
            sides = [cells * self.stride - side for cells, side in zip(grid, target.shape[1:], strict=True)]
            padded = F.pad(target, (0, sides[1], 0, sides[0]), value=ignore_value)
            pairs = affinity_target(padded, grid, spec.radius, ignore_value)
            terms["loss_affinity"] = spec.affinity_weight * affinity_loss(output.evidence.affinity, pairs)
        return terms

    @property
    def _power(self) -> float | None:
        return None if self.spec.background == NONE else self.spec.background_power

    def _seg_loss(self, logits: Tensor, target: Tensor, ignore_value: int) -> Tensor:
        if self.spec.seg_loss == "plain":
            return one_hot_cross_entropy(logits, target, ignore_value, mask_ignored=True)
        return balanced_cross_entropy(logits, target, ignore_value, self.channels.background)

    def _cells(self, valid: Tensor) -> Tensor:
        """(B, H, W) bool -> (B, 1, L) float: 1 for cells of which at least half is valid."""
        bottom, right = (-side % self.stride for side in valid.shape[1:])
        shares = F.avg_pool2d(F.pad(valid.float(), (0, right, 0, bottom))[:, None], self.stride)
        return (shares >= 0.5).float().flatten(2)

    def _padded(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float32 whose sides are multiples of the stride."""
        images = images.to(self.device, torch.float32)
        bottom, right = (-side % self.stride for side in images.shape[2:])
        if not (bottom or right):
            return images
        return F.pad(images - self.clip_mean, (0, right, 0, bottom)) + self.clip_mean

    @torch.no_grad()
    def _frozen(self, images: Tensor, evidence: bool):
        pixels = (images - self.clip_mean) / self.clip_std
        taps = [level - 1 for level in self.spec.clip_levels]
        visual = self.clip.visual
        if not evidence:
            return visual.tapped(pixels, taps, antialias=True)
        if not self.text_enriched.any():
            raise ConfigError(
                "the classes are not encoded: load CLIP (rskt_seg.load_encoder) and call encode_classes(), "
                "or load a whole checkpoint"
            )
        blocks = len(visual.transformer.resblocks)
        first = self.spec.first_layer - 1 if self.spec.usr else blocks
        value = self.spec.cam_attention == "value"
        return visual.traced(pixels, taps, first, value_path=value, antialias=True)

    @torch.no_grad()
    def _dino_features(self, images: Tensor) -> Tensor:
        """DINO's tokens (B, C, h', w') of the images, resized to whole patches of its own."""
        size = [max(side // self.dino_stride, 1) * self.dino_stride for side in images.shape[2:]]
        resized = F.interpolate(images, size, mode="bilinear", align_corners=False)
        return self.dinov2((resized - self.dino_mean) / self.dino_std)

    def _evidence(self, frozen, clip: Tensor, dino: Tensor) -> Evidence:
        with self._full_precision():
            joint = torch.cat([clip.float(), dino.float()], dim=1).flatten(2)
            affinity = joint_affinity(joint, self.spec.affinity)
        grid = (clip.shape[2], clip.shape[3])
        maps = [frozen.attention[index].float() for index in sorted(frozen.attention)]
        attention = torch.stack(maps, dim=1) if maps else joint.new_zeros(len(joint), 0, 0, 0)
        return Evidence(frozen.final.float().flatten(2), attention, joint, affinity, grid)

    def _full_precision(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, enabled=False)


def _check_layers(spec: PriorWSSSSpec, blocks: int) -> None:
    for name, block in (("clip_levels", max(spec.clip_levels)), ("first_layer", spec.first_layer)):
        if block > blocks and (name != "first_layer" or spec.usr):
            raise ConfigError(f"{name}={getattr(spec, name)}: the encoder {spec.encoder} has {blocks} blocks")
