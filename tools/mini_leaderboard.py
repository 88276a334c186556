#!/usr/bin/env python
"""All methods side by side on one synthetic set: who wins, and at what cost.

    python tools/mini_leaderboard.py --seeds 1 2 3

Draws scenes of land cover, trains the tiny model of every method on the same ones (CLIP zero-shot needs no
training, the weakly supervised method sees image-level labels alone), scores each on scenes that none was
trained on, and compares them with `rskt-seg compare` and `rskt-seg analyze`. Writes `leaderboard.md`,
`leaderboard.json` and `leaderboard.png` below --output. Each tiny configuration is what it is: its length of
training and its learning rate are not those of the others. What is complete is kept, so the same command goes
on where it was stopped; `--only` restricts it to some methods.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mini_ablation import refuse_others, spread  # these two find demo/ of the checkout
from tabulate import tabulate
from wsss_ablation import TESTS, call, draw

from rskt_seg.commands.entry import run
from rskt_seg.d2 import load_config
from rskt_seg.errors import RSKTSegError
from rskt_seg.metrics.benchmark import chance_iou
from rskt_seg.wording import counted
from rskt_seg.writing import replace_text

REPOSITORY = Path(__file__).resolve().parents[1]
TRAIN, TEST = "land_train_sem_seg", TESTS["land"]
SCENES_DRAWN = 4
"""Scenes in the picture."""


class Entry(NamedTuple):
    """A row of the leaderboard.

    Attributes:
        config: Its tiny configuration.
        learns: What it is trained with.
        trains: Whether it is trained at all.
    """

    config: str
    learns: str = "masks"
    trains: bool = True


ENTRIES = {
    "RSKT-Seg": Entry("configs/ovrsis/tiny_dlrsd.yaml"),
    "GSNet": Entry("configs/peers/gsnet_tiny_dlrsd.yaml"),
    "OVRS": Entry("configs/peers/ovrs_tiny_dlrsd.yaml"),
    "CAT-Seg": Entry("configs/peers/catseg_tiny_dlrsd.yaml"),
    "BiCoR-Seg": Entry("configs/bicor/tiny.yaml"),
    "FCtL": Entry("configs/fctl/tiny.yaml"),
    "Weakly supervised": Entry("configs/wsss/tiny_land.yaml", "image labels"),
    "CLIP zero-shot": Entry("configs/clip_zeroshot/tiny.yaml", "nothing", trains=False),
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("output/leaderboard"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=ENTRIES, default=list(ENTRIES), metavar="METHOD")
    parser.add_argument("--train-scenes", type=int, default=400)
    parser.add_argument("--test-scenes", type=int, default=100)
    parser.add_argument("--iterations", type=int, help="default: that of each configuration")
    parser.add_argument("--rounds", type=int, default=3, help="of timing, all methods in turn (3)")
    parser.set_defaults(set="land")  # for `draw`
    return parser.parse_args()


def score(args: argparse.Namespace, title: str, seed: int) -> Path:
    """Train and evaluate a method with one seed, unless an earlier call has done it; the run's folder."""
    entry, folder = ENTRIES[title], _folder(args, title, seed)
    asked = {
        "configuration": hashlib.sha256(
            load_config(str(REPOSITORY / entry.config)).dump().encode()
        ).hexdigest(),
        "iterations": args.iterations,
        "scenes": [args.train_scenes, args.test_scenes],
    }
    refuse_others(folder, asked)
    if (folder / "benchmark.json").exists():
        return folder
    data, own = draw(args, seed)
    sets = (*own, "DATASETS.TEST", f"('{TEST}',)", "OUTPUT_DIR", folder, "SEED", seed)
    weights: tuple[object, ...] = ()
    if entry.trains:
        limit = (
            () if args.iterations is None else ("SOLVER.MAX_ITER", args.iterations, "SOLVER.WARMUP_ITERS", 0)
        )
        sets = (*sets, "DATASETS.TRAIN", f"('{TRAIN}',)")
        call("train_net.py", "--config-file", entry.config, "--resume", *sets, *limit, data=data)
        weights = ("MODEL.WEIGHTS", folder / "model_final.pth")
    options = ("TEST.SAVE_PREDICTIONS", True, *weights)
    call("train_net.py", "--config-file", entry.config, "--eval-only", *sets, *options, data=data)
    return folder


def command(data: Path, *words: object) -> None:
    """Run a subcommand of `rskt-seg`, shown as a user would type it."""
    print(f"\n$ DETECTRON2_DATASETS={data} {shlex.join(['rskt-seg', *map(str, words)])}", flush=True)
    program = "import sys; from rskt_seg.commands.cli import main; sys.exit(main())"
    environment = {**os.environ, "DETECTRON2_DATASETS": str(data)}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], env=environment, check=False, cwd=REPOSITORY
    )
    if done.returncode:
        raise RSKTSegError(f"rskt-seg {words[0]} ended with status {done.returncode}")


def compare(args: argparse.Namespace, seed: int) -> dict[str, dict]:
    """Title -> row of `rskt-seg compare` over the methods, trained with one seed."""
    data, _ = draw(args, seed)
    folder = args.output / f"comparison_seed{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    runs = [f"{title}={_folder(args, title, seed)}" for title in args.only]
    command(data, "compare", *runs, "--output", folder)
    return {row["title"]: row for row in json.loads((folder / "comparison.json").read_text("utf-8"))["rows"]}


def analyze(args: argparse.Namespace) -> dict[str, list[dict]]:
    """Title -> the analyses of all rounds; methods take turns, as a machine's speed varies."""
    data, own = draw(args, args.seeds[0])
    found: dict[str, list[dict]] = {title: [] for title in args.only}
    for number in range(args.rounds):
        for title in args.only:
            folder = args.output / "cost" / f"{_name(title)}_{number}"
            sets = (*own, "DATASETS.TEST", f"('{TEST}',)", "DATASETS.TRAIN", f"('{TRAIN}',)")
            words = ("--config-file", ENTRIES[title].config, "--threads", 1, "--output", folder, *sets)
            if not (folder / "analyze.json").exists():
                command(data, "analyze", *words)
            found[title].append(json.loads((folder / "analyze.json").read_text("utf-8")))
    return found


def picture(args: argparse.Namespace) -> None:
    """Draw the first test scenes with the truth and what each method makes of them."""
    seed, file = args.seeds[0], args.output / "leaderboard.png"
    data, _ = draw(args, seed)
    file.unlink(missing_ok=True)
    runs = [f"{title}={_folder(args, title, seed)}" for title in args.only]
    words = ("--dataset", TEST, "--own", data / "land.yaml", "--scenes", SCENES_DRAWN, "--output", file)
    command(data, "picture", *runs, *words)


def table(args: argparse.Namespace, rows: dict[int, dict[str, dict]], costs: dict[str, list[dict]]) -> str:
    """The leaderboard, best first: scores of all seeds, the first seed's intervals, and costs."""
    first = rows[args.seeds[0]]
    titles = sorted(args.only, key=lambda title: -np.mean([row[title]["mean"] for row in rows.values()]))
    times = {title: [_seconds(each) for each in costs[title]] for title in titles}
    fastest = min(titles, key=lambda title: np.median(times[title]))
    lines = []
    for title in titles:
        cost, image = costs[title][0], costs[title][0]["images"][0]
        ratios = [own / other for own, other in zip(times[title], times[fastest], strict=True)]
        parameters = cost["parameters"]
        lines.append([
            title, ENTRIES[title].learns, spread([row[title]["mean"] for row in rows.values()]),
            _difference(first[title]["mean_difference"]), f"{parameters['total'] / 1e6:.2f}",
            f"{parameters['trained'] / 1e6:.2f}" if ENTRIES[title].trains else "0",
            f"{image['flops'] / 1e9:.2f}", image["crops"] or "-",
            f"{np.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        ])  # fmt: skip
    headers = [
        "method", "learns from", f"mIoU, {counted(len(rows), 'seed')}",
        f"to {args.only[0]}, seed {args.seeds[0]}",
        "parameters (M)", "trained (M)", "GFLOPs per image", "crops", f"time, {fastest} = 1",
    ]  # fmt: skip
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def _difference(found: dict | None) -> str:
    if found is None:
        return "-"
    low, high = found["bounds"]
    return f"{found['value']:+.1f} [{low:+.1f}, {high:+.1f}]"


def _seconds(analysis: dict) -> float:
    return analysis["images"][0]["measured"]["median_seconds"]


def _name(title: str) -> str:
    return title.lower().replace(" ", "_")


def _folder(args: argparse.Namespace, title: str, seed: int) -> Path:
    return args.output / f"{_name(title)}_seed{seed}"


def chance(args: argparse.Namespace) -> float:
    """mIoU in percent of guessing the class of every pixel, mean over the seeds."""
    guesses = []
    for seed in args.seeds:
        report = json.loads((_folder(args, args.only[0], seed) / "benchmark.json").read_text("utf-8"))
        pixels = np.array([row["pixels"] for row in report["datasets"][TEST]["classes"].values()])
        guesses.append(np.nanmean(chance_iou(pixels)))
    return float(np.mean(guesses))


def main() -> int:
    args = arguments()
    args.output = args.output.resolve()
    for seed in args.seeds:
        for title in args.only:
            score(args, title, seed)
    rows = {seed: compare(args, seed) for seed in args.seeds}
    costs = analyze(args)
    picture(args)
    text = f"{table(args, rows, costs)}\n\nGuessing the class of every pixel: {chance(args):.1f} mIoU."
    found = {"rows": rows, "costs": costs}
    replace_text(args.output / "leaderboard.json", json.dumps(found, indent=1) + "\n")
    replace_text(args.output / "leaderboard.md", text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
