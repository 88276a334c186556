"""CLIP (Radford et al. 2021) image and text towers, with a dense image path.

Parameter names are OpenAI's, except that each attention keeps its query, key and value matrices
apart (`q_proj_weight`, `k_proj_weight`, `v_proj_weight`; the bias stays packed), because RSKT-Seg
trains queries and values only. Shapes: B image or prompt, L token, C channel, E embedding.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from rskt_seg.encoders.clip_blocks import Transformer
from rskt_seg.encoders.features import (
    EncoderFeatures,
    TappedFeatures,
    TracedFeatures,
    check_sides,
    token_map,
)
from rskt_seg.encoders.presets import ClipPreset, VisionPreset
from rskt_seg.errors import ConfigError
from rskt_seg.layers.position import resize_to_grid

_FULL_VOCABULARY = 49408


class VisionTrunk(nn.Module):
    """Patches, positions and the first `layers` blocks of a CLIP vision transformer.

    Enough where only intermediate blocks are used (RemoteCLIP in RSKT-Seg): it has no final norm, no
    projection, and no block after the last one that is tapped.
    """

    def __init__(self, preset: VisionPreset, layers: int | None = None) -> None:
        """Build the trunk with random weights.

        Args:
            preset: Sizes of the transformer.
            layers: Number of blocks to build; None: all of the preset.

        Raises:
            ConfigError: The patch does not divide the preset's image size.
        """
        super().__init__()
        if preset.image_size % preset.patch_size:
            raise ConfigError(
                f"image_size must be a multiple of patch_size {preset.patch_size}; found {preset.image_size}"
            )
        width, grid = preset.width, preset.image_size // preset.patch_size
        self.patch_size = preset.patch_size
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(grid * grid + 1, width))
        self.conv1 = nn.Conv2d(3, width, preset.patch_size, preset.patch_size, bias=False)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, preset.layers if layers is None else layers, preset.heads)

    def embed(
        self, images: Tensor, resize: Callable[[Tensor, tuple[int, int]], Tensor] = resize_to_grid
    ) -> tuple[Tensor, tuple[int, int]]:
        """Turn images into tokens with positions.

        Args:
            images: (B, 3, S, S), normalised.
            resize: (position table, grid) -> the table for that grid, as `resize_to_grid`.

        Returns:
            Tokens (B, 1 + H * W, C), class token first, and the grid (H, W).
        """
        patches = self.conv1(images)
        grid = (int(patches.shape[2]), int(patches.shape[3]))
        tokens = patches.flatten(2).transpose(1, 2)
        cls = self.class_embedding.to(tokens.dtype).expand(tokens.shape[0], 1, -1)
        tokens = torch.cat([cls, tokens], dim=1) + resize(self.positional_embedding, grid)
        return self.ln_pre(tokens), grid

    def tapped(self, images: Tensor, taps: Sequence[int], antialias: bool = False) -> TappedFeatures:
        """Run the blocks up to the last tapped one.

        Args:
            images: (B, 3, S, S), normalised.
            taps: Indices (0-based) of the blocks whose outputs are returned.
            antialias: See `resize_to_grid`.

        Returns:
            The outputs of the blocks in `taps`, (B, C, H, W) each.
        """
        tokens, grid = self.embed(images, partial(resize_to_grid, antialias=antialias))
        maps = {}
        for index, block in enumerate(self.transformer.resblocks[: max(taps) + 1]):
            tokens = block(tokens)
            if index in taps:
                maps[index] = token_map(tokens, grid)
        return TappedFeatures(taps=maps)


class VisionTower(VisionTrunk):
    """The whole CLIP vision transformer: class-token embedding (`pool`) and dense features (`dense`)."""

    def __init__(self, preset: VisionPreset, embed_dim: int) -> None:
        super().__init__(preset)
        self.ln_post = nn.LayerNorm(preset.width)
        self.proj = nn.Parameter(preset.width**-0.5 * torch.randn(preset.width, embed_dim))

    def pool(self, images: Tensor) -> Tensor:
        """Embed images as CLIP was trained to, by their class token.

        Args:
            images: (B, 3, S, S), normalised.

        Returns:
            Embeddings (B, E), not of unit length.
        """
        tokens, _ = self.embed(images)
        for block in self.transformer.resblocks:
            tokens = block(tokens)
        return self.ln_post(tokens[:, 0]) @ self.proj

    def dense(self, images: Tensor, taps: Sequence[int] = (), tapped: int | None = None) -> EncoderFeatures:
        """Embed every patch by the published dense path (`Block.dense` as the last block).

        Args:
            images: (B, 3, S, S), normalised.
            taps: Indices (0-based) of blocks before the last one whose outputs are returned.
            tapped: Number of leading images whose taps are kept, so that those of rotated copies cost no
                memory; None: all.

        Returns:
            `final` (B, E, H, W), not of unit length, and `taps` (tapped, C, H, W).
        """
        tokens, grid = self.embed(images)
        *blocks, last = self.transformer.resblocks
        maps = {}
        for index, block in enumerate(blocks):
            tokens = block(tokens)
            if index in taps:
                # A copy: a view would keep the tokens of every rotated image alive.
                maps[index] = token_map(tokens[:tapped], grid).contiguous()
        final = self.ln_post(last.dense(tokens)) @ self.proj
        return EncoderFeatures(final=final.transpose(1, 2).unflatten(2, grid), taps=maps)

    def traced(
        self,
        images: Tensor,
        taps: Sequence[int],
        attention_from: int,
        *,
        value_path: bool = False,
        antialias: bool = False,
    ) -> TracedFeatures:
        """Run all blocks as CLIP was trained to, and keep intermediate outputs and attention weights.

        Args:
            images: (B, 3, H, W), normalised.
            taps: Indices (0-based) of the blocks whose outputs are returned.
            attention_from: Index of the first block whose attention weights are returned, with those of all
                later blocks; the number of blocks: none. Earlier blocks never hold their weights in memory.
            value_path: Compute `final` from the projected values of the last block, without attention,
                residual or MLP (the dense path of MaskCLIP, Zhou et al. 2022). Taps and attention stay those
                of the ordinary pass.
            antialias: See `resize_to_grid`; open_clip has it.

        Returns:
            `final` (B, E, H, W), `taps` (B, C, H, W) and `attention` (B, L, L), L = H * W.

        Raises:
            ConfigError: A block does not exist, or a side of the images is no multiple of the patch.
        """
        self._check_trace(images, taps, attention_from)
        tokens, grid = self.embed(images, partial(resize_to_grid, antialias=antialias))
        maps: dict[int, Tensor] = {}
        attention: dict[int, Tensor] = {}
        for index, block in enumerate(self.transformer.resblocks):
            before = tokens
            if index < attention_from:
                tokens = block(before)
            else:
                tokens, weights = block.with_weights(before)
                attention[index] = weights[:, 1:, 1:]
            if index in taps:
                maps[index] = token_map(tokens, grid)
        if value_path:
            tokens = block.attn.values(block.ln_1(before))
        final = self.ln_post(tokens[:, 1:]) @ self.proj
        final = final.transpose(1, 2).unflatten(2, grid)
        return TracedFeatures(final=final, taps=maps, attention=attention)

    def _check_trace(self, images: Tensor, taps: Sequence[int], attention_from: int) -> None:
        blocks = len(self.transformer.resblocks)
        if not all(0 <= index < blocks for index in taps) or not 0 <= attention_from <= blocks:
            raise ConfigError(
                f"taps must be blocks 0..{blocks - 1} and attention_from 0..{blocks} ({blocks}: no "
                f"attention); found taps {list(taps)} and attention_from {attention_from}"
            )
        check_sides(images, self.patch_size)


class CLIP(nn.Module):
    """Image tower `visual` and text tower with a common embedding of E = `preset.embed_dim` channels.

    Attributes:
        reads_unknown: Whether `encode_text` takes negative token ids.
    """

    def __init__(self, preset: ClipPreset, vocabulary_size: int = _FULL_VOCABULARY) -> None:
        """Build both towers with random weights.

        Args:
            preset: Sizes of both towers.
            vocabulary_size: Rows of the token table: 49408 for CLIP's full byte-pair vocabulary, see
                `rskt_seg.encoders.text.vocabulary_size`.
        """
        super().__init__()
        self.reads_unknown = False
        text = preset.text
        self.visual = VisionTower(preset.vision, preset.embed_dim)
        self.transformer = Transformer(text.width, text.layers, text.heads)
        self.token_embedding = nn.Embedding(vocabulary_size, text.width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(text.context_length, text.width))
        self.ln_final = nn.LayerNorm(text.width)
        self.text_projection = nn.Parameter(text.width**-0.5 * torch.randn(text.width, preset.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed texts by their end token.

        Attention is causal, so columns after the end of a text do not matter; `cut_padding` of
        `rskt_seg.encoders.text` leaves out those that no text needs.

        Args:
            tokens: Token ids (n, up to context) int64, zero-padded after the end token, which is the largest
                id of its row. With `reads_unknown`, negative ids are tokens that a small text tower has no
                row for: each becomes noise of its own, always the same, of the scale of the table.

        Returns:
            Embeddings (n, E), not of unit length.
        """
        end = tokens.argmax(dim=1)
        x = self._embed(tokens) + self.positional_embedding[: tokens.shape[1]]
        for block in self.transformer.resblocks:
            x = block(x, causal=True)
        x = self.ln_final(x)[torch.arange(len(x), device=x.device), end]
        return x @ self.text_projection

    def _embed(self, tokens: Tensor) -> Tensor:
        table = self.token_embedding
        if not self.reads_unknown:
            return table(tokens)
        x, scale = table(tokens.clamp(min=0)), table.weight.detach().std()
        for token in tokens[tokens < 0].unique().tolist():
            draws = torch.Generator().manual_seed(-token)
            noise = torch.randn(table.embedding_dim, generator=draws).to(x) * scale
            x = torch.where((tokens == token)[..., None], noise, x)
        return x

    def text_parameters(self) -> list[nn.Parameter]:
        """Return every parameter that `encode_text` depends on."""
        return [p for name, p in self.named_parameters() if not name.startswith(("visual.", "logit_scale"))]
