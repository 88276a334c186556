"""Train the tiny model on a few crops of real labelled images until it knows them by heart.

    python tools/overfit_samples.py --samples DIR --output output/samples

A check of the whole path on real input, not a benchmark: converters, mapper, training, evaluation and
`demo/demo.py`. DIR holds `potsdam/`, `loveda/`, `isaid/` and `deepglobe/` with one image and label each; the
files keep their owners' terms and are not part of this project. Exits with status 1 unless every sample
reaches pixel accuracy 0.95 and mIoU 0.85 on its crops.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from rskt_seg.cli import run  # noqa: E402
from rskt_seg.data.catalog import IGNORE_LABEL, ClassSet, Split  # noqa: E402
from rskt_seg.data.convert import CONVERTERS, convert_label  # noqa: E402
from rskt_seg.errors import DatasetNotFoundError  # noqa: E402

CONFIG = "configs/ovrsis/tiny_dlrsd.yaml"
CROPS = 6
PIXEL_ACCURACY, MEAN_IOU = 95.0, 85.0


@dataclass(frozen=True)
class Sample:
    """Image and label below the samples folder, the converter of the label, the side of a crop in px, and
    the learning rate: neither of the two rates that were tried learns all four samples."""

    image: str
    label: str
    converter: str
    side: int
    rate: float = 0.001


SAMPLES = {
    "potsdam": Sample(
        "potsdam/2_10_0_0_512_512.png", "potsdam/2_10_0_0_512_512_label.png", "potsdam_mmseg", 160
    ),
    "loveda": Sample("loveda/0.png", "loveda/0_label.png", "loveda", 256, rate=0.003),
    "isaid": Sample("isaid/P0005.png", "isaid/P0005_instance_color_RGB.png", "isaid", 192),
    "deepglobe": Sample("deepglobe/6399_sat.jpg", "deepglobe/6399_mask.png", "deepglobe", 816),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=Path, required=True, help="folder of the real samples")
    parser.add_argument("--output", type=Path, default=Path("output/samples"))
    parser.add_argument("--only", choices=tuple(SAMPLES), nargs="+", default=tuple(SAMPLES))
    parser.add_argument("--iterations", type=int, default=400)
    return parser.parse_args()


def cut(image: np.ndarray, ids: np.ndarray, side: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The `CROPS` crops whose labels are most varied, on a grid of half a side."""
    starts = [range(0, length - side + 1, side // 2) for length in ids.shape]
    boxes = [(slice(y, y + side), slice(x, x + side)) for y in starts[0] for x in starts[1]]

    def variety(box: tuple[slice, slice]) -> float:
        counts = np.bincount(ids[box].ravel(), minlength=256)[:IGNORE_LABEL]
        shares = counts[counts > 0] / ids[box].size
        return float(-(shares * np.log(shares)).sum() + shares.sum())

    boxes = sorted(boxes, key=variety, reverse=True)[:CROPS]
    return [(image[box], ids[box]) for box in boxes]


def write(name: str, args: argparse.Namespace) -> Split:
    """Write the crops of one sample as a dataset; its split."""
    sample = SAMPLES[name]
    for path in (sample.image, sample.label):
        if not (args.samples / path).is_file():
            raise DatasetNotFoundError(f"{args.samples / path} does not exist; --samples needs {path}")
    ids = convert_label(sample.converter, args.samples / sample.label)
    image = np.asarray(Image.open(args.samples / sample.image).convert("RGB"))
    folder = (args.output / name).resolve()
    for kind in ("imgs", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for index, (pixels, labels) in enumerate(cut(image, ids, sample.side)):
        Image.fromarray(pixels).save(folder / "imgs" / f"{name}{index}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{name}{index}.png")
    classes: ClassSet = CONVERTERS[sample.converter].class_set
    row = f"sample_{name}_sem_seg"
    return Split(row, name, "all", str(folder / "imgs"), str(folder / "labels"), ("png",), ("png",), classes)


def train(split: Split, args: argparse.Namespace) -> tuple[float, float]:
    """Pixel accuracy and mIoU (percent) after training on the crops."""
    from rskt_seg.d2 import load_config, register_splits
    from rskt_seg.d2.trainer import Trainer  # isort: split
    from detectron2.utils.logger import setup_logger

    setup_logger()

    register_splits([split])
    quoted = f"('{split.name}',)"
    overrides = {
        "DATASETS.TRAIN": quoted,
        "DATASETS.TEST": quoted,
        "OUTPUT_DIR": str(args.output / split.dataset / "train"),
        "SOLVER.MAX_ITER": str(args.iterations),
        "SOLVER.IMS_PER_BATCH": str(CROPS),
        "SOLVER.CHECKPOINT_PERIOD": str(args.iterations),
        "SOLVER.BASE_LR": str(SAMPLES[split.dataset].rate),
        "MODEL.RSKT.MASK_IGNORED": "True",
        "INPUT.COLOR_AUG_SSD": "False",
        "INPUT.RANDOM_FLIP": "none",
        "SEED": "1",
    }
    Path(overrides["OUTPUT_DIR"]).mkdir(parents=True, exist_ok=True)
    words = [word for pair in overrides.items() for word in pair]
    cfg = load_config(str(REPOSITORY / CONFIG), words)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    scores = Trainer.test(cfg, trainer.model)["sem_seg"]
    return scores["pACC"], scores["mIoU"]


def draw(split: Split, args: argparse.Namespace) -> None:
    """Segment the crops with the demo, ground truth and errors beside them."""
    folder = args.output / split.dataset
    words = ", ".join(split.class_set.names)
    inputs = ["--input", f"{split.images}/*.png", "--gt", split.labels, "--vocabulary", words]
    weights = ["--opts", "MODEL.WEIGHTS", str((folder / "train/model_final.pth").resolve())]
    command = [
        "demo/demo.py",
        "--config-file",
        CONFIG,
        *inputs,
        "--output",
        str((folder / "pictures").resolve()),
    ]
    subprocess.run([sys.executable, *command, *weights], check=True, cwd=REPOSITORY)


def main() -> int:
    args = arguments()
    results = {}
    for name in args.only:
        split = write(name, args)
        results[name] = train(split, args)
        draw(split, args)
    for name, (accuracy, miou) in results.items():
        print(f"{name:10} pixel accuracy {accuracy:6.2f}  mIoU {miou:6.2f}")
    return int(any(a < PIXEL_ACCURACY or m < MEAN_IOU for a, m in results.values()))


if __name__ == "__main__":
    sys.exit(run(main))
