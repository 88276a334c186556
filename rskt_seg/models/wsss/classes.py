"""Which class of the data is the background, and how CAM channels and class ids go together."""

from collections.abc import Sequence
from dataclasses import dataclass

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.spec import CLASS, COMPLEMENT, NONE

BACKGROUND = "background"
IGNORED = 255


@dataclass(frozen=True)
class Channels:
    """The K classes of the data, of which one may be the background.

    A stack of CAMs has 1 + T channels: `ids[c]` is the class id of channel c, and `ids[0]` is 255 where no
    class is the background.
    """

    names: tuple[str, ...]
    background: int | None

    @property
    def ids(self) -> tuple[int, ...]:
        """1 + T class ids, the background's first."""
        foreground = (k for k in range(len(self.names)) if k != self.background)
        return (IGNORED if self.background is None else self.background, *foreground)

    @property
    def foreground(self) -> tuple[str, ...]:
        """The names of the T classes that have a text."""
        return tuple(self.names[k] for k in self.ids[1:])


def with_background(names: Sequence[str], background: str) -> tuple[str, ...]:
    """The classes of a model: with background "complement" one more in front, unless it is there."""
    names = tuple(names)
    if background == COMPLEMENT and not (names and names[0].casefold() == BACKGROUND):
        return (BACKGROUND, *names)
    return names


def find_channels(names: Sequence[str], background: str) -> Channels:
    """The channels for classes in the order of their ids; `background` as `PriorWSSSSpec.background`.

    "class:clutter" also means a class that is called `Clutter/background`. Raises `ConfigError` where the
    class that is to be the background is not there, and where nothing else is left.
    """
    names = tuple(names)
    wanted = BACKGROUND if background == COMPLEMENT else background.removeprefix(CLASS).strip().casefold()
    position = None
    if background != NONE:
        fitting = [k for k, name in enumerate(names) if wanted in (name.casefold(), *_parts(name))]
        if background == COMPLEMENT:
            fitting = [k for k in fitting if k == 0]
        if len(fitting) != 1:
            raise ConfigError(
                f"background {background!r} (MODEL.WSSS.BACKGROUND) needs {_needed(background)}; the classes "
                f"are {', '.join(names)}: put it there, say {CLASS}<name> for the one that is no object of "
                f"its own, or {NONE}"
            )
        position = fitting[0]
    if len(names) == (0 if position is None else 1):
        raise ConfigError("at least one class besides the background is needed")
    return Channels(names, position)


def _parts(name: str) -> list[str]:
    return [part.strip() for part in name.casefold().split("/")]


def _needed(background: str) -> str:
    if background == COMPLEMENT:
        return f"a class {BACKGROUND!r} with the id 0"
    return f"one class of the name {background.removeprefix(CLASS)!r}"
