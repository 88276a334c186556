"""Train the tiny models on a few crops of real labelled images until they know them by heart.

    python tools/overfit_samples.py --samples DIR --output output/samples [--method rskt bicor fctl]

A check of the whole path on real input, not a benchmark: converters, own data, mapper, training, evaluation
and `demo/demo.py`. DIR holds `potsdam/`, `loveda/`, `isaid/` and `deepglobe/` with one image and label each;
the files keep their owners' terms and are not part of this project. Exits with status 1 unless every sample
reaches pixel accuracy 0.95 and mIoU 0.85 on its crops.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from rskt_seg.commands.entry import run
from rskt_seg.data.catalog import IGNORE_LABEL
from rskt_seg.data.convert import CONVERTERS, convert_label
from rskt_seg.errors import ConfigError, DatasetNotFoundError

REPOSITORY = Path(__file__).resolve().parents[1]
CROPS = 6
PIXEL_ACCURACY, MEAN_IOU = 95.0, 85.0


@dataclass(frozen=True)
class Sample:
    """Image and label below the samples folder, the converter of the label, and the side of a crop in px."""

    image: str
    label: str
    converter: str
    side: int


SAMPLES = {
    "potsdam": Sample(
        "potsdam/2_10_0_0_512_512.png", "potsdam/2_10_0_0_512_512_label.png", "potsdam_mmseg", 160
    ),
    "loveda": Sample("loveda/0.png", "loveda/0_label.png", "loveda", 256),
    "isaid": Sample("isaid/P0005.png", "isaid/P0005_instance_color_RGB.png", "isaid", 192),
    "deepglobe": Sample("deepglobe/6399_sat.jpg", "deepglobe/6399_mask.png", "deepglobe", 816),
}


@dataclass(frozen=True)
class Method:
    """The tiny configuration of a method, what makes it learn by heart, and sample -> learning rate.

    No single rate that was tried learns all samples.
    """

    config: str
    rates: dict[str, float]
    overrides: dict[str, str]
    iterations: int = 400
    vocabulary: bool = False


_AS_THEY_ARE = {"INPUT.HFLIP": "0.0", "INPUT.VFLIP": "0.0", "INPUT.ROTATE90": "0.0", "INPUT.MOSAIC": "0.0"}
METHODS = {
    "rskt": Method(
        "configs/ovrsis/tiny_dlrsd.yaml",
        {"potsdam": 0.001, "loveda": 0.003, "isaid": 0.001, "deepglobe": 0.001},
        {
            "MODEL.RSKT.MASK_IGNORED": "True",
            "INPUT.COLOR_AUG_SSD": "False",
            "INPUT.RANDOM_FLIP": "none",
        },
        vocabulary=True,
    ),
    "bicor": Method(
        "configs/bicor/tiny.yaml",
        {"potsdam": 0.002, "loveda": 0.002},
        {
            **_AS_THEY_ARE,
            "INPUT.SCALES": "(1.0,)",
            "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA": "1.0",
            "MODEL.BICOR.MASK_IGNORED": "True",
            "MODEL.BICOR.LABEL_SMOOTHING": "0.0",
        },
        iterations=600,
    ),
    "fctl": Method(
        "configs/fctl/tiny.yaml",
        {"deepglobe": 0.003},
        {
            **_AS_THEY_ARE,
            "MODEL.FCTL.PATCH_SIDE": "408",
            "MODEL.FCTL.INPUT_SIDE": "128",
            "INPUT.PATCH_OVERLAP": "0",
            "SOLVER.SUB_BATCH": "12",
        },
    ),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=Path, required=True, help="folder of the real samples")
    parser.add_argument("--output", type=Path, default=Path("output/samples"))
    parser.add_argument("--method", choices=tuple(METHODS), nargs="+", default=tuple(METHODS))
    parser.add_argument("--only", choices=tuple(SAMPLES), nargs="+", default=tuple(SAMPLES))
    parser.add_argument("--iterations", type=int, help="default: that of the method")
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


def write(name: str, samples: Path, folder: Path) -> Path:
    """Write the crops of one sample as a dataset of one's own; its YAML file."""
    sample = SAMPLES[name]
    for path in (sample.image, sample.label):
        if not (samples / path).is_file():
            raise DatasetNotFoundError(f"{samples / path} does not exist; --samples needs {path}")
    ids = convert_label(sample.converter, samples / sample.label)
    image = np.asarray(Image.open(samples / sample.image).convert("RGB"))
    for kind in ("imgs", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for index, (pixels, labels) in enumerate(cut(image, ids, sample.side)):
        Image.fromarray(pixels).save(folder / "imgs" / f"{name}{index}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{name}{index}.png")
    classes = CONVERTERS[sample.converter].class_set
    file = folder / "sample.yaml"
    content = {
        "name": f"sample_{name}",
        "classes": list(classes.names),
        "palette": [list(color) for color in classes.colors],
        "splits": {"all": {"images": "imgs", "labels": "labels"}},
    }
    file.write_text(yaml.safe_dump(content))
    return file


def overrides(name: str, method: Method, file: Path, iterations: int) -> list[str]:
    """What the run of one sample changes in the configuration of a method."""
    data = f"('sample_{name}_all_sem_seg',)"
    changed = {
        "DATASETS.OWN": f"('{file}',)",
        "DATASETS.TRAIN": data,
        "DATASETS.TEST": data,
        "OUTPUT_DIR": str(file.parent / "train"),
        "SOLVER.MAX_ITER": str(iterations),
        "SOLVER.IMS_PER_BATCH": str(CROPS),
        "SOLVER.CHECKPOINT_PERIOD": str(iterations),
        "SOLVER.BASE_LR": str(method.rates[name]),
        "SEED": "1",
        **method.overrides,
    }
    if "INPUT.MOSAIC" in changed:
        changed["INPUT.CROP.SIZE"] = f"[{SAMPLES[name].side}, {SAMPLES[name].side}]"
    return [word for pair in changed.items() for word in pair]


def train(method: Method, words: list[str]) -> tuple[float, float]:
    """Pixel accuracy and mIoU (percent) after training on the crops."""
    from rskt_seg.d2 import load_config
    from rskt_seg.d2.datasets import register_own
    from rskt_seg.d2.trainer import Trainer  # isort: split
    from detectron2.utils.logger import setup_logger

    setup_logger()
    cfg = load_config(str(REPOSITORY / method.config), words)
    register_own(cfg.DATASETS.OWN)
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    scores = Trainer.test(cfg, trainer.model)["sem_seg"]
    return scores["pACC"], scores["mIoU"]


def draw(name: str, method: Method, folder: Path, words: list[str]) -> None:
    """Segment the crops with the demo, ground truth and errors beside them."""
    command = ["demo/demo.py", "--config-file", method.config, "--input", f"{folder}/imgs/*.png"]
    command += ["--gt", str(folder / "labels"), "--output", str(folder / "pictures")]
    if method.vocabulary:
        classes = CONVERTERS[SAMPLES[name].converter].class_set
        command += ["--vocabulary", ", ".join(classes.names)]
    weights = ["MODEL.WEIGHTS", str(folder / "train/model_final.pth")]
    subprocess.run([sys.executable, *command, "--opts", *words, *weights], check=True, cwd=REPOSITORY)


def main() -> int:
    args = arguments()
    results = {}
    if not any(name in METHODS[key].rates for key in args.method for name in args.only):
        raise ConfigError(f"{' and '.join(args.method)} have no settings for {' and '.join(args.only)}")
    for key in args.method:
        method = METHODS[key]
        for name in [name for name in args.only if name in method.rates]:
            folder = (args.output / f"{key}_{name}").resolve()
            file = write(name, args.samples, folder)
            words = overrides(name, method, file, args.iterations or method.iterations)
            results[key, name] = train(method, words)
            draw(name, method, folder, words)
    for (key, name), (accuracy, miou) in results.items():
        print(f"{key:6} {name:10} pixel accuracy {accuracy:6.2f}  mIoU {miou:6.2f}")
    return int(any(a < PIXEL_ACCURACY or m < MEAN_IOU for a, m in results.values()))


if __name__ == "__main__":
    sys.exit(run(main))
