"""Numbers that are not finite (NaN or infinite), which no weight and no class score may be."""

from collections.abc import Iterable

import torch
from torch import Tensor

from rskt_seg.errors import NotFiniteError
from rskt_seg.wording import counted

_CHUNK = 1 << 22
_LISTED = 10


def all_finite(tensor: Tensor) -> bool:
    """Return whether no value of a tensor is NaN or infinite.

    One pass over the values, usually without further memory: the sum shows it. One value is copied to the
    CPU, which waits for the device of the tensor.
    """
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.numel() == 0:
        return True
    if tensor.dtype.itemsize == 1:  # no arithmetic of 8 bits
        tensor = tensor.float()
    if bool(torch.isfinite(tensor.sum()).cpu()):
        return True
    # The sum of large or 16-bit values can be infinite though none of them is.
    return all(bool(torch.isfinite(part).all().cpu()) for part in tensor.reshape(-1).split(_CHUNK))


def describe_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return which tensors have values that are NaN or infinite, as part of a message.

    Args:
        tensors: Pairs of name and tensor.

    Returns:
        The number of such tensors and up to ten names, such as "2 tensors (a, b)"; "" if there are none.
    """
    names = [name for name, tensor in tensors if not all_finite(tensor)]
    if not names:
        return ""
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{counted(len(names), 'tensor')} ({', '.join(names[:_LISTED])}{more})"


def check_scores(scores: Tensor, of: str) -> None:
    """Refuse class scores that are not finite: their arg-max would be one class, and look like a result.

    Args:
        scores: Scores of any shape.
        of: What they belong to, in messages, such as the name of an image.

    Raises:
        NotFiniteError: A score is NaN or infinite.
    """
    if all_finite(scores):
        return
    share = 1 - torch.isfinite(scores).float().mean().cpu().item()
    raise NotFiniteError(
        f"{of}: expected finite class scores; {share:.1%} of those of the model are NaN or infinite. Its "
        "weights are broken, or it computes in a precision that overflows: load an earlier checkpoint, and "
        "use float32"
    )
