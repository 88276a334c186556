"""Parameters and operations of the weakly supervised model, also by the conventions of table 4.

The paper's figures (177.89 M, 16.45 M, 194.32 G) follow from DINOv2 ViT-S/14 and these conventions:
"trainable" also counts the last block of both CLIP towers, whose gradients WeCLIP's code leaves on although
nothing optimizes them; operations are multiply-adds, as fvcore counts them, of four 320 px images.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rskt_seg.models.wsss.model import FROZEN, PriorWSSS

_BATCH, _SIDE = 4, 320
_LEFT_ON = "resblocks.11."
"""The block that WeCLIP finds by the number in its name, in the image tower and in the text tower."""


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters of the model, and of those that table 4 counts in addition.

    Attributes:
        optimised: Trained parameters.
        frozen: Parameters of the frozen encoders.
        mask_token: Values of the authors' DINOv2 file that nothing here reads.
        left_on: Frozen parameters that WeCLIP's code counts as trainable.
    """

    optimised: int
    frozen: int
    mask_token: int
    left_on: int

    @property
    def table4_trainable(self) -> int:
        """The paper's "trainable" parameters."""
        return self.optimised + self.left_on

    @property
    def table4_total(self) -> int:
        """The paper's total."""
        return self.optimised + self.frozen + self.mask_token

    def __str__(self) -> str:
        return (
            f"{self.optimised:,} parameters optimised, {self.frozen:,} frozen; by the convention of table 4 "
            f"{self.table4_trainable:,} trainable of {self.table4_total:,}"
        )


def count_parameters(model: PriorWSSS) -> Parameters:
    """Count the parameters of a model, which may be on the meta device."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    frozen = sum(n for name, n in sizes.items() if name.split(".")[0] in FROZEN)
    left_on = sum(n for name, n in sizes.items() if name.startswith("clip.") and _LEFT_ON in name)
    mask_token = model.dinov2.cls_token.numel()
    return Parameters(sum(sizes.values()) - frozen, frozen, mask_token, left_on)


def count_table4_operations(model: PriorWSSS, side: int = _SIDE, batch: int = _BATCH) -> int:
    """Count the multiply-adds of a batch of images by the convention of table 4.

    Counted are the blocks of CLIP that the adapter reads, including the products of attention; DINOv2, whose
    attention fvcore does not count; both adapters; and the decoder on the features of either encoder. Not
    counted are the text tower, CLIP's last block and the affinity.

    Args:
        model: Model on the CPU or a GPU, not on the meta device.
        side: Height and width of the images, in pixels.
        batch: Number of images.

    Returns:
        Number of multiply-adds.
    """
    images = torch.zeros(1, 3, side, side, device=model.device)
    levels = _ClipLevels(model)
    dino_side = side // model.dino_stride * model.dino_stride
    smaller = torch.zeros(1, 3, dino_side, dino_side, device=model.device)
    with torch.no_grad():
        taps, dino = levels(images), model.dinov2(smaller)
        clip = model.clip_adapter(taps)
    count = _count(levels, images, attention=True) + _count(model.dinov2, smaller, attention=False)
    count += _count(_Adapters(model), (taps, dino), attention=False)
    return batch * (count + 2 * _count(model.decoder, clip, attention=True))


class _ClipLevels(nn.Module):
    """The blocks of CLIP that the adapter reads, as a module that fvcore can trace."""

    def __init__(self, model: PriorWSSS) -> None:
        super().__init__()
        self.visual, self.taps = model.clip.visual, [level - 1 for level in model.spec.clip_levels]

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.visual.tapped(images, self.taps).taps.values())


class _Adapters(nn.Module):
    """Both adapters, as one module that fvcore can trace."""

    def __init__(self, model: PriorWSSS) -> None:
        super().__init__()
        self.clip, self.dino = model.clip_adapter, model.dino_adapter

    def forward(self, taps: list[Tensor], dino: Tensor) -> tuple[Tensor, Tensor]:
        return self.clip(taps), self.dino([dino])


def _count(module: nn.Module, inputs: object, attention: bool) -> int:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(module, inputs).unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False).tracer_warnings("none")
    if attention:
        analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_products)
    return int(analysis.total())


# The arguments are values of torch's tracer (torch._C.Value), whose annotations know no sizes.
def _attention_products(inputs: list[Any], _: list[Any]) -> int:
    """Count the multiply-adds of attention: queries with keys, and weights with values.

    Queries are (B, heads, L, C), keys and values (B, heads, S, C).
    """
    (*leading, length, channels), (*_, keys, _) = (value.type().sizes() for value in inputs[:2])
    return 2 * math.prod(leading) * length * keys * channels
