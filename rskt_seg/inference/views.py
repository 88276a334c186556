"""The eight flips and right-angle rotations of a square, and their inverses."""

from typing import NamedTuple

import torch
from torch import Tensor


class View(NamedTuple):
    """First a mirror image left to right if `flip`, then `turns` counter-clockwise quarter turns.

    Both act on the last two dimensions of a tensor (..., H, W); odd turns swap H and W.
    """

    turns: int
    flip: bool

    def apply(self, x: Tensor) -> Tensor:
        """The tensor as this view sees it."""
        return torch.rot90(x.flip(-1) if self.flip else x, self.turns, dims=(-2, -1))

    def undo(self, x: Tensor) -> Tensor:
        """The inverse of `apply`."""
        x = torch.rot90(x, -self.turns, dims=(-2, -1))
        return x.flip(-1) if self.flip else x


VIEWS = tuple(View(turns, flip) for flip in (False, True) for turns in range(4))
"""All eight, the identity first."""
