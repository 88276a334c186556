"""Options that follow from the classes, for data whose classes no configuration foresaw."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.classes import find_channels
from rskt_seg.models.wsss.knowledge import PACKAGED, read_knowledge
from rskt_seg.models.wsss.spec import COMPLEMENT, NO_BACKGROUND, TPE_ONLY, PriorWSSSSpec


def fit_to_classes(spec: PriorWSSSSpec, class_names: Sequence[str]) -> PriorWSSSSpec:
    """Return options with which a model of these classes can be trained.

    * Where the background is to be everything else, and the first class is not called so, there is none.
    * Where a packaged file describes classes, but not all of these, classes are known by their names alone.

    Args:
        spec: The options that were asked for.
        class_names: The classes, in the order of their ids.

    Returns:
        `spec` itself if nothing has to change. A background that is named, and a file of descriptions of the
        user's own, stay.
    """
    defaults = {each.name: each.default for each in fields(spec)}
    changes: dict[str, Any] = {}
    background = spec.background
    if background == COMPLEMENT and not _fits(lambda: find_channels(class_names, background)):
        background = NO_BACKGROUND
        changes |= {"background": background, "background_power": defaults["background_power"]}
    if spec.descriptions in PACKAGED:
        described = read_knowledge(spec.descriptions)
        foreground = find_channels(class_names, background).foreground
        if not _fits(lambda: described.for_classes(foreground)):
            changes |= {"descriptions": "", "tpe": False} | {name: defaults[name] for name in TPE_ONLY}
    return replace(spec, **changes) if changes else spec


def changed_options(asked: PriorWSSSSpec, fitted: PriorWSSSSpec) -> Mapping[str, object]:
    """Return the options that `fit_to_classes` changed, with their new values."""
    before = asdict(asked)
    return {name: value for name, value in asdict(fitted).items() if value != before[name]}


def _fits(find: Callable[[], object]) -> bool:
    try:
        find()
    except ConfigError:
        return False
    return True
