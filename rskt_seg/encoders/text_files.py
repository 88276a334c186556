"""Text embeddings on disk: computed once for every process that asks the same encoder for the same names."""

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rskt_seg.digests import weights_digest
from rskt_seg.encoders.clip import CLIP
from rskt_seg.layers.inference_form import PackedLinear
from rskt_seg.writing import replacing

logger = logging.getLogger(__name__)

MOST_BYTES = 1 << 30
"""Size of a folder beyond which the files that were not used for longest are removed."""
_EMBEDDINGS, _SUFFIX = "embeddings", ".safetensors"
_ABANDONED_S = 24 * 3600
"""Age of a temporary file from which its process is taken to be dead."""


def default_folder() -> Path | None:
    """Return the folder of text embeddings of a user: `$XDG_CACHE_HOME/rskt_seg/text`, or in `~/.cache`.

    Returns:
        The folder, which need not exist; None for a user without a home.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of base directories says that relative paths count as none.
    base = Path(given) if os.path.isabs(given) else Path(os.path.expanduser("~")) / ".cache"
    return base / "rskt_seg" / "text" if base.is_absolute() else None


class TextQuery(NamedTuple):
    """Everything that text embeddings depend on, to the last bit.

    Attributes:
        encoder: `encoder_digest` of the text tower.
        names: T class names.
        templates: P templates.
        tokens: Token ids (T * P, L) of the prompts.
        context: Device, precisions, number of threads and the like.
    """

    encoder: str
    names: tuple[str, ...]
    templates: tuple[str, ...]
    tokens: Tensor
    context: tuple[str, ...]

    def digest(self) -> str:
        """Return the sha256 of all of it, 64 hexadecimal digits."""
        facts = [self.encoder, self.names, self.templates, weights_digest({"": self.tokens}), self.context]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class TextFiles:
    """A folder of text embeddings, one safetensors file for each query. Files can be deleted at any time.

    What cannot be read or written is a warning, and computed: nothing depends on the folder but time.
    """

    def __init__(self, folder: str | os.PathLike[str], most_bytes: int = MOST_BYTES) -> None:
        self.folder = Path(folder)
        self.most_bytes = most_bytes

    def find(self, query: TextQuery, width: int) -> Tensor | None:
        """Return stored embeddings.

        Args:
            query: What is asked for.
            width: E, channels of an embedding.

        Returns:
            (T, P, E) on the CPU; None if there are none. A file with something else is warned of.
        """
        from safetensors import SafetensorError, safe_open

        path = self._path(query)
        try:
            with safe_open(path, framework="pt") as file:
                stated, found = file.metadata() or {}, file.get_tensor(_EMBEDDINGS).clone()
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            logger.warning("%s cannot be read (%s); it is computed again", path, _line(error))
            return None
        shape = (len(query.names), len(query.templates), width)
        if (
            stated != _metadata(query, found)
            or found.shape != shape
            or not found.is_floating_point()
            or not found.isfinite().all()
        ):
            logger.warning("%s is damaged: its content is not what was written; it is computed again", path)
            return None
        with suppress(OSError):  # a folder that this user may only read
            os.utime(path)
        return found

    def keep(self, query: TextQuery, embeddings: Tensor) -> None:
        """Store embeddings, and remove the oldest files if the folder has grown too large.

        Args:
            query: What they answer.
            embeddings: (T, P, E).
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        path, stored = self._path(query), embeddings.detach().cpu().contiguous()
        try:
            with replacing(path, stored.nbytes) as partial:
                save_file({_EMBEDDINGS: stored}, partial, _metadata(query, stored))
            self._remove_oldest(path)
        except (OSError, SafetensorError) as error:
            logger.warning("text embeddings are not kept in %s: %s", self.folder, _line(error))

    def _path(self, query: TextQuery) -> Path:
        return self.folder / (query.digest() + _SUFFIX)

    def _remove_oldest(self, newest: Path) -> None:
        found = []
        for path in self.folder.iterdir():
            with suppress(FileNotFoundError):  # another process removed it
                if path.suffix == _SUFFIX:
                    found.append((path.stat().st_mtime, path.stat().st_size, path))
                elif path.suffix == ".part" and time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.most_bytes:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size


def encoder_digest(clip: CLIP) -> str:
    """Return the sha256 of the text tower of a CLIP, which may be an inference form of any precision.

    Args:
        clip: The model.

    Returns:
        64 hexadecimal digits; the same for the same modules, numbers and types of values.
    """
    tensors: dict[str, Tensor] = {}
    structure = []
    for name, module in clip.named_modules():
        if name.split(".")[0] == "visual":
            continue
        plain = {
            key: str(value)
            for key, value in vars(module).items()
            if key != "training" and isinstance(value, int | float | str | torch.dtype)
        }
        structure.append([name, type(module).__name__, plain])
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        tensors |= {f"{name}.{key}": value for key, value in own if key != "logit_scale"}
        if isinstance(module, PackedLinear):
            tensors[f"{name}.weight"] = module.weight
    described = json.dumps([structure, weights_digest(tensors)], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def computing_context(device: torch.device, autocast: torch.dtype | None) -> tuple[str, ...]:
    """Return what decides how the same computation is rounded.

    Args:
        device: Where it runs.
        autocast: Precision of autocast; None: it is off.

    Returns:
        Versions, device, precisions and the number of threads.
    """
    if device.type == "cpu":
        hardware = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    else:
        hardware = str(torch.get_device_module(device).get_device_name(device))
    precision = torch.get_float32_matmul_precision()
    return (torch.__version__, device.type, hardware, precision, str(autocast))


def _metadata(query: TextQuery, embeddings: Tensor) -> dict[str, str]:
    """Return what a file states; the digest tells whether a bit of the numbers has changed."""
    return {
        "names": json.dumps(query.names),
        "templates": json.dumps(query.templates),
        "digest": weights_digest({_EMBEDDINGS: embeddings}),
    }


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
