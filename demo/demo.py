#!/usr/bin/env python
"""Segment images: by words, or into the classes that a closed-set model was trained for.

    python demo/demo.py --config-file configs/ovrsis/vitb_dlrsd.yaml --input scene.tif photos/*.jpg \
        --vocabulary "building, road, tree, water" --output results --opts MODEL.WEIGHTS model_final.pth
    python demo/demo.py --config-file configs/bicor/loveda.yaml --input tile.png --heatmaps --tta lr \
        --output results --opts MODEL.WEIGHTS model_final.pth
    python demo/demo.py --config-file configs/wsss/vitb_isaid.yaml --input tile.png --cams \
        --present "ship, harbor" --output results --opts MODEL.WEIGHTS model_final.pth

For each image NAME the output folder gets NAME_overlay.png, NAME_labels.png (with a legend), NAME_legend.png,
NAME_ids.png (class ids; 255 = no data), NAME_area.csv and NAME_area.json; for a GeoTIFF also NAME_ids.tif on
the same grid; with ground truth (--gt) NAME_truth.png and NAME_errors.png (false positives and negatives).
Images are shown and written as their EXIF orientation says.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # runs from a checkout, installed or not

from rskt_seg.commands.entry import run
from rskt_seg.errors import VocabularyError
from rskt_seg.vocabulary import SYNONYM_RULES, parse_vocabulary

if TYPE_CHECKING:
    from detectron2.config import CfgNode


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Flags as in Detectron2's demo, a vocabulary, and what to draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="YAML file of the model")
    add("--input", required=True, nargs="+", metavar="FILE", help="images of any kind, or one quoted glob")
    add(
        "--vocabulary", "--vocab", "--class-names", metavar="NAMES",
        help='"building, road, tree", or a .txt (one class a line, synonyms after commas) or .json list; '
        "closed-set models know their classes and need none",
    )  # fmt: skip
    add("--output", required=True, type=Path, metavar="DIR", help="folder of the results")
    add("--sliding", action="store_true", help="RSKT-Seg: sliding window, finer, about five times slower")
    add(
        "--tta",
        metavar="NAME",
        help="BiCoR-Seg, FCtL, weakly supervised: average the views lr, dihedral, d4_loveda, d4_potsdam, ... "
        "(the last sees each of them at TEST.SCALES, and images so without --tta)",
    )
    add(
        "--crf", action="store_true",
        help="weakly supervised: refine by a dense CRF (needs the optional package pydensecrf2)",
    )  # fmt: skip
    add("--bands", metavar="R,G,B", help="band numbers from 1, such as 4,3,2 (default: declared, else first)")
    add("--stretch", default="auto", help="to 8 bit: auto (default), none, pLOW-HIGH, or MIN,MAX")
    add(
        "--synonyms", default="first", choices=SYNONYM_RULES,
        help="RSKT-Seg: use the first name of a class (default) or merge all",
    )  # fmt: skip
    add(
        "--padding", default="aligned", choices=("aligned", "published"),
        help="published: as in the benchmark (default: aligned)",
    )  # fmt: skip
    add(
        "--gt", nargs="+", type=Path, default=[], metavar="FILE",
        help="label images of class ids, or their folder; draws the errors",
    )  # fmt: skip
    add("--cost-maps", action="store_true", help="RSKT-Seg: draw the cost maps (figure 5 of its paper)")
    add("--heatmaps", action="store_true", help="BiCoR-Seg: draw the class heatmaps (figure 5 of its paper)")
    add(
        "--context-maps", action="store_true",
        help="FCtL: draw what the contexts did for one patch (figures 7, 10 and 11 of its paper)",
    )  # fmt: skip
    add(
        "--cams", action="store_true",
        help="weakly supervised: draw the class activation maps of one tile, from CLIP's to the pseudo label",
    )  # fmt: skip
    add(
        "--present", metavar="NAMES",
        help='classes of --cams, such as "ship, harbor" (default: those of --gt in the tile, without it '
        "those predicted there)",
    )  # fmt: skip
    add("--at", metavar="ROW,COLUMN", help="pixel of --context-maps or --cams (default: the centre)")
    add(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="overrides of the YAML file"
    )
    return parser.parse_args(argv)


def segmenter_options(args: argparse.Namespace, cfg: "CfgNode", section: str) -> dict[str, object]:
    """What the flags and the configuration of a method `section` say about how images are seen."""
    flags = {"sliding": args.sliding, "padding": args.padding, "synonyms": args.synonyms, "crf": args.crf}
    whole, test = cfg.MODEL.FCTL.VIEW == "whole", cfg.TEST
    keys = {
        "RSKT": {"short_side": cfg.INPUT.MIN_SIZE_TEST, "max_side": cfg.INPUT.MAX_SIZE_TEST},
        # No overlap is the published evaluation; a picture should not show seams.
        "BICOR": {"tile": test.TILE, "tile_overlap": test.TILE_OVERLAP or None},
        "FCTL": {} if whole else {"patch_overlap": cfg.INPUT.PATCH_OVERLAP},
        "WSSS": {
            "tile": test.TILE,
            "tile_overlap": test.TILE_OVERLAP,
            "scales": test.SCALES,
            "flip": test.SCALES_FLIP,
            "crf": args.crf or test.CRF,
        },
    }
    return {**flags, "views": args.tta or "none", **keys[section]}


def main() -> int:
    """Check what was asked for, build the model, segment. Returns the exit status."""
    args = parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # what it reports is raised as well

    from rskt_seg.commands.segment import (
        DemoOptions,
        expand,
        pair_truths,
        parse_bands,
        parse_names,
        parse_point,
        segment_files,
    )
    from rskt_seg.segmenter import Segmenter

    vocabulary = None
    if args.vocabulary is not None:
        vocabulary = parse_vocabulary(args.vocabulary)
        vocabulary.prompts(args.synonyms)
    options = DemoOptions(
        args.output,
        parse_bands(args.bands),
        args.stretch,
        cost_maps=args.cost_maps,
        heatmaps=args.heatmaps,
        context_maps=args.context_maps,
        cams=args.cams,
        present=parse_names(args.present),
        at=parse_point(args.at),
    )
    images = expand(args.input)
    truths = pair_truths(images, args.gt) if args.gt else {}

    from rskt_seg.d2 import build_model, load_config
    from rskt_seg.d2.devices import check_devices
    from rskt_seg.d2.specs import method_of
    from rskt_seg.d2.weights import check_trained

    cfg = load_config(args.config_file, args.opts)
    method = method_of(cfg)
    if vocabulary is None and not method.closed_set:
        raise VocabularyError("this model is asked by words: name the classes with --vocabulary")
    check_devices(cfg.MODEL.DEVICE)
    check_trained(cfg)
    segmenter = Segmenter(build_model(cfg), vocabulary, **segmenter_options(args, cfg, method.section))
    return segment_files(segmenter, images, truths, options)


if __name__ == "__main__":
    sys.exit(run(main))
