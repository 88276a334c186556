"""The options of CLIP zero-shot, all in one place.

`MODEL.CLIP_ZEROSHOT.<FIELD>` in a YAML file is the field of that name in upper case. Defaults are those of
the published SegEarth-OV with its upsampler off ("published" below).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rskt_seg.encoders.last_block import LAST_BLOCKS
from rskt_seg.encoders.presets import CLIP_PRESETS
from rskt_seg.encoders.text import expand_templates
from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.labels import MOST_CLASSES
from rskt_seg.models.options import Range, check_options, refuse_unread
from rskt_seg.typing import Spec
from rskt_seg.vocabulary import Vocabulary, make_vocabulary

_CHOICES = {"encoder": tuple(CLIP_PRESETS), "last_block": LAST_BLOCKS}
_RANGES: dict[str, Range] = {
    "global_bias": (-1, 1),
    "long_side": (1, None),
    "window": (1, None),
    "stride": (1, None),
    "scale": (1e-3, 1e4),
    "threshold": (0, 1),
    "background": (0, MOST_CLASSES - 1),
}


@dataclass(frozen=True)
class ClipZeroShotSpec(Spec):
    """Options of `rskt_seg.models.clip_zeroshot.ClipZeroShot`.

    Raises:
        ConfigError: A value is of the wrong type, not among the choices or out of range; windows would leave
            gaps; or `background` was changed without a threshold.
    """

    encoder: str = "vitb16"
    """CLIP: "vitb16", "vitb32" (RemoteCLIP's size), "vitl14" (ViT-L/14@336px) or "tiny"."""
    last_block: str = "qq+kk+vv"
    """What the last block attends by: "qq+kk+vv" (SegEarth-OV), "qq+kk" (SCLIP), "qq" (ClearCLIP), "v"
    (MaskCLIP: every patch keeps its value) or "qk" (as CLIP was trained)."""
    residual: bool = False
    """Keep the residual connections and the MLP of the last block; published: the attention alone."""
    global_bias: float = -0.3
    """Weight of the cosine between class token and text, which is added to every pixel of a window:
    negative subtracts what the whole window looks like (published), 0 does not."""
    templates: tuple[str, ...] = ("imagenet",)
    """Prompt templates, one `{}` each, whose embeddings are averaged. "imagenet" and "imagenet_select" stand
    for open_clip's sets of 80 and 7."""
    long_side: int = 448
    """Length (px) to which the longer side of an image is resized."""
    window: int = 224
    """Side (px) of a window."""
    stride: int = 112
    """Step (px) between windows; where they overlap, cosines are averaged."""
    antialias: bool = False
    """Filter images that shrink; published: not."""
    scale: float = 50.0
    """Factor on the cosines before the softmax over all names."""
    threshold: float = 0.0
    """Where the best class scores less, the label is the class `background`; 0: nowhere. Published: 0.1 to
    0.8, depending on the dataset."""
    background: int = 0
    """Id of the class for what scores less than `threshold`."""

    def __post_init__(self) -> None:
        check_options(self, _CHOICES, _RANGES)
        object.__setattr__(self, "templates", expand_templates(self.templates))
        if self.stride > self.window:
            raise ConfigError(
                f"stride must be at most window={self.window}, or windows leave gaps; found {self.stride}"
            )
        if not self.threshold:
            refuse_unread(self, ("background",), "threshold=0")

    def check_vocabulary(self, vocabulary: Sequence[str] | Vocabulary) -> Vocabulary:
        """Check class names before anything is computed.

        Args:
            vocabulary: T class names; an entry `"a, b"` is one class with the names a and b.

        Returns:
            The classes with their names.

        Raises:
            VocabularyError: The names cannot be used, two classes share one, or `background` is not among
                the classes.
        """
        classes = make_vocabulary(vocabulary)
        classes.prompts("max")  # raises if two classes share a name
        if self.threshold and self.background >= len(classes.names):
            raise VocabularyError(
                f"class {self.background} is to be the label of what scores less than "
                f"threshold={self.threshold}, and the vocabulary has the classes "
                f"0..{len(classes.names) - 1}: set background to one of them, or threshold to 0"
            )
        return classes
