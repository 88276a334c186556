"""OVRSISBench at small scale: eight miniature sets, seven of them never trained on, and a control.

Shared by `demo/quickstart.py` and `tools/mini_ablation.py`; every step is a command that users type.
"""

import json
import multiprocessing
import os
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np

from rskt_seg.errors import RSKTSegError
from rskt_seg.metrics.benchmark import chance_iou
from rskt_seg.synthetic import MINIATURES, write_miniature

REPOSITORY = Path(__file__).resolve().parents[1]
TRAINING = "configs/ovrsis/tiny_dlrsd.yaml"
BENCHMARK = "configs/ovrsis/bench_tiny_dlrsd.yaml"
SIDE = 96
IN_DOMAIN, OTHERS, UNSEEN, TIMES_CHANCE, ROTATED = 50.0, 25.0, 20.0, 5.0, 10.0


_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["rskt_seg.commands.segment", "rskt_seg.d2.trainer"])
"""Starts the commands as copies of one process that has imported what they need, which takes seconds."""


def call(script: str, *words: object, data: Path) -> None:
    """Run one of the repository's commands in a process of its own, shown as a user would type it."""
    print(f"\n$ DETECTRON2_DATASETS={data} {shlex.join(['python', script, *map(str, words)])}", flush=True)
    command = _FORKING.Process(target=_run, args=(script, [str(word) for word in words], str(data)))
    command.start()
    try:
        command.join()
    except BaseException:
        command.terminate()
        command.join()
        raise
    if command.exitcode:
        raise RSKTSegError(f"{script} ended with status {command.exitcode}")


def _run(script: str, words: list[str], data: str) -> None:
    os.environ["DETECTRON2_DATASETS"] = data
    os.chdir(REPOSITORY)
    sys.argv = [script, *words]
    runpy.run_path(str(REPOSITORY / script), run_name="__main__")


def write_sets(data: Path, seed: int, train_scenes: int, val_scenes: int) -> None:
    """Draw the eight sets: `train_scenes` of DLRSD to train on, `val_scenes` of each to test on."""
    for row in MINIATURES.values():
        write_miniature(row, data, train_scenes if row.train else 0, val_scenes, seed, SIDE)


def benchmark(weights: Path, data: Path, output: Path, *options: object) -> None:
    """Evaluate the eight sets with their own class names, then with the names exchanged."""
    fixed = ("--config-file", BENCHMARK, "--eval-only", "MODEL.WEIGHTS", weights, "OUTPUT_DIR", output)
    for control in ((), ("TEST.ROTATE_NAMES", 1)):
        call("train_net.py", *fixed, *control, *options, data=data)


def figures(output: Path) -> dict:
    """The figures that `judge` looks at, from the two reports in `output`; percent."""
    report = json.loads((output / "benchmark.json").read_text())
    rotated = json.loads((output / "benchmark_rotated1.json").read_text())
    scores = {name: row["mIoU"] for name, row in report["datasets"].items()}
    own = MINIATURES["DLRSD"].val
    row = MINIATURES["iSAID"]
    classes = report["datasets"][row.both]["classes"]
    guesses = dict(zip(classes, chance_iou(np.array([c["pixels"] for c in classes.values()])), strict=True))
    undrawn = [name for name in row.undrawn() if classes[name]["pixels"]]
    if not undrawn:
        raise RSKTSegError("no class that was never trained on occurs in these scenes: draw more of them")
    return {
        "in_domain": scores[own],
        "mean_of_others": float(np.mean([score for name, score in scores.items() if name != own])),
        "isaid_undrawn": float(np.mean([classes[name]["IoU"] for name in undrawn])),
        "isaid_undrawn_chance": float(np.mean([guesses[name] for name in undrawn])),
        "rotated_names": rotated["mean"]["mIoU"],
        "datasets": scores,
    }


def judge(found: dict) -> list[str]:
    """What falls short of segmenting by words; empty if nothing does."""
    undrawn, guessed = found["isaid_undrawn"], found["isaid_undrawn_chance"]
    bounds = {
        f"in-domain mIoU is {found['in_domain']:.1f}; at least {IN_DOMAIN} is asked for": found["in_domain"]
        >= IN_DOMAIN,
        f"the mean of the seven other sets is {found['mean_of_others']:.1f}; at least {OTHERS} is asked "
        "for": found["mean_of_others"] >= OTHERS,
        f"iSAID's classes that were never drawn in training score {undrawn:.1f}; at least {UNSEEN} and "
        f"{TIMES_CHANCE:.0f} times chance ({guessed:.1f}) are asked for": undrawn
        >= max(UNSEEN, TIMES_CHANCE * guessed),
        f"with exchanged class names the mean is still {found['rotated_names']:.1f}; at most {ROTATED} "
        "shows that the names are read": found["rotated_names"] <= ROTATED,
    }
    return [fault for fault, holds in bounds.items() if not holds]
