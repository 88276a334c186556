#!/usr/bin/env python
"""Kill the segmentation of a scene at random moments, and compare what the next run makes of it.

    python tools/scene_campaign.py --kills 30 --seed 0
    python tools/scene_campaign.py --memory

The first form segments a scene once, then as often as --kills says starts the same run, ends all of its
processes by SIGKILL at a random moment, and starts it again to its end, in turn in one process and with two
workers. Every file must have the bytes of the undisturbed run (a GeoPackage its content, as SQLite states the
time). The second measures the peak memory of fresh processes: of a scene of 4,096 x 4,096 px and one of
4,096 x 32,768 px, which must not differ by more than 10 %, and of a mosaic of 60,000 x 60,000 px, nearly all
of it without data, which must stay below 1.5 GB. A stub model looks at single pixels. Exit status: 0 if all
holds, 1 if not, with the files left in --output.
"""

import argparse
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Self

# One thread a process: forked processes may not use the threads that a library has started before.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import rasterio
import torch
import torch.nn.functional as F
from rasterio.transform import Affine
from rasterio.windows import Window
from torch import Tensor, nn

from rskt_seg import Segmenter
from rskt_seg.commands.entry import command_parser, positive, run
from rskt_seg.errors import ConfigError
from rskt_seg.models import CostVolumeOutput
from rskt_seg.models.rskt import RSKT

NAMES = ("red", "green", "blue")
PLACE = {"crs": "EPSG:32632", "transform": Affine(0.5, 0, 3e5, 0, -0.5, 56e5), "nodata": 0}
SIZE, CHUNK = (1100, 1300), 512
MOST_GROWTH, MOST_BYTES = 1.1, 1.5e9
MOSAIC, TILE = 60_000, 2048


class Colours(RSKT):
    """A model whose score of a class is a channel of the pixel, or of the mean of a cell."""

    working_side = 48
    score_kind = "sigmoids"

    def __init__(self, cells: int = 48) -> None:
        nn.Module.__init__(self)
        self.scale = nn.Parameter(torch.tensor(1 / 255))
        self.cells = cells

    @property
    def logits_side(self) -> int:
        """Side of the logits in cells."""
        return self.cells

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.scale.device

    def train(self, mode: bool = True) -> Self:
        """Set the mode, without a cache of texts to drop."""
        nn.Module.train(self, mode)
        return self

    def forward(self, images: Tensor, vocabulary: Sequence[str], **_: object) -> CostVolumeOutput:
        """Return channels of the images (B, 3, H, W) as logits (B, T, cells, cells), or finer as they are."""
        if images.shape[-1] > self.cells:
            images = F.adaptive_avg_pool2d(images, self.cells)
        return CostVolumeOutput(images[:, [NAMES.index(name) for name in vocabulary]] * self.scale)

    def scores(self, output: CostVolumeOutput) -> Tensor:
        """Return the logits, which are scores in 0..1."""
        return output.logits


def segment(scene: Path, output: Path, workers: int) -> None:
    """Segment the scene of the kills."""
    Segmenter(Colours(), NAMES).segment_scene(
        scene, output, workers=workers, chunk=CHUNK, scores=True, polygons=("gpkg",), min_area="4 px"
    )


def segment_large(scene: Path, output: Path) -> None:
    """Segment a scene whose memory is measured, in windows that cost little beside the rest."""
    # Its noise has a polygon for every other pixel, which says nothing of scenes.
    Segmenter(Colours(12), NAMES).segment_scene(
        scene, output, chunk=2048, window=384, overlap=0.0, polygons=()
    )


def write_scene(path: Path, height: int, width: int, seed: int, cell: int = 6) -> Path:
    """Write noise of cells of some pixels, with a corner without data."""
    generator = np.random.default_rng(seed)
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8"}
    layout = {"photometric": "rgb", "tiled": True, "compress": "deflate", "zlevel": 1}
    with rasterio.open(path, "w", **profile, **layout, **PLACE) as dataset:
        for top in range(0, height, 512):
            rows = min(512, height - top)
            cells = generator.integers(1, 256, (3, -(-rows // cell), -(-width // cell)), np.uint8)
            values = np.kron(cells, np.ones((1, cell, cell), np.uint8))[:, :rows, :width]
            if top == 0:
                values[:, :80, :90] = 0
            dataset.write(values, window=Window(0, top, width, rows))
    return path


def write_mosaic(path: Path) -> Path:
    """Write a large mosaic of a single small tile; all else of it has no data."""
    tile = write_scene(path.with_suffix(".tif"), TILE, TILE, 1)
    at = (MOSAIC - TILE) // 2 + 99
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><NoDataValue>0</NoDataValue>'
        f"<ColorInterp>{color}</ColorInterp><SimpleSource>"
        f'<SourceFilename relativeToVRT="1">{tile.name}</SourceFilename><SourceBand>{band}</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="{TILE}" ySize="{TILE}"/>'
        f'<DstRect xOff="{at}" yOff="{at}" xSize="{TILE}" ySize="{TILE}"/></SimpleSource></VRTRasterBand>'
        for band, color in enumerate(("Red", "Green", "Blue"), start=1)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{MOSAIC}" rasterYSize="{MOSAIC}"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>300000, 0.5, 0, 5600000, 0, -0.5</GeoTransform>{bands}</VRTDataset>"
    )
    return path


def start(scene: Path, output: Path, workers: int) -> multiprocessing.process.BaseProcess:
    """Start a run, as the head of a process group of its own."""
    ready, told = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_lead, args=(told, scene, output, workers), daemon=False
    )
    process.start()
    ready.recv()
    return process


def _lead(told: "multiprocessing.connection.Connection", scene: Path, output: Path, workers: int) -> None:
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    told.send(True)
    segment(scene, output, workers)


def differences(found: Path, expected: Path) -> list[str]:
    """Return the names of the files that differ between two folders, or are in one alone."""
    names = {path.relative_to(folder) for folder in (found, expected) for path in folder.rglob("*")}
    return sorted(str(name) for name in names if not _is_same(found / name, expected / name))


def _is_same(one: Path, other: Path) -> bool:
    if not (one.exists() and other.exists()) or one.is_dir() != other.is_dir():
        return False
    if one.is_dir():
        return True
    if one.suffix == ".gpkg":
        return _rows(one) == _rows(other)
    return one.read_bytes() == other.read_bytes()


def _rows(path: Path) -> list[str]:
    """Return the content of a GeoPackage, a line for each row, without the times of writing."""
    with closing(sqlite3.connect(path)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [
            f"{name}: {row}" for name in sorted(tables) for row in database.execute(f'SELECT * FROM "{name}"')
        ]
    return [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z?", "TIME", row) for row in rows]


def kill_again_and_again(folder: Path, kills: int, seed: int) -> int:
    """Kill runs and compare. Return how many ended with other files."""
    scene, moments, bad = write_scene(folder / "scene.tif", *SIZE, seed), random.Random(seed), 0
    seconds = {}
    for workers in (0, 2):
        began = time.monotonic()
        process = start(scene, folder / f"whole {workers}", workers)
        process.join()
        if process.exitcode:
            raise ConfigError(f"a run that nothing disturbs ends with status {process.exitcode}")
        seconds[workers] = time.monotonic() - began
    print(f"an undisturbed run takes {seconds[0]:.1f} s, with two workers {seconds[2]:.1f} s", flush=True)
    bad += bool(differences(folder / "whole 2", folder / "whole 0"))
    number = 0
    while number < kills:
        workers, output = (0, 2)[number % 2], folder / f"kill {number + 1}"
        moment = moments.uniform(0, seconds[workers])
        process = start(scene, output, workers)
        process.join(moment)
        if process.exitcode is not None:  # too late; another moment
            shutil.rmtree(output)
            continue
        number += 1
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        done = len(list(output.glob("*_parts/*_*.json")))
        files = len([path for path in output.glob("*") if path.is_file() and path.name[0] != "."])
        process = start(scene, output, workers)
        process.join()
        changed = [*differences(output, folder / "whole 0")]
        if process.exitcode:
            changed.append(f"status {process.exitcode}")
        bad += bool(changed)
        what = f"killed with {done} of 9 chunks and {files} results"
        verdict = f"DIFFERENT: {', '.join(changed)}" if changed else "the same files"
        print(f"{number:3d}: {workers} workers, {moment:5.2f} s, {what}: {verdict}", flush=True)
        if not changed:
            shutil.rmtree(output)
    print(f"{kills} kills, {bad} with other files, seed {seed}")
    return bad


def measure_memory(folder: Path) -> int:
    """Measure peaks. Return how many laws do not hold."""
    peaks = {}
    for name, make in (
        ("4,096 x 4,096 px", lambda path: write_scene(path.with_suffix(".tif"), 4096, 4096, 0)),
        ("32,768 x 4,096 px", lambda path: write_scene(path.with_suffix(".tif"), 32768, 4096, 0)),
        ("60,000 x 60,000 px, sparse", lambda path: write_mosaic(path.with_suffix(".vrt"))),
    ):
        scene = make(folder / name.split(",")[0].replace(" ", ""))
        began = time.monotonic()
        child = subprocess.Popen([sys.executable, __file__, "--one", scene, "--output", folder / "maps"])
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if status:
            raise ConfigError(f"the run of {name} ended with status {child.returncode}")
        peaks[name] = usage.ru_maxrss * 1024
        print(f"{name}: {peaks[name] / 1e6:.0f} MB at most, {time.monotonic() - began:.0f} s", flush=True)
    low, high, mosaic = peaks.values()
    print(f"eight times the rows take {high / low:.3f} times the memory (at most {MOST_GROWTH})")
    return (high > MOST_GROWTH * low) + (mosaic > MOST_BYTES)


def main() -> int:
    """Run the campaign. Return the exit status."""
    parser = command_parser("tools/scene_campaign.py", __doc__)
    parser.add_argument("--kills", type=positive, default=30, help="runs that are killed (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other moments")
    parser.add_argument("--memory", action="store_true", help="measure memory in place of killing")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path("output/scenes"), help="default: %(default)s")
    args = parser.parse_args()
    if args.one:
        segment_large(args.one, args.output)
        return 0
    folder = args.output.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    bad = measure_memory(folder) if args.memory else kill_again_and_again(folder, args.kills, args.seed)
    if not bad:
        shutil.rmtree(folder)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(run(main))
