"""A miniature dataset in the prepared layout, and the smallest model of the project."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rskt_seg.d2 import benchmark, load_config  # also prepares Detectron2 for the imports of the tests
from rskt_seg.data.catalog import find_split

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "ovrsis"
TINY = [
    "MODEL.DEVICE", "cpu",
    "MODEL.RSKT.NUM_LAYERS", "1",
    "MODEL.RSKT.HIDDEN_DIM", "16",
    "MODEL.RSKT.NUM_HEADS", "2",
    "MODEL.ENCODERS.CLIP", "random",
    "MODEL.ENCODERS.REMOTE_CLIP", "random",
    "MODEL.ENCODERS.DINO", "random",
    "SOLVER.IMS_PER_BATCH", "2",
    "DATALOADER.NUM_WORKERS", "0",
    "CUDNN_BENCHMARK", "False",
    "SEED", "1",
    "MODEL.RSKT.LOSS", "bce",
    "MODEL.RSKT.CLIP_FINETUNE", "attention",
    "SOLVER.CLIP_GRADIENTS.ENABLED", "True",
]  # fmt: skip
"""Overrides that make `tiny_dlrsd.yaml` as small as it gets, whatever it says itself."""


def write_split(root: Path, name: str, count: int = 3, size: tuple[int, int] = (40, 48)) -> None:
    """`count` pairs of the registered dataset `name` under `root`: noise images, ids of all classes."""
    split = find_split(name)
    rng = np.random.default_rng(len(name))
    images, labels = root / split.images, root / split.labels
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for i in range(count):
        label = rng.integers(0, len(split.class_set), size, dtype=np.uint8)
        label[0, :4] = 255
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(image).save(images / f"scene{i}.{split.image_extensions[0]}")
        Image.fromarray(label).save(labels / f"scene{i}.{split.label_extensions[0]}")


@pytest.fixture
def data_root(tmp_path, monkeypatch) -> Path:
    """A folder with small DLRSD and UDD5 sets, which the run's environment points to."""
    root = tmp_path / "data"
    for name in ("DLRSD_train_sem_seg", "DLRSD_val_sem_seg", "UDD5_all_sem_seg"):
        write_split(root, name)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    return root


@pytest.fixture
def passes(monkeypatch) -> list[str]:
    """The names of the sets that were run through the model."""
    names, run = [], benchmark.inference_on_dataset

    def counted(model, loader, evaluator):
        names.append(evaluator.name)
        return run(model, loader, evaluator)

    monkeypatch.setattr(benchmark, "inference_on_dataset", counted)
    return names


def tiny_config(*opts: str):
    """The frozen configuration of the smallest model."""
    return load_config(str(CONFIGS / "tiny_dlrsd.yaml"), [*TINY, *opts])


def tiny_peer(peer: str, *opts: str):
    """The frozen configuration of the smallest model of "catseg", "ovrs" or "gsnet"."""
    section = f"MODEL.{peer.upper()}"
    smallest = [
        f"{section}.LOSS",
        "bce",
        f"{section}.HIDDEN_DIM",
        "16",
        f"{section}.NUM_LAYERS",
        "1",
        "MODEL.ENCODERS.CLIP",
        "random",
    ]
    fixed = ["MODEL.DEVICE", "cpu", "SEED", "1", "CUDNN_BENCHMARK", "False", "SOLVER.IMS_PER_BATCH", "2"]
    return load_config(str(CONFIGS.parent / "peers" / f"{peer}_tiny_dlrsd.yaml"), [*fixed, *smallest, *opts])
