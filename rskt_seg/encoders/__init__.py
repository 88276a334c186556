"""Image and text encoders, their sizes, and the prompts and tokenizers of text encoders."""

from rskt_seg.encoders.clip import CLIP, VisionTower, VisionTrunk
from rskt_seg.encoders.convnext import CONVNEXT_PRESETS, ConvNeXt, ConvNeXtPreset
from rskt_seg.encoders.dino import DINO
from rskt_seg.encoders.dinov2 import DinoV2
from rskt_seg.encoders.features import EncoderFeatures, TappedFeatures, TracedFeatures
from rskt_seg.encoders.last_block import LAST_BLOCKS, embed_patches
from rskt_seg.encoders.mit import MIT_PRESETS, MiT, MitPreset
from rskt_seg.encoders.presets import (
    CLIP_PIXEL_MEAN,
    CLIP_PIXEL_STD,
    CLIP_PRESETS,
    CLIP_TINY,
    CLIP_VITB16,
    CLIP_VITB32,
    CLIP_VITL14_336,
    DINO_PIXEL_MEAN,
    DINO_PIXEL_STD,
    DINOV2_PRESETS,
    ENCODER_SETS,
    IMAGENET_PIXEL_MEAN,
    IMAGENET_PIXEL_STD,
    ClipPreset,
    DinoPreset,
    DinoV2Preset,
    EncoderSet,
    TextPreset,
    VisionPreset,
)
from rskt_seg.encoders.text import (
    TextBank,
    Tokenizer,
    build_tokenizer,
    expand_templates,
    first_names,
    prompts,
    vocabulary_size,
)
from rskt_seg.encoders.vgg import VGG, VGG_PRESETS, VggPreset

__all__ = [
    "CLIP",
    "CLIP_PIXEL_MEAN",
    "CLIP_PIXEL_STD",
    "CLIP_PRESETS",
    "CLIP_TINY",
    "CLIP_VITB16",
    "CLIP_VITB32",
    "CLIP_VITL14_336",
    "CONVNEXT_PRESETS",
    "ClipPreset",
    "ConvNeXt",
    "ConvNeXtPreset",
    "DINO",
    "DINOV2_PRESETS",
    "DINO_PIXEL_MEAN",
    "DINO_PIXEL_STD",
    "DinoPreset",
    "DinoV2",
    "DinoV2Preset",
    "ENCODER_SETS",
    "EncoderFeatures",
    "EncoderSet",
    "IMAGENET_PIXEL_MEAN",
    "IMAGENET_PIXEL_STD",
    "LAST_BLOCKS",
    "MIT_PRESETS",
    "MiT",
    "MitPreset",
    "TappedFeatures",
    "TextBank",
    "TextPreset",
    "Tokenizer",
    "TracedFeatures",
    "VGG",
    "VGG_PRESETS",
    "VggPreset",
    "VisionPreset",
    "VisionTower",
    "VisionTrunk",
    "build_tokenizer",
    "embed_patches",
    "expand_templates",
    "first_names",
    "prompts",
    "vocabulary_size",
]
