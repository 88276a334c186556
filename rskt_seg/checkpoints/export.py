"""Published weight files as safetensors: whole models under this package's names, encoders under those of
their authors, which `load_encoder` takes in every role."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from rskt_seg.checkpoints import clip, dino, rskt
from rskt_seg.checkpoints.fetch import sha256_of
from rskt_seg.checkpoints.files import OPTIONS, WeightFile, read_weights
from rskt_seg.checkpoints.load import load_checkpoint
from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.errors import CheckpointError

_SUFFIX = ".safetensors"


def kind_of(weights: WeightFile, source: str) -> str:
    """Whether a file holds a whole "model", a "clip" (OpenAI, open_clip, RemoteCLIP) or a "dino".

    Raises `CheckpointError` for any other.
    """
    keys = set(weights.state)
    if rskt.is_published(keys) or any(key.endswith("decoder.head.weight") for key in keys):
        return "model"
    if "visual.conv1.weight" in clip.normalise_names(weights.state):
        return "clip"
    if "patch_embed.proj.weight" in dino.normalise_names(weights.state):
        return "dino"
    raise CheckpointError(
        f"{source} is none of: a whole RSKT-Seg checkpoint, CLIP weights under OpenAI's names, DINO weights; "
        f"its keys begin with {', '.join(sorted(keys)[:3])}"
    )


def export_encoder(source: str | os.PathLike, target: str | os.PathLike) -> LoadReport:
    """Write the weights of an encoder file as safetensors; `load_encoder` takes the same from either.

    Values and their precision stay; wrappers and prefixes go, and what is no weight of the encoder (the
    sizes in OpenAI's archives, DINO's projection head), listed in the report. Raises `CheckpointError` for
    other files and where `target` exists or is no .safetensors.
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
    _write(state, source, target, {})
    return report


def export_model(model: nn.Module, source: str | os.PathLike, target: str | os.PathLike) -> LoadReport:
    """Load a whole checkpoint into `model`, strictly, and write it under this package's names.

    The file states the options of `model`, so that loading it into another one is refused. Raises
    `CheckpointError` as `load_checkpoint`, and where `target` exists or is no .safetensors.
    """
    check_target(target)
    report = load_checkpoint(model, source)
    _write(model.state_dict(), source, target, {OPTIONS: json.dumps(asdict(model.spec))})
    return report


def check_target(target: str | os.PathLike) -> None:
    """Raise `CheckpointError` unless `target` is a .safetensors that does not exist yet."""
    if Path(target).suffix != _SUFFIX:
        raise CheckpointError(f"{target}: the output must end in {_SUFFIX}")
    if os.path.lexists(target):
        raise CheckpointError(f"{target} exists and is not overwritten; move it away or choose another name")


def _write(
    state: dict[str, Tensor], source: str | os.PathLike, target: str | os.PathLike, metadata: dict[str, str]
) -> None:
    """A file that takes its name when it is complete; it states the file it was made from."""
    from safetensors.torch import save_file

    origin = {"format": "pt", "source": Path(source).name, "source_sha256": sha256_of(source)}
    # Views of one storage, which safetensors refuses, become tensors of their own.
    tensors = {key: tensor.detach().clone().contiguous() for key, tensor in state.items()}
    part = Path(f"{target}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, part, metadata=origin | metadata)
        part.chmod(0o644)  # the library gives it to its owner alone
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
