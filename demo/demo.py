#!/usr/bin/env python
"""Segment images by words.

    python demo/demo.py --config-file configs/ovrsis/vitb_dlrsd.yaml --input scene.tif photos/*.jpg \
        --vocabulary "building, road, tree, water" --output results --opts MODEL.WEIGHTS model_final.pth

For each image NAME the output folder gets NAME_overlay.png, NAME_labels.png (with a legend), NAME_legend.png,
NAME_ids.png (class ids; 255 = no data), NAME_area.csv and NAME_area.json; for a GeoTIFF also NAME_ids.tif on
the same grid. Images are shown and written as their EXIF orientation says.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a checkout, installed or not

from rskt_seg.cli import run
from rskt_seg.vocabulary import SYNONYM_RULES, parse_vocabulary


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Flags as in Detectron2's demo, and a vocabulary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="YAML file of the model")
    add("--input", required=True, nargs="+", metavar="FILE", help="images of any kind, or one quoted glob")
    add(
        "--vocabulary", "--vocab", "--class-names", required=True, metavar="NAMES",
        help='"building, road, tree", or a .txt (one class a line, synonyms after commas) or .json list',
    )  # fmt: skip
    add("--output", required=True, type=Path, metavar="DIR", help="folder of the results")
    add("--sliding", action="store_true", help="sliding window: finer, about five times slower")
    add("--bands", metavar="R,G,B", help="band numbers from 1, such as 4,3,2 (default: declared, else first)")
    add("--stretch", default="auto", help="to 8 bit: auto (default), none, pLOW-HIGH, or MIN,MAX")
    add(
        "--synonyms",
        default="first",
        choices=SYNONYM_RULES,
        help="use the first name of a class or merge all",
    )
    add(
        "--padding",
        default="aligned",
        choices=("aligned", "published"),
        help="published: as in the benchmark",
    )
    add(
        "--gt",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="label images of class ids, or their folder",
    )
    add("--cost-maps", action="store_true", help="draw the cost maps (figure 5 of the paper)")
    add(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="overrides of the YAML file"
    )
    return parser.parse_args(argv)


def main() -> int:
    """Check what was asked for, build the model, segment. Returns the exit status."""
    args = parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # what it reports is raised as well

    from rskt_seg.demo_app import DemoOptions, expand, pair_truths, parse_bands, segment_files
    from rskt_seg.segmenter import Segmenter

    vocabulary = parse_vocabulary(args.vocabulary)
    vocabulary.prompts(args.synonyms)
    options = DemoOptions(args.output, parse_bands(args.bands), args.stretch, args.cost_maps)
    images = expand(args.input)
    truths = pair_truths(images, args.gt) if args.gt else {}

    from rskt_seg.d2 import build_model, load_config
    from rskt_seg.d2.devices import check_devices
    from rskt_seg.d2.weights import check_trained

    cfg = load_config(args.config_file, args.opts)
    check_devices(cfg.MODEL.DEVICE)
    check_trained(cfg)
    segmenter = Segmenter(
        build_model(cfg),
        vocabulary,
        sliding=args.sliding,
        padding=args.padding,
        short_side=cfg.INPUT.MIN_SIZE_TEST,
        max_side=cfg.INPUT.MAX_SIZE_TEST,
        synonyms=args.synonyms,
    )
    return segment_files(segmenter, images, truths, options)


if __name__ == "__main__":
    sys.exit(run(main))
