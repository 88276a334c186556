#!/usr/bin/env python
"""The ablations of BiCoR-Seg (tables 4 and 5) and FCtL (tables 4, 6 and 7) on synthetic scenes.

    python tools/closed_set_ablation.py --seeds 1 2 3

Draws scenes of land cover, trains the tiny model of the method once for each row and seed, with the options
that the row has in the method's ablations.yaml, and scores it on scenes that were never trained on. Rows that
are one model are trained once. FCtL's contexts share the encoder of the patch, so that a row is one training
instead of four stages. Writes `<method>.md` and `<method>.json` below --output. With the defaults a run takes
20 to 30 seconds on one core; more --iterations and --train-scenes separate the rows better. What is complete
is kept, so the same command goes on where it was stopped; `--only` restricts it to some rows, `--table`
writes the tables of what is complete.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mini_ablation import refuse_others, spread  # these two find demo/ of the checkout
from tabulate import tabulate
from wsss_ablation import TESTS, draw

from rskt_seg.commands.entry import run
from rskt_seg.commands.train import start
from rskt_seg.d2 import load_config
from rskt_seg.d2.config_files import AblationRow, read_rows
from rskt_seg.data.catalog import ROOT_VARIABLE
from rskt_seg.errors import RSKTSegError
from rskt_seg.metrics.benchmark import chance_iou
from rskt_seg.writing import replace_text

REPOSITORY = Path(__file__).resolve().parents[1]

FACTORS = {"medium": 2.0, "large": 0.0}
"""Sides of FCtL's contexts in patch sides, as in tiny.yaml; 0 is the whole scene."""
KEYS = ("CONTEXTS", "SELF_CONTEXT", "LCF", "GPE", "MCF", "ALE", "ALE_CONTEXT")
"""What FCtL's rows change below MODEL.FCTL, besides the sides of contexts."""
LOSSES = ("INTERACTION", "NUM_LAYERS", "AUX_WEIGHT", "FINAL_FISHER_WEIGHT", "FISHER_WEIGHT", "HEAT_WEIGHT")
"""What BiCoR-Seg's rows change below MODEL.BICOR."""


class Tables(NamedTuple):
    """The tables of one method.

    Attributes:
        rows: File with their rows.
        tables: Names of the tables, as the rows begin.
        iterations: Length of a run.
        common: What every run of the method sets, besides the tiny configuration.
    """

    rows: str
    tables: tuple[str, ...]
    iterations: int
    common: tuple[object, ...]


METHODS = {
    "bicor": Tables(
        "configs/bicor/ablations.yaml",
        ("table4", "table5_loveda"),
        160,
        ("SOLVER.IMS_PER_BATCH", 4, "SOLVER.EPOCHS", 8, "INPUT.CROP.SIZE", "[64,64]", "INPUT.MOSAIC", 0.0),
    ),
    "fctl": Tables(
        "configs/fctl/deepglobe/ablations.yaml",
        ("table4", "table6", "table7"),
        80,
        ("SOLVER.IMS_PER_BATCH", 2),
    ),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output/closed_set_mini"))
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS), dest="methods")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows such as table4_hbis; default: all")
    parser.add_argument("--train-scenes", type=int, default=160)
    parser.add_argument("--test-scenes", type=int, default=40)
    parser.add_argument("--iterations", type=int, help="default: 160 for BiCoR-Seg, 80 for FCtL")
    parser.add_argument("--table", action="store_true", help="run nothing, tabulate what is complete")
    parser.set_defaults(set="land")  # for `draw`
    return parser.parse_args()


@cache
def rows_of(method: str) -> dict[str, AblationRow]:
    """Name -> row of the tables of a method, in their order."""
    rows = read_rows(REPOSITORY / METHODS[method].rows)
    return {name: row for name, row in rows.items() if name.startswith(METHODS[method].tables)}


@cache
def options(method: str, row: str) -> tuple[str, ...]:
    """What a row sets in the tiny configuration."""
    section = load_config(f"{REPOSITORY / METHODS[method].rows}:{row}").MODEL[method.upper()]
    if method == "bicor":
        unread = {"cross_attention": ("HEAT_WEIGHT",)}.get(section.INTERACTION, ())
        return tuple(str(x) for k in LOSSES if k not in unread for x in (f"MODEL.BICOR.{k}", section[k]))
    contexts = tuple(section.CONTEXTS)
    values = {key: section[key] for key in KEYS}
    values["FACTORS"] = tuple(FACTORS[name] for name in contexts)
    values["CONTEXT_ENCODER"] = "shared" if contexts else "frozen"
    return tuple(str(word) for key, value in values.items() for word in (f"MODEL.FCTL.{key}", value))


def models(args: argparse.Namespace, method: str) -> dict[str, str]:
    """Row -> the first row with the same options, which is trained for both."""
    first: dict[tuple[str, ...], str] = {}
    asked = rows_of(method) if args.only is None else [row for row in rows_of(method) if row in args.only]
    return {row: first.setdefault(options(method, row), row) for row in asked}


def measure(args: argparse.Namespace, method: str, row: str, seed: int) -> None:
    """Train and score one row with one seed, unless an earlier call has done it."""
    folder = _folder(args, method, row, seed)
    config = REPOSITORY / "configs" / method / "tiny.yaml"
    iterations = args.iterations or METHODS[method].iterations
    asked = {
        "options": list(options(method, row)),
        "common": list(map(str, METHODS[method].common)),
        "iterations": iterations,
        "scenes": [args.train_scenes, args.test_scenes],
        "configuration": hashlib.sha256(config.read_bytes()).hexdigest(),
    }
    refuse_others(folder, asked)
    if _figures(folder):
        return
    data, own = draw(args, seed)
    fixed = (
        *own, "DATASETS.TRAIN", "('land_train_sem_seg',)", "DATASETS.TEST", f"('{TESTS['land']}',)",
        "MODEL.DEVICE", "cpu", "OUTPUT_DIR", folder, "SEED", seed, "SOLVER.MAX_ITER", iterations,
        "SOLVER.CHECKPOINT_PERIOD", iterations,
        *METHODS[method].common, *options(method, row),
    )  # fmt: skip
    words = ["--config-file", config, "--resume", *fixed]
    # A process of its own, which has imported everything: a run takes little longer than that.
    process = multiprocessing.get_context("fork").Process(target=_train, args=(list(map(str, words)), data))
    process.start()
    process.join()
    if process.exitcode:
        raise RSKTSegError(f"{folder}: the training ended with status {process.exitcode}")


def _train(words: list[str], data: Path) -> None:
    os.environ[ROOT_VARIABLE] = str(data)
    torch.set_num_threads(1)
    sys.exit(run(lambda: start(words)))


def _folder(args: argparse.Namespace, method: str, row: str, seed: int) -> Path:
    return args.output / method / f"{row}_seed{seed}"


def _figures(folder: Path) -> dict[str, float]:
    """mIoU, mF1 and OA, and mIoU of guessing, in percent; empty if incomplete."""
    file = folder / "inference" / f"{TESTS['land']}.json"
    if not file.exists():
        return {}
    (scores,) = json.loads(file.read_text())["datasets"].values()
    pixels = np.array([row["pixels"] for row in scores["classes"].values()])
    guess = np.nanmean(np.where(pixels > 0, chance_iou(pixels), np.nan))
    return {"mIoU": scores["mIoU"], "mF1": scores["mF1"], "OA": scores["pACC"], "chance": float(guess)}


def complete(args: argparse.Namespace, method: str) -> dict[str, dict[int, dict[str, float]]]:
    """Row -> seed -> figures, of everything in the output folder that is complete."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for row, trained in models(args, method).items():
        for seed in args.seeds:
            if figures := _figures(_folder(args, method, trained, seed)):
                found.setdefault(row, {})[seed] = figures
    return found


def lines(method: str, found: dict[str, dict[int, dict[str, float]]]) -> Iterator[str]:
    """A table for each of the paper: mean and, over several seeds, the standard deviation."""
    for name in METHODS[method].tables:
        rows = []
        for row, runs in found.items():
            if row.startswith(name):
                cells = ([each[key] for each in runs.values()] for key in ("mIoU", "mF1", "OA"))
                label = rows_of(method)[row].row
                rows.append([f"`{row}`", label, len(runs), *map(spread, cells)])
        headers = ["row", "paper", "seeds", "mIoU", "mF1", "OA"]
        yield f"## {name}\n\n{tabulate(rows, headers, tablefmt='github', disable_numparse=True)}\n"


def write(args: argparse.Namespace, method: str) -> str:
    """Write and return the tables of what is complete."""
    found = complete(args, method)
    if not found:
        raise RSKTSegError(f"{args.output} holds no complete run of {method} yet")
    guess = np.mean([figures["chance"] for runs in found.values() for figures in runs.values()])
    text = "\n".join([*lines(method, found), f"Guessing the class of every pixel: {guess:.1f} mIoU.\n"])
    replace_text(args.output / f"{method}.json", json.dumps(found, indent=1) + "\n")
    replace_text(args.output / f"{method}.md", text)
    return text


def main() -> int:
    args = arguments()
    args.output = args.output.resolve()
    known = {row for method in args.methods for row in rows_of(method)}
    if unknown := set(args.only or ()) - known:
        raise RSKTSegError(f"--only {sorted(unknown)[0]} is no row; known are {', '.join(sorted(known))}")
    if not args.table:
        for seed in args.seeds:
            for method in args.methods:
                for row in dict.fromkeys(models(args, method).values()):
                    measure(args, method, row, seed)
    for method in args.methods:
        print(write(args, method))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
