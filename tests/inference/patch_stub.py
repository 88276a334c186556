"""A stand-in for FCtL whose answers a test can compute by itself."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.models.fctl import FCtL


@dataclass(frozen=True)
class Output:
    logits: Tensor
    maps: None = None


class PatchStub(FCtL):
    """A 3 x 3 convolution of every patch (zero padding) plus, of each context, the mean colour."""

    patch_side = working_side = 0
    context_factors = {}  # noqa: RUF012
    sees_whole = False

    def __init__(self, weight: Tensor, bias: Tensor, side: int, factors=None, seen=None, whole=False) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.patch_side, self.working_side = side, seen or side
        self.context_factors = factors or {}
        self.sees_whole = whole
        self.encoded: list[tuple[str, tuple[int, ...]]] = []
        self.calls: list[dict] = []

    def train(self, mode=True):
        return nn.Module.train(self, mode)

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def encode_context(self, name: str, images: Tensor) -> Tensor:
        self.encoded.append((name, tuple(images.shape)))
        return images.mean(dim=(2, 3), keepdim=True)

    def forward(self, patches, contexts=None, windows=None, return_maps=False):
        self.calls.append({"patches": patches, "contexts": contexts, "windows": windows})
        logits = F.conv2d(patches, self.weight, self.bias, padding=1)
        for context in (contexts or {}).values():
            logits = logits + context.mean(dim=(2, 3), keepdim=True)
        return Output(logits)


def colours(side: int, **options) -> PatchStub:
    """The stub whose logits are the colours of the pixel itself (and the mean colours of its contexts)."""
    weight = torch.zeros(3, 3, 3, 3)
    weight[range(3), range(3), 1, 1] = 1
    return PatchStub(weight, torch.zeros(3), side, **options)
