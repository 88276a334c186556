"""A straightforward form of the published computation of RSKT-Seg, over the weights of one of our models.

It uses parameters alone, never the methods that compute with them, so that it stays what it is while these
get faster. As in the published code the encoders see one rotation at a time and return what nobody uses,
attention weights are stored, all classes go through a layer at once, guidance is repeated for every class,
and prompts have the full context length. Shapes: B image, R rotation, T class, L token, C channel, E text
channel, H W grid, G side of the cost volume.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain_blocks import (
    clip_block,
    conv,
    dense_block,
    dino_block,
    embed_patches,
    linear,
    norm,
    spatial_block,
    text_guided_block,
)
from rskt_seg.encoders.features import TappedFeatures, token_map
from rskt_seg.encoders.text import first_names, prompts
from rskt_seg.layers.position import rescale_to_grid, resize_to_grid
from rskt_seg.models import RSKT


class Plain:
    """The published computation; its methods are called as those of the model of which it is a form."""

    def __init__(self, model: RSKT) -> None:
        """Take the weights of a model, which may change afterwards.

        Args:
            model: A model with the published components.
        """
        self.model, self.spec, self.encoders, self.squares = model, model.spec, model.encoders, model.squares
        self.image_guidance, self.text_guidance = model.image_guidance, model.text_guidance
        self.remote_clip = PlainRemoteCLIP(model)
        self._texts: dict[tuple[str, ...], Tensor] = {}

    def __call__(self, images: Tensor, vocabulary: Sequence[str]) -> Tensor:
        """Compute logits (B, T, 4G, 4G)."""
        text = self._text_of(tuple(vocabulary))
        squares = self.squares(images, None)
        features, clip_taps = self.see_by_clip(squares["clip"], 4)
        remote = self.remote_clip.tapped(squares["remote_clip"], self.encoders.remote_taps)
        dino_features, dino_taps = self.see_by_dino(squares["dino"])
        costs = [
            torch.cat([correlate(rotation, text) for rotation in features], dim=2),
            correlate(dino_features, text),
        ]
        image = F.relu(conv(features[0], self.image_guidance, padding=1))
        words = F.relu(linear(F.normalize(text.mean(dim=1), dim=-1), self.text_guidance))[None]
        remote_taps = [remote.taps[i] for i in self.encoders.remote_taps]
        guides = self.guide({"clip": clip_taps, "remote_clip": remote_taps, "dino": dino_taps})
        return self.decoder(self.aggregate(self.cost(*costs), image, words), guides)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the published loss by a one-hot target; pixels of 255 in (B, H, W) are all negative."""
        logits = F.interpolate(logits, size=target.shape[1:], mode="bilinear", align_corners=False)
        classes = logits.shape[1]
        valid = target != 255
        one_hot = F.one_hot(target.where(valid, 0), classes) * valid[..., None]
        return F.binary_cross_entropy_with_logits(logits, one_hot.permute(0, 3, 1, 2).to(logits.dtype))

    def embed_text(self, vocabulary: Sequence[str]) -> Tensor:
        """Embed class names in prompts of the full context length, (T, 1, E) of unit length."""
        bank, clip = self.model.text_bank, self.model.clip
        tokens = bank.tokenizer(prompts(first_names(vocabulary), bank.templates))
        tokens = tokens.to(clip.text_projection.device)
        x = F.embedding(tokens, clip.token_embedding.weight) + clip.positional_embedding
        length = tokens.shape[1]
        mask = torch.full((length, length), -torch.inf, device=x.device).triu(1)
        for block in clip.transformer.resblocks:
            x = clip_block(block, x, mask)
        x = norm(x, clip.ln_final)[torch.arange(len(x), device=x.device), tokens.argmax(dim=1)]
        return F.normalize(x @ clip.text_projection, dim=-1)[:, None]

    def _text_of(self, names: tuple[str, ...]) -> Tensor:
        """Embed class names, in evaluation once."""
        if torch.is_grad_enabled():
            return self.embed_text(names)
        if names not in self._texts:
            self._texts[names] = self.embed_text(names)
        return self._texts[names]

    def see_by_clip(self, square: Tensor, rotations: int) -> tuple[Tensor, list[Tensor]]:
        """Encode rotations one after the other: upright features (R, B, E, G, G), taps of the first."""
        features: list[Tensor] = []
        hooked: list[Tensor] = []  # of every rotation, as published; the first two are used
        tower = self.model.clip.visual
        for r in range(rotations):
            x, grid = embed_clip(tower, torch.rot90(square, r, dims=(2, 3)))
            *blocks, last = tower.transformer.resblocks
            for index, block in enumerate(blocks):
                x = clip_block(block, x)
                if index in self.encoders.clip_taps:
                    hooked.append(x)
            x = norm(dense_block(last, x), tower.ln_post) @ tower.proj
            features.append(torch.rot90(token_map(x, grid), -r, dims=(2, 3)))
        taps = [token_map(x, grid) for x in hooked[: len(self.encoders.clip_taps)]]
        return torch.stack(features), taps

    def see_by_dino(self, square: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode by DINO, whose final norm is applied to every block: features (B, E, G, G), and taps."""
        dino = self.model.dino
        x, grid = embed_patches(square, dino.patch_embed.proj, dino.cls_token)
        x = x + rescale_to_grid(dino.pos_embed[0], grid)
        outputs = []
        for block in dino.blocks:
            x = dino_block(block, x)
            outputs.append(norm(x, dino.norm))
        *taps, last = (token_map(outputs[i], grid) for i in self.encoders.dino_taps)
        return conv(last, self.model.dino_to_text, stride=2), taps

    def guide(self, taps: Mapping[str, Sequence[Tensor]]) -> list[list[Tensor]]:
        """Compute the guidance maps of each stage of the upsampler."""
        stages: list[list[Tensor]] = [[], []]
        modules: Mapping[str, Any] = dict(self.model.guides.items())
        for name, guides in modules.items():
            for stage, guide, tap in zip(stages, guides, taps[name], strict=True):
                raises = isinstance(guide.side, nn.ConvTranspose2d)
                raised = (transposed if raises else conv)(tap, guide.side)
                stage.append(F.relu(conv(raised, guide.project, padding=1)))
        return stages

    def cost(self, clip: Tensor, dino: Tensor) -> Tensor:
        """Fuse cost volumes (B, T, R, G, G) and (B, T, 1, G, G) of all classes at once, (B, T, C, G, G)."""
        fusion: Any = self.model.cost.fusion
        a = conv(clip.flatten(0, 1), fusion.clip, padding=3).sigmoid()
        d = conv(dino.flatten(0, 1), fusion.dino, padding=3).sigmoid()
        fused = conv(torch.cat([a, d], dim=1), fusion.both, padding=3).sigmoid() + a
        return fused.unflatten(0, clip.shape[:2])

    def aggregate(self, embedding: Tensor, image_guidance: Tensor, text_guidance: Tensor) -> Tensor:
        """Refine an embedding (B, T, C, G, G) by all layers, all classes at once."""
        batch, classes = embedding.shape[:2]
        image = image_guidance.repeat_interleave(classes, dim=0)  # (B * T, C, G, G)
        words = text_guidance.expand(batch, -1, -1)
        for layer in self.model.layers:
            x = spatial_block(layer.spatial, embedding.flatten(0, 1), image)
            embedding = text_guided_block(layer.classes, x.unflatten(0, (batch, classes)), words)
        return embedding

    def decoder(self, embedding: Tensor, guides: Sequence[Sequence[Tensor]]) -> Tensor:
        """Upsample an embedding beside guidance repeated for every class, (B, T, 4G, 4G)."""
        decoder: Any = self.model.decoder
        shape, x = embedding.shape[:2], embedding.flatten(0, 1)
        for stage, maps in zip(decoder.stages, guides, strict=True):
            repeated = [each.repeat_interleave(shape[1], dim=0) for each in maps]
            x = torch.cat([transposed(x, stage.up), *repeated], dim=1)
            x = F.relu(group_norm(conv(x, stage.conv1, padding=1), stage.norm1))
            x = F.relu(group_norm(conv(x, stage.conv2, padding=1), stage.norm2))
        return conv(x, decoder.head, padding=1).squeeze(1).unflatten(0, shape)


class PlainRemoteCLIP:
    """RemoteCLIP with all its blocks and its projection.

    The project's model has no blocks after the last tapped one. Repetitions of this stand for them; as in
    the published code nothing uses what they return.
    """

    def __init__(self, model: RSKT) -> None:
        preset, self.trunk = model.encoders.remote, model.remote_clip
        *_, last = self.blocks = list(self.trunk.transformer.resblocks)
        self.blocks += [last] * (preset.layers - len(self.blocks))
        self.proj = torch.zeros(preset.width, model.encoders.clip.embed_dim, device=model.device)

    def tapped(self, images: Tensor, taps: Sequence[int]) -> TappedFeatures:
        """Return the outputs of the blocks in `taps`, (B, C, H, W) each."""
        x, grid = embed_clip(self.trunk, images)
        *blocks, last = self.blocks
        maps = {}
        for index, block in enumerate(blocks):
            x = clip_block(block, x)
            if index in taps:
                maps[index] = token_map(x, grid)
        _unused = norm(dense_block(last, x), self.trunk.ln_pre) @ self.proj
        return TappedFeatures(taps=maps)


def embed_clip(tower: Any, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Turn images (B, 3, S, S) into the tokens (B, 1 + L, C) that CLIP's first block sees, and their grid."""
    x, grid = embed_patches(images, tower.conv1, tower.class_embedding)
    return norm(x + resize_to_grid(tower.positional_embedding, grid), tower.ln_pre), grid


def correlate(features: Tensor, text: Tensor) -> Tensor:
    """Compute the cosines of features (B, E, H, W) with texts (T, P, E), (B, T, P, H, W)."""
    return torch.einsum("behw,tpe->btphw", F.normalize(features, dim=1), F.normalize(text, dim=-1))


def transposed(x: Tensor, module: Any) -> Tensor:
    """Upsample by the weights of a transposed convolution whose stride is its kernel size."""
    return F.conv_transpose2d(x, module.weight, module.bias, stride=module.weight.shape[-1])


def group_norm(x: Tensor, module: Any) -> Tensor:
    """Normalise by the weights of a GroupNorm."""
    return F.group_norm(x, module.num_groups, module.weight, module.bias, module.eps)
