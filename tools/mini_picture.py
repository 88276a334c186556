#!/usr/bin/env python
"""One picture of the miniature benchmark: scenes of every set, what the model made of them, and the truth.

    python tools/mini_picture.py --data output/demo/datasets --weights output/demo/train/model_final.pth \\
        --output docs/images/ovrsisbench_mini.png

The first scenes of each set, not chosen ones. Black in the truth is what no class of the set names: it is
ignored in the score, and what the model says there counts for nothing.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from rskt_seg import Segmenter
from rskt_seg.commands.entry import run
from rskt_seg.data.catalog import Split, find_split, pairs
from rskt_seg.data.labels import read_label
from rskt_seg.synthetic import MINIATURES

REPOSITORY = Path(__file__).resolve().parents[1]
GAP = 4


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="root of the miniature sets")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=4, help="of each set (default 4)")
    return parser.parse_args()


def row_of(split: Split, root: Path, model: object, scenes: int) -> np.ndarray:
    """Image, prediction, truth of the first scenes of a set, side by side; (H, W, 3) uint8."""
    names, colors = split.class_set.names, np.zeros((256, 3), np.uint8)
    colors[: len(names)] = split.class_set.colors
    segmenter = Segmenter(model, names)
    cells = []
    for pair in pairs(split, root)[:scenes]:
        truth = read_label(pair.label)
        prediction = segmenter.predict(pair.image).labels
        image = np.asarray(Image.open(pair.image).convert("RGB"))
        gap = np.full((len(image), GAP, 3), 255, np.uint8)
        cells += [image, colors[prediction], colors[truth], gap]
    return np.concatenate(cells[:-1], axis=1)


def main() -> None:
    args = arguments()
    from rskt_seg.d2 import build_model, load_config

    config = str(REPOSITORY / "configs/ovrsis/tiny_dlrsd.yaml")
    model = build_model(load_config(config, ["MODEL.WEIGHTS", str(args.weights)]))
    rows = []
    for miniature in MINIATURES.values():
        split = find_split(miniature.val or miniature.both)
        rows.append(row_of(split, args.data, model, args.scenes))
        rows.append(np.full((GAP, rows[0].shape[1], 3), 255, np.uint8))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows[:-1])).save(args.output, optimize=True)


if __name__ == "__main__":
    sys.exit(run(main))
