"""Names of pretrained CLIP weights -> files on this machine."""

import json
import os
from importlib.resources import files

from rskt_seg.errors import CheckpointError, WeightsNotFoundError

BUNDLED = "tiny"
"""Name of the tiny CLIP in this package."""
HUB = "hf-hub:"
"""Prefix of the name of a repository, whoever it belongs to."""


def locate(source: str) -> str:
    """Return the file of pretrained CLIP weights; open_clip or huggingface_hub fetch what is not cached.

    Args:
        source: A path, "tiny" (`BUNDLED`), an open_clip name "MODEL/TAG", or "hf-hub:ORGANISATION/NAME".

    Raises:
        WeightsNotFoundError: There is no such file or name, or no network.
        CheckpointError: The weights were trained with another activation than QuickGELU.
    """
    if source == BUNDLED:
        return str(files("rskt_seg.encoders").joinpath("tiny_clip.safetensors"))
    if os.path.exists(source):
        return source
    try:
        return _from_repository(source) if source.startswith(HUB) else _from_open_clip(source)
    except (WeightsNotFoundError, CheckpointError):
        raise
    except Exception as error:  # the libraries raise exceptions of many kinds
        raise WeightsNotFoundError(
            f"{source} could not be fetched ({type(error).__name__}); download the file on a machine with a "
            "network connection and give its path"
        ) from error


def _from_open_clip(source: str) -> str:
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model

    model, _, tag = source.partition("/")
    tags = list_pretrained_tags_by_model(model)
    if tag not in tags:
        hint = f"the tags of {model} are {', '.join(tags)}" if tags else "see open_clip.list_pretrained()"
        raise WeightsNotFoundError(
            f"{source} is neither a file nor an open_clip name (MODEL/TAG or hf-hub:GROUP/NAME); {hint}"
        )
    config = get_pretrained_cfg(model, tag)
    _check_activation(source, config.get("quick_gelu"))
    return download_pretrained(config)


def _from_repository(source: str) -> str:
    from huggingface_hub import hf_hub_download
    from open_clip.pretrained import download_pretrained_from_hf

    repository = source.removeprefix(HUB)
    with open(hf_hub_download(repository, "open_clip_config.json"), encoding="utf-8") as file:
        config = json.load(file)
    _check_activation(source, config.get("model_cfg", {}).get("quick_gelu"))
    return download_pretrained_from_hf(repository)


def _check_activation(source: str, quick_gelu: bool | None) -> None:
    if not quick_gelu:
        raise CheckpointError(
            f"{source} was trained with GELU, the CLIP of this package computes QuickGELU: use weights "
            "trained with it, such as ViT-B-16/openai"
        )
