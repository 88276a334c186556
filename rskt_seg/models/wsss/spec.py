"""The options of the weakly supervised method.

Source: Li, Genzano, Gianinetto, Scaioni, "Leveraging Pretrained Priors for Weakly Supervised Semantic
Segmentation of Remote Sensing Images" (P below). Its code is not public. What P leaves open follows the codes
that it builds on (WeCLIP and WeCLIP+: adapters, decoder, filter, losses; ExCEL: knowledge base; AFA:
pixel-adaptive refinement, affinity loss) or is this project's choice; docs/weak_supervision.md lists each
choice with its reason.
"""

from dataclasses import dataclass

from rskt_seg.encoders.presets import CLIP_TINY, CLIP_VITB16
from rskt_seg.errors import ConfigError
from rskt_seg.models.options import check_options, refuse_unread
from rskt_seg.typing import Spec

CLIP_PRESETS = {"vitb16": CLIP_VITB16, "tiny": CLIP_TINY}
"""CLIP presets by the names that `encoder` takes."""
_CHOICES = {
    "encoder": tuple(CLIP_PRESETS),
    "dino": ("vitb14", "vits14", "tiny"),
    "positions": ("hub", "timm"),
    "cam_attention": ("vanilla", "value"),
    "affinity": ("dot", "scaled", "cosine"),
    "pseudo": ("complement", "dual_threshold"),
    "seg_loss": ("balanced", "plain"),
}
_RANGES = {
    "num_classes": (1, 254),
    "dim": (1, 16384),
    "clip_levels": (1, None),
    "decoder_layers": (0, 100),
    "heads": (1, None),
    "dropout": (0.0, 0.99),
    "background_power": (1e-3, None),
    "clusters": (1, None),
    "topk": (1, None),
    "text_weight": (0.0, None),
    "restarts": (1, None),
    "first_layer": (1, None),
    "alpha": (1, None),
    "rounds": (1, None),
    "start_iter": (0, None),
    "seed_percent": (1e-6, 100.0),
    "momentum": (0.0, 1.0),
    "par_dilations": (1, None),
    "par_iters": (0, None),
    "par_w1": (1e-6, None),
    "par_w2": (0.0, None),
    "high": (0.0, 1.0),
    "low": (0.0, 1.0),
    "seg_weight": (0.0, None),
    "affinity_weight": (0.0, None),
    "radius": (0, None),
}
TPE_ONLY = ("clusters", "topk", "text_weight", "restarts")
"""Options that are read with `tpe` alone."""
# Not first_layer, which depends on the encoder: an ablation of a shallow encoder switches off USR and nothing
# else.
_USR_ONLY = ("alpha", "rounds", "renorm", "start_iter")
_VPE_ONLY = ("seed_percent", "momentum")
COMPLEMENT, NO_BACKGROUND = "complement", "none"
"""Values of `background` that name no class of the data."""
CLASS_PREFIX = "class:"
"""Start of a `background` that names the class of the data to use."""


@dataclass(frozen=True)
class PriorWSSSSpec(Spec):
    """Options of `rskt_seg.models.wsss.PriorWSSS`.

    Raises:
        ConfigError: If a value is not allowed, or if an option is set that the chosen parts do not read (it
            would change nothing).
    """

    num_classes: int
    """Number of classes K of the output, including the background."""
    encoder: str = "vitb16"
    """Frozen CLIP: "vitb16", or "tiny", the small one in the package."""
    dino: str = "vitb14"
    """Frozen DINOv2: "vitb14" (P, section 4.2), "vits14" (matches the parameter counts of P's table 4), or
    "tiny"."""
    positions: str = "hub"
    """How DINOv2's position embeddings are resized: as in its "hub" code, or as in "timm"."""
    dim: int = 256
    """Width d of adapters and decoder."""
    clip_levels: tuple[int, ...] = tuple(range(1, 12))
    """Blocks of CLIP, counted from 1, whose outputs the adapter reads. The parameter counts of table 4 match
    1..11; P's text says all 12."""
    decoder_layers: int = 3
    """Transformer blocks of the decoder."""
    heads: int = 8
    """Attention heads of the decoder."""
    dropout: float = 0.1
    """Probability of dropping a channel before the decoder in training; the only dropout."""
    decode_dino: bool = False
    """Also decode the DINO features, by the same decoder, and average the logits, as in WeCLIP+ and in the
    FLOPs of table 4; P's equations decode only CLIP's."""
    cam_attention: str = "vanilla"
    """Source of the initial CAM: CLIP's last block ("vanilla"), or only its "value" path (ExCEL)."""
    background: str = COMPLEMENT
    """"complement": the first class is the background, everything that no other class covers;
    "class:<name>": this class of the data is the background; "none": every class has a text."""
    background_power: float = 1.0
    """Exponent gamma of the background, (1 - max over classes)^gamma (WeCLIP)."""
    template: str = "an overhead satellite image of {}."
    """Prompt of the base text of a class, with one `{}`."""
    descriptions: str = ""
    """Knowledge base: a file, or the name of a packaged one ("isaid", "potsdam", "tiny", "tiny_land"). "":
    the packaged one that describes all classes, if there is one, but never one for the tiny CLIP. It also
    gives the names of the classes in prompts."""
    tpe: bool = True
    """Enrich texts by the centroids of the knowledge base (equations 2 to 4)."""
    clusters: int = 8
    """Number of centroids B."""
    topk: int = 4
    """Number of centroids K that enrich a class; not given in P."""
    text_weight: float = 1.0
    """Weight lambda of the enrichment; not given in P."""
    restarts: int = 10
    """Runs of K-means, with the seeds 0, 1, ...; the one with the least inertia is used."""
    usr: bool = True
    """Diffuse the CAM along the refined affinity (equations 12 to 15)."""
    affinity: str = "dot"
    """Equation 11: sigmoid of the "dot" product (P), of the dot product "scaled" by 1 / sqrt(2 d), or of a
    centered "cosine" (ExCEL)."""
    first_layer: int = 7
    """First block N0, counted from 1, whose attention is used; P says deeper layers."""
    alpha: int = 3
    """Steps of the diffusion: exponent of the transition matrix."""
    rounds: int = 3
    """Rounds of column and row normalisation."""
    renorm: bool = True
    """Stretch each diffused map to 0..1 again. Without it (equation 15 as written) one class tends to win
    everywhere."""
    start_iter: int = 0
    """Iteration from which the filter of equation 13 is applied (WeCLIP: 15,000); before that, all attention
    maps are used."""
    vpe: bool = True
    """Weight the CAM by the similarity to momentum prototypes (equations 16 to 20)."""
    seed_percent: float = 20.0
    """Share k of a class's candidates that are seeds, in percent; not given in P."""
    momentum: float = 0.99
    """Momentum tau of the prototypes; not given in P."""
    par_dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    """PAR: distances (px) of the eight neighbors."""
    par_iters: int = 20
    """PAR: iterations. AFA and CTFA, whose scheme is "dual_threshold", use 10."""
    par_w1: float = 0.3
    """PAR: scale of color differences; the smaller, the more the weights depend on color."""
    par_w2: float = 0.01
    """PAR: weight of the distance."""
    pseudo: str = "complement"
    """Pseudo label: argmax with the background as "complement" (P, WeCLIP), or "dual_threshold" (AFA, CTFA),
    which ignores pixels between two background scores."""
    high: float = 0.7
    """"dual_threshold": background score that a class must exceed to be labeled (CTFA)."""
    low: float = 0.25
    """"dual_threshold": a pixel with every class below this background score is background (CTFA)."""
    seg_loss: str = "balanced"
    """Cross-entropy: "balanced", half the mean over the background and half over the rest (AFA, WeCLIP), or
    "plain"."""
    seg_weight: float = 1.0
    """Weight lambda_1 of equation 21."""
    affinity_weight: float = 0.1
    """Weight lambda_2 of equation 21; not given in P."""
    radius: int = 8
    """Affinity loss: largest distance of a pair along either axis, in cells."""

    def __post_init__(self) -> None:
        check_options(self, _CHOICES, _RANGES)
        if self.dim % self.heads:
            raise ConfigError(f"heads={self.heads} must divide dim={self.dim}")
        if list(self.clip_levels) != sorted(set(self.clip_levels)) or not self.clip_levels:
            raise ConfigError(
                f"clip_levels must be one or more block numbers in ascending order; found {self.clip_levels}"
            )
        if self.template.count("{}") != 1:
            raise ConfigError(f"template must contain {{}} exactly once; found {self.template!r}")
        name = self.background.removeprefix(CLASS_PREFIX)
        named = name != self.background and name.strip()
        if not named and self.background not in (COMPLEMENT, NO_BACKGROUND):
            raise ConfigError(
                f"background must be {COMPLEMENT}, {NO_BACKGROUND} or {CLASS_PREFIX}<name>; found "
                f"{self.background!r}"
            )
        if self.low > self.high:
            raise ConfigError(f"low must be at most high; found low={self.low} and high={self.high}")
        if self.topk > self.clusters:
            raise ConfigError(
                f"topk must be at most clusters; found topk={self.topk} and clusters={self.clusters}"
            )
        self._refuse_unread()

    def _refuse_unread(self) -> None:
        for name, options in (("tpe", TPE_ONLY), ("usr", _USR_ONLY), ("vpe", _VPE_ONLY)):
            if not getattr(self, name):
                refuse_unread(self, options, f"{name}=False")
        if self.pseudo == "complement":
            refuse_unread(self, ("high", "low"), "pseudo='complement'")
        if self.background == NO_BACKGROUND:
            refuse_unread(self, ("background_power",), "background='none'")
        if self.affinity_weight == 0:
            refuse_unread(self, ("radius",), "affinity_weight=0")
        if self.seg_weight == 0:
            refuse_unread(self, ("seg_loss",), "seg_weight=0")
            if self.affinity_weight == 0:
                raise ConfigError("seg_weight and affinity_weight are both 0: nothing would be trained")
