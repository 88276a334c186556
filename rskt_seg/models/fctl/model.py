"""FCtL as one plain torch module.

Source: "Ultra-high Resolution Image Segmentation via Locality-aware Context Fusion and Alternating Local
Enhancement" and both branches of the published code. Shapes: B patch, T class, C channel, H W grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rskt_seg.encoders.features import EncoderFeatures
from rskt_seg.encoders.mit import MIT_PRESETS, MiT
from rskt_seg.encoders.vgg import VGG, VGG_PRESETS
from rskt_seg.errors import ConfigError
from rskt_seg.losses.focal import focal_loss
from rskt_seg.losses.pixel import check_target
from rskt_seg.models.fctl.context import ContextFusion
from rskt_seg.models.fctl.enhancement import build_enhancement
from rskt_seg.models.fctl.fcn import PADDED_VGG, UNPADDED, FcnDecoder
from rskt_seg.models.fctl.geometry import (
    PATCH_WINDOW,
    Grid,
    centered_window,
    crop_upsample,
    window_tensor,
)
from rskt_seg.models.fctl.segformer import SegFormerDecoder
from rskt_seg.models.fctl.spec import WHOLE_IMAGE, FCtLSpec
from rskt_seg.vocabulary import fixed_names


@dataclass(frozen=True)
class ContextFeatures:
    """Encoded context images, as `FCtL.encode_context` returns them.

    Attributes:
        map: (B or 1, C, h, w), the encoder's last map.
        size: Height and width of the images, in pixels.
    """

    map: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class ContextMaps:
    """Contributions of the contexts, as in figures 7, 10 and 11; dictionaries are keyed by context.

    Attributes:
        attention: (B, h * w, h * w). Rows are cells of the patch and sum to 1, columns are cells of the
            context.
        weights: (B, C, h, w), share of each context in the fusion; empty for fewer than two contexts.
        enhancement: (B, C, h, w), attention map E of the last step of ALE; None without it.
    """

    attention: dict[str, Tensor]
    weights: dict[str, Tensor]
    enhancement: Tensor | None


@dataclass(frozen=True)
class FCtLOutput:
    """Output of `FCtL`.

    Attributes:
        logits: (B, T, H, W) at the size of the patches.
        fused: (B, C, h, w), what the decoder reads instead of the encoder's last map.
        maps: Contributions of the contexts, if requested.
    """

    logits: Tensor
    fused: Tensor
    maps: ContextMaps | None = None


class FCtL(nn.Module):
    """Segments patches of ultra-high resolution images, each seen together with its contexts.

    All weights are random at first; see `rskt_seg.checkpoints.fctl` for the published ones.

    Args:
        spec: Options of the model.
        class_names: Names of the T classes, None if unknown.

    Raises:
        VocabularyError: If the names are not T distinct class names.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, spec: FCtLSpec, class_names: Sequence[str] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.class_names = fixed_names(class_names, spec.num_classes)
        self.encoder = _build_encoder(spec.encoder)
        width = self.encoder.widths[-1]
        mean, std = torch.tensor(self.encoder.pixel_mean), torch.tensor(self.encoder.pixel_std)
        self.register_buffer("pixel_mean", mean.view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", std.view(3, 1, 1), persistent=False)
        own = () if spec.context_encoder == "shared" else spec.contexts
        self.context_encoders = nn.ModuleDict({name: _build_encoder(spec.encoder) for name in own})
        if spec.context_encoder == "frozen":
            self.context_encoders.requires_grad_(False)
        self.fusion = ContextFusion(spec, width) if spec.lcf else None
        self.enhancement = build_enhancement(spec, width)
        self.decoder = _build_decoder(spec)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.pixel_mean.device

    @property
    def working_side(self) -> int:
        """Side in pixels of the squares that the encoders see."""
        return self.spec.input_side

    @property
    def patch_side(self) -> int:
        """Side of a patch in pixels of the image; patches are resized to `working_side`."""
        return self.spec.patch_side

    @property
    def context_factors(self) -> dict[str, float]:
        """Context -> its side in patch sides, 0 for the whole image."""
        return self.spec.context_factors

    @property
    def sees_whole(self) -> bool:
        """Whether the model expects whole images resized to `working_side` instead of patches."""
        return self.spec.view == "whole"

    def train(self, mode: bool = True) -> "FCtL":
        """See `nn.Module.train`; frozen encoders stay in evaluation mode."""
        super().train(mode)
        if self.spec.context_encoder == "frozen":
            self.context_encoders.eval()
        return self

    def encode_context(self, name: str, images: Tensor) -> ContextFeatures:
        """Encode context images once for many calls, such as the whole image for all of its patches.

        Args:
            name: Name of the context.
            images: (B or 1, 3, H, W) RGB in 0..255, black outside the image; a batch of 1 serves every patch
                of a batch.

        Returns:
            What `forward` takes in place of the images.

        Raises:
            ConfigError: If the model has no such context, or the images have another shape.
        """
        self._check_context(name)
        images = _check_images(images, f"context {name}")
        size = (images.shape[2], images.shape[3])
        shared = self.spec.context_encoder == "shared"
        encoder = self.encoder if shared else self.context_encoders[name]
        return ContextFeatures(encoder(self._normalize(images)).final, size)

    def forward(
        self,
        patches: Tensor,
        contexts: Mapping[str, Tensor | ContextFeatures] | None = None,
        windows: Mapping[str, Tensor] | None = None,
        return_maps: bool = False,
    ) -> FCtLOutput:
        """Return the logits of every pixel of the patches.

        Args:
            patches: (B, 3, H, W) RGB in 0..255.
            contexts: For every context of the spec its images (B or 1, 3, H, W), resized to the size of the
                patches, or the result of `encode_context`; a batch of 1 serves all patches.
            windows: Context -> (B or 1, 4), its window (top, left, height, width) in patch sides from the
                patch's upper left corner; best on the CPU, where its values are checked. A missing window is
                centered, with the factor of the spec. A whole image needs its window where ALE or
                `geometry="image"` reads it.
            return_maps: Return `ContextMaps` too.

        Returns:
            Logits (B, T, H, W), the fused features, and the maps if they are requested.

        Raises:
            ConfigError: If images, contexts or windows are missing, unknown or of another shape.
        """
        patches = _check_images(patches, "patches")
        height, width = patches.shape[2:]
        # First, because their copy to the device would wait for the encoders.
        placed = self._complete_windows(windows or {}, patches.shape[0])
        encoded = self.encoder(self._normalize(patches))
        features = {"local": encoded.final}  # (B, C, h, w), as those of all contexts
        features |= self._encode_contexts(contexts or {}, patches.shape[0], (height, width))
        stride, offset = self.encoder.stride, self.encoder.offset
        rows, columns = encoded.final.shape[2:]
        grids = (Grid(rows, height, stride, offset), Grid(columns, width, stride, offset))
        fused, weights, enhancement = self._fuse(features, placed, grids)
        logits = self._decode(encoded, fused, (height, width))
        if not return_maps:
            return FCtLOutput(logits, fused)
        attention = self.fusion.attention(features, placed, grids) if self.fusion else {}
        return FCtLOutput(logits, fused, ContextMaps(attention, weights, enhancement))

    def losses(self, output: FCtLOutput, target: Tensor, ignore_value: int = 255) -> dict[str, Tensor]:
        """Compute the focal loss.

        Args:
            output: Output for a batch of patches.
            target: (B, H, W) int64 class ids, at the size of the patches.
            ignore_value: Id of pixels without a label.

        Returns:
            `{"loss_sem_seg": scalar}`.

        Raises:
            LabelError: If a target on the CPU has an id that is neither 0..T-1 nor `ignore_value`.
            ConfigError: If the targets have another size than the patches.
        """
        logits = output.logits
        if target.shape != logits.shape[:1] + logits.shape[2:]:
            expected = (len(logits), *logits.shape[2:])
            raise ConfigError(
                f"targets must be (B, H, W) = {expected}, the size of the patches; found "
                f"{tuple(target.shape)}"
            )
        check_target(target, self.spec.num_classes, ignore_value)
        return {"loss_sem_seg": focal_loss(logits, target, self.spec.focal_gamma, ignore_value)}

    def scores(self, output: FCtLOutput) -> Tensor:
        """Convert an output to class probabilities.

        Overlapping patches are merged by their logits, not by these.

        Args:
            output: What `forward` returned.

        Returns:
            (B, T, H, W) in 0..1, which sum to one over the classes.
        """
        return output.logits.softmax(dim=1)

    def _encode_contexts(
        self, contexts: Mapping[str, Tensor | ContextFeatures], patches: int, size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Return every context's last map, (B, C, h, w), for `patches` patches of `size` px."""
        for name in contexts:
            self._check_context(name)
        missing = [name for name in self.spec.contexts if name not in contexts]
        if missing:
            raise ConfigError(
                f"no images of the context {', '.join(missing)}: the model needs contexts={{name: images}} "
                f"for each of {', '.join(self.spec.contexts)}"
            )
        features = {}
        for name in self.spec.contexts:
            context = contexts[name]
            if not isinstance(context, ContextFeatures):
                context = self.encode_context(name, context)
            if context.size != size:
                raise ConfigError(
                    f"context {name} must be resized to the patches' {size} px; found {context.size}"
                )
            if context.map.shape[0] not in (1, patches):
                raise ConfigError(
                    f"context {name} must have a batch of 1 or {patches}; found {context.map.shape[0]}"
                )
            features[name] = context.map.expand(patches, -1, -1, -1)
        return features

    def _complete_windows(self, given: Mapping[str, Tensor], patches: int) -> dict[str, Tensor]:
        """Return the window of "local" and of every context, (B or 1, 4) float64."""
        for name, window in given.items():
            self._check_context(name)
            if window.ndim != 2 or window.shape[0] not in (1, patches) or window.shape[1] != 4:
                raise ConfigError(
                    f"windows[{name!r}] must be (B or 1, 4) for B={patches}; found {tuple(window.shape)}"
                )
            # What is traced has no values, and on other devices they would have to be waited for.
            readable = window.device.type == "cpu" and not torch.compiler.is_exporting()
            if readable and not bool((window[:, 2:] > 0).all()):
                raise ConfigError(f"windows[{name!r}] must have heights and widths above 0")
        placed = {"local": window_tensor(PATCH_WINDOW, self.device)}
        for name, factor in self.spec.context_factors.items():
            if name in given:
                placed[name] = given[name].to(self.device, torch.float64)
            elif factor != WHOLE_IMAGE:
                placed[name] = window_tensor(centered_window(factor), self.device)
            elif name in self.spec.enhanced or self.spec.geometry == "image":
                raise ConfigError(
                    f"the position of the patches in the whole image is unknown: pass windows[{name!r}]"
                )
            else:
                placed[name] = placed["local"]  # read by nothing
        return placed

    def _fuse(
        self, features: dict[str, Tensor], windows: dict[str, Tensor], grids: tuple[Grid, Grid]
    ) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """Return patch + LCF + ALE (B, C, h, w), the weights of MCF, and ALE's attention map E."""
        local = fused = features["local"]
        weights: dict[str, Tensor] = {}
        attention = None
        if self.fusion is not None:
            correlated, weights = self.fusion(features, windows, grids)
            fused = fused + correlated
        if self.enhancement is not None:
            crops = [crop_upsample(features[name], windows[name], grids) for name in self.spec.enhanced]
            enhanced, attention = self.enhancement(local, crops)
            fused = fused + enhanced
        return fused, weights, attention

    def _decode(self, encoded: EncoderFeatures, fused: Tensor, size: tuple[int, int]) -> Tensor:
        taps = encoded.taps
        if isinstance(self.decoder, SegFormerDecoder):
            return self.decoder([taps[1], taps[2], taps[3], fused], size)
        skips = (taps[4], taps[3]) if isinstance(self.encoder, VGG) else (taps[3], taps[2])
        return self.decoder(skips, fused, size)

    def _normalize(self, images: Tensor) -> Tensor:
        return (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std

    def _check_context(self, name: str) -> None:
        if name not in self.spec.contexts:
            raise ConfigError(
                f"unknown context {name!r}; this model has {', '.join(self.spec.contexts) or 'no contexts'}"
            )


def _build_encoder(name: str) -> VGG | MiT:
    return VGG(VGG_PRESETS[name]) if name in VGG_PRESETS else MiT(MIT_PRESETS[name])


def _build_decoder(spec: FCtLSpec) -> FcnDecoder | SegFormerDecoder:
    classes, trained = spec.num_classes, spec.learn_upsampling
    if spec.encoder in VGG_PRESETS:
        vgg = VGG_PRESETS[spec.encoder]
        return FcnDecoder(vgg.widths[-3:], vgg.head_width, classes, PADDED_VGG, trained)
    mit = MIT_PRESETS[spec.encoder]
    if spec.fcn_decoder:
        return FcnDecoder(mit.widths[-3:], 8 * mit.widths[-1], classes, UNPADDED, trained)
    return SegFormerDecoder(mit.widths, mit.decoder_width, classes)


def _check_images(images: Tensor, what: str) -> Tensor:
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3:
        found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ConfigError(f"{what} must be a tensor of images (B, 3, H, W); found {found}")
    return images
