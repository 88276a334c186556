#!/usr/bin/env python
"""Measure training samples a second and core, and where their time goes.

    python tools/benchmarks/loader.py
    python tools/benchmarks/loader.py --against ../other_checkout

Images are drawn: blocks of colour under noise, saved as the recipes' data sets are. Times are CPU time of one
thread, as a worker process of the loader has it: the median of passes over the same samples with the same
random numbers. `--against` alternates with another checkout, whose package is measured by this same file.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

CLASSES = tuple(f"class {k}" for k in range(7))
ROUNDS = 3
"""Alternations with another checkout."""


@dataclass(frozen=True)
class Recipe:
    """A configuration and the images that it is measured on: squares of `side` px."""

    config: str
    side: int
    suffix: str

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.config}, {self.side} px {self.suffix[1:].upper()}"


RECIPES = (
    Recipe("ovrsis/vitb_dlrsd.yaml", 256, ".png"),
    Recipe("bicor/loveda.yaml", 1024, ".jpg"),
    Recipe("bicor/loveda.yaml", 1024, ".png"),
    Recipe("wsss/vitb_isaid.yaml", 512, ".png"),
)


@contextmanager
def clock(spent: Counter[str], stage: str) -> Iterator[None]:
    """Add the CPU seconds of a block to its stage."""
    start = time.process_time()
    yield
    spent[stage] += time.process_time() - start


def write_samples(folder: Path, recipe: Recipe, count: int) -> list[dict[str, object]]:
    """Draw `count` images with labels; return their dataset dicts."""
    rng, entries = np.random.default_rng(recipe.side), []
    for k in range(count):
        ids = rng.integers(0, len(CLASSES), (16, 16), dtype=np.uint8)
        label = np.kron(ids, np.ones((recipe.side // 16,) * 2, np.uint8))
        noise = rng.integers(-12, 13, (*label.shape, 3))
        image = np.clip(rng.integers(0, 256, (len(CLASSES), 3))[label] + noise, 0, 255).astype(np.uint8)
        paths = folder / f"{k}{recipe.suffix}", folder / f"{k}_label.png"
        Image.fromarray(image).save(paths[0], quality=90)
        Image.fromarray(label).save(paths[1])
        names = {"file_name": str(paths[0]), "sem_seg_file_name": str(paths[1])}
        entries.append({**names, "vocabulary": CLASSES, "image_labels": (0,)})
    return entries


def measure(recipe: Recipe, count: int = 12, passes: int = 7) -> dict[str, float]:
    """Measure one recipe in this process, whose threads must be one.

    Args:
        recipe: What to measure.
        count: Number of samples of a pass.
        passes: Number of passes, after one that warms up.

    Returns:
        Milliseconds a sample: "all", and the stages that make it up. "tensors" is what is left.
    """
    from detectron2.data import transforms as T

    from rskt_seg.d2 import load_config
    from rskt_seg.d2.chains import chosen_chain
    from rskt_seg.d2.mapper import training_mapper
    from rskt_seg.d2.randomness import random_sample
    from rskt_seg.data.labels import read_label
    from rskt_seg.data.samples import read_8bit_image

    with TemporaryDirectory() as folder:
        entries = write_samples(Path(folder), recipe, count)
        cfg = load_config(recipe.config, ["MODEL.DEVICE", "cpu"])
        mapper, found = training_mapper(cfg, entries), []
        for _ in range(passes + 1):
            spent: Counter[str] = Counter()
            for place, entry in enumerate(entries):
                with clock(spent, "all"), random_sample(1, place):
                    mapper(entry)
                with clock(spent, "decode image"):
                    read_8bit_image(entry["file_name"])
                if chosen_chain(cfg).uses_masks:
                    with clock(spent, "decode label"):
                        read_label(entry["sem_seg_file_name"])
                with clock(spent, "sample"):
                    image, label = mapper.sample(entry)
                inputs = T.AugInput(image, sem_seg=label)
                with random_sample(1, place):
                    for augmentation in mapper.augmentations.augs:
                        with clock(spent, type(augmentation).__name__):
                            augmentation(inputs)
            found.append(spent)
    times = {stage: 1000 * median(each[stage] for each in found[1:]) / count for stage in found[0]}
    times["checks"] = times.pop("sample") - times["decode image"] - times.get("decode label", 0.0)
    times["tensors"] = times["all"] - sum(value for stage, value in times.items() if stage != "all")
    return times


def measure_here() -> dict[str, dict[str, float]]:
    """Measure all recipes with one thread; return their times by name."""
    import torch

    torch.set_num_threads(1)
    try:
        from rskt_seg.d2.workers import start_worker

        start_worker(0)
    except ImportError:  # of an earlier checkout
        pass
    return {recipe.name: measure(recipe) for recipe in RECIPES}


def measure_in(checkout: Path) -> dict[str, dict[str, float]]:
    """Measure all recipes with the package of a checkout, in a process of its own."""
    paths = {"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--json"]
    output = subprocess.run(command, env=os.environ | paths, check=True, capture_output=True, text=True)
    times: dict[str, dict[str, float]] = json.loads(output.stdout.splitlines()[-1])
    return times


def show(times: Mapping[str, Mapping[str, float]]) -> None:
    """Print samples a second and core, and the stages in milliseconds."""
    for name, stages in times.items():
        print(f"{name}: {1000 / stages['all']:.1f} samples a second and core, {stages['all']:.2f} ms each")
        print("    " + ", ".join(f"{k} {v:.2f}" for k, v in stages.items() if k != "all"))


def compare(other: Path) -> None:
    """Alternate another checkout and this one; print both, and the ratios of their rates."""
    here = Path(__file__).resolve().parents[2]
    rounds = [(measure_in(other), measure_in(here)) for _ in range(ROUNDS)]
    show(rounds[-1][0])
    show(rounds[-1][1])
    for name in rounds[0][0]:
        ratios = sorted(before[name]["all"] / after[name]["all"] for before, after in rounds)
        print(f"{name}: {median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout to compare with")
    parser.add_argument("--json", action="store_true", help="print the milliseconds as JSON")
    args = parser.parse_args()
    if args.against is not None:
        compare(args.against)
    elif args.json:
        print(json.dumps(measure_here()))
    else:
        show(measure_here())


if __name__ == "__main__":
    main()
