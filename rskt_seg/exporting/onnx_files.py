"""ONNX files: a graph from images to scores with what is known of it, written whole and read with checks."""

import json
import logging
import os
import warnings
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.export import ExportedProgram

from rskt_seg.errors import CheckpointError, ConfigError, WeightsNotFoundError
from rskt_seg.exporting.facts import (
    DIGEST,
    FACTS,
    SCORES,
    GraphFacts,
    deepness_metadata,
    digest_of,
    read_facts,
)
from rskt_seg.writing import replacing

OPSET = 20
MOST_BYTES = 2**31 - 2**20
"""Bytes of the largest graph, as those of Protocol Buffers end at 2 GiB."""
MAPS = "maps"
"""Name of the tensor inside of the graph that a scene blends; of those outside, "scores" is the only one."""
_MISSING = "needs the extra export: pip install 'rskt_seg[export]'"


class OnnxFile(NamedTuple):
    """What an ONNX file of this package holds.

    Attributes:
        facts: What is known of it.
        windows: The graph from windows to `MAPS`, as ONNX.
        scores: The graph from blended maps to scores.
        digest: SHA-256 of both graphs and of the facts.
    """

    facts: GraphFacts
    windows: bytes
    scores: bytes
    digest: str


def write_onnx(
    path: str | os.PathLike[str],
    inputs: Sequence[str],
    windows: ExportedProgram,
    scores: ExportedProgram,
    facts: GraphFacts,
) -> None:
    """Write an ONNX file.

    Args:
        path: The file to write or to replace.
        inputs: Names of what the graph takes.
        windows: What `rskt_seg.exporting.trace.trace_windows` returned.
        scores: What `trace_scores` returned.
        facts: What the file states.

    Raises:
        ConfigError: A package is missing, or the graph is too large.
        DiskFullError: There is no room for the file.
    """
    model = _convert(windows, inputs, ["scores", MAPS])
    (maps,) = (output for output in model.graph.output if output.name == MAPS)
    model.graph.output.remove(maps)
    if not any(value.name == MAPS for value in model.graph.value_info):
        model.graph.value_info.append(maps)
    rest = _convert(scores, [MAPS], ["scores"]).SerializeToString(deterministic=True)
    text = facts.to_json()
    known = {} if facts.sees_patches else deepness_metadata(facts)
    properties = {key: json.dumps(value, ensure_ascii=False) for key, value in known.items()}
    properties |= {FACTS: text, SCORES: b64encode(rest).decode(), DIGEST: _digest(model, text, rest)}
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)
    content = model.SerializeToString(deterministic=True)
    with replacing(path, len(content)) as partial:
        partial.write_bytes(content)


def read_onnx(path: str | os.PathLike[str]) -> OnnxFile:
    """Read an ONNX file that `write_onnx` wrote.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        ConfigError: A package is missing.
        WeightsNotFoundError: There is no such file.
        CheckpointError: It is no such file, it is damaged, or of another release.
    """
    onnx = import_optional("onnx")
    source = os.fspath(path)
    if not Path(source).is_file():
        raise WeightsNotFoundError(f"{source} is no file; expected an ONNX file of rskt-seg export")
    try:
        model = onnx.load(source, load_external_data=False)
    except Exception as error:  # of Protocol Buffers, whose classes differ between releases
        raise CheckpointError(
            f"{source} is no ONNX file, or not all of it; export it again by rskt-seg export"
        ) from error
    stated = {each.key: each.value for each in model.metadata_props}
    if not {FACTS, SCORES, DIGEST} <= stated.keys():
        raise CheckpointError(
            f"{source} is an ONNX file of another program: it does not state its classes and windows; "
            "expected one of rskt-seg export"
        )
    facts = read_facts(stated[FACTS], source)
    try:
        rest = b64decode(stated[SCORES], validate=True)
    except ValueError:
        rest = b""
    if _digest(model, stated[FACTS], rest) != stated[DIGEST]:
        raise CheckpointError(
            f"{source}: its content does not have the digest that it states, so that it was damaged or "
            "changed; export it again, or copy it anew"
        )
    del model.graph.output[:]
    model.graph.output.extend(value for value in model.graph.value_info if value.name == MAPS)
    return OnnxFile(facts, model.SerializeToString(), rest, stated[DIGEST])


def check_installed() -> None:
    """Check that ONNX files can be written.

    Raises:
        ConfigError: A package of the extra `export` is missing.
    """
    for name in ("onnx", "onnxscript"):
        import_optional(name)


def import_optional(name: str) -> Any:
    """Import a package of the extra `export`.

    Args:
        name: "onnx" or "onnxruntime".

    Returns:
        The package.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(f"{name} is not installed: ONNX {_MISSING}") from error


def open_session(graph: bytes, threads: int, providers: Sequence[str]) -> Any:
    """Open a graph in ONNX Runtime.

    Args:
        graph: ONNX.
        threads: Threads of one operation.
        providers: What computes, names of ONNX Runtime, the first that can.

    Returns:
        The `onnxruntime.InferenceSession`.

    Raises:
        ConfigError: ONNX Runtime is missing, or lacks a provider.
        CheckpointError: It cannot run the graph.
    """
    runtime = import_optional("onnxruntime")
    if missing := [each for each in providers if each not in runtime.get_available_providers()]:
        known = ", ".join(runtime.get_available_providers())
        raise ConfigError(f"this ONNX Runtime has no {', '.join(missing)}; it has {known}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    try:
        return runtime.InferenceSession(graph, options, providers=list(providers))
    except Exception as error:  # a dozen classes of its own without a common base
        raise CheckpointError(f"ONNX Runtime {runtime.__version__} cannot run this graph: {error}") from error


def _digest(model: Any, facts: str, scores: bytes) -> str:
    graph = model.graph.SerializeToString(deterministic=True)
    return digest_of(graph, facts.encode(), scores)


def _convert(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Return a program as an `onnx.ModelProto`."""
    size = sum(each.numel() * each.element_size() for each in program.state_dict.values())
    if size > MOST_BYTES:
        raise ConfigError(
            f"the weights of this model are {size / 1e9:.1f} GB, and an ONNX file holds 2 GiB at most; "
            "export a smaller model, or a .pt2 file"
        )
    with _quiet():
        converted = torch.onnx.export(
            program,
            (),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            verbose=False,
        )
    return converted.model_proto  # type: ignore[union-attr]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter says of its own inner life, on each of a thousand nodes."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
