"""The background among the classes of a dataset, and the mapping of CAM channels to class ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.spec import CLASS_PREFIX, COMPLEMENT, NO_BACKGROUND

BACKGROUND = "background"
"""Name of the class that is added for the spec's background "complement"."""
IGNORE_LABEL = 255
"""Id of pixels without a pseudo label."""


@dataclass(frozen=True)
class CamChannels:
    """The K classes of the data, one of which may be the background.

    A stack of CAMs has 1 + T channels, for the background and the T foreground classes.

    Attributes:
        names: Names of the K classes, in the order of their ids.
        background: Id of the background, None if no class is the background.
    """

    names: tuple[str, ...]
    background: int | None

    @property
    def ids(self) -> tuple[int, ...]:
        """Class ids of the 1 + T channels, the background's first: 255 if no class is the background."""
        foreground = (k for k in range(len(self.names)) if k != self.background)
        return (IGNORE_LABEL if self.background is None else self.background, *foreground)

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the T foreground classes, which have a text."""
        return tuple(self.names[k] for k in self.ids[1:])


def with_background(names: Sequence[str], background: str) -> tuple[str, ...]:
    """Return the classes of a model, which may have one more than the data.

    Args:
        names: Classes of the data, in the order of their ids.
        background: `PriorWSSSSpec.background`. "complement" puts the class "background" in front, unless it
            is there already.

    Returns:
        The K classes of the model.
    """
    names = tuple(names)
    if background == COMPLEMENT and not (names and names[0].casefold() == BACKGROUND):
        return (BACKGROUND, *names)
    return names


def find_channels(names: Sequence[str], background: str) -> CamChannels:
    """Find the background among the classes.

    Args:
        names: Classes in the order of their ids.
        background: `PriorWSSSSpec.background`. "class:clutter" also matches `Clutter/background`.

    Returns:
        The foreground classes, and the id of the background if there is one.

    Raises:
        ConfigError: If the background class is not among the names or ambiguous, or if no other class is
            left.
    """
    names = tuple(names)
    position = None if background == NO_BACKGROUND else _background_id(names, background)
    if len(names) == (0 if position is None else 1):
        raise ConfigError("at least one class besides the background is needed")
    return CamChannels(names, position)


def check_present(present: Tensor, images: int, foreground: Sequence[str]) -> Tensor:
    """Return image-level labels that have the type and shape of such.

    Args:
        present: What should be bool (B, T).
        images: Number B of images.
        foreground: Names of the T foreground classes.

    Returns:
        `present`.

    Raises:
        ConfigError: They have not.
    """
    expected = (images, len(foreground))
    if present.shape != expected or present.dtype != torch.bool:
        raise ConfigError(
            f"present must be bool of shape {expected}, one row per image and one column for each of "
            f"{', '.join(foreground)}; found {tuple(present.shape)} {present.dtype}"
        )
    return present


def _background_id(names: tuple[str, ...], background: str) -> int:
    if background == COMPLEMENT:
        wanted = f"{BACKGROUND!r} with the id 0"
        matches = [0] if names and BACKGROUND in _aliases(names[0]) else []
    else:
        name = background.removeprefix(CLASS_PREFIX)
        wanted = f"named {name!r}"
        matches = [k for k, each in enumerate(names) if name.strip().casefold() in _aliases(each)]
    if len(matches) != 1:
        raise ConfigError(
            f"background={background!r} (MODEL.WSSS.BACKGROUND) needs exactly one class {wanted}; found the "
            f"classes {', '.join(names)}: add it, name the background class with "
            f"{CLASS_PREFIX}<name>, or use {NO_BACKGROUND}"
        )
    return matches[0]


def _aliases(name: str) -> set[str]:
    """Return a class name and the alternatives that slashes separate in it, all case-folded."""
    folded = name.casefold()
    return {folded, *(part.strip() for part in folded.split("/"))}
