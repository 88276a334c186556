"""`export_graph`: a model with its class names as one file."""

import os
from importlib.metadata import version
from pathlib import Path

import torch

import rskt_seg
from rskt_seg.decision import Decision
from rskt_seg.errors import ConfigError
from rskt_seg.exporting.facts import GraphFacts, describe
from rskt_seg.exporting.onnx_files import check_installed, write_onnx
from rskt_seg.exporting.trace import channels_of, trace_scores, trace_windows
from rskt_seg.inference.strategies import Strategy
from rskt_seg.methods.notices import model_notices
from rskt_seg.methods.registry import method_of
from rskt_seg.methods.use import score_kind
from rskt_seg.reading import brief
from rskt_seg.writing import replacing

ONNX = ".onnx"
FORMATS = (ONNX, ".pt2")
"""Endings of the files: ONNX, and programs of `torch.export`."""
FACTS_FILE = "facts.json"
"""Name of the facts in a .pt2 file."""
_LARGE = (2**20, 2**20)  # px of a scene whose windows have their usual side


def check_export(path: str | os.PathLike[str], resolution: float | None = None) -> None:
    """Check what can be checked of an export before there is a model.

    Args:
        path: The file to write.
        resolution: As for `export_graph`.

    Raises:
        ConfigError: The ending or the resolution cannot be used, or a package is missing.
    """
    ending = Path(path).suffix
    if ending not in FORMATS:
        raise ConfigError(f"an export ends in {' or '.join(FORMATS)}; found {brief(os.fspath(path))}")
    if resolution is not None and not 0 < resolution < float("inf"):
        raise ConfigError(f"a ground resolution is in metres a pixel, above 0; found {resolution!r}")
    if ending == ONNX:
        check_installed()


def export_graph(
    path: str | os.PathLike[str],
    strategy: Strategy,
    decision: Decision,
    *,
    weights: str,
    window: int | None = None,
    overlap: float | None = None,
    resolution: float | None = None,
) -> GraphFacts:
    """Write a model with its class names as one file, which needs neither this package nor weights.

    Args:
        path: The file to write or to replace, `.onnx` or `.pt2`.
        strategy: The model, in its plain form on the CPU, with its names.
        decision: What becomes of its scores.
        weights: `rskt_seg.digests.weights_digest` of the model.
        window: Side (px) of the windows that the graph sees; None: what suits the model.
        overlap: Share of a window that the next one covers again; None: what suits the model.
        resolution: Ground resolution (m) of a pixel that the model is meant for; None: unknown.

    Returns:
        What the file states.

    Raises:
        ConfigError: A value or the ending cannot be used, the model does not see windows, or a package is
            missing.
        DiskFullError: There is no room for the file.
    """
    check_export(path, resolution)
    if strategy.model.device.type != "cpu":
        raise ConfigError(f"a model is exported from the CPU; found it on {strategy.model.device}")
    plan = strategy.plan_scene(_LARGE, window, overlap, "hann")
    facts = describe(
        strategy,
        decision,
        plan,
        method=method_of(strategy.model).title,
        weights=weights,
        score_kind=score_kind(strategy),
        resolution=resolution,
        notices=model_notices(strategy.model),
        versions={"rskt_seg": rskt_seg.__version__, "torch": version("torch")},
    )
    program = trace_windows(strategy, plan)
    if Path(path).suffix == ONNX:
        inputs = tuple(strategy.graph_inputs(plan))
        write_onnx(path, inputs, program, trace_scores(strategy, channels_of(program)), facts)
    else:
        with replacing(path) as partial, partial.open("wb") as file:
            torch.export.save(program, file, extra_files={FACTS_FILE: facts.to_json()})
    return facts
