"""Models whose answers a test can compute by itself.

They stand in for the models of a method, whose classes they extend without building them.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.models.bicor import BiCoR
from rskt_seg.models.rskt import RSKT

CHANNELS = {"red": 0, "green": 1, "blue": 2, "scarlet": 0, "lime": 1}


@dataclass(frozen=True)
class Output:
    logits: Tensor
    cost_maps: dict[str, Tensor] | None = None


class Colours(RSKT):
    """A model whose score of a class is the image channel that its name says, at the size it sees."""

    working_side = 48
    score_kind = "sigmoids"

    @property
    def logits_side(self) -> int:
        return self.cells or self.working_side

    def __init__(self, cells: int | None = None) -> None:
        nn.Module.__init__(self)
        self.scale = nn.Parameter(torch.tensor(1 / 255))
        self.cells = cells
        self.calls: list[dict] = []

    @property
    def device(self) -> torch.device:
        return self.scale.device

    def train(self, mode=True):
        return nn.Module.train(self, mode)

    def forward(self, images, vocabulary, padding=None, return_cost_maps=False):
        self.calls.append({"size": tuple(images.shape), "padding": padding, "vocabulary": vocabulary})
        if self.cells:
            images = F.adaptive_avg_pool2d(images, self.cells)
        chosen = [CHANNELS.get(name, index % 3) for index, name in enumerate(vocabulary)]
        maps = images[:, chosen] * self.scale
        return Output(maps, {"clip": maps, "dino": 1 - maps} if return_cost_maps else None)

    def scores(self, output):
        return output.logits


class FixedColours(BiCoR):
    """A closed-set model at native resolution: the logit of class t is channel t % 3 of the pixel itself."""

    def __init__(self, class_names=("red", "green", "blue"), num_classes: int = 3) -> None:
        nn.Module.__init__(self)
        self.scale = nn.Parameter(torch.tensor(1 / 16))
        self.class_names = class_names
        self.spec = SimpleNamespace(num_classes=num_classes, interaction="hbis")
        self.calls: list[dict] = []

    @property
    def device(self) -> torch.device:
        return self.scale.device

    def forward(self, images, padding=None):
        self.calls.append({"size": tuple(images.shape), "padding": padding})
        chosen = [t % 3 for t in range(self.spec.num_classes)]
        return Output(images[:, chosen] * self.scale)
