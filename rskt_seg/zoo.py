"""`create_model`: every model of the package by name."""

from dataclasses import fields
from difflib import get_close_matches

from torch import nn

from rskt_seg.errors import ConfigError
from rskt_seg.models.rskt import RSKT, RSKTSpec

_TINY = {"encoder": "tiny", "num_layers": 2, "hidden_dim": 32}
MODELS: dict[str, dict[str, object]] = {
    "rskt_vitb16": {"encoder": "vitb16"},
    "rskt_vitl14": {"encoder": "vitl14"},
    "rskt_tiny": _TINY,
}
"""Name -> the options that differ from the defaults of `RSKTSpec`."""


def create_model(name: str, **options: object) -> nn.Module:
    """Build a model with random weights, in evaluation mode; no file is read.

    Args:
        name: "rskt_vitb16", "rskt_vitl14" or "rskt_tiny".
        options: fields of `rskt_seg.models.rskt.RSKTSpec`, for example `num_layers=3, dino=False`.

    Load trained weights with `rskt_seg.load_checkpoint`, pretrained encoders with
    `rskt_seg.load_encoder`. Raises `ConfigError` for an unknown name, option or value.
    """
    if name not in MODELS:
        raise ConfigError(f"unknown model {name!r}; known are {', '.join(MODELS)}")
    known = [f.name for f in fields(RSKTSpec)]
    for option in options:
        if option not in known:
            near = get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"options are {', '.join(known)}"
            raise ConfigError(f"{name} has no option {option!r}; {hint}")
    return RSKT(RSKTSpec(**{**MODELS[name], **options})).eval()
