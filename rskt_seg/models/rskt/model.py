"""RSKT-Seg as one plain torch module.

Source: "Exploring Efficient Open-Vocabulary Segmentation in the Remote Sensing" (AAAI 2026) and its
published code. Shapes: B image, R rotation, P prompt, T class, C channel, E text channel, G side of the cost
volume in cells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.encoders.clip import CLIP, VisionTrunk
from rskt_seg.encoders.dino import DINO
from rskt_seg.encoders.presets import CLIP_PIXEL_MEAN, CLIP_PIXEL_STD, ENCODER_SETS
from rskt_seg.encoders.text import TextBank, build_tokenizer, vocabulary_size
from rskt_seg.losses.pixel import check_target, one_hot_bce, one_hot_cross_entropy
from rskt_seg.models.cost_volumes.cost import (
    ConcatFusion,
    CostEmbedding,
    MeanFusion,
    SeparateFusion,
    cosine_cost,
    rotated_cost,
    rotated_features,
)
from rskt_seg.models.cost_volumes.decoder import Decoder, clip_guides, dino_guides
from rskt_seg.models.cost_volumes.finetune import set_trainable
from rskt_seg.models.cost_volumes.original import original_layer
from rskt_seg.models.cost_volumes.preprocess import prepare
from rskt_seg.models.rskt.fusion import efficient_layer
from rskt_seg.models.rskt.spec import RSKTSpec

_LOSSES = {"bce": one_hot_bce, "cross_entropy": one_hot_cross_entropy}


@dataclass(frozen=True)
class RSKTOutput:
    """Output of `RSKT`.

    Attributes:
        logits: (B, T, 4G, 4G); 4G is 96 for the full models.
        cost_maps: If requested, name -> (B, T, G, G): the mean over rotations and prompts of the cosines of
            CLIP ("clip") and of DINO ("dino"), and the channel mean of the aggregated embedding
            ("aggregated"), as in figure 5.
    """

    logits: Tensor
    cost_maps: dict[str, Tensor] | None = None


class RSKT(nn.Module):
    """Open-vocabulary segmentation model, called with images and a list of class names.

    All weights are random at first; see `rskt_seg.checkpoints` for loading encoders or a whole checkpoint.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, spec: RSKTSpec) -> None:
        super().__init__()
        self.spec = spec
        self.encoders = ENCODER_SETS[spec.encoder]
        clip, dim = self.encoders.clip, spec.hidden_dim
        self.register_buffer("pixel_mean", torch.tensor(CLIP_PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(CLIP_PIXEL_STD).view(3, 1, 1), persistent=False)
        self.clip = CLIP(clip, vocabulary_size(clip.text))
        self.text_bank = TextBank(build_tokenizer(clip.text), spec.templates)
        self.guides = nn.ModuleDict({"clip": clip_guides(clip.vision.width, dim)})
        self.sides = {"clip": self.encoders.clip_side}
        if spec.remote_clip:
            self.sides["remote_clip"] = self.encoders.remote_side
            self.remote_clip = VisionTrunk(self.encoders.remote, layers=max(self.encoders.remote_taps) + 1)
            self.guides["remote_clip"] = clip_guides(self.encoders.remote.width, dim)
        if spec.dino:
            self.sides["dino"] = self.encoders.dino_side
            self.dino = DINO(self.encoders.dino)
            self.guides["dino"] = dino_guides(self.encoders.dino.width, dim)
            self.dino_to_text = nn.Conv2d(self.encoders.dino.width, clip.embed_dim, 2, stride=2)
        projection = nn.Conv2d(dim, dim, 1) if spec.cost_projection else None
        self.cost = CostEmbedding(build_fusion(spec), spec.class_chunk, projection)
        self.image_guidance = nn.Conv2d(clip.embed_dim, dim, 3, padding=1)
        if spec.dino_in_set:
            self.dino_guidance = nn.Conv2d(clip.embed_dim, dim, 3, padding=1)
        self.text_guidance = nn.Linear(clip.embed_dim, dim)
        self.layers = nn.ModuleList(self._build_layer() for _ in range(spec.num_layers))
        self.decoder = Decoder(dim, len(self.guides), spec.class_chunk)
        set_trainable(self, spec.clip_finetune, spec.dino_finetune)

    def _build_layer(self) -> nn.Module:
        if self.spec.aggregator == "original":
            return original_layer(
                self.spec.hidden_dim,
                grid=self.grid_side,
                window=self.spec.window,
                heads=self.spec.window_heads,
                pooling=self.spec.pooling,
                attention=self.spec.attention,
                chunk=self.spec.class_chunk,
            )
        return efficient_layer(self.spec, self.spec.hidden_dim * (2 if self.spec.dino_in_set else 1))

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.pixel_mean.device

    @property
    def working_side(self) -> int:
        """Side in pixels of the square that CLIP takes (384, 336 or 96)."""
        return self.encoders.clip_side

    @property
    def grid_side(self) -> int:
        """Side G of the cost volume in cells (24 for the full models)."""
        return self.encoders.clip_side // self.encoders.clip.vision.patch_size

    def train(self, mode: bool = True) -> "RSKT":
        """See `nn.Module.train`; the cache of text embeddings is cleared."""
        self.text_bank.clear()
        return super().train(mode)

    def forward(
        self,
        images: Tensor | Sequence[Tensor],
        vocabulary: Sequence[str],
        padding: str | None = None,
        return_cost_maps: bool = False,
    ) -> RSKTOutput:
        """Compute the logits of every class of a vocabulary.

        Args:
            images: RGB in 0..255, (B, 3, H, W) of any dtype, or a list of (3, H, W) of different sizes.
            vocabulary: T class names; of a name `"a, b"` the first is used, as published.
            padding: "published" or "aligned" for this call (see `RSKTSpec.padding`); None: the spec's.
            return_cost_maps: Also return the maps of figure 5.

        Returns:
            Logits of the classes in the order of `vocabulary`.

        Raises:
            VocabularyError: The names cannot be used, or not be encoded (see `rskt_seg.encoders.text`).
            ConfigError: The images or the padding cannot be used.
        """
        squares = prepare(images, self.pixel_mean, self.pixel_std, self.sides, padding or self.spec.padding)
        text = self.embed_text(vocabulary)  # (T, P, E)

        rotations, tapped = 4 if self.spec.rotations else 1, self.encoders.clip_taps
        # (R, B, E, G, G), and block -> (B, W, G, G)
        features, clip_taps = rotated_features(self.clip.visual, squares["clip"], rotations, tapped)
        costs = {"clip": rotated_cost(features, text)}  # (B, T, R * P, G, G)
        taps = {"clip": [clip_taps[i] for i in tapped]}
        image_guidance = [F.relu(self.image_guidance(features[0]))]  # (B, C, G, G)
        if self.spec.remote_clip:
            remote = self.remote_clip.tapped(squares["remote_clip"], self.encoders.remote_taps)
            taps["remote_clip"] = [remote.taps[i] for i in self.encoders.remote_taps]
        if self.spec.dino:
            dino = self.dino(squares["dino"], self.encoders.dino_taps)
            *taps["dino"], last = (dino.taps[i] for i in self.encoders.dino_taps)  # (B, W, 2G, 2G)
            dino_features = self.dino_to_text(last)  # (B, E, G, G)
            costs["dino"] = cosine_cost(dino_features, text)  # (B, T, P, G, G)
            if self.spec.dino_in_set:
                image_guidance.append(F.relu(self.dino_guidance(dino_features)))

        # (B, T, C, G, G); no name holds the first embedding, whose memory the layers can thus reuse.
        embedding = self._aggregate(self.cost(*costs.values()), torch.cat(image_guidance, dim=1), text)
        logits = self.decoder(embedding, self._guidance(taps))  # (B, T, 4G, 4G)
        if not return_cost_maps:
            return RSKTOutput(logits)
        maps = {name: cost.mean(dim=2) for name, cost in costs.items()}
        return RSKTOutput(logits, {**maps, "aggregated": embedding.mean(dim=2)})

    def embed_text(self, vocabulary: Sequence[str]) -> Tensor:
        """Embed class names by the prompts of the specification.

        Args:
            vocabulary: T class names.

        Returns:
            Embeddings (T, P, E) of unit length; P is 1 unless `prompt_mode` is "channels".

        Raises:
            VocabularyError: The names cannot be used, or not be encoded.
        """
        text = self.text_bank(self.clip, vocabulary)
        if self.spec.prompt_mode == "average":
            text = F.normalize(text.mean(dim=1, keepdim=True), dim=-1)
        return text

    def _aggregate(self, embedding: Tensor, image_guidance: Tensor, text: Tensor) -> Tensor:
        """Refine the cost embedding (B, T, C, G, G) by all layers, guided by images and text (T, P, E)."""
        text_guidance = F.relu(self.text_guidance(F.normalize(text.mean(dim=1), dim=-1)))
        for layer in self.layers:
            embedding = layer(embedding, image_guidance, text_guidance)
        return embedding

    def _guidance(self, taps: Mapping[str, Sequence[Tensor]]) -> list[list[Tensor]]:
        """Return the guidance maps of each stage, in the order CLIP, RemoteCLIP, DINO: that of `guides`."""
        by_encoder = [guides(taps[name]) for name, guides in self.guides.items()]
        return [list(maps) for maps in zip(*by_encoder, strict=True)]

    def losses(self, output: RSKTOutput, target: Tensor, ignore_value: int = 255) -> dict[str, Tensor]:
        """Compute the training loss.

        Args:
            output: Output for B images and T classes; its logits are resized bilinearly to H x W first, as
                published.
            target: (B, H, W) int64 of any size, ids 0..T-1 or `ignore_value`.
            ignore_value: Id of unlabelled pixels.

        Returns:
            `{"loss_sem_seg": scalar}`.

        Raises:
            LabelError: The target is on the CPU and has another id.
        """
        check_target(target, output.logits.shape[1], ignore_value)
        logits = F.interpolate(output.logits, size=target.shape[1:], mode="bilinear", align_corners=False)
        return {"loss_sem_seg": _LOSSES[self.spec.loss](logits, target, ignore_value, self.spec.mask_ignored)}

    def scores(self, output: RSKTOutput) -> Tensor:
        """Convert an output to class scores.

        Args:
            output: What `forward` returned.

        Returns:
            (B, T, 4G, 4G) in 0..1: sigmoids for the published loss, softmax over classes for cross-
            entropy.
        """
        if self.spec.loss == "bce":
            return output.logits.sigmoid()
        return output.logits.softmax(dim=1)


def build_fusion(spec: RSKTSpec) -> nn.Module:
    """Build the fusion of `spec.fusion`; without DINO every kind is one convolution of CLIP's cost maps."""
    prompts = len(spec.templates) if spec.prompt_mode == "channels" else 1
    clip_maps = prompts * (4 if spec.rotations else 1)
    if not spec.dino:
        return ConcatFusion(clip_maps, 0, spec.hidden_dim)
    if spec.fusion == "separate":
        return SeparateFusion(clip_maps, prompts, spec.hidden_dim)
    if spec.fusion == "concat":
        return ConcatFusion(clip_maps, prompts, spec.hidden_dim)
    return MeanFusion(spec.hidden_dim)
