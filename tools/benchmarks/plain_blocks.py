"""Transformer blocks of the published code over the parameters of our modules; see `benchmarks.plain`.

Shapes: B batch, L query, S key, C channel, N images times classes, T class, G guidance channel, H W grid.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, module: Any) -> Tensor:
    """Apply the weights of a linear layer."""
    return F.linear(x, module.weight, module.bias)


def norm(x: Tensor, module: Any) -> Tensor:
    """Normalise by the weights of a LayerNorm."""
    return F.layer_norm(x, module.normalized_shape, module.weight, module.bias, module.eps)


def conv(x: Tensor, module: Any, *, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolve by the weights of a module."""
    return F.conv2d(x, module.weight, module.bias, stride, padding)


def embed_patches(images: Tensor, projection: Any, cls: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Turn images (B, 3, S, S) into tokens (B, 1 + L, C), class token first, and their grid."""
    patches = conv(images, projection, stride=projection.weight.shape[-1])
    tokens = patches.flatten(2).transpose(1, 2)
    tokens = torch.cat([cls.reshape(1, 1, -1).expand(len(tokens), -1, -1), tokens], dim=1)
    return tokens, (int(patches.shape[2]), int(patches.shape[3]))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attend with stored weights, (B, L, C) and (B, S, C) -> (B, L, C) and the weights (B, heads, L, S)."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    weights = (scores if mask is None else scores + mask).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2), weights


def _clip_mlp(block: Any, x: Tensor) -> Tensor:
    hidden = linear(norm(x, block.ln_2), block.mlp.c_fc)
    return x + linear(hidden * torch.sigmoid(1.702 * hidden), block.mlp.c_proj)


def _clip_projections(attention: Any, x: Tensor) -> list[Tensor]:
    weights = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
    biases = attention.in_proj_bias.chunk(3)
    return [F.linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def clip_block(block: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Apply a block of CLIP, (B, L, C) -> (B, L, C); it averages weights over heads, and drops them."""
    attention = block.attn
    q, k, v = _clip_projections(attention, norm(x, block.ln_1))
    out, weights = attend(q, k, v, attention.heads, mask)
    _unused = weights.mean(dim=1)
    return _clip_mlp(block, x + linear(out, attention.out_proj))


def dense_block(block: Any, x: Tensor) -> Tensor:
    """Apply CLIP's last block without attention, (B, 1 + L, C) -> the patches (B, L, C).

    Queries and keys are projected twice and dropped, as in the published code.
    """
    q, k, v = (
        linear(each, block.attn.out_proj) for each in _clip_projections(block.attn, norm(x, block.ln_1))
    )
    _unused = q, k
    return _clip_mlp(block, v + x[:, :1])


def dino_block(block: Any, x: Tensor) -> Tensor:
    """Apply a block of DINO, (B, L, C) -> (B, L, C)."""
    q, k, v = linear(norm(x, block.norm1), block.attn.qkv).chunk(3, dim=-1)
    x = x + linear(attend(q, k, v, block.attn.heads)[0], block.attn.proj)
    return x + linear(F.gelu(linear(norm(x, block.norm2), block.mlp.fc1)), block.mlp.fc2)


def _tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


def _gated_mlp(mlp: Any, x: Tensor) -> Tensor:
    return linear(F.relu6(linear(x, mlp.fc1)) * linear(x, mlp.fc2), mlp.fc3)


def spatial_block(block: Any, x: Tensor, image: Tensor) -> Tensor:
    """Apply SET: maps (N, C, H, W) with guidance (N, G, H, W) -> (N, C, H, W)."""
    attention, grid = block.attention, x.shape[2:]
    tokens = _tokens(x)
    normed = norm(tokens, block.norm1)
    both = torch.cat([normed, _tokens(image)], dim=-1)
    maps = both.transpose(1, 2).unflatten(2, grid)
    values = normed.transpose(1, 2).unflatten(2, grid)
    q = linear(both, attention.q)
    k = linear(norm(_tokens(conv(maps, attention.sr_k, stride=2)), attention.norm_k), attention.k)
    v = linear(norm(_tokens(conv(values, attention.sr_v, stride=2)), attention.norm_v), attention.v)
    tokens = tokens + linear(attend(q, k, v, attention.heads)[0], attention.proj)
    mixed = _gated_mlp(block.mlp, norm(tokens, block.norm2)).transpose(1, 2).unflatten(2, grid)
    depthwise = F.conv2d(mixed, block.dwconv.weight, block.dwconv.bias, padding=3, groups=block.dwconv.groups)
    return tokens.transpose(1, 2).unflatten(2, grid) + depthwise


def text_guided_block(block: Any, x: Tensor, text: Tensor) -> Tensor:
    """Apply CET: embedding (B, T, C, H, W) with text guidance (B, T, G) -> (B, T, C, H, W)."""
    batch, classes, channels, height, width = x.shape
    pooled = F.avg_pool2d(x.flatten(0, 1), 2)
    cells = pooled.shape[2] * pooled.shape[3]
    tokens = pooled.unflatten(0, (batch, classes)).permute(0, 3, 4, 1, 2).reshape(-1, classes, channels)
    normed = norm(tokens, block.norm1)
    both = torch.cat([normed, text.repeat_interleave(cells, dim=0)], dim=-1)
    attention = block.attention
    q, k, v = linear(both, attention.q), linear(both, attention.k), linear(normed, attention.v)
    tokens = tokens + linear(attend(q, k, v, attention.heads)[0], attention.proj)
    tokens = tokens + F.relu6(_gated_mlp(block.mlp, norm(tokens, block.norm2)))
    maps = tokens.reshape(batch, *pooled.shape[2:], classes, channels).permute(0, 3, 4, 1, 2).flatten(0, 1)
    raised = F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=True)
    return x + raised.unflatten(0, (batch, classes))
