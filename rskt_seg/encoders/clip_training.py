"""Parts of CLIP's towers as they are trained on a CPU. Shapes: B image, L token, C channel."""

from torch import Tensor, nn

from rskt_seg.encoders.clip_blocks import QUICK, ClipMlp, SplitAttention
from rskt_seg.layers.inference_form import copy_around
from rskt_seg.layers.packed_products import TrainedLinear, packed_linear, packed_mlp
from rskt_seg.layers.training_form import is_frozen


class _TrainedAttention(SplitAttention):
    """`SplitAttention` of four `packed_linear`, with its parameters."""

    def __init__(self, attention: SplitAttention) -> None:
        nn.Module.__init__(self)
        self.heads, self.in_proj_bias = attention.heads, attention.in_proj_bias
        self.q_proj_weight, self.k_proj_weight = attention.q_proj_weight, attention.k_proj_weight
        self.v_proj_weight = attention.v_proj_weight
        self.add_module("out_proj", TrainedLinear(attention.out_proj))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `SplitAttention.project`."""
        q_bias, k_bias, v_bias = self.in_proj_bias.chunk(3)
        q, k = packed_linear(x, self.q_proj_weight, q_bias), packed_linear(x, self.k_proj_weight, k_bias)
        return q, k, packed_linear(x, self.v_proj_weight, v_bias)


class _PassedMlp(nn.Module):
    """`ClipMlp` that is not trained, but passes gradients on."""

    def __init__(self, mlp: ClipMlp) -> None:
        super().__init__()
        self.c_fc, self.c_proj = mlp.c_fc, mlp.c_proj

    def forward(self, x: Tensor) -> Tensor:
        """Transform every token, (B, L, C) -> (B, L, C)."""
        return packed_mlp(x, self.c_fc, self.c_proj, QUICK)


def pack_for_training(tower: nn.Module) -> nn.Module:
    """Copy a tower with all linear layers computed by `packed_linear`; all parameters are shared.

    Args:
        tower: A tower on a CPU where packing pays, which sees hundreds of tokens at a time.

    Returns:
        The copy.
    """
    if isinstance(tower, SplitAttention):
        return _TrainedAttention(tower)
    if isinstance(tower, ClipMlp) and is_frozen(tower):
        return _PassedMlp(tower)
    if type(tower) is nn.Linear:
        return TrainedLinear(tower)
    return copy_around(tower, {name: pack_for_training(child) for name, child in tower.named_children()})
