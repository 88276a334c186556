"""Segment generated scenes with the tiny model that comes with the package, and show the picture.

    rskt-seg demo --output output/demo

Draws scenes that the model has never seen, `unseen/images/sceneN.png` with their class ids in `unseen/truth`,
and `picture.png`: each scene beside its truth and what the model makes of it. Nothing is downloaded.
"""

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rskt_seg.commands.entry import command_parser, echo, log_to_stderr, place, positive, run
from rskt_seg.errors import ConfigError, RSKTSegError

PROGRAM = "rskt-seg demo"
MODEL = "tiny"
SET = "DLRSD"
"""The miniature dataset in whose manner scenes are drawn; the model was trained on other scenes of it."""
SIDE = 96


class UnseenScene(NamedTuple):
    """A scene that is in no set, on the disk.

    Attributes:
        file: The image.
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) class ids, uint8.
    """

    file: Path
    image: np.ndarray
    truth: np.ndarray


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg demo`. Return the exit status."""
    return run(partial(_show, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__)
    parser.add_argument("--output", type=place, default=Path("output/demo"), metavar="DIR")
    parser.add_argument("--scenes", type=positive, default=4, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="others draw other scenes; default: %(default)s")
    return parser.parse_args(argv)


def write_unseen(folder: Path, seed: int, count: int) -> list[UnseenScene]:
    """Draw scenes that are in no set and write them with their class ids, each file whole or not at all.

    Args:
        folder: Gets `images/sceneN.png` and `truth/sceneN.png`.
        seed: Seed of the scenes.
        count: How many.

    Returns:
        The scenes.
    """
    from PIL import Image

    from rskt_seg.synthetic import MINIATURES, render_unseen
    from rskt_seg.writing import replacing

    row, scenes = MINIATURES[SET], []
    for index in range(count):
        drawn = render_unseen(row, seed, index, SIDE)
        name = f"scene{index}.png"
        scene = UnseenScene(folder / "images" / name, drawn.image, row.labels(drawn))
        for path, pixels in ((scene.file, scene.image), (folder / "truth" / name, scene.truth)):
            with replacing(path) as partial_file:
                Image.fromarray(pixels).save(partial_file, format="PNG")
        scenes.append(scene)
    return scenes


def _show(args: argparse.Namespace) -> None:
    log_to_stderr()
    try:
        _draw(args.output, args.seed, args.scenes)
    except RSKTSegError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot write to {args.output}: {reason}; choose a folder by --output") from error


def _draw(output: Path, seed: int, count: int) -> None:
    """Draw scenes, segment them, and write the picture."""
    from PIL import Image

    from rskt_seg.methods import load
    from rskt_seg.segmenter import Segmenter
    from rskt_seg.synthetic import MINIATURES
    from rskt_seg.visualization.scenes import Scene, draw_scenes
    from rskt_seg.writing import replacing

    scenes = write_unseen(output / "unseen", seed, count)
    names = MINIATURES[SET].classes
    segmenter = Segmenter(load(MODEL), names)
    maps = [segmenter.predict(scene.file).labels for scene in scenes]
    rows = [
        Scene(scene.file.stem, scene.image, scene.truth, [labels])
        for scene, labels in zip(scenes, maps, strict=True)
    ]
    picture = output / "picture.png"
    with replacing(picture) as partial_file:
        drawn = draw_scenes(rows, names, segmenter.legend.colors, titles=["Prediction"])
        Image.fromarray(drawn).save(partial_file, format="PNG")
    right = np.mean([labels == scene.truth for scene, labels in zip(scenes, maps, strict=True)])
    first = scenes[0]
    words = ", ".join(names[label] for label in np.unique(first.truth) if label < len(names))
    echo(
        f"{picture}: {len(scenes)} generated scenes that the model has never seen, {right:.0%} of the pixels "
        "right\n"
        f"now you: {_program()} segment {shlex.quote(str(first.file))} --model {MODEL} "
        f"--vocabulary {shlex.quote(words)} --output results"
    )


def _program() -> str:
    """Return how to call `rskt-seg` here: with its folder where that is not searched, as under make."""
    called = sys.argv[0]
    found = shutil.which("rskt-seg") or Path(called).name != "rskt-seg"
    return "rskt-seg" if found else shlex.quote(called)
