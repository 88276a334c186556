"""Sizes of the encoders, as data: nothing here computes.

Sources: the published CLIP, RemoteCLIP, DINO and DINOv2 architectures; working sides and tapped layers are
those of the published RSKT-Seg code (taps are 0-based indices of blocks). The tiny presets are this
project's own: the same code paths at a size that two CPU cores train in minutes.
"""

from dataclasses import dataclass

IMAGENET_PIXEL_MEAN = (123.675, 116.28, 103.53)
"""Per-channel RGB mean of ImageNet on the 0..255 scale."""
IMAGENET_PIXEL_STD = (58.395, 57.12, 57.375)
"""Per-channel RGB standard deviation of ImageNet on the 0..255 scale."""
CLIP_PIXEL_MEAN = (122.7709383, 116.7460125, 104.09373615)
"""Per-channel RGB mean on the 0..255 scale; published RSKT-Seg normalises by it for all three encoders."""
CLIP_PIXEL_STD = (68.5005327, 66.6321579, 70.3231630)
"""Per-channel RGB standard deviation on the 0..255 scale."""
DINO_PIXEL_MEAN = IMAGENET_PIXEL_MEAN
"""Per-channel RGB mean on the 0..255 scale that DINO and DINOv2 were trained with."""
DINO_PIXEL_STD = IMAGENET_PIXEL_STD
"""Per-channel RGB standard deviation on the 0..255 scale that DINO and DINOv2 were trained with."""


@dataclass(frozen=True)
class VisionPreset:
    """A CLIP vision transformer. `image_size` (px) is the side its position table was trained at."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class TextPreset:
    """A CLIP text transformer. `words` names a word list that limits the token table (tiny only)."""

    width: int
    layers: int
    heads: int
    context_length: int = 77
    words: str | None = None


@dataclass(frozen=True)
class ClipPreset:
    """An image and a text tower with a common embedding of `embed_dim` channels."""

    embed_dim: int
    vision: VisionPreset
    text: TextPreset


@dataclass(frozen=True)
class DinoPreset:
    """A DINO (v1) vision transformer; `native_grid` is the side of its position table in tokens."""

    native_grid: int
    patch_size: int
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class DinoV2Preset:
    """A DINOv2 vision transformer without register tokens; `native_grid` as in `DinoPreset`."""

    native_grid: int
    patch_size: int
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class EncoderSet:
    """The three encoders of an RSKT-Seg model, the sides (px) of their square inputs, and the tapped blocks.

    The sides give grids that fit together: CLIP and RemoteCLIP the same G x G, DINO 2G x 2G.
    """

    clip: ClipPreset
    clip_side: int
    clip_taps: tuple[int, int]
    remote: VisionPreset
    remote_side: int
    remote_taps: tuple[int, int]
    dino: DinoPreset
    dino_side: int
    dino_taps: tuple[int, int, int]


CLIP_VITB16 = ClipPreset(512, VisionPreset(224, 16, 768, 12, 12), TextPreset(512, 12, 8))
CLIP_VITL14_336 = ClipPreset(768, VisionPreset(336, 14, 1024, 24, 16), TextPreset(768, 12, 12))
CLIP_VITB32 = ClipPreset(512, VisionPreset(224, 32, 768, 12, 12), TextPreset(512, 12, 8))
CLIP_TINY = ClipPreset(
    128, VisionPreset(32, 8, 128, 4, 2), TextPreset(128, 2, 2, context_length=24, words="tiny_words.txt")
)
DINO_VITB8 = DinoPreset(28, 8, 768, 12, 12)
DINO_TINY = DinoPreset(14, 4, 64, 3, 1)
DINOV2_VITB14 = DinoV2Preset(37, 14, 768, 12, 12)
DINOV2_VITS14 = DinoV2Preset(37, 14, 384, 12, 6)
DINOV2_TINY = DinoV2Preset(13, 7, 64, 3, 1)

DINOV2_PRESETS: dict[str, DinoV2Preset] = {
    "vitb14": DINOV2_VITB14,
    "vits14": DINOV2_VITS14,
    "tiny": DINOV2_TINY,
}
"""Name of a DINOv2 option -> its sizes."""

ENCODER_SETS: dict[str, EncoderSet] = {
    "vitb16": EncoderSet(
        CLIP_VITB16, 384, (3, 7), CLIP_VITB32.vision, 768, (3, 7), DINO_VITB8, 384, (3, 7, 11)
    ),
    "vitl14": EncoderSet(
        CLIP_VITL14_336, 336, (7, 15), CLIP_VITB32.vision, 768, (3, 7), DINO_VITB8, 384, (3, 7, 11)
    ),
    "tiny": EncoderSet(CLIP_TINY, 96, (1, 2), CLIP_TINY.vision, 96, (0, 2), DINO_TINY, 96, (0, 1, 2)),
}
"""Name of `RSKTSpec.encoder` -> its encoders."""
