"""The options of an RSKT-Seg model, all in one place.

`MODEL.RSKT.<FIELD>` in a YAML file is the field of that name in upper case. Defaults are those of the
published code ("published" below); the options that restore the paper's own wording name the equation.
"""

from dataclasses import dataclass

from rskt_seg.encoders.text import expand_templates
from rskt_seg.errors import ConfigError
from rskt_seg.models.options import Range, check_options, refuse_unread
from rskt_seg.typing import Spec

_CHOICES = {
    "encoder": ("vitb16", "vitl14", "tiny"),
    "fusion": ("separate", "concat", "mean"),
    "aggregator": ("efficient", "original"),
    "attention": ("linear", "full"),
    "padding": ("published", "aligned"),
    "prompt_mode": ("average", "channels"),
    "loss": ("bce", "cross_entropy"),
    "clip_finetune": ("attention", "full", "freezeIMG", "frozen"),
    "dino_finetune": ("attention", "full", "frozen"),
}
_RANGES: dict[str, Range] = {
    "num_layers": (0, 100),
    "hidden_dim": (1, 16384),
    "num_heads": (1, None),
    "pooling": (1, None),
    "test_pooling": (1, None),
    "window": (1, None),
    "window_heads": (1, None),
    "class_chunk": (1, None),
}
_ORIGINAL_ONLY = ("pooling", "test_pooling", "window", "attention", "window_heads")
_EFFICIENT_ONLY = ("num_heads", "dino_in_set", "guided_values", "text_in_pooling")
_DINO_ONLY = ("fusion", "dino_in_set", "dino_finetune")


@dataclass(frozen=True)
class RSKTSpec(Spec):
    """Options of `rskt_seg.models.rskt.RSKT`.

    Raises:
        ConfigError: A value is of the wrong type, not among the choices or out of range; an option was
            changed that the chosen components do not read; or the published code cannot build the model.
    """

    encoder: str = "vitb16"
    """CLIP image and text encoder: "vitb16" (384 px), "vitl14" (ViT-L/14@336px) or "tiny"."""
    num_layers: int = 5
    """SET + CET layers. Released checkpoints: 5 (DLRSD), 3 / 2 (iSAID, ViT-B / ViT-L)."""
    hidden_dim: int = 128
    """Channels C of the cost embedding (32 in the tiny preset)."""
    num_heads: int = 8
    """Attention heads of SET and CET ("efficient" aggregator)."""
    fusion: str = "separate"
    """How the cost volumes of CLIP and DINO meet: "separate" (published), "concat", "mean"."""
    rotations: bool = True
    """Encode the image in four rotations (R-I in table 2); False uses the upright image alone."""
    dino: bool = True
    """Use RS-DINO: its cost volume, and its features to guide the upsampler."""
    remote_clip: bool = True
    """Use RemoteCLIP to guide the upsampler (RS-Transfer)."""
    aggregator: str = "efficient"
    """"efficient" (RS-Fusion: SET and CET) or "original" (windows and padded classes, as in CAT-Seg)."""
    pooling: int = 2
    """Side of the pooled cells of class attention in training, in the "original" aggregator."""
    test_pooling: int = 1
    """The same in evaluation, where the published scripts set it to 1. No weight depends on either."""
    window: int = 12
    """Side of a window of the "original" aggregator in cells."""
    attention: str = "linear"
    """Class attention of the "original" aggregator: "linear" or "full"."""
    window_heads: int = 4
    """Attention heads of the "original" aggregator."""
    padding: str = "published"
    """"published": zero-pad each image to a multiple of 32 before resizing it to the working square, as the
    published evaluation does; "aligned": resize without padding, so that nothing is shifted."""
    templates: tuple[str, ...] = ("A photo of a {} in the scene",)
    """P prompt templates, one `{}` each. "imagenet" and "imagenet_select" stand for open_clip's sets of 80
    and 7."""
    prompt_mode: str = "average"
    """"average" the embeddings of the P templates, or keep them as P "channels" of the cost volume (the
    paper's H x W x N_t x P tensor). No difference for one template."""
    cost_projection: bool = False
    """Linear layer after the fused cost volume (the paper, after equation 3)."""
    dino_in_set: bool = False
    """Guide SET by DINO's features beside CLIP's (equation 4)."""
    guided_values: bool = False
    """Compute the values of SET and CET from the guidance and the text too (equations 5 and 7)."""
    text_in_pooling: bool = False
    """Concatenate cost and text before pooling and normalising in CET (equation 6)."""
    loss: str = "bce"
    """"bce": binary cross-entropy over one-hot targets (published); "cross_entropy" (equation 9)."""
    mask_ignored: bool = False
    """Leave ignored pixels out of the loss; published: they are negatives of every class."""
    clip_finetune: str = "attention"
    """Trained parameters of CLIP: "attention" (q and v matrices, published), "full", "freezeIMG", "frozen";
    see `rskt_seg.models.cost_volumes.finetune.set_trainable`."""
    dino_finetune: str = "frozen"
    """Trained parameters of DINO: "frozen" (published), "attention", "full"."""
    class_chunk: int = 8
    """Number of classes that SET and the decoder process at a time; bounds memory, changes no result."""

    def __post_init__(self) -> None:
        check_options(self, _CHOICES, _RANGES)
        object.__setattr__(self, "templates", expand_templates(self.templates))
        if self.hidden_dim not in (8, 16, 32) and self.hidden_dim % 64:
            raise ConfigError(f"hidden_dim must be 8, 16, 32 or a multiple of 64; found {self.hidden_dim}")
        heads = "num_heads" if self.aggregator == "efficient" else "window_heads"
        if self.hidden_dim % getattr(self, heads):
            raise ConfigError(f"{heads}={getattr(self, heads)} must divide hidden_dim={self.hidden_dim}")
        if self.aggregator == "efficient":
            refuse_unread(self, _ORIGINAL_ONLY, "aggregator='efficient'")
        else:
            refuse_unread(self, _EFFICIENT_ONLY, "aggregator='original'")
        if not self.dino:
            refuse_unread(self, _DINO_ONLY, "dino=False")
