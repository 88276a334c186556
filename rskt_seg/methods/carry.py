"""Starting a closed-set model from a checkpoint of other classes: what of each class is carried over."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from rskt_seg.checkpoints.files import Source, WeightFile
from rskt_seg.checkpoints.rules import LoadReport
from rskt_seg.errors import CheckpointError
from rskt_seg.methods.load import check_method, class_names_of, without_wrapper
from rskt_seg.methods.registry import method_of
from rskt_seg.typing import SegmentationModel


@dataclass(frozen=True)
class CarriedClasses:
    """What became of the classes of a checkpoint in a model of other classes.

    Attributes:
        carried: Classes of the model that the checkpoint has too, by their names without regard to case.
        new: Classes of the model that start anew.
        left: Classes of the checkpoint that the model has not.
        tensors: Names of the tensors that depend on the classes.
        stated: Whether the checkpoint states its classes; if not, all of the model are new.
    """

    carried: tuple[str, ...]
    new: tuple[str, ...]
    left: tuple[str, ...]
    tensors: tuple[str, ...]
    stated: bool = True

    @classmethod
    def between(
        cls, old: Sequence[str] | None, new: Sequence[str], tensors: Sequence[str]
    ) -> "CarriedClasses":
        """Return what becomes of the classes `old` of a checkpoint (None: unknown) in a model of `new`."""
        known = {each.casefold() for each in old or ()}
        kept = {each.casefold() for each in new}
        return cls(
            tuple(each for each in new if each.casefold() in known),
            tuple(each for each in new if each.casefold() not in known),
            tuple(each for each in old or () if each.casefold() not in kept),
            tuple(tensors),
            old is not None,
        )

    def __str__(self) -> str:
        where = f", in {', '.join(self.tensors)}"
        if not self.stated:
            return f"the checkpoint does not state its classes: all {len(self.new)} start anew{where}"
        parts = [
            _counted(self.carried, "carried over by name"),
            _counted(self.new, "new, started anew"),
            _counted(self.left, "of the checkpoint left behind"),
        ]
        return f"classes: {'; '.join(parts)}{where}"


def carry_classes(
    model: SegmentationModel,
    source: str,
    content: WeightFile,
    contexts: Mapping[str, Source] | None = None,
) -> tuple[WeightFile, LoadReport, CarriedClasses] | None:
    """Bring a checkpoint into the form of a model that has other classes.

    Whatever does not depend on the classes stays as it is. Entries of classes that both have, by their names,
    go to their new places; those of new classes are the initial values of the model.

    Args:
        model: A closed-set model with its initial weights, which is not changed.
        source: Name of the checkpoint in messages.
        content: What `rskt_seg.checkpoints.files.read_weights` read.
        contexts: Role -> file, for published checkpoints with encoders in separate files.

    Returns:
        A checkpoint for `rskt_seg.methods.load.load_weights`, what was converted, and what became of the
        classes. None if there is nothing to carry: the classes are the same, or of a checkpoint that does not
        state them there are as many.

    Raises:
        CheckpointError: The checkpoint is of another method, or has not as many classes as it states.
    """
    method, own = method_of(model), class_names_of(model)
    if own is None or content.class_names == own:
        return None
    name, weights = without_wrapper(model, source, content)
    check_method(method, weights, name)
    layout, stated = method.checkpoint, weights.class_names
    state, report = layout.renamed(model, weights, name, contexts)
    key = next(iter(layout.class_axes))
    count = len(state[key]) if key in state else 0
    if stated is None and count in (0, len(own)):
        return None
    if stated is not None and count not in (0, len(stated)):
        raise CheckpointError(
            f"{name} states {len(stated)} class names and has weights of {count} classes: the file is damaged"
        )
    options, initial = asdict(model.spec), model.state_dict()
    before = {**options, **(weights.options or {})}
    tensors = [each for each in layout.class_axes if each in state and each in initial]
    for each in tensors:
        old = layout.class_rows(each, stated, before) if stated else ()
        pairs = _pairs(old, layout.class_rows(each, own, options))
        start = initial[each].detach().cpu()
        state[each] = _carry(state[each], start, pairs, layout.class_axes[each])
    follow = {key: options[key] for key in layout.class_options}
    stated_options = None if weights.options is None else {**weights.options, **follow}
    fitted = replace(weights, state=state, options=stated_options, class_names=own)
    return fitted, report, CarriedClasses.between(stated, own, tensors)


def _pairs(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Return (place in `old`, place in `new`) of every class that both have."""
    places = {name.casefold(): place for place, name in enumerate(old)}
    return [(places[name.casefold()], i) for i, name in enumerate(new) if name.casefold() in places]


def _carry(given: Tensor, initial: Tensor, pairs: Sequence[tuple[int, int]], axes: int) -> Tensor:
    """Return `initial` with the entries of `given` for pairs of places along each of the first `axes`.

    A tensor of another form in its other axes is returned as it is, for a strict load to refuse.
    """
    if given.shape[axes:] != initial.shape[axes:] or given.ndim != initial.ndim:
        return given
    result = initial.clone()
    if pairs:
        old, new = (torch.tensor(places) for places in zip(*pairs, strict=True))
        source = given.to(result.dtype)
        for axis in range(axes):
            source = source.index_select(axis, old)
        if axes == 1:
            result[new] = source
        else:
            result[new[:, None], new] = source
    return result


def _counted(names: Sequence[str], what: str) -> str:
    listed = f" ({', '.join(names)})" if names else ""
    return f"{len(names)} {what}{listed}"
