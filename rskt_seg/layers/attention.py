"""Attention as functions on tensors. Shapes: B batch, L query, S key and value, C channel, H W grid."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_WIDE_HEAD = 64
"""Channels of a head from which matrix products keep up with a fused kernel."""
_STRIP = 512
"""Queries of a strip: their weights on 2305 keys take 2.4 MB, which stays in cache."""


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split the channels among heads.

    Args:
        x: (B, L, C).
        heads: Number of heads, a divisor of C.

    Returns:
        (B, heads, L, C / heads).
    """
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Concatenate the channels of all heads.

    Args:
        x: (B, heads, L, C / heads).

    Returns:
        (B, L, C).
    """
    return x.transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, *, causal: bool = False) -> Tensor:
    """Attend with the softmax of (C / heads) ** -0.5 q k^T, without storing the attention matrix.

    On a CPU, PyTorch's kernel gains nothing from bfloat16. Where no gradient is asked for, matrix products on
    strips of queries, which do gain, take its place.

    Args:
        q: Queries (B, L, C).
        k: Keys (B, S, C).
        v: Values (B, S, C).
        heads: Number of heads, a divisor of C.
        causal: Hide every later position from a query.

    Returns:
        (B, L, C).
    """
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
    half_on_cpu = q.dtype == torch.bfloat16 and q.device.type == "cpu"
    if half_on_cpu and not causal and not torch.is_grad_enabled() and q.shape[-1] >= _WIDE_HEAD:
        return merge_heads(_attend_in_strips(q, k, v))
    return merge_heads(F.scaled_dot_product_attention(q, k, v, is_causal=causal))


def _attend_in_strips(q: Tensor, k: Tensor, v: Tensor, total: Tensor | None = None) -> Tensor:
    """Attend by products of matrices, (B, heads, L, C / heads) each, a strip of queries at a time.

    The weights of all heads are added to `total` (B, L, S) float32, and are then of its precision.
    """
    out = torch.empty_like(q)
    keys = (k * k.shape[-1] ** -0.5).transpose(-1, -2).contiguous()
    dtype = None if total is None else total.dtype
    for image in range(len(q)):
        for head in range(q.shape[1]):
            values = v[image, head].contiguous()
            for start in range(0, q.shape[2], _STRIP):
                strip = slice(start, start + _STRIP)
                weights = (q[image, head, strip] @ keys[image, head]).softmax(dim=-1, dtype=dtype)
                out[image, head, strip] = weights.to(values.dtype) @ values
                if total is not None:
                    total[image, strip] += weights
    return out


def attend_with_weights(q: Tensor, k: Tensor, v: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Attend as `attend` does, and return the weights.

    On a CPU, where no gradient is asked for, the weights of a head exist for a strip of queries at a time.

    Args:
        q: Queries (B, L, C).
        k: Keys (B, S, C).
        v: Values (B, S, C).
        heads: Number of heads, a divisor of C.

    Returns:
        (B, L, C), and the softmax weights averaged over the heads, (B, L, S) float32, whose rows sum to 1
        whatever the precision of the inputs. The weights of single heads are freed on return.
    """
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
    if q.device.type == "cpu" and not torch.is_grad_enabled():
        total = q.new_zeros(len(q), q.shape[2], k.shape[2], dtype=torch.float32)
        return merge_heads(_attend_in_strips(q, k, v, total)), total.div_(heads)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (B, heads, L, S)
    weights = scores.float().softmax(dim=-1)
    return merge_heads(weights.to(v.dtype) @ v), weights.mean(dim=1)


def linear_attend(q: Tensor, k: Tensor, v: Tensor, heads: int, last: int = 1) -> Tensor:
    """Attend with the kernel phi = ELU + 1 in place of the softmax, at a cost linear in L and S.

    Values are divided by the number of keys before the sum and multiplied by it afterwards, as in the
    published aggregator, to keep the sums small.

    Args:
        q: Queries (B, L, C).
        k: Keys (B, S, C).
        v: Values (B, S, C).
        heads: Number of heads, a divisor of C.
        last: Number of equal keys, with equal values, that the last one stands for.

    Returns:
        (B, L, C).
    """
    length = k.shape[1] - 1 + last
    phi = F.elu(k) + 1
    if last > 1:
        phi = torch.cat([phi[:, :-1], phi[:, -1:] * last], dim=1)
    q, k, v = (split_heads(x, heads) for x in (F.elu(q) + 1, phi, v / length))
    context = k.transpose(-1, -2) @ v  # (B, heads, C / heads, C / heads)
    norm = q @ k.sum(dim=2, keepdim=True).transpose(-1, -2) + 1e-6  # (B, heads, L, 1)
    return merge_heads((q @ context) / norm * length)


def weighted_attend(q: Tensor, k: Tensor, v: Tensor, heads: int, last: int = 1) -> Tensor:
    """Attend with the softmax of (C / heads) ** -0.5 q k^T, where the last key stands for several.

    Args:
        q: Queries (B, L, C).
        k: Keys (B, S, C).
        v: Values (B, S, C).
        heads: Number of heads, a divisor of C.
        last: Number of equal keys, with equal values, that the last one stands for.

    Returns:
        (B, L, C).
    """
    if last == 1:
        return attend(q, k, v, heads)
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
    bias = torch.cat([q.new_zeros(k.shape[2] - 1), q.new_full((1,), math.log(last))])
    return merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None, None, None]))


def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Return the additive attention mask of cyclically shifted windows.

    Args:
        height: Rows of the grid, a multiple of `window`.
        width: Columns of the grid, a multiple of `window`.
        window: Side of a window in cells.
        shift: Cells by which the grid is shifted, 0 < shift < window.

    Returns:
        (windows, window ** 2, window ** 2) float32, windows in row-major order: -100 between cells that were
        no neighbours before the shift, else 0.
    """
    rows, cols = (torch.zeros(side, dtype=torch.long) for side in (height, width))
    for ids in (rows, cols):  # number the parts of an axis that the shift keeps together
        ids[-window:-shift] = 1
        ids[-shift:] = 2
    regions = rows[:, None] * 3 + cols[None, :]
    tokens = partition(regions[None, :, :, None], window).squeeze(-1)
    different = tokens[:, :, None] != tokens[:, None, :]
    return different.float() * -100.0


def partition(x: Tensor, window: int) -> Tensor:
    """Cut maps into windows.

    Args:
        x: (B, H, W, C).
        window: Side of a window, a divisor of H and W.

    Returns:
        (B * windows, window ** 2, C), windows and cells in row-major order.
    """
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.transpose(2, 3).reshape(-1, window * window, c)


def unpartition(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """Invert `partition`.

    Args:
        x: Windows (B * windows, window ** 2, C), in row-major order.
        window: Side of a window in cells.
        height: Rows of the grid, a multiple of `window`.
        width: Columns of the grid, a multiple of `window`.

    Returns:
        (B, H, W, C).
    """
    x = x.view(-1, height // window, width // window, window, window, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, height, width, x.shape[-1])
