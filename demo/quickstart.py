"""From nothing to a trained model and a picture: scenes, training, evaluation, an unseen image.

    python demo/quickstart.py --output output/demo

Draws miniatures of the eight benchmark sets, trains `configs/ovrsis/tiny_dlrsd.yaml` on that of DLRSD,
evaluates the result beside the untrained model, its CLIP alone and a classifier of single pixel colours,
segments scenes that were in no set, and runs the benchmark: all eight sets, seven of them never trained
on, and the control with exchanged class names. Every step is a command that users type, shown before it
runs. Exits with status 1 unless the model clearly learned. Repeating it keeps what is complete.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mini_benchmark import TRAINING, benchmark, call, figures, write_sets
from mini_benchmark import judge as judge_benchmark
from PIL import Image

from rskt_seg.commands.demo import write_unseen
from rskt_seg.commands.entry import run
from rskt_seg.data.catalog import find_split, pairs
from rskt_seg.data.labels import read_label
from rskt_seg.metrics.confusion import ConfusionMatrix
from rskt_seg.synthetic import MINIATURES
from rskt_seg.writing import replace_text

if TYPE_CHECKING:
    from rskt_seg.models.rskt import RSKT

REPOSITORY = Path(__file__).resolve().parents[1]
SPLIT = "DLRSD_{}_sem_seg"
UNSEEN = 4
GOAL, TIMES_UNTRAINED, TIMES_COLOUR = 45.0, 3.0, 2.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output/demo"), help="folder for everything")
    parser.add_argument("--train-scenes", type=int, default=800)
    parser.add_argument("--val-scenes", type=int, default=100)
    parser.add_argument("--iterations", type=int, help="default: that of the configuration")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def train(args: argparse.Namespace, data: Path) -> dict:
    """Train (or go on with) the tiny model; the scores on the validation scenes."""
    folder = args.output / "train"
    iterations = () if args.iterations is None else ("SOLVER.MAX_ITER", args.iterations)
    options = ("OUTPUT_DIR", folder, "SEED", args.seed, *iterations)
    call("train_net.py", "--config-file", TRAINING, "--resume", *options, data=data)
    return result(folder)


def evaluate_untrained(args: argparse.Namespace, data: Path) -> tuple[float, float]:
    """mIoU of the model with its pretrained encoders and nothing learned on top, and of CLIP alone."""
    import torch
    from safetensors.torch import save_file

    from rskt_seg.d2 import build_model, load_config

    folder = args.output / "untrained"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    model = build_model(load_config(str(REPOSITORY / TRAINING), []))
    save_file(model.state_dict(), folder / "model.safetensors")
    options = ("MODEL.WEIGHTS", folder / "model.safetensors", "OUTPUT_DIR", folder)
    call("train_net.py", "--config-file", TRAINING, "--eval-only", *options, data=data)
    return result(folder)["mIoU"], clip_alone(model, data)


def clip_alone(model: "RSKT", data: Path) -> float:
    """mIoU of the cosine between each pixel's CLIP features and each class name: no segmenter at all."""
    import torch

    from rskt_seg.inference.resize import label_map

    split = find_split(SPLIT.format("val"))
    matrix = ConfusionMatrix(len(split.class_set.names))
    for image, label in samples("val", data):
        batch = torch.from_numpy(image).permute(2, 0, 1)[None]
        with torch.inference_mode():
            output = model(batch, split.class_set.names, return_cost_maps=True)
        matrix.update(label_map(output.cost_maps["clip"][0], label.shape), label)
    return matrix.scores().mIoU


def samples(name: str, data: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Image (H, W, 3) uint8 and class ids (H, W) of every scene of "train" or "val"."""
    for pair in pairs(find_split(SPLIT.format(name)), data):
        yield np.array(Image.open(pair.image).convert("RGB")), read_label(pair.label)


def result(folder: Path) -> dict:
    """What the evaluator wrote for the validation scenes."""
    name = SPLIT.format("val")
    return json.loads((folder / "inference" / f"{name}.json").read_text("utf-8"))["datasets"][name]


def colour_baseline(data: Path) -> float:
    """mIoU of the best class of each colour (16 x 16 x 16 of them), counted on the training set."""
    classes = len(find_split(SPLIT.format("train")).class_set.names)
    counts = np.zeros((4096, classes), np.int64)
    for image, labels in samples("train", data):
        known = labels < classes
        np.add.at(counts, (colour_index(image)[known], labels[known]), 1)
    # A colour never seen in training gets the most frequent class.
    best = np.where(counts.any(axis=1), counts.argmax(axis=1), counts.sum(axis=0).argmax())
    table = best.astype(np.uint8)
    matrix = ConfusionMatrix(classes)
    for image, labels in samples("val", data):
        matrix.update(table[colour_index(image)], labels)
    return matrix.scores().mIoU


def colour_index(image: np.ndarray) -> np.ndarray:
    """Which of 4096 colours each pixel has."""
    return (image // 16).astype(np.int64) @ np.array([256, 16, 1])


def segment_unseen(args: argparse.Namespace, data: Path) -> None:
    """Draw scenes that are in neither set and segment them with `demo/demo.py`."""
    folder = args.output / "unseen"
    write_unseen(folder, args.seed, UNSEEN)
    words = ", ".join(MINIATURES["DLRSD"].classes)
    weights = ("MODEL.WEIGHTS", args.output / "train" / "model_final.pth")
    inputs = ("--input", f"{folder}/images/*.png", "--gt", folder / "truth", "--vocabulary", words)
    config = ("--config-file", TRAINING)
    call("demo/demo.py", *config, *inputs, "--output", args.output, "--opts", *weights, data=data)


def judge(metrics: dict) -> list[str]:
    """What falls short of having clearly learned; empty if nothing does."""
    miou = metrics["mIoU"]
    untrained, colour = metrics["untrained_mIoU"], metrics["colour_baseline_mIoU"]
    bounds = {
        f"mIoU is {miou:.1f}; at least {GOAL} is asked for": miou >= GOAL,
        f"mIoU {miou:.1f} is under {TIMES_UNTRAINED} times the untrained {untrained:.1f}": miou
        >= TIMES_UNTRAINED * untrained,
        f"mIoU {miou:.1f} is under {TIMES_COLOUR} times the colour classifier's {colour:.1f}": miou
        >= TIMES_COLOUR * colour,
    }
    return [fault for fault, holds in bounds.items() if not holds]


def main() -> int:
    args = arguments()
    args.output = args.output.resolve()
    started = time.monotonic()
    data = args.output / "datasets"
    write_sets(data, args.seed, args.train_scenes, args.val_scenes)
    trained = train(args, data)
    untrained, clip = evaluate_untrained(args, data)
    colour = colour_baseline(data)
    segment_unseen(args, data)
    benchmark(args.output / "train" / "model_final.pth", data, args.output / "benchmark")
    found = figures(args.output / "benchmark")
    metrics = {
        "mIoU": trained["mIoU"],
        "untrained_mIoU": untrained,
        "clip_alone_mIoU": clip,
        "colour_baseline_mIoU": colour,
        "per_class": {name: scores["IoU"] for name, scores in trained["classes"].items()},
        "benchmark": found,
        "seconds": round(time.monotonic() - started, 1),
    }
    replace_text(args.output / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    report(metrics, args.output)
    faults = judge(metrics) + judge_benchmark(found)
    for fault in faults:
        print(f"not learned: {fault}", file=sys.stderr)
    return 1 if faults else 0


def report(metrics: dict, output: Path) -> None:
    """Say in a few lines what came out, and where it lies."""
    found = metrics["benchmark"]
    print(
        f"\nin-domain mIoU {metrics['mIoU']:.1f}; untrained {metrics['untrained_mIoU']:.1f}; "
        f"CLIP alone {metrics['clip_alone_mIoU']:.1f}; colour alone {metrics['colour_baseline_mIoU']:.1f}\n"
        f"seven sets never trained on {found['mean_of_others']:.1f}; iSAID's classes never drawn in training "
        f"{found['isaid_undrawn']:.1f} (chance {found['isaid_undrawn_chance']:.1f}); "
        f"class names exchanged {found['rotated_names']:.1f}\n"
        f"{metrics['seconds']:.0f} s; pictures and metrics.json are in {output}, the table is "
        f"{output / 'benchmark' / 'benchmark.md'}"
    )


if __name__ == "__main__":
    sys.exit(run(main))
