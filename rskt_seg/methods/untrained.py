"""Models that still have the random weights they were built with.

`Method.build` notes the digest of the weight of the last layer in the attributes of a model, beside its
parameters: it follows the model to other devices, into copies and pickles, and is no part of its state dict.
Whatever fills or trains the model (`load_checkpoint`, `load_state_dict`, an optimizer) changes the weight.
"""

from dataclasses import dataclass

from rskt_seg.digests import weights_digest
from rskt_seg.typing import SegmentationModel

_ATTRIBUTE = "initial_weight"


@dataclass(frozen=True)
class InitialWeight:
    """The weight of the last layer of a model as it was built.

    Attributes:
        key: Its name in the state dict.
        digest: Its `rskt_seg.digests.weights_digest`.
        remedy: The way to get weights, for the notice.
    """

    key: str
    digest: str
    remedy: str


def note_initial_weight(model: SegmentationModel, key: str, remedy: str) -> None:
    """Note in the attributes of a model that it was just built.

    Args:
        model: The model.
        key: Name of the weight of its last layer; nothing is noted if the model has no such weight, or has
            it without values (on the device "meta").
        remedy: The way to get weights, which completes "... mean nothing: ".
    """
    weight = model.state_dict().get(key)
    if weight is not None and not weight.is_meta:
        vars(model)[_ATTRIBUTE] = InitialWeight(key, weights_digest({key: weight}), remedy)


def untrained_notices(model: SegmentationModel) -> tuple[str, ...]:
    """Return a notice for a model whose last layer has the values it was built with.

    Models that no method's record built are taken for trained: nothing is known of them.

    Args:
        model: The model.

    Returns:
        One line that names the way to load weights; () for other models.
    """
    initial = vars(model).get(_ATTRIBUTE)
    if isinstance(initial, tuple):
        return initial
    if not isinstance(initial, InitialWeight):
        return ()
    weight = model.state_dict()[initial.key]
    if weight.is_meta or weights_digest({initial.key: weight}) != initial.digest:
        return ()
    return (f"this model has random weights, so its classes mean nothing: {initial.remedy}",)


def keep_notices(form: SegmentationModel, notices: tuple[str, ...]) -> None:
    """Make `untrained_notices` of an inference form, whose weights have other layouts, those of its model."""
    vars(form)[_ATTRIBUTE] = notices
