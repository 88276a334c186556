"""The options of the weakly supervised method, all in one place.

Source: Li, Genzano, Gianinetto, Scaioni, "Leveraging Pretrained Priors for Weakly Supervised Semantic
Segmentation of Remote Sensing Images" (P below). Its code is not public. What P leaves open follows the codes
that it builds on (WeCLIP and WeCLIP+: adapters, decoder, filter, losses; ExCEL: knowledge base; AFA:
refinement by pixels, affinity loss) or is this project's choice; docs/weak_supervision.md lists each with its
reason.
"""

from dataclasses import dataclass

from rskt_seg.encoders.presets import CLIP_TINY, CLIP_VITB16
from rskt_seg.errors import ConfigError
from rskt_seg.models.options import Spec, check_options, refuse_unread

CLIP_PRESETS = {"vitb16": CLIP_VITB16, "tiny": CLIP_TINY}
"""What `encoder` names."""
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
    "dim": (1, None),
    "clip_levels": (1, None),
    "decoder_layers": (0, None),
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
_TPE_ONLY = ("clusters", "topk", "text_weight", "restarts")
# Not first_layer, which goes with the encoder: an ablation of a shallow one switches USR off and nothing
# else.
_USR_ONLY = ("alpha", "rounds", "renorm", "start_iter")
_VPE_ONLY = ("seed_percent", "momentum")
COMPLEMENT, NONE, CLASS = "complement", "none", "class:"


@dataclass(frozen=True)
class PriorWSSSSpec(Spec):
    """Options of `rskt_seg.models.wsss.PriorWSSS`.

    Raises `ConfigError` on a value outside its range, and on an option that the chosen parts do not read (it
    would change nothing).
    """

    num_classes: int
    """Classes of the output K, the background included."""
    encoder: str = "vitb16"
    """Frozen CLIP: "vitb16", or "tiny", the small one that comes with the package."""
    dino: str = "vitb14"
    """Frozen DINOv2: "vitb14" (P, section 4.2), "vits14" (which the parameters of P's table 4 are those of),
    or "tiny"."""
    positions: str = "hub"
    """How DINOv2's position table is resized: as its "hub" code does, or "timm"."""
    dim: int = 256
    """Width d of adapters and decoder."""
    clip_levels: tuple[int, ...] = tuple(range(1, 12))
    """Blocks of CLIP, from 1, whose outputs the adapter reads. The parameters of table 4 are those of 1..11;
    P's text says all 12."""
    decoder_layers: int = 3
    """Transformer blocks of the decoder."""
    heads: int = 8
    """Attention heads of the decoder."""
    dropout: float = 0.1
    """Share of channels that training drops before the decoder, and there alone."""
    decode_dino: bool = False
    """Decode the DINO features too, by the same decoder, and average the logits: WeCLIP+, and what the FLOPs
    of table 4 count; P's equations decode CLIP's alone."""
    cam_attention: str = "vanilla"
    """Where the initial CAM comes from: CLIP's last block as it is, or its "value" path alone (ExCEL)."""
    background: str = COMPLEMENT
    """"complement": the first class is the background, what no other class claims; "class:<name>": that
    class of the data plays this part; "none": every class has a text."""
    background_power: float = 1.0
    """Exponent gamma of the background, (1 - max over classes)^gamma (WeCLIP)."""
    template: str = "an overhead satellite image of {}."
    """Prompt of the base text of a class, one `{}`."""
    descriptions: str = ""
    """Knowledge base: a file, or the name of a packaged one ("isaid", "potsdam", "tiny", "tiny_land"). ""
    takes the packaged one that describes all classes, if there is one, but never one of the tiny CLIP. It
    also says how the prompt calls a class."""
    tpe: bool = True
    """Enrich texts by the centroids of the knowledge base (equations 2 to 4)."""
    clusters: int = 8
    """Centroids B."""
    topk: int = 4
    """Centroids K that enrich a class; P does not say how many."""
    text_weight: float = 1.0
    """Weight lambda of the enrichment; P does not say."""
    restarts: int = 10
    """Starts of K-means, seeds 0, 1, ...; the one of least inertia counts."""
    usr: bool = True
    """Diffuse the CAM along refined relations (equations 12 to 15)."""
    affinity: str = "dot"
    """Equation 11: sigmoid of the "dot" product (P), of one "scaled" by sqrt(2 d), or of a centred "cosine"
    (ExCEL)."""
    first_layer: int = 7
    """First block N0, from 1, whose attention is used; P: deeper layers."""
    alpha: int = 3
    """Steps of the diffusion: the power of the transition matrix."""
    rounds: int = 3
    """Rounds of column and row normalisation."""
    renorm: bool = True
    """Bring each diffused map back to 0..1. Without it (equation 15 to the letter) one class tends to win
    everywhere."""
    start_iter: int = 0
    """Iterations before the filter of equation 13 is applied (WeCLIP: 15,000); until then all maps count."""
    vpe: bool = True
    """Weigh the CAM by similarity to momentum prototypes (equations 16 to 20)."""
    seed_percent: float = 20.0
    """Share k of a class's candidates that are seeds, in percent; P does not say."""
    momentum: float = 0.99
    """Momentum tau of the prototypes; P does not say."""
    par_dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    """Refinement by pixels: distances (px) of the eight neighbours."""
    par_iters: int = 20
    """Refinement by pixels: iterations. AFA and CTFA, whose scheme is "dual_threshold", take 10."""
    par_w1: float = 0.3
    """Refinement by pixels: the smaller, the sharper neighbours are told apart."""
    par_w2: float = 0.01
    """Refinement by pixels: weight of the distance."""
    pseudo: str = "complement"
    """Pseudo label: arg-max with the background as "complement" (P, WeCLIP), or "dual_threshold" (AFA, CTFA),
    which ignores what lies between two background scores."""
    high: float = 0.7
    """"dual_threshold": background score above which a class must rise to be labelled (CTFA)."""
    low: float = 0.25
    """"dual_threshold": background score below which nothing but background is left (CTFA)."""
    seg_loss: str = "balanced"
    """Cross-entropy: "balanced", half over background and half over the rest (AFA, WeCLIP), or "plain"."""
    seg_weight: float = 1.0
    """Weight lambda_1 of equation 21."""
    affinity_weight: float = 0.1
    """Weight lambda_2 of equation 21; P does not say."""
    radius: int = 8
    """Affinity loss: largest distance (cells) of a pair along either axis."""

    def __post_init__(self) -> None:
        check_options(self, _CHOICES, _RANGES)
        if self.dim % self.heads:
            raise ConfigError(f"heads={self.heads} must divide dim={self.dim}")
        if list(self.clip_levels) != sorted(set(self.clip_levels)) or not self.clip_levels:
            raise ConfigError(f"clip_levels must be ascending block numbers; found {self.clip_levels}")
        if self.template.count("{}") != 1:
            raise ConfigError(f"template needs exactly one {{}}; found {self.template!r}")
        if self.background not in (COMPLEMENT, NONE) and not self.background.removeprefix(CLASS).strip():
            raise ConfigError(f"background: {CLASS}<name> expected; found {self.background!r}")
        if self.background not in (COMPLEMENT, NONE) and not self.background.startswith(CLASS):
            raise ConfigError(
                f"background must be {COMPLEMENT}, {NONE} or {CLASS}<name>; found {self.background!r}"
            )
        if self.low > self.high:
            raise ConfigError(f"low <= high expected; found {self.low} and {self.high}")
        if self.topk > self.clusters:
            raise ConfigError(f"topk={self.topk} of clusters={self.clusters} centroids: at most as many")
        self._refuse_unread()

    def _refuse_unread(self) -> None:
        for name, options in (("tpe", _TPE_ONLY), ("usr", _USR_ONLY), ("vpe", _VPE_ONLY)):
            if not getattr(self, name):
                refuse_unread(self, options, f"{name}=False")
        if self.pseudo == "complement":
            refuse_unread(self, ("high", "low"), "pseudo='complement'")
        if self.background == NONE:
            refuse_unread(self, ("background_power",), "background='none'")
        if self.affinity_weight == 0:
            refuse_unread(self, ("radius",), "affinity_weight=0")
        if self.seg_weight == 0:
            refuse_unread(self, ("seg_loss",), "seg_weight=0")
            if self.affinity_weight == 0:
                raise ConfigError("seg_weight and affinity_weight are both 0: nothing would be learnt")
