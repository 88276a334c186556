"""CLIP zero-shot as one plain torch module.

Source: SegEarth-OV without its upsampler (Li et al., "SegEarth-OV: Towards Training-Free Open-Vocabulary
Segmentation for Remote Sensing Images", CVPR 2025) and its published code. Shapes: B image, N window, Q name
that is asked for, T class, P prompt, E embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.last_block import embed_patches
from rskt_seg.encoders.presets import CLIP_PIXEL_MEAN, CLIP_PIXEL_STD, CLIP_PRESETS
from rskt_seg.encoders.text import TextBank, build_tokenizer, vocabulary_size
from rskt_seg.errors import ConfigError
from rskt_seg.layers.images import stack_images
from rskt_seg.layers.inference_form import FormBuilder, HasInferenceForm
from rskt_seg.models.clip_zeroshot.spec import ClipZeroShotSpec
from rskt_seg.vocabulary import Vocabulary
from rskt_seg.windows import Window, window_grid

_WINDOWS = 16
"""Windows that are encoded at a time; bounds memory."""
_VALUES = 2**24
"""Logits whose scores are computed at a time; bounds memory."""


NOTHING_TO_TRAIN = "CLIP zero-shot has nothing to train; evaluate it"


@dataclass(frozen=True)
class ClipZeroShotOutput:
    """Output of `ClipZeroShot`.

    Attributes:
        logits: (B, Q, h, w) float32, a channel for every name of every class: cosines of pixels and names,
            with the global bias, averaged over windows, at the size of the resized image.
        names: Number of names of each of the T classes; Q in all.
    """

    logits: Tensor
    names: tuple[int, ...]


class ClipZeroShot(HasInferenceForm):
    """A CLIP that segments images by class names; nothing is trained.

    Its weights are random until `rskt_seg.load_encoder(model, "clip", ...)` or `rskt_seg.load_checkpoint`
    fills them from a CLIP file.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, spec: ClipZeroShotSpec) -> None:
        super().__init__()
        self.spec = spec
        preset = CLIP_PRESETS[spec.encoder]
        for name, colour in (("pixel_mean", CLIP_PIXEL_MEAN), ("pixel_std", CLIP_PIXEL_STD)):
            # Rounded as published, which changes cosines in the seventh digit.
            rounded = torch.tensor([round(value, 3) for value in colour]).view(3, 1, 1)
            self.register_buffer(name, rounded, persistent=False)
        self.clip = CLIP(preset, vocabulary_size(preset.text))
        self.text_bank = TextBank(build_tokenizer(preset.text), spec.templates)
        self.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.pixel_mean.device

    @property
    def cell(self) -> int:
        """Side in pixels (of the resized image) of a patch, the finest that CLIP tells apart."""
        return self.clip.visual.patch_size

    def forward(
        self, images: Tensor | Sequence[Tensor], vocabulary: Sequence[str] | Vocabulary
    ) -> ClipZeroShotOutput:
        """Compare every pixel with every name of every class.

        Args:
            images: (B, 3, H, W) RGB in 0..255 of any dtype, or a list of (3, H, W) of one size.
            vocabulary: T class names; an entry `"a, b"` is one class with the names a and b, each of which is
                asked for.

        Returns:
            Logits at the size of the resized image; `scores` makes class scores of them.

        Raises:
            VocabularyError: The names cannot be used, or `background` is not among the classes.
            ConfigError: The images have another shape.
        """
        classes = self.spec.check_vocabulary(vocabulary)
        text = self.embed_text(classes.prompts("max"))  # (Q, E)
        batch = self.resize(stack_images(images))
        height, width = batch.shape[2:]
        total = batch.new_zeros(batch.shape[0], len(text), height, width)
        count = batch.new_zeros(height, width)
        windows = self.windows(height, width)  # resizing a resized image changes nothing
        # A graph that is traced has no loop over windows, and its batch has no number.
        step = len(windows) if torch.compiler.is_exporting() else max(1, _WINDOWS // len(batch))
        for group in (windows[first : first + step] for first in range(0, len(windows), step)):
            crops = torch.cat([batch[:, :, window.rows, window.columns] for window in group])
            parts = self.patch_logits(crops, text).unflatten(0, (len(group), -1))
            for window, part in zip(group, parts, strict=True):
                # Of one window at a time: a pixel has as many logits as there are names.
                logits = self.resize_logits(part, (window.height, window.width))
                count[window.rows, window.columns] += 1
                if torch.compiler.is_exporting():  # a graph has no assignment to a part
                    around = (window.left, width - window.right, window.top, height - window.bottom)
                    total = total + F.pad(logits, around)
                else:
                    total[:, :, window.rows, window.columns] += logits
        return ClipZeroShotOutput(total.div_(count), tuple(map(len, classes.synonyms)))

    def embed_text(self, names: Sequence[str]) -> Tensor:
        """Embed names by the mean of their prompts.

        Args:
            names: Q names.

        Returns:
            Embeddings (Q, E) of unit length.

        Raises:
            VocabularyError: The names cannot be used, or not be encoded.
        """
        prompts: Tensor = self.text_bank(self.clip, names)  # (Q, P, E)
        return F.normalize(prompts.mean(dim=1), dim=-1)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Compute the size of a resized image, whose longer side is `long_side`.

        Args:
            height: Height of the image (px).
            width: Width of the image (px).

        Returns:
            Height and width of the resized image (px), at least 1.
        """
        factor = self.spec.long_side / max(height, width)
        return max(1, int(height * factor + 0.5)), max(1, int(width * factor + 0.5))

    def windows(self, height: int, width: int) -> tuple[Window, ...]:
        """Return the windows of an image.

        Args:
            height: Height of the image (px).
            width: Width of the image (px).

        Returns:
            Windows in the pixels of the resized image, row by row.
        """
        return window_grid(*self.resized(height, width), self.spec.window, self.spec.stride)

    def resize(self, images: Tensor) -> Tensor:
        """Normalise images, and resize them so that the longer side is `long_side`.

        Args:
            images: (B, 3, H, W) RGB in 0..255.

        Returns:
            (B, 3, h, w) float32 on the device of the model; bilinear, and unlike the published code not
            rounded to 8 bits in between.
        """
        batch = images.to(self.device, torch.float32)
        size = self.resized(*batch.shape[2:])
        if size != tuple(batch.shape[2:]):
            batch = F.interpolate(
                batch, size, mode="bilinear", align_corners=False, antialias=self.spec.antialias
            )
        return (batch - self.pixel_mean.float()) / self.pixel_std.float()

    def window_logits(self, crops: Tensor, text: Tensor) -> Tensor:
        """Compare the pixels of windows with names.

        Args:
            crops: (N, 3, h, w), normalised.
            text: (Q, E) of unit length.

        Returns:
            (N, Q, h, w) float32: `patch_logits`, resized by `resize_logits`.
        """
        return self.resize_logits(self.patch_logits(crops, text), crops.shape[2:])

    def patch_logits(self, crops: Tensor, text: Tensor) -> Tensor:
        """Compare the patches of windows with names.

        Crops whose sides are no multiples of the patch are padded with zeros on all sides.

        Args:
            crops: (N, 3, h, w), normalised.
            text: (Q, E) of unit length.

        Returns:
            (N, Q, ceil(h / cell), ceil(w / cell)) float32: cosines of patches and names plus `global_bias`
            times those of the class token.
        """
        height, width = crops.shape[2:]
        down, right = -height % self.cell, -width % self.cell
        top, left = down // 2, right // 2
        padded = F.pad(crops, (left, right - left, top, down - top)).to(self.pixel_mean.dtype)
        whole, patches = embed_patches(
            self.clip.visual, padded, self.spec.last_block, residual=self.spec.residual
        )  # (N, E), (N, E, grid)
        cosines = torch.einsum("nehw,qe->nqhw", F.normalize(patches, dim=1), text)
        bias = F.normalize(whole, dim=1) @ text.T
        return (cosines + self.spec.global_bias * bias[:, :, None, None]).float()

    def resize_logits(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Resize logits from the grid of patches to the pixels of a window.

        Args:
            logits: (N, Q, rows, columns), see `patch_logits`.
            size: (h, w) of the window.

        Returns:
            (N, Q, h, w), bilinear; the padding is cut off.
        """
        height, width = size
        padded = (logits.shape[2] * self.cell, logits.shape[3] * self.cell)
        top, left = (padded[0] - height) // 2, (padded[1] - width) // 2
        resized = F.interpolate(logits, padded, mode="bilinear", align_corners=False)
        return resized[:, :, top : top + height, left : left + width]

    def scores(self, output: ClipZeroShotOutput) -> Tensor:
        """Convert an output to class scores.

        The published evaluation resizes `output.logits` to the size of the image file before.

        Args:
            output: What `forward` returned, or the same with resized logits.

        Returns:
            (B, T, h, w) in 0..1: the softmax over all Q names, of which a class has its best. Where no class
            reaches `threshold`, that is the score of `background`, which thereby is the best class.
        """
        return self.class_scores(output.logits, output.names)

    def class_scores(self, logits: Tensor, names: Sequence[int]) -> Tensor:
        """Convert logits of names to class scores, as `scores`.

        Args:
            logits: (B, Q, h, w).
            names: Number of names of each of the T classes.

        Returns:
            (B, T, h, w) in 0..1.
        """
        if torch.compiler.is_exporting():  # the size of what is traced has no number
            best = self._best_names(logits, names)
        else:
            best = logits.new_empty(len(logits), len(names), *logits.shape[2:])
            step = max(1, _VALUES // (len(logits) * logits.shape[1] * logits.shape[3]))
            for first in range(0, logits.shape[2], step):
                rows = slice(first, first + step)
                best[:, :, rows] = self._best_names(logits[:, :, rows], names)
        if self.spec.threshold:
            rest, low = best[:, self.spec.background], best.amax(dim=1) < self.spec.threshold
            best[:, self.spec.background] = torch.where(low, self.spec.threshold, rest)
        return best

    def _best_names(self, logits: Tensor, names: Sequence[int]) -> Tensor:
        """Return the greatest share (B, T, h, w) of the names of each class, of logits (B, Q, h, w)."""
        shares = (self.spec.scale * logits).softmax(dim=1)
        return torch.stack([part.amax(dim=1) for part in shares.split(tuple(names), dim=1)], dim=1)

    def inference_form(self, builder: FormBuilder) -> Self:
        """See `HasInferenceForm`; the form has a cache of text embeddings of its own.

        Args:
            builder: As there.

        Returns:
            The form.
        """
        form = builder.copy(self)
        form.text_bank = self.text_bank.emptied()
        return form

    def losses(
        self, output: ClipZeroShotOutput, target: Tensor, ignore_value: int = 255
    ) -> dict[str, Tensor]:
        """See `SegmentationModel.losses`: refused.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(NOTHING_TO_TRAIN)
