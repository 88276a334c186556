#!/usr/bin/env python
"""Make the tiny model that comes with the package: train it on generated scenes, write it in half precision.

    python tools/train_tiny_model.py --output rskt_seg/methods/rskt/tiny.safetensors

Trains what `make demo-train` trains, by the same steps and with the same seed, and writes the weights (fp16)
with their SHA-256 beside them. Prints the digest, and the figures of the eight miniature sets for the file
and for what was trained (fp32). What is complete in the folder --work is kept.
"""

import argparse
import json
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# Runs from a checkout only, whose demo/ is no part of the package.
sys.path.append(str(REPOSITORY / "demo"))

from mini_benchmark import benchmark, figures, write_sets  # noqa: E402
from quickstart import train  # noqa: E402

from rskt_seg import load  # noqa: E402
from rskt_seg.checkpoints.fetch import sha256_of  # noqa: E402
from rskt_seg.checkpoints.files import INFERENCE, LIMITS, TRAINED_ON, read_weights  # noqa: E402
from rskt_seg.commands.entry import run  # noqa: E402
from rskt_seg.methods.export import write_model  # noqa: E402
from rskt_seg.writing import replace_text  # noqa: E402

SEED, TRAIN_SCENES, VAL_SCENES = 1, 800, 100
MODEL_LIMITS = (
    "this model was trained on generated scenes only: what it says of photographs and satellite images means "
    "nothing (docs/tiny_model.md)"
)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="file to write, .safetensors")
    parser.add_argument("--work", type=Path, default=Path("output/tiny_model"), help="folder of the training")
    return parser.parse_args(argv)


def write_half(checkpoint: Path, target: Path) -> str:
    """Write a trained checkpoint in half precision, with its digest beside it; returns the digest."""
    trained, stated = load(checkpoint), read_weights(checkpoint)
    # Names of sets, not their paths: the file depends on nothing of the machine that it was made on.
    facts = {INFERENCE: dict(trained.options), TRAINED_ON: stated.trained_on, LIMITS: MODEL_LIMITS}
    write_model(trained.model.half(), target, facts)
    digest = sha256_of(target)
    replace_text(target.with_suffix(".sha256"), f"{digest}  {target.name}\n")
    return digest


def main() -> None:
    args = arguments()
    work, target = args.work.resolve(), args.output.resolve()
    data = work / "datasets"
    write_sets(data, SEED, TRAIN_SCENES, VAL_SCENES)
    checkpoint = work / "train" / "model_final.pth"
    if not checkpoint.exists():
        train(argparse.Namespace(output=work, seed=SEED, iterations=None), data)
    digest = write_half(checkpoint, target)
    found = {}
    for name, weights in (("fp32", checkpoint), ("fp16", target)):
        benchmark(weights, data, work / name)
        found[name] = figures(work / name)
    parameters = sum(tensor.numel() for tensor in read_weights(target).state.values())
    size = target.stat().st_size
    report = {"parameters": parameters, "bytes": size, "sha256": digest, "mIoU": found}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    sys.exit(run(main))
