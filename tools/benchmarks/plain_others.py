"""Straightforward forms of stages of BiCoR-Seg and the weakly supervised method, over weights of our models.

As in the published codes: BiCoR-Seg's aggregation projects, resizes and mixes, and its layers hold a tensor
of all classes, channels and pixels; transformers store attention weights; PAR stacks all neighbours of all
maps.
Shapes: B image, N class, M map, L token, C channel, h w cell, H W pixel.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain_blocks import attend, clip_block, embed_patches, linear, norm
from rskt_seg.encoders.features import token_map
from rskt_seg.layers.position import rescale_to_grid, resize_to_grid
from rskt_seg.models.wsss.par import ParOptions

_AROUND = tuple((y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0))
_EPSILON = 1e-6


def aggregate(aggregation: Any, stages: Sequence[Tensor]) -> Tensor:
    """Project every stage (B, C_i, h_i, w_i), resize all to the first, and mix them, (B, C, h, w)."""
    size = stages[0].shape[2:]
    projected = (
        linear(stage.movedim(1, -1), layer).movedim(-1, 1)
        for layer, stage in zip(aggregation.project, stages, strict=True)
    )
    maps = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in projected]
    return F.conv2d(torch.cat(maps[::-1], dim=1), aggregation.mix.weight[:, :, None, None])


def refine(decoder: Any, features: Tensor) -> tuple[Tensor, Tensor]:
    """Apply all layers of HBIS to features (B, C, h, w); returns them and the classes (B, N, C)."""
    classes: Tensor = decoder.class_embeddings.expand(len(features), -1, -1)
    for layer in decoder.layers:
        classes, features = _hbis(layer, classes, features)
    return features, classes


def _hbis(layer: Any, classes: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Apply one layer with the published options."""
    spec, share = layer.spec, layer.film_weight
    normed = norm(classes, layer.class_norm)
    pixels = norm(features.movedim(1, -1), layer.pixel_norm).movedim(-1, 1)
    scores = torch.einsum("bnc,bchw->bnhw", linear(normed, layer.query), pixels) / pixels.shape[1] ** 0.5
    heat = scores.flatten(2).sigmoid()
    kept = heat.topk(min(heat.shape[2], max(spec.min_pixels, round(spec.topk_ratio * heat.shape[2]))), dim=2)
    pooling = torch.zeros_like(heat).scatter(2, kept.indices, kept.values)
    pooling = pooling / (pooling.sum(dim=2, keepdim=True) + _EPSILON)
    values = F.conv2d(pixels, layer.value.weight[:, :, None, None]).flatten(2)
    context = torch.einsum("bns,bcs->bnc", pooling, values)
    gate = layer.gate(torch.cat([normed, context], dim=2)).sigmoid()
    classes = (1 - gate) * classes + gate * layer.candidate(context)
    scale = 1 + linear(classes, layer.gamma).tanh()
    modulated = scale[..., None, None] * features[:, None] + linear(classes, layer.beta)[..., None, None]
    assigned = (scores / spec.temperature).softmax(dim=1)
    return classes, (1 - share) * features + share * (assigned[:, :, None] * modulated).sum(dim=1)


def see_by_clip(tower: Any, pixels: Tensor, taps: Sequence[int]) -> list[Tensor]:
    """Return the outputs of some blocks of CLIP, (B, C, h, w) each."""
    tokens, grid = tower.embed(pixels, partial(resize_to_grid, antialias=True))
    maps = []
    for index, block in enumerate(tower.transformer.resblocks[: max(taps) + 1]):
        tokens = clip_block(block, tokens)
        if index in taps:
            maps.append(token_map(tokens, grid))
    return maps


def attention_of_clip(tower: Any, pixels: Tensor, first: int) -> Tensor:
    """Return the attention (B, n, L, L) of the blocks from `first`, with which all blocks are computed."""
    tokens, _ = tower.embed(pixels, partial(resize_to_grid, antialias=True))
    maps = []
    for index, block in enumerate(tower.transformer.resblocks):
        if index >= first:
            projected = block.attn.project(norm(tokens, block.ln_1))
            maps.append(attend(*projected, block.attn.heads)[1].mean(dim=1)[:, 1:, 1:])
        tokens = clip_block(block, tokens)
    return torch.stack(maps, dim=1)


def see_by_dino(dino: Any, pixels: Tensor) -> Tensor:
    """Return the patch tokens of DINOv2's last block, (B, C, h, w)."""
    x, grid = embed_patches(pixels, dino.patch_embed.proj, dino.cls_token)
    x = x + rescale_to_grid(dino.pos_embed[0], grid)
    for block in dino.blocks:
        q, k, v = linear(norm(x, block.norm1), block.attn.qkv).chunk(3, dim=-1)
        x = x + block.ls1.gamma * linear(attend(q, k, v, block.attn.heads)[0], block.attn.proj)
        hidden = F.gelu(linear(norm(x, block.norm2), block.mlp.fc1))
        x = x + block.ls2.gamma * linear(hidden, block.mlp.fc2)
    return token_map(norm(x, dino.norm), grid)


def refine_pixels(image: Tensor, maps: Tensor, par: ParOptions) -> Tensor:
    """Refine maps (M, H, W) by PAR along the edges of an image (3, H, W)."""
    colours = _neighbors(image, par)  # (3, 8 * n, H, W)
    unit = (colours.std(dim=1, keepdim=True) + 1e-8) * par.w1
    likeness = (-(((colours - image[:, None]) / unit) ** 2)).mean(dim=0).softmax(dim=0)
    distances = torch.tensor([d * math.hypot(y, x) for d in par.dilations for y, x in _AROUND])
    near = (-((distances / ((distances.std() + 1e-8) * par.w1)) ** 2)).softmax(dim=0)
    weights = likeness + par.w2 * near[:, None, None]
    for _ in range(par.iterations):
        maps = (weights * _neighbors(maps, par)).sum(dim=1)
    return maps


def _neighbors(maps: Tensor, par: ParOptions) -> Tensor:
    """Stack the neighbours of all pixels, (M, H, W) -> (M, 8 * n, H, W)."""
    height, width = maps.shape[1:]
    reach = max(par.dilations)
    padded = F.pad(maps, (reach,) * 4, mode="replicate")
    starts = [(reach + d * y, reach + d * x) for d in par.dilations for y, x in _AROUND]
    return torch.stack([padded[:, y : y + height, x : x + width] for y, x in starts], dim=1)
