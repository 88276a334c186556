"""`load_checkpoint` for whole models, `load_encoder` for one pretrained encoder."""

import os
from collections.abc import Mapping
from importlib.resources import files

from torch import Tensor, nn

from rskt_seg.checkpoints import clip, dino, rskt
from rskt_seg.checkpoints.files import read_state_dict
from rskt_seg.checkpoints.rules import LoadReport, convert, load_strict
from rskt_seg.errors import CheckpointError, WeightsNotFoundError

HEAD_PREFIX = "sem_seg_head.model."
"""What training with Detectron2 puts before the names of the plain model."""
BUNDLED = "tiny"
"""The source name of the tiny CLIP that comes with the package."""
_ROLES = ("clip", "remote_clip", "dino")


def load_checkpoint(model: nn.Module, source: str | os.PathLike | Mapping[str, Tensor]) -> LoadReport:
    """Load a whole trained model, strictly.

    `source`: a file (see `rskt_seg.checkpoints.files.read_state_dict`) or a state dict, with this
    package's names (with or without Detectron2's prefix) or those of the published RSKT-Seg code. The
    RemoteCLIP parts that nothing reads are dropped and listed.

    Raises `CheckpointError` unless every tensor of the model is given once in its shape and nothing is
    left over; the model is then unchanged.
    """
    if isinstance(source, Mapping):
        name, state = "state dict", dict(source)
    else:
        name, state = str(source), read_state_dict(source)
    report = LoadReport(name)
    if rskt.is_published(set(state)):
        rskt.check_masks(model, state, name)
        state = convert(state, rskt.rules_for(model), report)
    else:
        state = {key.removeprefix(HEAD_PREFIX): tensor for key, tensor in state.items()}
        report.loaded.extend(state)
    load_strict(model, state, name)
    return report


def load_encoder(model: nn.Module, role: str, source: str | os.PathLike | Mapping[str, Tensor]) -> LoadReport:
    """Load one pretrained encoder of an RSKT model: `role` is "clip", "remote_clip" or "dino".

    `source`: a file, a state dict, for the CLIP roles an open_clip hub name such as
    "ViT-B-16/openai", or "tiny", the small CLIP that comes with the package. CLIP weights are rounded
    through half precision where the published loader does it.

    Raises `CheckpointError` for an encoder of another architecture or an incomplete file,
    `WeightsNotFoundError` for a missing one.
    """
    if role not in _ROLES:
        raise CheckpointError(f"role must be one of {', '.join(_ROLES)}; found {role!r}")
    module = getattr(model, role, None)
    if module is None:
        raise CheckpointError(f"this model was built without {role}; there is nothing to load {source} into")
    name = "state dict" if isinstance(source, Mapping) else str(source)
    state = dict(source) if isinstance(source, Mapping) else _encoder_state(role, source)
    report = LoadReport(name)
    if role == "dino":
        load_strict(module, convert(dino.normalise_names(state), dino.RULES, report), name)
        return report
    rules = clip.RULES if role == "clip" else clip.trunk_rules(len(module.transformer.resblocks))
    state = convert(clip.round_through_half(clip.normalise_names(state)), rules, report)
    load_strict(module, state, name)
    return report


def _encoder_state(role: str, source: str | os.PathLike) -> dict[str, Tensor]:
    if source == BUNDLED and role != "dino":
        return read_state_dict(str(files("rskt_seg.encoders").joinpath("tiny_clip.safetensors")))
    if os.path.exists(source) or role == "dino":
        return read_state_dict(source)
    model, _, tag = str(source).partition("/")
    return read_state_dict(_hub_file(model, tag, source))


def _hub_file(model: str, tag: str, source: str | os.PathLike) -> str:
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(model)
    if tag not in tags:
        hint = f"the tags of {model} are {', '.join(tags)}" if tags else "see open_clip.list_pretrained()"
        raise WeightsNotFoundError(f"{source} is neither a file nor an open_clip name MODEL/TAG; {hint}")
    try:
        return download_pretrained(get_pretrained_cfg(model, tag))
    except Exception as error:
        raise WeightsNotFoundError(
            f"{source} could not be fetched ({type(error).__name__}); download the file on a machine with a "
            "network connection and give its path"
        ) from error
