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
from rskt_seg.models.fctl.geometry import PATCH, Grid, centred, crop_upsample
from rskt_seg.models.fctl.segformer import SegFormerDecoder
from rskt_seg.models.fctl.spec import WHOLE_IMAGE, FCtLSpec
from rskt_seg.vocabulary import fixed_names


@dataclass(frozen=True)
class ContextFeatures:
    """What `FCtL.encode_context` returns: the last map (B or 1, C, h, w) of context images of `size` px."""

    map: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class ContextMaps:
    """What the contexts did, as in figures 7, 10 and 11; each by the name of its context.

    `attention` (B, h * w, h * w): rows are cells of the patch, columns cells of the context, rows sum to 1.
    `weights` (B, C, h, w): share of each context in the fusion, empty for fewer than two. `enhancement`
    (B, C, h, w): the map E of ALE's last step, or None.
    """

    attention: dict[str, Tensor]
    weights: dict[str, Tensor]
    enhancement: Tensor | None


@dataclass(frozen=True)
class FCtLOutput:
    """`logits` (B, T, H, W) at the size of the patches; `fused` (B, C, h, w), what the decoder is given in
    place of the encoder's last map; `maps`, if asked for."""

    logits: Tensor
    fused: Tensor
    maps: ContextMaps | None = None


class FCtL(nn.Module):
    """Patches and their contexts in, logits of the patches out.

    All weights start at random; see `rskt_seg.checkpoints.fctl` for the published ones.
    """

    def __init__(self, spec: FCtLSpec, class_names: Sequence[str] | None = None) -> None:
        """`class_names`: what the T classes are called, None if unknown. Raises `VocabularyError`."""
        super().__init__()
        self.spec = spec
        self.class_names = fixed_names(class_names, spec.num_classes)
        self.encoder = _build_encoder(spec.encoder)
        width = self.encoder.widths[-1]
        for name in ("pixel_mean", "pixel_std"):
            values = torch.tensor(getattr(self.encoder, name)).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        own = () if spec.context_encoder == "shared" else spec.contexts
        self.context_encoders = nn.ModuleDict({name: _build_encoder(spec.encoder) for name in own})
        if spec.context_encoder == "frozen":
            self.context_encoders.requires_grad_(False)
        self.fusion = ContextFusion(spec, width) if spec.lcf else None
        self.enhancement = build_enhancement(spec, width)
        self.decoder = _build_decoder(spec)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    @property
    def working_side(self) -> int:
        """Side in pixels of the squares that the encoders see."""
        return self.spec.input_side

    @property
    def patch_side(self) -> int:
        """Side of a patch in pixels of the image, which is resized to `working_side`."""
        return self.spec.patch_side

    @property
    def context_factors(self) -> dict[str, float]:
        """Context -> its side in patch sides, 0 for the whole image."""
        return self.spec.context_factors

    @property
    def sees_whole(self) -> bool:
        """Whether the model is meant for whole images resized to `working_side`, not for patches."""
        return self.spec.view == "whole"

    def train(self, mode: bool = True) -> "FCtL":
        """Switch the mode; frozen encoders stay in evaluation mode."""
        super().train(mode)
        if self.spec.context_encoder == "frozen":
            self.context_encoders.eval()
        return self

    def encode_context(self, name: str, images: Tensor) -> ContextFeatures:
        """Encode context images once for many calls, such as the whole image for all of its patches.

        Args: `images` (B or 1, 3, H, W) RGB in 0..255, black outside of the image; 1 serves every patch of
        a batch. Raises `ConfigError` for an unknown context or other shapes.
        """
        self._known(name)
        images = _checked(images, f"context {name}")
        size = (images.shape[2], images.shape[3])
        shared = self.spec.context_encoder == "shared"
        encoder = self.encoder if shared else self.context_encoders[name]
        return ContextFeatures(encoder(self._normalised(images)).final, size)

    def forward(
        self,
        patches: Tensor,
        contexts: Mapping[str, Tensor | ContextFeatures] | None = None,
        windows: Mapping[str, Tensor] | None = None,
        return_maps: bool = False,
    ) -> FCtLOutput:
        """Logits of every pixel of the patches.

        Args:
            patches: (B, 3, H, W) RGB in 0..255.
            contexts: for every context of the spec its images, resized to H x W, or what `encode_context`
                made of them; a batch of 1 serves all patches.
            windows: context -> (B or 1, 4), where it lies: (top, left, height, width) in patch sides from the
                patch's upper left corner. Left out: centred, with the factor of the spec. Needed for a whole
                image where ALE or `geometry="image"` read it.
            return_maps: return `ContextMaps` too.

        Raises `ConfigError` for images or contexts that cannot be used.
        """
        patches = _checked(patches, "patches")
        size = (patches.shape[2], patches.shape[3])
        encoded = self.encoder(self._normalised(patches))
        features = {"local": encoded.final}
        for name, value in self._given(contexts or {}).items():
            if not isinstance(value, ContextFeatures):
                value = self.encode_context(name, value)
            features[name] = _for_patches(value, name, len(patches), size)
        placed = self._windows(windows or {}, len(patches))
        grids = tuple(
            self._grid(cells, side) for cells, side in zip(encoded.final.shape[2:], size, strict=True)
        )
        fused, weights, enhancement = self._fuse(features, placed, grids)
        logits = self._decode(encoded, fused, size)
        if not return_maps:
            return FCtLOutput(logits, fused)
        attention = self.fusion.attention(features, placed, grids) if self.fusion else {}
        return FCtLOutput(logits, fused, ContextMaps(attention, weights, enhancement))

    def _fuse(
        self, features: dict[str, Tensor], windows: dict[str, Tensor], grids: tuple[Grid, Grid]
    ) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        local = fused = features["local"]
        weights, attention = {}, None
        if self.fusion is not None:
            seen, weights = self.fusion(features, windows, grids)
            fused = fused + seen
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

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std

    def _grid(self, cells: int, side: int) -> Grid:
        return Grid(cells, side, self.encoder.stride, self.encoder.offset)

    def _known(self, name: str) -> None:
        if name not in self.spec.contexts:
            raise ConfigError(f"this model has the contexts {self.spec.contexts}; found {name!r}")

    def _given(self, contexts: Mapping[str, object]) -> dict[str, object]:
        for name in contexts:
            self._known(name)
        missing = [name for name in self.spec.contexts if name not in contexts]
        if missing:
            raise ConfigError(f"the model needs contexts={{name: images}} for {', '.join(missing)} too")
        return {name: contexts[name] for name in self.spec.contexts}

    def _windows(self, given: Mapping[str, Tensor], patches: int) -> dict[str, Tensor]:
        """Every context's window, (B or 1, 4)."""
        for name in given:
            self._known(name)
        placed = {"local": torch.tensor([PATCH], dtype=torch.float64, device=self.device)}
        for name, factor in self.spec.context_factors.items():
            if name in given:
                placed[name] = _checked_window(given[name], name, patches).to(self.device, torch.float64)
            elif factor != WHOLE_IMAGE:
                placed[name] = torch.tensor([centred(factor)], dtype=torch.float64, device=self.device)
            elif name in self.spec.enhanced or self.spec.geometry == "image":
                raise ConfigError(
                    f"where a patch lies in the whole image is not known: give windows[{name!r}]"
                )
            else:
                placed[name] = placed["local"]
        return placed

    def losses(self, output: FCtLOutput, target: Tensor, ignore_value: int = 255) -> dict[str, Tensor]:
        """`{"loss_sem_seg": scalar}`, the focal loss for targets (B, H, W) int64 of the patches' size.

        Raises `LabelError` for an id outside 0..T-1 and `ignore_value`, `ConfigError` for another size.
        """
        if target.shape != output.logits.shape[:1] + output.logits.shape[2:]:
            raise ConfigError(
                f"targets must be (B, H, W) as the patches; found {tuple(target.shape)} for logits "
                f"{tuple(output.logits.shape)}"
            )
        check_target(target, self.spec.num_classes, ignore_value)
        return {"loss_sem_seg": focal_loss(output.logits, target, self.spec.focal_gamma, ignore_value)}

    def scores(self, output: FCtLOutput) -> Tensor:
        """Class probabilities (B, T, H, W). Overlapping patches are merged by their logits, not by these."""
        return output.logits.softmax(dim=1)


def _build_encoder(name: str) -> VGG | MiT:
    return VGG(VGG_PRESETS[name]) if name in VGG_PRESETS else MiT(MIT_PRESETS[name])


def _build_decoder(spec: FCtLSpec) -> nn.Module:
    if spec.encoder in VGG_PRESETS:
        preset = VGG_PRESETS[spec.encoder]
        layout, hidden = PADDED_VGG, preset.head_width
    else:
        preset = MIT_PRESETS[spec.encoder]
        if not spec.fcn_decoder:
            return SegFormerDecoder(preset.widths, preset.decoder_width, spec.num_classes)
        layout, hidden = UNPADDED, 8 * preset.widths[-1]
    return FcnDecoder(preset.widths[-3:], hidden, spec.num_classes, layout, spec.learn_upsampling)


def _checked(images: Tensor, what: str) -> Tensor:
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3:
        found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ConfigError(f"{what} must be images (B, 3, H, W) of one size; found {found}")
    return images


def _for_patches(context: ContextFeatures, name: str, patches: int, size: tuple[int, int]) -> Tensor:
    if context.size != size:
        raise ConfigError(f"context {name} must be resized to the patches' {size} px; found {context.size}")
    if len(context.map) not in (1, patches):
        raise ConfigError(f"context {name} must have a batch of 1 or {patches}; found {len(context.map)}")
    return context.map.expand(patches, -1, -1, -1)


def _checked_window(window: Tensor, name: str, patches: int) -> Tensor:
    if window.ndim != 2 or len(window) not in (1, patches) or window.shape[1] != 4:
        raise ConfigError(
            f"windows[{name!r}] must be (B or 1, 4) for B={patches}; found {tuple(window.shape)}"
        )
    if not bool((window[:, 2:] > 0).all()):
        raise ConfigError(f"windows[{name!r}] must have heights and widths above 0")
    return window
