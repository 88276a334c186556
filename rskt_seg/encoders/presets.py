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
    """Sizes of a CLIP vision transformer.

    Attributes:
        image_size: Side (px) that its position table was trained at.
        patch_size: Side (px) of a patch.
        width: Channels of the tokens.
        layers: Number of transformer blocks.
        heads: Attention heads of a block.
    """

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class TextPreset:
    """Sizes of a CLIP text transformer.

    Attributes:
        width: Channels of the tokens.
        layers: Number of transformer blocks.
        heads: Attention heads of a block.
        context_length: Greatest number of tokens of a text.
        words: File of a word list that limits the token table (tiny only).
    """

    width: int
    layers: int
    heads: int
    context_length: int = 77
    words: str | None = None


@dataclass(frozen=True)
class ClipPreset:
    """Sizes of a CLIP: an image and a text tower with a common embedding.

    Attributes:
        embed_dim: Channels of the embedding.
        vision: The image tower.
        text: The text tower.
    """

    embed_dim: int
    vision: VisionPreset
    text: TextPreset


@dataclass(frozen=True)
class DinoPreset:
    """Sizes of a DINO (v1) vision transformer.

    Attributes:
        native_grid: Side of its position table in tokens.
        patch_size: Side (px) of a patch.
        width: Channels of the tokens.
        layers: Number of transformer blocks.
        heads: Attention heads of a block.
    """

    native_grid: int
    patch_size: int
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class DinoV2Preset:
    """Sizes of a DINOv2 vision transformer without register tokens.

    Attributes:
        native_grid: Side of its position table in tokens.
        patch_size: Side (px) of a patch.
        width: Channels of the tokens.
        layers: Number of transformer blocks.
        heads: Attention heads of a block.
    """

    native_grid: int
    patch_size: int
    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class EncoderSet:
    """The three encoders of an RSKT-Seg model.

    The sides give grids that fit together: CLIP and RemoteCLIP the same G x G, DINO 2G x 2G.

    Attributes:
        clip: CLIP.
        clip_side: Side (px) of CLIP's square input.
        clip_taps: Blocks of CLIP that guide the upsampler.
        remote: Image tower of RemoteCLIP.
        remote_side: Side (px) of RemoteCLIP's square input.
        remote_taps: Blocks of RemoteCLIP that guide the upsampler.
        dino: DINO.
        dino_side: Side (px) of DINO's square input.
        dino_taps: Blocks of DINO: two guide the upsampler, and the last gives the cost volume.
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

CLIP_PRESETS: dict[str, ClipPreset] = {
    "vitb16": CLIP_VITB16,
    "vitb32": CLIP_VITB32,
    "vitl14": CLIP_VITL14_336,
    "tiny": CLIP_TINY,
}
"""Name of a CLIP that is used alone -> its sizes."""

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
