"""Runs of the tiny methods that are stopped and go on, and the comparison of what they leave."""

from functools import partial
from pathlib import Path

import torch
from detectron2.config import CfgNode
from PIL import Image

from rskt_seg.d2.checkpointer import last_checkpoint
from rskt_seg.d2.trainer import Trainer
from tests.d2.closed_set.tiny import config as closed_set_config
from tests.d2.conftest import tiny_config, tiny_peer, write_split
from tests.d2.wsss.tiny import config as weak_config

METHODS = {
    "rskt": tiny_config,
    "bicor": lambda *opts: closed_set_config("bicor", *BICOR, *opts),
    "fctl": lambda *opts: closed_set_config("fctl", "SOLVER.IMS_PER_BATCH", "2", *opts),
    "wsss": weak_config,
    **{peer: partial(tiny_peer, peer) for peer in ("catseg", "ovrs", "gsnet")},
}
BICOR = (
    "SOLVER.IMS_PER_BATCH", "2", "SOLVER.EPOCHS", "3", "SOLVER.LOOKAHEAD_STEPS", "2",
    "INPUT.CROP.SIZE", "[32,32]", "INPUT.MOSAIC_SIDE", "64", "INPUT.MOSAIC", "0.5",
    "MODEL.BICOR.STOCHASTIC_DEPTH", "0.5",
)  # fmt: skip
ALONE = ("DATASETS.TEST", "()", "SOLVER.CHECKPOINT_PERIOD", "100")


def write_data(root: Path) -> None:
    """Training sets of five images, two of which are higher than wide, and a test set."""
    for name in ("DLRSD_train_sem_seg", "iSAID_wsss_train_sem_seg"):
        write_split(root, name, 5)
    write_split(root, "DLRSD_val_sem_seg", 1)
    for number in (1, 3):
        for path in root.rglob(f"scene{number}.*"):
            with Image.open(path) as image:
                turned = image.transpose(Image.Transpose.ROTATE_90)
            turned.save(path)


def run(cfg: CfgNode, stop: int | None = None, resume: bool = False) -> Trainer:
    """Train to `SOLVER.MAX_ITER`; with `stop` the run ends there as if it had been stopped."""
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.max_iter = stop or trainer.max_iter
    trainer.train()
    return trainer


def left(folder: Path) -> dict:
    """The last checkpoint of a folder."""
    return torch.load(last_checkpoint(folder), weights_only=True)


def differences(one: object, two: object, where: str = "") -> list[str]:
    """The places where two nested states are not the same, bit by bit."""
    if isinstance(one, dict) and isinstance(two, dict):
        keys = one.keys() | two.keys()
        return [at for key in keys for at in differences(one.get(key), two.get(key), f"{where}/{key}")]
    if isinstance(one, list | tuple) and isinstance(two, list | tuple) and len(one) == len(two):
        pairs = enumerate(zip(one, two, strict=True))
        return [at for i, pair in pairs for at in differences(*pair, f"{where}/{i}")]
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return [] if one.dtype == two.dtype and torch.equal(one, two) else [where]
    return [] if one == two else [where]
