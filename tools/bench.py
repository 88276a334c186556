#!/usr/bin/env python
"""Time a method against a plain form of the published computation, and against the limit of this machine.

    python tools/bench.py --quick                         # 17 classes, 3 rounds; minutes on one core
    python tools/bench.py --precision fp32 bf16 --memory --train --output output/bench.json
    python tools/bench.py --method fctl                   # stages of another method: fctl, wsss or bicor
    python tools/bench.py --quick --against ../RSKT-Seg   # beside the published code, from a folder of yours
    python tools/bench.py --check tools/benchmarks/goals.json

All forms have the same weights in one process, and take turns. No time is given for a form that computes
something else. Machines differ, so results are ratios to the plain form and distances to the limit, never
seconds. Exit status: 0; 1 if a goal of --check fails; 2 if the forms differ, or for a mistake in the
arguments. docs/performance.md says what each column means.
"""

import argparse
import sys
from pathlib import Path

import torch
from benchmarks.against import Checkout, find_checkout
from benchmarks.goals import check, read_goals
from benchmarks.measuring import Plan, measure
from benchmarks.others import PRESETS, TINY_PRESETS, measure_method
from benchmarks.report import report
from benchmarks.results import Result, read_result

from rskt_seg.commands.entry import command_parser, place, positive, run
from rskt_seg.errors import ConfigError
from rskt_seg.writing import replace_text


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = command_parser("tools/bench.py", __doc__)
    add = parser.add_argument
    add("--method", choices=("rskt", *PRESETS), default="rskt", help="default: %(default)s")
    add("--preset", help="another preset of the method than that of published size")
    add("--tiny", action="store_true", help="the tiny preset and small products: a test of the benchmark")
    add("--quick", action="store_true", help="17 classes and 3 rounds")
    add("--classes", type=positive, nargs="+", metavar="T", help="numbers of classes (default: 17 100)")
    add("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"], help="default: fp32")
    add("--batch", type=positive, default=1, help="images at a time (default: %(default)s)")
    add("--pairs", type=positive, help="rounds (default: 5; 20 on an accelerator)")
    add("--threads", type=positive, default=1, help="with more than 1 wall time counts (default: 1)")
    add("--device", default="cpu", help="cpu, or the type of an accelerator (default: %(default)s)")
    add("--no-stages", dest="stages", action="store_false", help="time the whole model alone")
    add("--memory", action="store_true", help="also memory beyond the weights, in fresh processes")
    add("--train", action="store_true", help="also a training step of one image with the fewest classes")
    add("--against", type=place, metavar="FOLDER", help="also time the published code in this folder")
    add("--against-config", metavar="FILE.yaml", help="its configuration, as a path from its folder")
    add("--against-opts", nargs="+", metavar="OPT", help="overrides of its configuration: KEY VALUE ...")
    add("--output", type=Path, metavar="FILE.json", help="write all samples")
    add("--read", type=Path, metavar="FILE.json", help="measure nothing: show and check an earlier run")
    add("--check", type=Path, metavar="GOALS.json", help="judge the run; exit status 1 if a goal fails")
    return parser.parse_args(argv)


def plan_of(args: argparse.Namespace) -> Plan:
    """Return what to measure: the flags, and what the modes imply where a flag says nothing."""
    short = args.quick or args.tiny
    _check_device(args.device)
    presets = {"rskt": "rskt_tiny", **TINY_PRESETS} if args.tiny else {"rskt": "rskt_vitb16", **PRESETS}
    preset = args.preset or presets[args.method]
    return Plan(
        preset=preset,
        classes=tuple(dict.fromkeys(args.classes or ([17] if short else [17, 100]))),
        precisions=tuple(dict.fromkeys(args.precision)),
        batch=args.batch,
        pairs=args.pairs or (3 if short else 5 if args.device == "cpu" else 20),
        threads=args.threads,
        device=args.device,
        stages=args.stages,
        memory=args.memory,
        training=args.train,
        small=args.tiny,
        against=_checkout_of(args, preset),
    )


def _checkout_of(args: argparse.Namespace, preset: str) -> Checkout | None:
    """Return where the published code is, if it is to be timed."""
    if args.against is None:
        if args.against_config or args.against_opts:
            raise ConfigError("--against-config and --against-opts belong to --against FOLDER: give it too")
        return None
    if args.batch > 1:
        raise ConfigError(
            "--against times one image at a time, as the published code returns the first of a batch alone; "
            f"found --batch {args.batch}"
        )
    return find_checkout(args.against, args.against_config, args.against_opts or (), preset)


def _check_device(name: str) -> None:
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    known = ["cpu", *([found.type] if found else [])]
    if name not in known:
        raise ConfigError(f"--device must be one of this machine, {' or '.join(known)}; found {name!r}")


def _measure(args: argparse.Namespace) -> Result:
    """Make the run that the arguments ask for."""
    if args.method == "rskt":
        return measure(plan_of(args))
    unread = [
        flag
        for flag, value in (
            ("--classes", args.classes),
            ("--precision", args.precision != ["fp32"]),
            ("--memory", args.memory),
            ("--train", args.train),
            ("--against", args.against),
        )
        if value
    ]
    if unread:
        raise ConfigError(f"--method {args.method} reads no {', '.join(unread)}: leave it out")
    plan, known = plan_of(args), (PRESETS[args.method], TINY_PRESETS[args.method])
    if plan.preset not in known:
        raise ConfigError(
            f"--preset must be one of {', '.join(known)} with --method {args.method}; found {plan.preset!r}"
        )
    return measure_method(args.method, plan)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark. Return the exit status."""
    args = parse(argv)
    goals = read_goals(args.check) if args.check else []
    result = read_result(args.read) if args.read else _measure(args)
    print(report(result))
    if args.output:
        replace_text(args.output, result.to_json())
    lines, failed = check(goals, result.figures())
    if lines:
        print("\n" + "\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(run(main))
