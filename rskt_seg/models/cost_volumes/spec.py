"""The options that CAT-Seg, OVRS and GSNet have in common.

`MODEL.<SECTION>.<FIELD>` in a YAML file is the field of that name in upper case. Defaults are those of the
published configurations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rskt_seg.encoders.text import expand_templates
from rskt_seg.errors import ConfigError
from rskt_seg.models.options import Range, check_options
from rskt_seg.typing import Spec


@dataclass(frozen=True)
class WindowedSpec(Spec):
    """Base of the specifications of models whose layers attend in windows and over padded classes.

    Raises:
        ConfigError: A value is of the wrong type, not among the choices or out of range.
    """

    choices: ClassVar[Mapping[str, Sequence[str]]] = {
        "encoder": ("vitb16", "vitl14", "tiny"),
        "attention": ("linear", "full"),
        "padding": ("published", "aligned"),
        "loss": ("bce", "cross_entropy"),
        "clip_finetune": ("attention", "full", "frozen"),
    }
    ranges: ClassVar[Mapping[str, Range]] = {
        "num_layers": (0, 100),
        "hidden_dim": (1, 16384),
        "pooling": (1, None),
        "test_pooling": (1, None),
        "window": (1, None),
        "window_heads": (1, None),
        "class_chunk": (1, None),
    }

    encoder: str = "vitb16"
    """CLIP image and text encoder: "vitb16" (384 px), "vitl14" (ViT-L/14@336px) or "tiny"."""
    num_layers: int = 2
    """Layers of window attention and class attention."""
    hidden_dim: int = 128
    """Channels C of the cost embedding (32 in the tiny preset)."""
    pooling: int = 2
    """Side of the pooled cells of class attention in training."""
    test_pooling: int = 1
    """The same in evaluation. No weight depends on either."""
    window: int = 12
    """Side of a window in cells."""
    attention: str = "linear"
    """Class attention: "linear" or "full"."""
    window_heads: int = 4
    """Attention heads."""
    padding: str = "published"
    """"published": zero-pad each image to a multiple of 32 before resizing it to the working square, as the
    published evaluation does; "aligned": resize without padding, so that nothing is shifted."""
    templates: tuple[str, ...] = ("A photo of a {} in the scene",)
    """Prompt templates, one `{}` each, whose embeddings are averaged. "imagenet" and "imagenet_select" stand
    for open_clip's sets of 80 and 7."""
    loss: str = "bce"
    """"bce": binary cross-entropy over one-hot targets (published); "cross_entropy": of the softmax."""
    mask_ignored: bool = False
    """Leave ignored pixels out of the loss; published: they are negatives of every class."""
    clip_finetune: str = "attention"
    """Trained parameters of CLIP: "attention" (q and v matrices, published), "full", "frozen"; see
    `rskt_seg.models.cost_volumes.finetune.set_trainable`."""
    class_chunk: int = 8
    """Number of classes that layers and decoder process at a time; bounds memory, changes no result."""

    def __post_init__(self) -> None:
        check_options(self, self.choices, self.ranges)
        object.__setattr__(self, "templates", expand_templates(self.templates))
        if self.hidden_dim not in (8, 16, 32) and self.hidden_dim % 64:
            raise ConfigError(f"hidden_dim must be 8, 16, 32 or a multiple of 64; found {self.hidden_dim}")
        if self.hidden_dim % self.window_heads:
            raise ConfigError(f"window_heads={self.window_heads} must divide hidden_dim={self.hidden_dim}")


@dataclass(frozen=True)
class LimitedSpec(WindowedSpec):
    """Base of the specifications of such models that decode a limited number of classes.

    Raises:
        ConfigError: A value is of the wrong type, not among the choices or out of range.
    """

    ranges: ClassVar[Mapping[str, Range]] = {**WindowedSpec.ranges, "class_limit": (0, None)}

    class_limit: int = 256
    """Number of classes that are decoded, those whose greatest cosine with any pixel of an image, in any
    rotation, is highest; the others get a score of 0. 0: all."""
