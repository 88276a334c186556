"""Attention as functions on tensors: every block of the package splits, attends and merges here."""

import torch
import torch.nn.functional as F
from torch import Tensor


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, L, C) -> (B, heads, L, C / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, L, C / heads) -> (B, L, C)."""
    return x.transpose(1, 2).flatten(2)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, *, causal: bool = False) -> Tensor:
    """Fused softmax attention with the scale (C / heads) ** -0.5.

    Args: q (B, L, C); k (B, S, C); v (B, S, C); `causal` hides every later position.
    Returns (B, L, C). The attention matrix is never materialised.
    """
    out = F.scaled_dot_product_attention(
        split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), is_causal=causal
    )
    return merge_heads(out)


def attend_with_weights(q: Tensor, k: Tensor, v: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """`attend`, and the weights it attends with.

    Args: q (B, L, C); k, v (B, S, C). Returns (B, L, C), and the softmax weights averaged over the heads,
    (B, L, S) float32: rows of 1, whatever the precision of the inputs. The weights of single heads live no
    longer than the call.
    """
    q, k, v = (split_heads(x, heads) for x in (q, k, v))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    weights = scores.float().softmax(dim=-1)
    return merge_heads(weights.to(v.dtype) @ v), weights.mean(dim=1)


def linear_attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention with the kernel phi = ELU + 1, linear in the number of tokens.

    Args: q (B, L, C); k, v (B, S, C). Returns (B, L, C). Values are divided by S before the sum and
    multiplied back after it, as the published aggregator does, to keep the sums small.
    """
    q, k, v = (split_heads(x, heads) for x in (F.elu(q) + 1, F.elu(k) + 1, v / v.shape[1]))
    context = k.transpose(-1, -2) @ v
    norm = q @ k.sum(dim=2, keepdim=True).transpose(-1, -2) + 1e-6
    length = k.shape[2]
    return merge_heads((q @ context) / norm * length)


def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Additive mask of shifted windows: -100 between pixels that were not neighbours before the shift.

    Returns (windows, window ** 2, window ** 2) float32, windows in row-major order.
    """
    rows, cols = (_region_ids(side, window, shift) for side in (height, width))
    regions = rows[:, None] * 3 + cols[None, :]
    tokens = partition(regions[None, :, :, None], window).squeeze(-1)
    different = tokens[:, :, None] != tokens[:, None, :]
    return different.float() * -100.0


def _region_ids(side: int, window: int, shift: int) -> Tensor:
    ids = torch.zeros(side, dtype=torch.long)
    ids[side - window : side - shift] = 1
    ids[side - shift :] = 2
    return ids


def partition(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, window ** 2, C), windows in row-major order; H, W divisible."""
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.transpose(2, 3).reshape(-1, window * window, c)


def unpartition(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """Inverse of `partition`: (B * windows, window ** 2, C) -> (B, H, W, C)."""
    x = x.view(-1, height // window, width // window, window, window, x.shape[-1])
    return x.transpose(2, 3).reshape(-1, height, width, x.shape[-1])
