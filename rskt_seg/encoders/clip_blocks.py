"""Transformer blocks of CLIP, of both towers. Shapes: B image or prompt, L token, C channel."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.layers.attention import attend, attend_with_weights
from rskt_seg.layers.containers import ModuleListOf
from rskt_seg.layers.inference_form import FormBuilder, HasInferenceForm

QUICK = 1.702
"""Slope inside the sigmoid of OpenAI's activation."""


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of OpenAI's CLIP."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to every element; any shape."""
        y: Tensor = _QuickGELU.apply(x)
        return y


class _QuickGELU(torch.autograd.Function):
    """silu(a x) / a: the factors cancel in the gradient, which takes one pass and one tensor that is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        scaled = QUICK * x
        ctx.save_for_backward(scaled)
        return F.silu(scaled).div_(QUICK)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (scaled,) = ctx.saved_tensors
        gradient: Tensor = torch.ops.aten.silu_backward(grads[0], scaled)
        return gradient


class SplitAttention(HasInferenceForm):
    """Multi-head self-attention whose q, k and v matrices are separate parameters.

    `in_proj_bias` (3 C) holds the biases of q, k and v in this order.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj_weight = nn.Parameter(torch.empty(width, width))
        self.k_proj_weight = nn.Parameter(torch.empty(width, width))
        self.v_proj_weight = nn.Parameter(torch.empty(width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        for weight in (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            nn.init.normal_(weight, std=width**-0.5)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """Attend from every token to every token.

        Args:
            x: (B, L, C).
            causal: Hide later tokens from each token.

        Returns:
            (B, L, C).
        """
        return self.out_proj(attend(*self.project(x), self.heads, causal=causal))

    def with_weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Attend as `forward` does, and return the weights.

        Args:
            x: (B, L, C).

        Returns:
            (B, L, C), and the attention weights averaged over the heads, (B, L, L) float32.
        """
        out, weights = attend_with_weights(*self.project(x), self.heads)
        return self.out_proj(out), weights

    def values(self, x: Tensor) -> Tensor:
        """Project every token to its value, without any attention.

        One matrix product: the output projection is multiplied into the value projection.

        Args:
            x: (B, L, C).

        Returns:
            (B, L, C).
        """
        return F.linear(x, *self.value_path())

    def value_path(self) -> tuple[Tensor, Tensor]:
        """Return weight (C, C) and bias (C) of the one linear layer that `values` is."""
        weight = self.out_proj.weight @ self.v_proj_weight
        bias = F.linear(self.in_proj_bias.chunk(3)[2], self.out_proj.weight, self.out_proj.bias)
        return weight, bias

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of tokens (B, L, C), (B, L, C) each."""
        q_bias, k_bias, v_bias = self.in_proj_bias.chunk(3)
        q = F.linear(x, self.q_proj_weight, q_bias)
        k = F.linear(x, self.k_proj_weight, k_bias)
        v = F.linear(x, self.v_proj_weight, v_bias)
        return q, k, v

    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """See `HasInferenceForm`."""
        return _ConvertedAttention(self, builder)


class _ConvertedAttention(SplitAttention):
    """`SplitAttention` of four linear layers."""

    def __init__(self, attention: SplitAttention, builder: FormBuilder) -> None:
        nn.Module.__init__(self)
        self.heads = attention.heads
        out = attention.out_proj
        weights = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        biases = attention.in_proj_bias.chunk(3)
        self.q, self.k, self.v = (
            builder.linear(weight, bias) for weight, bias in zip(weights, biases, strict=True)
        )
        self.add_module("out_proj", builder.linear(out.weight, out.bias))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `SplitAttention.project`."""
        return self.q(x), self.k(x), self.v(x)

    def values(self, x: Tensor) -> Tensor:
        """See `SplitAttention.values`."""
        return self.out_proj(self.v(x))


class ValuePath(nn.Module):
    """What the dense path needs of the attention of the last block: `SplitAttention.values` alone."""

    def __init__(self, attention: SplitAttention, builder: FormBuilder) -> None:
        super().__init__()
        self.linear = builder.linear(*attention.value_path())

    def values(self, x: Tensor) -> Tensor:
        """See `SplitAttention.values`."""
        return self.linear(x)


class ClipMlp(HasInferenceForm):
    """Linear, QuickGELU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = QuickGELU()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform every token, (B, L, C) -> (B, L, C)."""
        y: Tensor = self.c_proj(self.gelu(self.c_fc(x)))
        return y

    def inference_form(self, builder: FormBuilder) -> nn.Module:
        """See `HasInferenceForm`: x * sigmoid(a x) = silu(a x) / a, with a and 1 / a in the linear layers."""
        c_fc, c_proj = self.c_fc, self.c_proj
        return nn.Sequential(
            builder.linear(QUICK * c_fc.weight, QUICK * c_fc.bias, "silu"),
            builder.linear(c_proj.weight / QUICK, c_proj.bias),
        )


class Block(nn.Module):
    """Pre-norm transformer block of CLIP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = SplitAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = ClipMlp(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        """Attend and transform.

        Args:
            x: Tokens (B, L, C).
            causal: Whether tokens see earlier tokens and themselves only.

        Returns:
            (B, L, C).
        """
        x = x + self.attn(self.ln_1(x), causal=causal)
        return x + self.mlp(self.ln_2(x))

    def with_weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute what `forward` does, and return the attention weights.

        Args:
            x: (B, L, C).

        Returns:
            (B, L, C), and the attention weights averaged over the heads, (B, L, L) float32.
        """
        out, weights = self.attn.with_weights(self.ln_1(x))
        x = x + out
        return x + self.mlp(self.ln_2(x)), weights

    def dense(self, x: Tensor) -> Tensor:
        """Apply the block as the published dense path applies the last one: nothing attends.

        The *class token* of the input, not the patch itself, is the residual to which the value of each patch
        is added.

        Args:
            x: (B, 1 + L, C), class token first.

        Returns:
            (B, L, C), the patches alone.
        """
        x = x[:, :1] + self.attn.values(self.ln_1(x[:, 1:]))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of `Block`s under the key `resblocks`."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks: ModuleListOf[Block] = ModuleListOf(Block(width, heads) for _ in range(layers))
