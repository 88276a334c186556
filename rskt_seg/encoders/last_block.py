"""Dense CLIP features without training: the last block attends by the similarity of like with like.

Softmax attention of queries to keys spreads a patch over the image. The training-free segmentation methods
replace it in the last block: SegEarth-OV (Li et al. 2025) by q-q, k-k and v-v together, SCLIP (Wang et al.
2024) by q-q and k-k, ClearCLIP (Lan et al. 2024) by q-q, MaskCLIP (Zhou et al. 2022) by the value alone.
Shapes: B image, L token, C channel, E embedding, H W grid.
"""

from torch import Tensor

from rskt_seg.encoders.clip import VisionTower
from rskt_seg.encoders.clip_blocks import SplitAttention
from rskt_seg.encoders.features import check_sides, token_map
from rskt_seg.layers.attention import attend
from rskt_seg.layers.position import rescale_to_grid

LAST_BLOCKS = ("qq+kk+vv", "qq+kk", "qq", "v", "qk")
"""What the last block attends by: pairs of projections whose softmax weights are added; "v": nothing."""


def attend_by(attention: SplitAttention, x: Tensor, pairs: str) -> Tensor:
    """Attend with the sum of the softmax weights of several pairs of projections.

    Args:
        attention: The attention whose projections are used.
        x: (B, L, C).
        pairs: One of `LAST_BLOCKS`. The weights of a row sum to the number of pairs, as published. "qk" is
            the attention as it was trained; with "v" every token keeps its own value.

    Returns:
        (B, L, C).
    """
    if pairs == "v":
        return attention.values(x)
    parts = dict(zip("qkv", attention.project(x), strict=True))
    first, *others = (
        attend(parts[pair[0]], parts[pair[1]], parts["v"], attention.heads) for pair in pairs.split("+")
    )
    return attention.out_proj(sum(others, start=first))


def embed_patches(
    tower: VisionTower, images: Tensor, pairs: str, residual: bool = False
) -> tuple[Tensor, Tensor]:
    """Embed the class token and every patch, with another attention in the last block.

    Positions are resized by the scale factor (grid + 0.1) / g, as published (`rescale_to_grid`).

    Args:
        tower: The image tower of a CLIP.
        images: (B, 3, H, W), normalised; sides are multiples of the patch.
        pairs: One of `LAST_BLOCKS`.
        residual: Whether the last block keeps its residual connections and its MLP. Published: the token is
            the output of the attention alone.

    Returns:
        Embeddings of the class token (B, E) and of the patches (B, E, H, W), not of unit length.

    Raises:
        ConfigError: A side of the images is no multiple of the patch.
    """
    check_sides(images, tower.patch_size)
    tokens, grid = tower.embed(images, rescale_to_grid)
    *blocks, last = tower.transformer.resblocks
    for block in blocks:
        tokens = block(tokens)
    out = attend_by(last.attn, last.ln_1(tokens), pairs).to(tokens.dtype)
    if residual:
        tokens = tokens + out
        out = tokens + last.mlp(last.ln_2(tokens))
    embedded = tower.ln_post(out) @ tower.proj
    return embedded[:, 0], token_map(embedded, grid)
