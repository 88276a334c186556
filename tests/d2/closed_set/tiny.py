"""The smallest configurations of the closed-set methods, and inputs for their heads."""

import numpy as np
import torch
from detectron2.modeling import build_model as build_segmentor

from rskt_seg.d2 import load_config
from rskt_seg.d2.specs import class_names
from tests.d2.conftest import CONFIGS

ROOT = CONFIGS.parents[1]
METHODS = ("bicor", "fctl")
SMALL = {
    "bicor": ("MODEL.BICOR.WIDTH", "16", "MODEL.BICOR.MIN_PIXELS", "4"),
    "fctl": ("SOLVER.SUB_BATCH", "3"),
}
# FCtL without contexts.
BASELINE = ("MODEL.FCTL.CONTEXTS", "()", "MODEL.FCTL.FACTORS", "()", "MODEL.FCTL.CONTEXT_ENCODER", "frozen",
            "MODEL.FCTL.LCF", "False")  # fmt: skip


def config(method: str, *opts: str):
    file = str(ROOT / f"configs/{method}/tiny.yaml")
    return load_config(file, ["MODEL.DEVICE", "cpu", "SEED", "1", *SMALL[method], *opts])


def segmentor(method: str, *opts: str):
    torch.manual_seed(0)
    return build_segmentor(config(method, *opts)).eval()


def names(method: str) -> tuple[str, ...]:
    return class_names(config(method))


def entry(height: int, width: int, seed: int = 0, /, **rest) -> dict:
    draws = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=draws)
    return {"image": image, **rest}


def labelled(height: int, width: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 17, (height, width))
    label[:7] = 255
    return {**entry(height, width, seed), "sem_seg": torch.from_numpy(label)}


def without_chance(model):
    """A model in training mode whose answers depend on its input alone."""
    for module in model.train().modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
        if hasattr(module, "drop_path"):
            module.drop_path = 0.0
    return model
