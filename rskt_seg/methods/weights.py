"""All weight files that the registered methods can use."""

from pathlib import Path

from rskt_seg.checkpoints.manifest import ENCODER_WEIGHTS, FOLDER, Weights, by_file
from rskt_seg.methods.registry import registered_methods


def manifest() -> tuple[Weights, ...]:
    """Return the pretrained encoders, then the published checkpoints of every registered method."""
    published = (row for method in registered_methods() for row in method.weights)
    return (*ENCODER_WEIGHTS, *published)


def fetch_command(path: str | Path) -> str | None:
    """Return the command that fetches a file of the manifest to `path`; None for any other file."""
    row = by_file(path, manifest())
    if row is None:
        return None
    folder = Path(path).parent
    return f"rskt-seg weights fetch {row.name}" + ("" if folder == Path(FOLDER) else f" --to {folder}")
