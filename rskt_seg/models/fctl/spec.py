"""The options of an FCtL model.

`MODEL.FCTL.<FIELD>` in a YAML file is the field of that name in upper case. The defaults are those of the
published code, which has neither gated positional embeddings nor alternating local enhancement; the
paper's own model is `gpe=True, ale="d"`. Sections, equations and tables are those of "Ultra-high Resolution
Image Segmentation via Locality-aware Context Fusion and Alternating Local Enhancement".
"""

from dataclasses import dataclass
from math import isfinite

from rskt_seg.errors import ConfigError
from rskt_seg.models.options import Range, check_options, refuse_unread
from rskt_seg.typing import Spec

CONTEXTS = ("medium", "large")
"""Names of the contexts, the smaller first."""
WHOLE_IMAGE = 0.0
"""Factor of a context that is the whole image instead of a window around the patch."""
_PUBLISHED = {
    "main": {"medium": 2.0, "large": 3.0},
    "deepglobe": {"medium": 3.0, "large": WHOLE_IMAGE},
}
_CHOICES = {
    "encoder": ("vgg16", "mitb2", "mitb5", "vgg_tiny", "mit_tiny"),
    "context_encoder": ("frozen", "trained", "shared"),
    "branch": ("main", "deepglobe"),
    "geometry": ("grid", "image"),
    "mcf": ("code", "squeeze", "average", "weighted"),
    "ale": ("none", "a", "b", "c", "d", "e", "concat"),
    "ale_context": CONTEXTS,
    "ale_residual": ("full", "delta"),
    "ale_activation": ("none", "sigmoid", "tanh"),
    "view": ("patches", "whole"),
}
_RANGES: dict[str, Range] = {
    "num_classes": (2, None),
    "patch_side": (1, 16384),
    "input_side": (1, 16384),
    "focal_gamma": (0, None),
}
_LCF_ONLY = ("self_context", "branch", "qk_scale", "gpe", "geometry", "mcf")
_LFI_ONLY = ("ale_residual", "ale_windows", "ale_activation")


@dataclass(frozen=True)
class FCtLSpec(Spec):
    """Options of `rskt_seg.models.fctl.FCtL`.

    The baselines of the tables are the same model with components switched off: `contexts=(), lcf=False` is
    FCN-8s (or SegFormer, depending on the encoder); with `view="whole"` it is trained and used on whole
    images ("global inference").

    Raises:
        ConfigError: If a value is not allowed, or if an option is set that the chosen components do not read
            (it would change nothing).
    """

    num_classes: int
    """Classes T of the logits, at least 2."""
    encoder: str = "vgg16"
    """"vgg16" (FCN-8s), "mitb2" or "mitb5" (SegFormer); "vgg_tiny" and "mit_tiny" for tests and examples."""
    contexts: tuple[str, ...] = CONTEXTS
    """Contexts seen besides the patch: "medium", "large" or both, in this order."""
    factors: tuple[float, ...] = ()
    """Side of each context in patch sides, 0 for the whole image. (): as published for the branch, 2 and 3
    ("main") or 3 and 0 ("deepglobe")."""
    context_encoder: str = "frozen"
    """Encoders of the contexts: "frozen" (one each, not trained: the published last stage), "trained" (one
    each), "shared" (that of the patch, as in the published stages with a single context)."""
    lcf: bool = True
    """Locality-aware context fusion; False leaves the contexts to ALE ("ALE only" in table 7)."""
    self_context: bool = True
    """Correlate the patch with itself too ("Local" in table 4)."""
    branch: str = "main"
    """Published form of the correlation: "main" (equation 1), or "deepglobe", which first subtracts the mean
    of queries and keys."""
    qk_scale: float = 1.0
    """Scale of queries times keys; the published code has none."""
    gpe: bool = False
    """Gated positional embeddings (equation 2)."""
    geometry: str = "grid"
    """Distances of the embeddings: "grid" treats the cells of a context as if they were those of the patch
    (equation 2 read literally), "image" uses their true positions in the image."""
    mcf: str = "code"
    """Weights of the correlated contexts: "code" (published layers), "squeeze" (equation 3), "average",
    "weighted" (learned scalars; both table 6)."""
    ale: str = "none"
    """Alternating local enhancement: structures "a" to "e" of figure 13 ("d" is the paper's), "concat" (table
    7), "none"."""
    ale_context: str = "medium"
    """The only context that structures "a" and "b" read."""
    ale_residual: str = "full"
    """"full" adds the enhanced features, as written; "delta" adds only their difference to the patch, so a
    head trained without ALE initially keeps its output."""
    ale_windows: tuple[int, ...] = (3, 5, 7, 9)
    """Window sides of the channel groups (equation 6), odd numbers."""
    ale_activation: str = "none"
    """Function on the attention map E: "none" (equation 7), "sigmoid", "tanh"."""
    fcn_decoder: bool = False
    """With a MiT encoder: use the decoder of FCN-8s instead of SegFormer's."""
    learn_upsampling: bool = False
    """Train the transposed convolutions of FCN-8s; as published they are fixed bilinear interpolation."""
    focal_gamma: float = 3.0
    """Exponent of the focal loss."""
    view: str = "patches"
    """Model input: "patches", or "whole" images resized to `input_side`."""
    patch_side: int = 508
    """Side of a patch in pixels of the image (table 5 also has 762 and 1016)."""
    input_side: int = 508
    """Side (px) that patches and contexts are resized to for the network."""

    def __post_init__(self) -> None:
        check_options(self, _CHOICES, _RANGES)
        self._check_contexts()
        self._check_fusion()
        self._check_enhancement()
        if self.encoder.startswith("vgg"):
            refuse_unread(self, ("fcn_decoder",), f"encoder={self.encoder!r}, whose decoder is FCN-8s anyway")
        elif not self.fcn_decoder:
            refuse_unread(self, ("learn_upsampling",), "SegFormer's decoder")
        if self.view == "whole":
            refuse_unread(self, ("patch_side",), "view='whole'")
            if self.contexts:
                raise ConfigError(
                    f"view='whole' has no room for the contexts {self.contexts}; use contexts=()"
                )

    @property
    def terms(self) -> tuple[str, ...]:
        """Terms that LCF correlates the patch with, in the paper's order "local", "medium", "large"."""
        if not self.lcf:
            return ()
        return (*(("local",) if self.self_context else ()), *self.contexts)

    @property
    def context_factors(self) -> dict[str, float]:
        """Context -> its side in patch sides, 0 for the whole image."""
        return dict(zip(self.contexts, self.factors, strict=True))

    @property
    def enhanced(self) -> tuple[str, ...]:
        """The contexts that ALE reads."""
        if self.ale == "none":
            return ()
        return (self.ale_context,) if self.ale in ("a", "b") else CONTEXTS

    def _check_contexts(self) -> None:
        if self.contexts != tuple(name for name in CONTEXTS if name in self.contexts):
            raise ConfigError(f"contexts must be a subset of {CONTEXTS} in this order; found {self.contexts}")
        published = tuple(_PUBLISHED[self.branch][name] for name in self.contexts)
        factors = self.factors or published
        if len(factors) != len(self.contexts):
            raise ConfigError(
                f"factors must have one value for each of the contexts {self.contexts}; found {self.factors}"
            )
        if any(factor != WHOLE_IMAGE and not (factor >= 1 and isfinite(factor)) for factor in factors):
            raise ConfigError(f"factors must be at least 1, or 0 for the whole image; found {self.factors}")
        object.__setattr__(self, "factors", factors)
        if not self.contexts:
            refuse_unread(self, ("context_encoder",), "contexts=()")

    def _check_fusion(self) -> None:
        if not self.lcf:
            refuse_unread(self, _LCF_ONLY, "lcf=False")
        elif not self.terms:
            raise ConfigError(
                "LCF has nothing to correlate with contexts=() and self_context=False; use lcf=False"
            )
        elif len(self.terms) == 1:
            refuse_unread(self, ("mcf",), f"the single context {self.terms[0]!r}, which needs no fusion")
        if not self.gpe:
            refuse_unread(self, ("geometry",), "gpe=False")
        if self.geometry == "image" and not self.contexts:
            refuse_unread(self, ("geometry",), "contexts=(), where both geometries are the same")

    def _check_enhancement(self) -> None:
        missing = [name for name in self.enhanced if name not in self.contexts]
        if missing:
            raise ConfigError(
                f"ale={self.ale!r} reads {', '.join(missing)}, missing from contexts={self.contexts}"
            )
        if self.ale not in ("a", "b"):
            refuse_unread(self, ("ale_context",), f"ale={self.ale!r}")
        if self.ale in ("none", "concat"):
            refuse_unread(self, _LFI_ONLY, f"ale={self.ale!r}")
        if not self.lcf and set(self.contexts) != set(self.enhanced):
            unread = ", ".join(name for name in self.contexts if name not in self.enhanced)
            raise ConfigError(f"nothing reads the context {unread} with lcf=False and ale={self.ale!r}")
        sides = self.ale_windows
        if not sides or any(side < 1 or side % 2 == 0 for side in sides):
            raise ConfigError(f"ale_windows must be one or more positive odd numbers; found {sides}")
