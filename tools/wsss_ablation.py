#!/usr/bin/env python
"""The weakly supervised method on synthetic scenes: the paper's table 3, and the CAM that it starts from.

    python tools/wsss_ablation.py --set land --seeds 1 2 3

Draws scenes, trains the tiny model once for each variant and seed from image-level labels alone, and scores
its masks on scenes that were never trained on; beside them the CAMs, which are given the labels of those
scenes. The CAM that all starts from is scored twice: given those labels, and told that every scene shows
every class, which is as little as the masks are given. Writes `<set>.md` and `<set>.json` below --output.
A run takes about 90 seconds on one core. What is complete is kept, so the same command goes on where it was
stopped; `--only` restricts it to some variants, `--table` writes the table of what is complete.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import yaml
from tabulate import tabulate

REPOSITORY = Path(__file__).resolve().parents[1]
# Runs from a checkout only, whose demo/mini_benchmark.py is no part of the package.
sys.path.append(str(REPOSITORY / "demo"))

from mini_ablation import refuse_others, spread  # noqa: E402
from mini_benchmark import SIDE, call  # noqa: E402

from rskt_seg.commands.entry import run  # noqa: E402
from rskt_seg.data.catalog import find_split  # noqa: E402
from rskt_seg.errors import RSKTSegError  # noqa: E402
from rskt_seg.metrics.benchmark import chance_iou  # noqa: E402
from rskt_seg.synthetic import MINIATURES, WSSS_MINIATURES, write_miniature  # noqa: E402

_MODULES = {
    "TPE": (("TPE", True), ("TPE", False)),
    "USR": (("USR", True, "ALPHA", 1), ("USR", False, "ALPHA", 3)),
    "VPE": (
        ("VPE", True, "SEED_PERCENT", 5.0, "MOMENTUM", 0.9),
        ("VPE", False, "SEED_PERCENT", 20.0, "MOMENTUM", 0.99),
    ),
}
"""Module -> what stands below MODEL.WSSS where it is on, and where it is off (with its options at their
defaults, for others would be refused)."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "none": (), "T": ("TPE",), "U": ("USR",), "V": ("VPE",), "T+U": ("TPE", "USR"), "T+V": ("TPE", "VPE"),
    "U+V": ("USR", "VPE"), "T+U+V": ("TPE", "USR", "VPE"),
}  # fmt: skip
"""Name -> what is switched on."""
INITIAL, UNTOLD = "initial CAM (T)", "initial CAM (T), no labels"
BASE = "configs/wsss/Base.yaml"
CONFIGS = {"land": "configs/wsss/tiny_land.yaml", "objects": "configs/wsss/tiny.yaml"}
TESTS = {"land": "land_test_sem_seg", "objects": "iSAID_wsss_test_sem_seg"}
UNTOLD_TEST = "untold_test_sem_seg"
INITIAL_POWERS = {"land": 5.0, "objects": 0.5}
"""The background powers with which the initial CAM scores best, of those that were tried; trained models want
a higher one on land cover, because VPE makes maps sharp."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output/wsss_mini"))
    parser.add_argument("--set", choices=CONFIGS, default="land", help="what the scenes show")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--train-scenes", type=int, default=800)
    parser.add_argument("--test-scenes", type=int, default=100)
    parser.add_argument("--iterations", type=int, help="default: that of the configuration")
    parser.add_argument("--table", action="store_true", help="run nothing, tabulate what is complete")
    return parser.parse_args()


def draw(args: argparse.Namespace, seed: int) -> tuple[Path, tuple]:
    """Draw the scenes of a seed; the root of the data, and what a command must say about them."""
    data = args.output / f"{args.set}_seed{seed}"
    if args.set == "objects":
        write_miniature(
            WSSS_MINIATURES["iSAID_wsss"], data, args.train_scenes, 1, seed, SIDE, args.test_scenes
        )
        return data, ()
    row, count = MINIATURES["LoveDA"], args.train_scenes + args.test_scenes
    write_miniature(row, data, 0, count, seed, SIDE)
    split = find_split(row.both)
    stems = sorted(path.stem for path in (data / split.images).iterdir())
    lists = {"train": stems[: args.train_scenes], "test": stems[args.train_scenes :]}
    for part, names in lists.items():
        (data / f"{part}.txt").write_text("\n".join(names) + "\n")
    splits = {part: {"images": split.images, "labels": split.labels, "list": f"{part}.txt"} for part in lists}
    colors = [list(color) for color in split.class_set.colors]
    land = {"name": "land", "classes": list(row.classes), "palette": colors, "splits": splits}
    (data / "land.yaml").write_text(yaml.safe_dump(land, sort_keys=False))
    return data, ("DATASETS.OWN", f"('{data / 'land.yaml'}',)")


def measure(args: argparse.Namespace, variant: str, seed: int) -> None:
    """Train and score one variant with one seed, unless an earlier call has done it."""
    folder = _folder(args, variant, seed)
    data, own = draw(args, seed)
    if variant == UNTOLD:
        own = tell_every_class(args.set, data)
    limit = () if args.iterations is None else ("SOLVER.MAX_ITER", args.iterations)
    on = VARIANTS.get(variant, ("TPE",))
    words = [word for name, choice in _MODULES.items() for word in choice[name not in on]]
    options = [f"MODEL.WSSS.{word}" if i % 2 == 0 else word for i, word in enumerate(words)]
    if variant in (INITIAL, UNTOLD):  # nothing is learnt: what CLIP and the texts say
        limit = ("SOLVER.MAX_ITER", 1, "SOLVER.WARMUP_ITERS", 0)
        options += ["MODEL.WSSS.PAR_ITERS", 0, "MODEL.WSSS.BACKGROUND_POWER", INITIAL_POWERS[args.set]]
    files = [(REPOSITORY / file).read_bytes() for file in sorted({*CONFIGS.values(), BASE})]
    asked = {
        "options": [str(word) for word in options],
        "iterations": args.iterations,
        "scenes": [args.train_scenes, args.test_scenes],
        "configuration": hashlib.sha256(b"".join(files)).hexdigest(),
    }
    refuse_others(folder, asked)
    if not _figures(folder, _test(args, variant)):
        fixed = ("OUTPUT_DIR", folder, "SEED", seed, "TEST.CAM", True)
        words = (*own, *fixed, *limit, *options)
        call("train_net.py", "--config-file", CONFIGS[args.set], "--resume", *words, data=data)


def tell_every_class(name: str, data: Path) -> tuple[object, ...]:
    """Write a test set whose scenes all show every class by their image-level labels; what names it."""
    if name == "land":
        land = yaml.safe_load((data / "land.yaml").read_text())
        classes, part = land["classes"], land["splits"]["test"]
        stems = (data / part["list"]).read_text().split()
    else:
        row = find_split(TESTS[name])
        classes, part = list(row.class_set.names), {"images": row.images, "labels": row.labels}
        stems = sorted(path.stem for path in (data / row.images).iterdir())
    lines = [",".join([stem, *classes]) for stem in stems]
    (data / "untold.csv").write_text("\n".join(lines) + "\n")
    splits = {"test": part | {"image_labels": "untold.csv"}}
    own = {"name": "untold", "classes": classes, "splits": splits}
    (data / "untold.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
    files = [str(data / file) for file in ("untold.yaml", "land.yaml") if (data / file).exists()]
    return "DATASETS.OWN", f"{tuple(files)}", "DATASETS.TEST", f"('{UNTOLD_TEST}',)"


def _folder(args: argparse.Namespace, variant: str, seed: int) -> Path:
    return args.output / f"{args.set}_{variant.replace(' ', '_').replace(',', '')}_seed{seed}"


def _test(args: argparse.Namespace, variant: str) -> str:
    return UNTOLD_TEST if variant == UNTOLD else TESTS[args.set]


def _figures(folder: Path, test: str) -> dict[str, float]:
    """mIoU, mF1 and OA of the masks, mIoU of the CAMs and of guessing, in percent; empty if incomplete."""
    files = [folder / "inference" / f"{test}{end}.json" for end in ("", "_CAM")]
    if not all(file.exists() for file in files):
        return {}
    ((masks,), (cams,)) = (json.loads(file.read_text())["datasets"].values() for file in files)
    pixels = np.array([row["pixels"] for row in masks["classes"].values()])
    guess = np.nanmean(np.where(pixels > 0, chance_iou(pixels), np.nan))
    figures = {"masks": masks["mIoU"], "mF1": masks["mF1"], "OA": masks["pACC"]}
    return figures | {"cams": cams["mIoU"], "chance": float(guess)}


def complete(args: argparse.Namespace) -> dict[str, dict[int, dict]]:
    """Variant -> seed -> figures, of everything in the output folder that is complete."""
    found: dict[str, dict[int, dict]] = {}
    for variant in (UNTOLD, INITIAL, *args.only):
        for seed in args.seeds:
            if figures := _figures(_folder(args, variant, seed), _test(args, variant)):
                found.setdefault(variant, {})[seed] = figures
    if not found:
        raise RSKTSegError(f"{args.output} holds no complete run of {args.set} yet")
    return found


def table(found: dict[str, dict[int, dict]]) -> str:
    """Mean and, over several seeds, the standard deviation of each figure."""
    rows = []
    for variant, runs in found.items():
        cells = [[each[key] for each in runs.values()] for key in ("masks", "mF1", "OA", "cams")]
        shown = [spread(cell) for cell in cells]
        rows.append([variant, len(runs), *(["-"] * 3 + shown[3:] if variant in (UNTOLD, INITIAL) else shown)])
    headers = ["switched on", "seeds", "masks: mIoU", "mF1", "OA", "CAMs, given the labels: mIoU"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def main() -> int:
    args = arguments()
    args.output = args.output.resolve()
    if not args.table:
        for seed in args.seeds:
            for variant in (UNTOLD, INITIAL, *args.only):
                measure(args, variant, seed)
    found = complete(args)
    guess = np.mean([row["chance"] for runs in found.values() for row in runs.values()])
    text = f"{table(found)}\n\nGuessing the class of every pixel: {guess:.1f} mIoU."
    (args.output / f"{args.set}.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.output / f"{args.set}.md").write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
