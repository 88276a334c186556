"""The smallest configuration of the weakly supervised method, and what tests do with it."""

from pathlib import Path

import torch
from detectron2.modeling import build_model as build_segmentor

from rskt_seg.d2 import load_config
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.trainer import Trainer
from tests.d2.conftest import CONFIGS

FILE = str(CONFIGS.parents[1] / "configs/wsss/tiny.yaml")
SMALL = [
    "MODEL.DEVICE", "cpu", "SEED", "1", "CUDNN_BENCHMARK", "False",
    "MODEL.WSSS.DIM", "16", "MODEL.WSSS.HEADS", "2", "MODEL.WSSS.DECODER_LAYERS", "1",
    "MODEL.WSSS.PAR_ITERS", "1", "MODEL.WSSS.PAR_DILATIONS", "(1,)",
    "INPUT.CROP.SIZE", "[32, 32]", "TEST.TILE", "64", "TEST.TILE_OVERLAP", "16", "TEST.SCALES", "(1.0,)",
    "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "1", "SOLVER.MAX_ITER", "2",
    "SOLVER.CHECKPOINT_PERIOD", "1",
]  # fmt: skip


def config(*opts: str):
    return load_config(FILE, [*SMALL, *opts])


def segmentor(*opts: str):
    torch.manual_seed(0)
    model = build_segmentor(config(*opts)).eval()
    plain_model(model).encode_classes()
    return model


def entry(seed=0, height=32, width=32, /, **rest) -> dict:
    draws = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=draws)
    return {"image": image, "file_name": f"{seed}.png", **rest}


def train(tmp_path, *opts: str) -> Trainer:
    cfg = config("OUTPUT_DIR", str(tmp_path), "DATASETS.TEST", "()", *opts)
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.train()
    return trainer


def by_stem(entries) -> dict[str, tuple[int, ...]]:
    return {Path(entry["file_name"]).stem: entry["image_labels"] for entry in entries}


def batches(loader, count: int) -> list[dict]:
    iterator = iter(loader)
    return [entry for _ in range(count) for entry in next(iterator)]
