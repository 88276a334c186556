"""A weakly supervised model whose answers a test can compute by itself."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.models.wsss import PriorWSSS
from tests.stub_models import Output

NAMES = ("background", "red", "green", "blue")


@dataclass(frozen=True)
class Stages:
    initial: Tensor
    refined: Tensor
    final: Tensor
    labels: Tensor


def cell_means(images: Tensor, stride: int) -> Tensor:
    """(B, 3, H, W) -> (B, 3, ceil(H / stride), ceil(W / stride)): the mean of each cell, borders repeated."""
    bottom, right = (-side % stride for side in images.shape[2:])
    return F.avg_pool2d(F.pad(images, (0, right, 0, bottom), mode="replicate"), stride)


class PriorStub(PriorWSSS):
    """The logit of a colour is its mean over a cell, that of the background is that of a value of 100.

    CAMs are these means as shares of 255, their square and their cube. `background` False: no class plays it.
    """

    foreground = channel_ids = ()

    def __init__(self, stride: int = 8, background: bool = True, **parts: bool) -> None:
        nn.Module.__init__(self)
        self.scale = nn.Parameter(torch.tensor(1 / 16))
        self.stride = stride
        self.class_names = NAMES if background else NAMES[1:]
        self.foreground = NAMES[1:]
        self.channel_ids = (0, 1, 2, 3) if background else (255, 0, 1, 2)
        self.spec = SimpleNamespace(
            **{"num_classes": len(self.class_names), "usr": True, "vpe": True} | parts
        )
        self.sizes: list[tuple[int, int]] = []
        self.asked: list[list[bool]] = []

    def train(self, mode=True):
        return nn.Module.train(self, mode)

    @property
    def device(self) -> torch.device:
        return self.scale.device

    def forward(self, images: Tensor) -> Output:
        self.sizes.append(tuple(images.shape[2:]))
        means = cell_means(images, self.stride)
        if self.class_names == NAMES:
            means = torch.cat([torch.full_like(means[:, :1], 100), means], dim=1)
        return Output(means * self.scale)

    def stages(self, images: Tensor, present: Tensor) -> Stages:
        assert present.dtype == torch.bool and not torch.is_grad_enabled()
        self.asked.append(present[0].tolist())
        foreground = cell_means(images, self.stride) / 255 * present[:, :, None, None]
        maps = []
        for power in (1, 2, 3):
            stage = foreground**power
            rest = 1 - stage.amax(dim=1, keepdim=True)
            maps.append(
                torch.cat([rest if self.channel_ids[0] == 0 else -torch.ones_like(rest), stage], dim=1)
            )
        best = torch.tensor(self.channel_ids)[maps[-1].argmax(dim=1)]
        pixels = best.repeat_interleave(self.stride, dim=1).repeat_interleave(self.stride, dim=2)
        return Stages(*maps, pixels[:, : images.shape[2], : images.shape[3]])
