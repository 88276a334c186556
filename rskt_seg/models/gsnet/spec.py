"""The options of a GSNet model. `MODEL.GSNET.<FIELD>` is the field of that name in upper case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rskt_seg.models.cost_volumes.spec import WindowedSpec


@dataclass(frozen=True)
class GSNetSpec(WindowedSpec):
    """Options of `rskt_seg.models.gsnet.GSNet`.

    The published code has no ViT-L, because it projects DINO to 512 channels; here to those of the text.

    Raises:
        ConfigError: A value is of the wrong type, not among the choices or out of range.
    """

    choices: ClassVar[Mapping[str, Sequence[str]]] = {
        **WindowedSpec.choices,
        "clip_finetune": ("attention", "full", "freezeIMG", "frozen"),
        "dino_finetune": ("attention", "full", "frozen"),
    }

    clip_finetune: str = "attention"
    """Trained parameters of CLIP: "attention" (q and v matrices, published), "full", "freezeIMG", "frozen";
    see `rskt_seg.models.cost_volumes.finetune.set_trainable`."""
    dino_finetune: str = "frozen"
    """Trained parameters of DINO: "frozen" (published), "attention", "full"."""
