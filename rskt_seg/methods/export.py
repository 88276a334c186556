"""Published weight files as safetensors.

Whole models get this package's key names. Encoders keep those of their authors, which `load_encoder` accepts
for every role.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from torch import Tensor

from rskt_seg.checkpoints import clip, dino
from rskt_seg.checkpoints.fetch import sha256_of
from rskt_seg.checkpoints.files import (
    CLASS_NAMES,
    INFERENCE,
    LIMITS,
    OPTIONS,
    TRAINED_ON,
    Source,
    WeightFile,
    read_weights,
)
from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.errors import CheckpointError
from rskt_seg.methods.load import class_names_of, load_checkpoint
from rskt_seg.methods.registry import registered_methods
from rskt_seg.typing import SegmentationModel
from rskt_seg.writing import replacing

_SUFFIX = ".safetensors"


def kind_of(weights: WeightFile, source: str) -> Literal["model", "clip", "dino"]:
    """Return what a file contains: a whole "model", a "clip" (OpenAI, open_clip, RemoteCLIP) or a "dino".

    Args:
        weights: Content of the file.
        source: Its name in messages.

    Returns:
        "model", "clip" or "dino".

    Raises:
        CheckpointError: It contains none of them.
    """
    keys = weights.state.keys()
    layouts = [method.checkpoint for method in registered_methods()]
    outputs = tuple(layout.output_key for layout in layouts if layout.output_key)
    if any(layout.is_published(keys) for layout in layouts) or any(key.endswith(outputs) for key in keys):
        return "model"
    if "visual.conv1.weight" in clip.normalise_names(weights.state):
        return "clip"
    if "patch_embed.proj.weight" in dino.normalise_names(weights.state):
        return "dino"
    raise CheckpointError(
        f"{source} is none of: a whole checkpoint of this package or of the published code of its methods, "
        f"CLIP weights under OpenAI's names, DINO weights; its keys begin with {', '.join(sorted(keys)[:3])}"
    )


def export_encoder(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> LoadReport:
    """Write the weights of an encoder file as safetensors. `load_encoder` loads the same from either.

    Values and their precision stay the same. Wrappers and prefixes are removed, as is what is no weight of
    the encoder (the sizes in OpenAI's archives, DINO's projection head).

    Args:
        source: A CLIP or DINO file.
        target: A .safetensors file that does not exist yet.

    Returns:
        Which tensors were kept, converted and dropped.

    Raises:
        CheckpointError: `source` is another kind of file, or `target` exists or has another suffix.
        WeightsNotFoundError: There is no file `source`.
    """
    check_target(target)
    weights = read_weights(source)
    kind = kind_of(weights, str(source))
    if kind == "model":
        raise CheckpointError(f"{source} is a whole model, not an encoder; use export_model")
    report = LoadReport(str(source))
    if kind == "clip":
        state = convert(clip.normalise_names(weights.state), clip.RULES[:1], report)
    else:
        state = convert(dino.normalise_names(weights.state), dino.RULES, report)
    _write(state, target, _origin(source))
    return report


def export_model(
    model: SegmentationModel,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    contexts: Mapping[str, Source] | None = None,
) -> LoadReport:
    """Load a whole checkpoint into `model`, strictly, and write it under this package's names.

    The file states the options of `model` and the class names, if known, so that loading it into a model
    with others is refused; and what `source` states of training sets, options of `Segmenter` and limits.

    Args:
        model: A model of a registered method.
        source: The checkpoint.
        target: A .safetensors file that does not exist yet.
        contexts: As for `load_checkpoint`.

    Returns:
        Which tensors were loaded, converted and dropped.

    Raises:
        CheckpointError: As `load_checkpoint`; or `target` exists or has another suffix.
        WeightsNotFoundError: There is no file `source`.
    """
    check_target(target)
    report = load_checkpoint(model, source, contexts)
    stated = {OPTIONS: json.dumps(asdict(model.spec))}
    if (names := class_names_of(model)) is not None:
        stated[CLASS_NAMES] = json.dumps(names)
    weights = read_weights(source)
    if weights.trained_on:
        stated[TRAINED_ON] = json.dumps(weights.trained_on)
    if weights.inference is not None:
        stated[INFERENCE] = json.dumps(weights.inference)
    if weights.limits:
        stated[LIMITS] = json.dumps(weights.limits)
    _write(model.state_dict(), target, {**_origin(source), **stated})
    return report


def write_model(
    model: SegmentationModel, target: str | os.PathLike[str], facts: Mapping[str, object]
) -> None:
    """Write the weights of a model as they are, and its options, to a safetensors file, whole or not at all.

    Args:
        model: A model of a registered method; after `model.half()` its file has half the size.
        target: A .safetensors file, which is replaced.
        facts: Further entries of a checkpoint, such as `INFERENCE` -> options of `Segmenter`.
    """
    stated = {OPTIONS: asdict(model.spec), **facts}
    _write(model.state_dict(), target, {key: json.dumps(value) for key, value in stated.items()})


def check_target(target: str | os.PathLike[str]) -> None:
    """Check that a file can be written to `target`, before anything long begins.

    Raises:
        CheckpointError: `target` does not end in .safetensors, or it exists.
    """
    if Path(target).suffix != _SUFFIX:
        raise CheckpointError(f"{target}: the output must end in {_SUFFIX}")
    if os.path.lexists(target):
        raise CheckpointError(f"{target} exists and is not overwritten; move it away or choose another name")


def _origin(source: str | os.PathLike[str]) -> dict[str, str]:
    """Return what a file states of the one that it was made from."""
    return {"source": Path(source).name, "source_sha256": sha256_of(source)}


def _write(state: dict[str, Tensor], target: str | os.PathLike[str], metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file

    # safetensors refuses tensors that share a storage: each gets one of its own.
    tensors = {key: tensor.detach().clone().contiguous() for key, tensor in state.items()}
    with replacing(target) as partial:
        save_file(tensors, partial, metadata={"format": "pt", **metadata})
        _sort_metadata(partial)
        partial.chmod(0o644)  # the library makes it readable for the owner alone


def _sort_metadata(path: Path) -> None:
    """Sort the metadata of a safetensors file, which the library writes in another order each time."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(length))
