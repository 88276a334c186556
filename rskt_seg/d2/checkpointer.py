"""Checkpoints that are written atomically, and read without executing code that they contain."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from rskt_seg.checkpoints.files import FROZEN, check_saved, is_archive
from rskt_seg.errors import CheckpointError, NotFiniteError, UnreadableError, WeightsNotFoundError
from rskt_seg.finite import describe_not_finite
from rskt_seg.reading import brief, read_bytes
from rskt_seg.writing import replacing

FINAL = "model_final"
"""Name of the last checkpoint of a run, which Detectron2 gives it."""
_TAG = "last_checkpoint"
_LONGEST_NAME = 255
"""Letters of the name of a file; longer ones could not even be looked for."""


@contextmanager
def _replacing(path: Path, size: int | None = None) -> Iterator[IO[bytes]]:
    """Open a file, of about `size` bytes, that replaces `path` once it is complete and on the disk."""
    with replacing(path, size) as partial, open(partial, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _size_of(content: object) -> int:
    """Return the bytes of all tensors in nested dictionaries, lists and tuples."""
    if isinstance(content, torch.Tensor):
        return content.nbytes
    if isinstance(content, Mapping):
        return sum(map(_size_of, content.values()))
    return sum(map(_size_of, content)) if isinstance(content, list | tuple) else 0


def last_checkpoint(folder: str | Path) -> Path | None:
    """Return the last complete checkpoint of a run's output folder, None before the first.

    Raises:
        WeightsNotFoundError: `last_checkpoint` is no file, or the file that it names does not exist.
    """
    tag = Path(folder, _TAG)
    try:
        name = read_bytes(tag).decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    except UnreadableError as error:
        raise WeightsNotFoundError(f"{tag} must name a checkpoint beside it, but {error}") from error
    if not name or Path(name).name != name or len(name) > _LONGEST_NAME:
        raise WeightsNotFoundError(f"{tag} must hold the name of a checkpoint beside it; found {brief(name)}")
    path = tag.with_name(name)
    if not os.path.isfile(path):  # False, and no error, for names that the system does not take
        raise WeightsNotFoundError(
            f"{tag} names {path}, which does not exist; put it back, or write the name of another checkpoint "
            "of that folder there"
        )
    return path


def read_checkpoint(filename: str, mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint of a training run by the safe loader.

    Args:
        filename: The file.
        mapped: Whether tensors stay in the file until they are used, for whoever reads what is beside them.

    Returns:
        Its entries; tensors are on the CPU.

    Raises:
        CheckpointError: The file is a `.pkl`, is damaged, cannot be read safely, or has no entry `model`.
    """
    if Path(filename).suffix in (".pkl", ".pyth"):
        raise CheckpointError(f"{filename}: files that can run code when read are refused; use a .pth")
    if not os.path.isfile(filename):
        raise WeightsNotFoundError(f"{filename} is no file; name a checkpoint")
    check_saved(Path(filename))
    archive = is_archive(Path(filename))  # of an older file nothing can stay there
    try:
        content = torch.load(filename, map_location="cpu", weights_only=True, mmap=mapped and archive)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{filename}: cannot be read safely as a checkpoint ({reason})") from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise CheckpointError(
            f"{filename}: a checkpoint of a training run must have an entry 'model'; found none"
        )
    return content


class AtomicCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes: a kill at any moment leaves a complete last checkpoint.

    A checkpoint gets its name when it is complete on the disk, and only then does `last_checkpoint` name it.
    Files are read by the safe loader; `.pkl` files are refused.

    Args:
        model: The model.
        save_dir: The output folder; "" saves nothing.
        stated: Facts about the model, written to every checkpoint for comparison when it is loaded.
        prefix: Prefix of the plain model's names in the state dict of `model`.
        checkpointables: What else is saved, such as the trainer.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        stated: Mapping[str, object] | None = None,
        prefix: str = "",
        **checkpointables: object,
    ) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.stated: dict[str, object] = dict(stated or {})
        self.left_out: tuple[str, ...] = ()
        self.prefix = prefix
        if self.save_dir and self.save_to_disk:
            for unfinished in Path(self.save_dir).glob(".*.pth.*.part"):  # of a run that was killed
                unfinished.unlink(missing_ok=True)

    def save(self, name: str, **kwargs: object) -> None:
        """Write `<save_dir>/<name>.pth` with the model, what it states, the trainer's state and `kwargs`.

        Args:
            name: Name of the file, without its suffix.
            kwargs: Further entries of the checkpoint.

        Raises:
            NotFiniteError: A weight is NaN or infinite; nothing is written.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: part.state_dict() for key, part in self.checkpointables.items()}
        self.save_weights(name, **states, **kwargs)
        self.tag_last_checkpoint(f"{name}.pth")

    def save_weights(self, name: str, **kwargs: object) -> None:
        """Write `<save_dir>/<name>.pth` without the trainer's state; `last_checkpoint` stays as it is.

        Args:
            name: Name of the file, without its suffix.
            kwargs: Further entries of the checkpoint.

        Raises:
            NotFiniteError: A weight is NaN or infinite; nothing is written.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        path = Path(self.save_dir, f"{name}.pth")
        kept_back = self._prefixes(self.left_out)
        state = {
            name: tensor for name, tensor in self.model.state_dict().items() if not name.startswith(kept_back)
        }
        if broken := describe_not_finite(state.items()):
            raise NotFiniteError(
                f"{path} is not written, because the training has diverged: values of {broken} are NaN or "
                "infinite. The checkpoints before it are kept: continue from one of them, or start again, "
                "with a lower SOLVER.BASE_LR"
            )
        self.logger.info("Saving checkpoint to %s", path)
        content = {"model": state, **self.stated, **kwargs}
        with _replacing(path, _size_of(content)) as file:
            torch.save(content, file)

    def leave_out(self, parts: Mapping[str, object]) -> None:
        """Write checkpoints without some parts of the model.

        Args:
            parts: Name of each part in the plain model -> what checkpoints state about it.
        """
        self.stated[FROZEN] = dict(parts)
        self.left_out = tuple(parts)

    def _prefixes(self, parts: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{self.prefix}{part}." for part in parts)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Make `last_checkpoint` name a file that is complete."""
        with _replacing(Path(self.save_dir, _TAG)) as file:
            file.write(last_filename_basename.encode())

    def _load_file(self, filename: str) -> dict[str, Any]:
        content = read_checkpoint(filename)
        left_out = self._prefixes(content.get(FROZEN, ()))
        own = {name: t for name, t in self.model.state_dict().items() if name.startswith(left_out)}
        content["model"] = own | content["model"]
        return content
