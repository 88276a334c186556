"""Models by name: which there are, what they are for, and the file of each."""

import logging
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from rskt_seg.checkpoints.fetch import fetch
from rskt_seg.checkpoints.files import Source
from rskt_seg.checkpoints.manifest import FOLDER
from rskt_seg.errors import WeightsNotFoundError
from rskt_seg.methods.record import NamedModel
from rskt_seg.methods.registry import registered_methods

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[\w-]+")
"""What a name may look like. `./tiny` and `tiny.pth` are files."""


class ListedModel(NamedTuple):
    """A row of `list_models`.

    Attributes:
        name: What `rskt_seg.load` and `rskt-seg segment --model` take.
        method: Title of its method.
        purpose: What it is for, in a few words.
        licence: Licence of its weights; "unknown" if no source states it.
        size: Bytes of its file, which is here or known from the manifest; None if unknown.
        present: Whether its file is here.
        where: The file if it is here, else where it is to be had: a hub repository, a host, or the page from
            which it has to be got by hand.
    """

    name: str
    method: str
    purpose: str
    licence: str
    size: int | None
    present: bool
    where: str


def named_models() -> tuple[NamedModel, ...]:
    """Return the models with names of all registered methods."""
    return tuple(named for method in registered_methods() for named in method.models)


def list_models(folder: str | os.PathLike[str] = FOLDER) -> tuple[ListedModel, ...]:
    """List the models that `rskt_seg.load` knows by name. Nothing is fetched.

    Args:
        folder: Where files are looked for that do not come with this package.

    Returns:
        A row for each, whose fields are headed by `ListedModel._fields`.
    """
    rows = []
    for method in registered_methods():
        for named in method.models:
            row = named.weights
            file = row.place(folder)
            present = file.is_file()
            away = f"by hand: {row.page}" if row.by_hand else row.where
            rows.append(
                ListedModel(
                    named.name,
                    method.title,
                    named.purpose,
                    row.licence or "unknown",
                    file.stat().st_size if present else row.size,
                    present,
                    str(file) if present else away,
                )
            )
    return tuple(rows)


def find_named(source: Source) -> NamedModel | None:
    """Return the model that a source of weights is the name of.

    Args:
        source: As for `rskt_seg.load`.

    Returns:
        The model; None for a file and for what is in memory. A name stands for its model even where a file is
        called so, with a warning.

    Raises:
        WeightsNotFoundError: It looks like a name and is none, and no file is called so. The message has the
            nearest names.
    """
    if not (isinstance(source, str) and _NAME.fullmatch(source)):
        return None
    known = {named.name: named for named in named_models()}
    is_file = Path(source).is_file()
    if source in known:
        if is_file:
            logger.warning("%s is taken for the name of a model; for the file write ./%s", source, source)
        return known[source]
    if is_file:
        return None
    near = get_close_matches(source.lower().replace("_", "-"), known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
    raise WeightsNotFoundError(f"no model and no file is called {source!r}; {hint}")


def obtain(named: NamedModel) -> Path:
    """Return the verified file of a model; fetch it first if it is to be had and not here.

    Before it is fetched, a warning states its size, its licence and its origin.

    Args:
        named: The model.

    Returns:
        The file, in `FOLDER` or in this package.

    Raises:
        CheckpointError: The file or the download is not the one of the manifest.
        WeightsNotFoundError: It cannot be downloaded. The message says how to get it by hand.
    """
    return fetch(named.weights, announce=logger.warning).path
