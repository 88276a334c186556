"""What a user should know of the weights of a model, whichever way it is used.

A notice lies in the attributes of a model, beside its parameters, with the digest of the weight of the last
layer: it follows the model to other devices, into copies and pickles, is no part of its state dict, and ends
when that weight changes, as by `load_checkpoint`, `load_state_dict` or an optimizer.
"""

from dataclasses import dataclass

from rskt_seg.digests import weights_digest
from rskt_seg.typing import SegmentationModel

_ATTRIBUTE = "noted_weight"


@dataclass(frozen=True)
class NotedWeight:
    """The weight of the last layer of a model, and what is to be known while it has these values.

    Attributes:
        key: Its name in the state dict.
        digest: Its `rskt_seg.digests.weights_digest`.
        notice: One line.
    """

    key: str
    digest: str
    notice: str


def note_weights(model: SegmentationModel, key: str, notice: str) -> None:
    """Note something of the present weights of a model, in place of what was noted before.

    Args:
        model: The model.
        key: Name of the weight of its last layer; nothing is noted if the model has no such weight, or has
            it without values (on the device "meta").
        notice: One line.
    """
    weight = model.state_dict().get(key)
    if weight is not None and not weight.is_meta:
        vars(model)[_ATTRIBUTE] = NotedWeight(key, weights_digest({key: weight}), notice)


def model_notices(model: SegmentationModel) -> tuple[str, ...]:
    """Return what was noted of the weights that a model has: that they are random, or what they are not for.

    Models that no method's record built are taken for trained: nothing is known of them.

    Args:
        model: The model.

    Returns:
        At most one line.
    """
    noted = vars(model).get(_ATTRIBUTE)
    if isinstance(noted, tuple):
        return noted
    if not isinstance(noted, NotedWeight):
        return ()
    weight = model.state_dict()[noted.key]
    if weight.is_meta or weights_digest({noted.key: weight}) != noted.digest:
        return ()
    return (noted.notice,)


def keep_notices(form: SegmentationModel, notices: tuple[str, ...]) -> None:
    """Make `model_notices` of an inference form, whose weights have other layouts, those of its model."""
    vars(form)[_ATTRIBUTE] = notices
