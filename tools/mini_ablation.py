#!/usr/bin/env python
"""The paper's component ablation and the choice of loss and fine-tuning, on the miniature benchmark.

    python tools/mini_ablation.py --output output/mini --seeds 1 2 3

Trains the tiny model on the miniature DLRSD once for each variant and seed, evaluates each on the eight
miniature sets, and once more with exchanged class names, and writes `ablation.md` and `ablation.json`.
A run takes 7 to 10 minutes on one core. What is complete is kept, so the same command goes on where it
was stopped; `--only` restricts it to some variants, `--table` writes the table of what is complete.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tabulate import tabulate

REPOSITORY = Path(__file__).resolve().parents[1]
# Runs from a checkout only, whose demo/mini_benchmark.py is no part of the package.
sys.path.append(str(REPOSITORY / "demo"))

from mini_benchmark import TRAINING, benchmark, call, figures, write_sets  # noqa: E402

from rskt_seg.commands.entry import run  # noqa: E402
from rskt_seg.errors import RSKTSegError  # noqa: E402

_BCE = ("MODEL.RSKT.LOSS", "bce")
_ATTENTION = ("MODEL.RSKT.CLIP_FINETUNE", "attention", "SOLVER.CLIP_MULTIPLIER", 0.01)
_NO = {
    "R-I": ("MODEL.RSKT.ROTATIONS", False),
    "DINO": ("MODEL.RSKT.DINO", False),
    "RST": ("MODEL.RSKT.REMOTE_CLIP", False),
    "RSF": ("MODEL.RSKT.AGGREGATOR", "original", "MODEL.RSKT.TEST_POOLING", 2),
}
VARIANTS: dict[str, tuple] = {
    "full": (),
    **{f"no_{name}": options for name, options in _NO.items()},
    "none": sum(_NO.values(), ()),
    "bce": _BCE,
    "attention": _ATTENTION,
    "bce_attention": (*_BCE, *_ATTENTION),
}
"""Name -> what it changes in the tiny configuration (cross-entropy, all of CLIP trains)."""
MEASURES = ("in_domain", "mean_of_others", "isaid_undrawn", "rotated_names")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output/mini"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--train-scenes", type=int, default=800)
    parser.add_argument("--val-scenes", type=int, default=100)
    parser.add_argument("--iterations", type=int, help="default: that of the configuration")
    parser.add_argument("--table", action="store_true", help="run nothing, tabulate what is complete")
    return parser.parse_args()


def measure(args: argparse.Namespace, variant: str, seed: int) -> dict:
    """Train and evaluate one variant with one seed, or take what an earlier call has done."""
    data, folder = args.output / f"datasets_seed{seed}", args.output / f"{variant}_seed{seed}"
    weights = folder / "model_final.pth"
    options = VARIANTS[variant]
    write_sets(data, seed, args.train_scenes, args.val_scenes)
    refuse_others(folder, {"options": options, "iterations": args.iterations})
    if not weights.exists():
        limit = () if args.iterations is None else ("SOLVER.MAX_ITER", args.iterations)
        own = ("OUTPUT_DIR", folder, "SEED", seed, *limit, *options)
        call("train_net.py", "--config-file", TRAINING, "--resume", *own, data=data)
    benchmark(weights, data, folder, *options)
    return figures(folder)


def refuse_others(folder: Path, asked: dict) -> None:
    """Runs of another length or of other options must not enter one table."""
    path, asked = folder / "ablation_run.json", json.loads(json.dumps(asked))
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asked))
    elif (found := json.loads(path.read_text())) != asked:
        raise RSKTSegError(f"{folder} was run with {found}, asked for {asked}; choose another --output")


def complete(args: argparse.Namespace) -> dict[str, dict[int, dict]]:
    """Variant -> seed -> figures, of everything in the output folder that is complete."""
    found: dict[str, dict[int, dict]] = {}
    for variant in args.only:
        for seed in args.seeds:
            folder = args.output / f"{variant}_seed{seed}"
            if (folder / "benchmark.json").exists() and (folder / "benchmark_rotated1.json").exists():
                found.setdefault(variant, {})[seed] = figures(folder)
    if not found:
        raise RSKTSegError(f"{args.output} holds no complete run yet")
    return found


def table(found: dict[str, dict[int, dict]]) -> str:
    """Mean and, over several seeds, the standard deviation of each measure and of each set."""
    sets = list(next(iter(next(iter(found.values())).values()))["datasets"])
    rows = []
    for variant, runs in found.items():
        cells = [[run[key] for run in runs.values()] for key in MEASURES]
        cells += [[run["datasets"][name] for run in runs.values()] for name in sets]
        rows.append([variant, len(runs), *map(spread, cells)])
    headers = ["variant", "seeds", "in-domain", "mean of 7 others", "iSAID never drawn", "names exchanged"]
    headers += [name.removesuffix("_sem_seg").removesuffix("_all") for name in sets]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def spread(values: list[float]) -> str:
    """The mean, and over several values the standard deviation."""
    mean = f"{np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {np.std(values, ddof=1):.1f}"


def main() -> int:
    args = arguments()
    args.output = args.output.resolve()
    if not args.table:
        for seed in args.seeds:
            for variant in args.only:
                measure(args, variant, seed)
    found = complete(args)
    (args.output / "ablation.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.output / "ablation.md").write_text(table(found) + "\n")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
