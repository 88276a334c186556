"""Predict the test images of LoveDA and pack them for its server.

    rskt-seg loveda-submission --config-file configs/bicor/loveda.yaml --images LoveDA/Test \\
        --output submission.zip --tta d4_loveda MODEL.WEIGHTS output/bicor/loveda/model_final.pth

The zip file has 1796 single-channel PNGs with class ids 0..6, named after the images, and no folder. Finished
PNGs are kept in a work folder, so that the same command continues where it was stopped. Nothing is
overwritten.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rskt_seg.commands.entry import command_parser, echo, log_to_stderr, place, run
from rskt_seg.data.class_sets import LOVEDA
from rskt_seg.data.submission import TEST_IDS, check_classes, check_output, find_test_images, write_submission

PROGRAM = "rskt-seg loveda-submission"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `rskt-seg loveda-submission`. Return the exit status."""
    return run(partial(predict_test_images, parse_args(argv)), PROGRAM)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser(PROGRAM, __doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="YAML file of a model of the LoveDA classes")
    add("--images", required=True, type=place, metavar="DIR", help="LoveDA/Test, or a folder of its PNGs")
    add("--output", required=True, type=place, metavar="FILE.zip", help="a file that does not exist yet")
    add(
        "--tta", type=_views, metavar="NAME",
        help="views to average, such as d4_loveda; default: TEST.AUG.VIEWS where TEST.AUG.ENABLED",
    )  # fmt: skip
    add("--work", type=place, metavar="DIR", help="folder of the finished PNGs (default: beside the output)")
    add("--part", action="store_true", help="take the images that are there; the server wants all")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the YAML file")
    return parser.parse_args(argv)


def _views(name: str) -> str:
    """Return the name of a set of views, as the type of an argument of argparse."""
    from rskt_seg.inference.views import VIEWS  # imports torch, which --help does without

    if name not in VIEWS:
        raise argparse.ArgumentTypeError(f"invalid choice: {name!r} (choose from {', '.join(VIEWS)})")
    return name


def predict_test_images(args: argparse.Namespace) -> int:
    """Check all that can be wrong, then build the model, predict and pack. Return the exit status."""
    log_to_stderr()
    check_output(args.output)
    images = find_test_images(args.images, allow_missing=args.part)

    from rskt_seg.checkpoints.fetch import sha256_of
    from rskt_seg.d2 import build_model, load_config, provenance
    from rskt_seg.d2.devices import check_devices
    from rskt_seg.d2.methods import method_of
    from rskt_seg.d2.weights import check_trained, scored_files
    from rskt_seg.segmenter import Segmenter

    cfg = load_config(args.config_file, args.opts)
    check_devices(cfg.MODEL.DEVICE)
    check_trained(cfg)
    record = method_of(cfg)
    names, options = None if record.method.is_closed else LOVEDA.names, record.evaluation_options(cfg)
    views = args.tta or (cfg.TEST.AUG.VIEWS if cfg.TEST.AUG.ENABLED else "none")
    segmenter = Segmenter(build_model(cfg), names, views=views, **options)
    check_classes(segmenter.vocabulary.names)

    def predict(path: Path) -> np.ndarray:
        return segmenter.predict(path).labels

    about = {
        "weights": [sha256_of(file) for file in scored_files(cfg, cfg.MODEL.WEIGHTS).values()],
        "settings": provenance.scoring_digest(cfg),
        "code": provenance.code_digest(),
        "versions": provenance.versions(cfg.MODEL.DEVICE),
        "images": provenance.listing_digest(map(str, images.values())),
        "tta": views,
    }
    work = write_submission(images, predict, args.output, about, args.work)
    counted = f"{len(images)} of {len(TEST_IDS)} images"
    echo(f"{args.output}: {counted}; the PNGs are in {work}")
    return 0
