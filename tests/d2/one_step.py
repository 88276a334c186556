"""One training step of every method, as a run takes it but without chance, in any number of processes."""

from collections.abc import Callable
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm

from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.trainer import Trainer
from tests.d2.closed_set.tiny import without_chance
from tests.d2.resuming import ALONE, METHODS

WHOLE = ("MODEL.FCTL.CONTEXTS", "()", "MODEL.FCTL.FACTORS", "()", "MODEL.FCTL.CONTEXT_ENCODER", "frozen",
         "MODEL.FCTL.LCF", "False", "MODEL.FCTL.VIEW", "whole", "MODEL.FCTL.PATCH_SIDE", "508",
         "MODEL.FCTL.ENCODER", "vgg_tiny", "SOLVER.SUB_BATCH", "4")  # fmt: skip
SURE = ("MODEL.BICOR.STOCHASTIC_DEPTH", "0.0")
STEPS: dict[str, tuple[Callable[..., CfgNode], tuple[str, ...]]] = {
    **{name: (method, ("SOLVER.IMS_PER_BATCH", "6")) for name, method in METHODS.items()},
    # With this seed no ReLU of its guides lies so near to 0 that another order of sums would switch it.
    "gsnet": (METHODS["gsnet"], ("SOLVER.IMS_PER_BATCH", "6", "SEED", "5")),
    # One image a process: the classes of an image have no scatter of their own.
    "bicor": (METHODS["bicor"], ("SOLVER.IMS_PER_BATCH", "4", *SURE)),
    "bicor, 6 images": (
        METHODS["bicor"],
        ("SOLVER.IMS_PER_BATCH", "6", "MODEL.BICOR.BETWEEN", "center", *SURE),
    ),
    "fctl, whole images": (METHODS["fctl"], ("SOLVER.IMS_PER_BATCH", "6", *WHOLE)),
}
"""Name -> configuration of a method, and what a step of it changes there."""


def take(folder: str) -> None:
    """Take one step of each of `STEPS`; the main process saves its loss and gradients in `folder`."""
    torch.set_num_threads(1)
    for number, (method, opts) in enumerate(STEPS.values()):
        out = Path(folder, str(number))
        out.mkdir(parents=True, exist_ok=True)
        more = ("SOLVER.MAX_ITER", "1", "SOLVER.CLIP_GRADIENTS.ENABLED", "False", "OUTPUT_DIR", str(out))
        trainer = Trainer(method(*ALONE, "DATALOADER.NUM_WORKERS", "0", *opts, *more))
        trainer.resume_or_load(resume=False)
        without_chance(trainer.model)
        trainer.train()
        named = plain_model(trainer.model).named_parameters()
        gradients = {name: each.grad for name, each in named if each.grad is not None}
        if comm.is_main_process():
            loss, _ = trainer.storage.latest()["total_loss"]
            torch.save({"loss": loss, "gradients": gradients}, out / "step.pth")
