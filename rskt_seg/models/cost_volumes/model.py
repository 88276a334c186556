"""What the models of cost volumes have in common: CLIP, and the way from cost volumes to logits.

A method adds its other encoders, its fusion, layers and decoder, and computes the cost volumes itself.
Shapes: B image, R rotation, P prompt, T class, C channel, E text channel, G side of the cost volume in cells.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.encoders.clip import CLIP
from rskt_seg.encoders.clip_blocks import Block, ValuePath
from rskt_seg.encoders.clip_training import pack_for_training
from rskt_seg.encoders.dino import DINO
from rskt_seg.encoders.presets import CLIP_PIXEL_MEAN, CLIP_PIXEL_STD, ENCODER_SETS
from rskt_seg.encoders.text import TextBank, build_tokenizer, vocabulary_size
from rskt_seg.layers.inference_form import FormBuilder, HasInferenceForm, copy_around
from rskt_seg.layers.training_form import HasTrainingForm, is_frozen, recompute_in
from rskt_seg.losses.pixel import check_target, one_hot_bce, one_hot_cross_entropy
from rskt_seg.models.cost_volumes.aggregation import AggregationLayer
from rskt_seg.models.cost_volumes.cost import CostEmbedding, rotated_features
from rskt_seg.models.cost_volumes.decoder import clip_guides, dino_guides
from rskt_seg.models.cost_volumes.preprocess import prepare
from rskt_seg.models.cost_volumes.selection import nearest_classes, put_classes, take_classes
from rskt_seg.typing import ScoreKind

REFUSED = -100.0
"""Logit of the classes that a model with a limit leaves out, as published: a score of 0."""
_LOSSES = {"bce": one_hot_bce, "cross_entropy": one_hot_cross_entropy}


class CostVolumeOptions(Protocol):
    """Options that every model of cost volumes has, documented in the specification of each."""

    @property
    def encoder(self) -> str: ...
    @property
    def hidden_dim(self) -> int: ...
    @property
    def templates(self) -> tuple[str, ...]: ...
    @property
    def padding(self) -> str: ...
    @property
    def loss(self) -> str: ...
    @property
    def mask_ignored(self) -> bool: ...


@dataclass(frozen=True)
class CostVolumeOutput:
    """Output of a model of cost volumes.

    Attributes:
        logits: (B, T, 4G, 4G); 4G is 96 for the full models.
        cost_maps: If requested, name -> (B, T, G, G): the mean over rotations and prompts of the cosines of
            CLIP ("clip") and, with DINO, of DINO ("dino"), and the channel mean of the aggregated embedding
            ("aggregated"; NaN for classes beyond the limit of a model that has one).
    """

    logits: Tensor
    cost_maps: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class Encoded:
    """What the encoders found in B images, in the terms of T classes.

    Attributes:
        costs: Encoder -> cost volume (B, T, maps, G, G), in the order that the fusion takes; "clip" is one.
        image_guidance: Guidance of the layers over space, (B, C, G, G), or wider.
        taps: Encoder -> maps of the blocks that guide the upsampler.
    """

    costs: Mapping[str, Tensor]
    image_guidance: Tensor
    taps: Mapping[str, Sequence[Tensor]]


class CostVolumeModel(HasInferenceForm, HasTrainingForm):
    """Base of the open-vocabulary models that aggregate cost volumes; called with images and class names.

    All weights are random at first; see `rskt_seg.checkpoints` for loading encoders or a whole checkpoint.

    Attributes:
        class_limit: Number of classes, the nearest to each image, that are decoded; 0: all. The logits of the
            others are `REFUSED`.
        cheap: Kinds of layers and decoders that the training form always recomputes, because they keep much
            for the backward pass and cost little.
    """

    class_limit = 0
    cheap: tuple[type[nn.Module], ...] = ()
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, spec: CostVolumeOptions) -> None:
        super().__init__()
        self.spec = spec
        self.encoders = ENCODER_SETS[spec.encoder]
        clip = self.encoders.clip
        self.register_buffer("pixel_mean", torch.tensor(CLIP_PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(CLIP_PIXEL_STD).view(3, 1, 1), persistent=False)
        self.clip = CLIP(clip, vocabulary_size(clip.text))
        self.text_bank = TextBank(build_tokenizer(clip.text), spec.templates)
        self.guides = nn.ModuleDict({"clip": clip_guides(clip.vision.width, spec.hidden_dim)})
        self.sides = {"clip": self.encoders.clip_side}

    def add_dino(self) -> None:
        """Add DINO, its projection to the text channels and its guides of the upsampler."""
        self.sides["dino"] = self.encoders.dino_side
        self.dino = DINO(self.encoders.dino)
        self.guides["dino"] = dino_guides(self.encoders.dino.width, self.spec.hidden_dim)
        self.dino_to_text = nn.Conv2d(self.encoders.dino.width, self.encoders.clip.embed_dim, 2, stride=2)

    def add_aggregation(self, cost: CostEmbedding, layers: Iterable[nn.Module], decoder: nn.Module) -> None:
        """Add what turns cost volumes into logits, and the guidance of the layers.

        Args:
            cost: Embeds the cost volumes.
            layers: Refine the embedding, called as `layer(embedding, image_guidance, text_guidance)`.
            decoder: Called as `decoder(embedding, guides)`, see `Decoder`.
        """
        clip, dim = self.encoders.clip, self.spec.hidden_dim
        self.cost = cost
        self.image_guidance = nn.Conv2d(clip.embed_dim, dim, 3, padding=1)
        self.text_guidance = nn.Linear(clip.embed_dim, dim)
        self.layers = nn.ModuleList(layers)
        self.decoder = decoder

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.pixel_mean.device

    @property
    def working_side(self) -> int:
        """Side in pixels of the square that CLIP takes (384, 336 or 96)."""
        return self.encoders.clip_side

    @property
    def logits_side(self) -> int:
        """Side 4G of the logits in cells (96 for the full models)."""
        return 4 * self.grid_side

    @property
    def grid_side(self) -> int:
        """Side G of the cost volume in cells (24 for the full models)."""
        return self.encoders.clip_side // self.encoders.clip.vision.patch_size

    def train(self, mode: bool = True) -> Self:
        """See `nn.Module.train`; the cache of text embeddings is cleared."""
        self.text_bank.clear()
        return super().train(mode)

    def forward(
        self,
        images: Tensor | Sequence[Tensor],
        vocabulary: Sequence[str],
        padding: str | None = None,
        return_cost_maps: bool = False,
    ) -> CostVolumeOutput:
        """Compute the logits of every class of a vocabulary.

        Args:
            images: RGB in 0..255, (B, 3, H, W) of any dtype, or a list of (3, H, W) of different sizes.
            vocabulary: T class names; of a name `"a, b"` the first is used, as published.
            padding: "published" or "aligned" for this call ; None: that of the specification.
            return_cost_maps: Also return `CostVolumeOutput.cost_maps`.

        Returns:
            Logits of the classes in the order of `vocabulary`.

        Raises:
            VocabularyError: The names cannot be used, or not be encoded (see `rskt_seg.encoders.text`).
            ConfigError: The images or the padding cannot be used.
        """
        text = self.embed_text(vocabulary)  # (T, P, E)
        encoded = self.encode(self.squares(images, padding), text)
        return self.decode(encoded, text, return_cost_maps)

    def encode(self, squares: Mapping[str, Tensor], text: Tensor) -> Encoded:
        """Encode images, and compare them with the classes; each method has its own way.

        Args:
            squares: Encoder -> images (B, 3, side, side), normalised.
            text: Embeddings of the classes (T, P, E).

        Returns:
            What the encoders found.
        """
        raise NotImplementedError

    def squares(self, images: Tensor | Sequence[Tensor], padding: str | None) -> dict[str, Tensor]:
        """Normalise images and resize them to the square of each encoder.

        Args:
            images: RGB in 0..255, (B, 3, H, W) of any dtype, or a list of (3, H, W) of different sizes.
            padding: "published" or "aligned"; None: the specification's.

        Returns:
            Encoder -> (B, 3, side, side).

        Raises:
            ConfigError: The images or the padding cannot be used.
        """
        return prepare(images, self.pixel_mean, self.pixel_std, self.sides, padding or self.spec.padding)

    def embed_text(self, vocabulary: Sequence[str]) -> Tensor:
        """Embed class names by the mean of the prompts of the specification.

        Args:
            vocabulary: T class names.

        Returns:
            Embeddings (T, 1, E) of unit length.

        Raises:
            VocabularyError: The names cannot be used, or not be encoded.
        """
        text = self.text_bank(self.clip, vocabulary)  # (T, P, E)
        return F.normalize(text.mean(dim=1, keepdim=True), dim=-1)

    def see_by_clip(self, square: Tensor, rotations: int = 1) -> tuple[Tensor, list[Tensor]]:
        """Encode images by CLIP, in one or several rotations.

        Args:
            square: (B, 3, side, side), normalised.
            rotations: Number of rotations R by 0, 90, ... degrees.

        Returns:
            Dense features (R, B, E, G, G), upright, and the taps of the upsampler (B, W, G, G), those of the
            unrotated images.
        """
        tapped = self.encoders.clip_taps
        features, taps = rotated_features(self.clip.visual, square, rotations, tapped)
        return features, [taps[i] for i in tapped]

    def see_by_dino(self, square: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode images by DINO.

        Args:
            square: (B, 3, side, side), normalised.

        Returns:
            Features (B, E, G, G) in the channels of the text, and the taps of the upsampler (B, W, 2G, 2G).
        """
        dino = self.dino(square, self.encoders.dino_taps)
        *taps, last = (dino.taps[i] for i in self.encoders.dino_taps)
        return self.dino_to_text(last), taps

    def decode(self, encoded: Encoded, text: Tensor, return_cost_maps: bool = False) -> CostVolumeOutput:
        """Aggregate cost volumes and decode them to logits.

        `decode(encode(squares(images, None), text), text)` is what `forward` does with `embed_text` of the
        names: tensors alone, which `torch.compile(fullgraph=True)` takes as one graph.

        Args:
            encoded: What `encode` returned.
            text: (T, P, E).
            return_cost_maps: Also return `CostVolumeOutput.cost_maps`.

        Returns:
            Logits of the T classes.
        """
        classes, limit, costs = len(text), self.class_limit, encoded.costs
        words = F.relu(self.text_guidance(F.normalize(text.mean(dim=1), dim=-1)))[None]  # (1, T, C)
        kept = nearest_classes(costs["clip"], limit) if 0 < limit < classes else None
        if kept is not None:
            costs = {name: take_classes(cost, kept) for name, cost in costs.items()}
            words = take_classes(words.expand(kept.shape[0], -1, -1), kept)  # (B, K, C)
        # (B, T, C, G, G); no name holds the first embedding, whose memory the layers can thus reuse.
        embedding = self.aggregate(self.cost(*costs.values()), encoded.image_guidance, words)
        logits = self.decoder(embedding, self.guide(encoded.taps))  # (B, T, 4G, 4G)
        aggregated = embedding.mean(dim=2) if return_cost_maps else None
        if kept is not None:
            logits = put_classes(logits, kept, classes, REFUSED)
            if aggregated is not None:
                aggregated = put_classes(aggregated, kept, classes, torch.nan)
        if aggregated is None:
            return CostVolumeOutput(logits)
        maps = {name: cost.mean(dim=2) for name, cost in encoded.costs.items()}
        return CostVolumeOutput(logits, {**maps, "aggregated": aggregated})

    def aggregate(self, embedding: Tensor, image_guidance: Tensor, text_guidance: Tensor) -> Tensor:
        """Refine a cost embedding by all layers.

        Args:
            embedding: (B, T, C, G, G).
            image_guidance: Guidance of the layers over space, (B, C, G, G), or wider.
            text_guidance: (B, T, C), or (1, T, C) for all images.

        Returns:
            (B, T, C, G, G).
        """
        for layer in self.layers:
            embedding = layer(embedding, image_guidance, text_guidance)
        return embedding

    def guide(self, taps: Mapping[str, Sequence[Tensor]]) -> list[list[Tensor]]:
        """Compute the guidance maps of the upsampler.

        Args:
            taps: Encoder -> maps of its tapped blocks, one for each stage.

        Returns:
            For each stage the maps (B, G, H, W), encoders in the order of `guides`.
        """
        by_encoder = [guides(taps[name]) for name, guides in self.guides.items()]
        return [list(maps) for maps in zip(*by_encoder, strict=True)]

    def inference_form(self, builder: FormBuilder) -> Self:
        """See `HasInferenceForm`; the form has a cache of text embeddings of its own.

        Args:
            builder: As there.

        Returns:
            The form.
        """
        blocks = self.clip.visual.transformer.resblocks
        last = ValuePath(blocks[-1].attn, builder)
        form = builder.copy(self)
        form.set_submodule(f"clip.visual.transformer.resblocks.{len(blocks) - 1}.attn", last)
        form.text_bank = self.text_bank.emptied()
        return form

    def training_form(self, builder: FormBuilder, recompute: bool) -> Self:
        """See `HasTrainingForm`.

        What is cheap and keeps much is recomputed in any case, the blocks of CLIP, the layers and the decoder
        of every kind on demand.

        Args:
            builder: As there.
            recompute: As there.

        Returns:
            The form.
        """
        towers = {name: getattr(self, name) for name in self.sides if name != "clip"}
        children = {name: builder.convert(tower) for name, tower in towers.items() if is_frozen(tower)}
        kinds = (AggregationLayer, type(self.decoder)) if recompute else self.cheap
        children |= {name: recompute_in(getattr(self, name), kinds) for name in ("layers", "decoder")}
        clip = self.clip
        if builder.packed and builder.dtype is torch.float32:
            clip = copy_around(clip, {"visual": pack_for_training(clip.visual)})
        children["clip"] = clip
        if recompute:
            children["clip"] = recompute_in(clip, (Block,))
        form = copy_around(self, children)
        if recompute:
            # The dense path calls parts of its last block.
            blocks = clip.visual.transformer.resblocks
            form.set_submodule(f"clip.visual.transformer.resblocks.{len(blocks) - 1}", blocks[-1])
        return form

    def losses(self, output: CostVolumeOutput, target: Tensor, ignore_value: int = 255) -> dict[str, Tensor]:
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

    @property
    def score_kind(self) -> ScoreKind:
        """What `scores` are, which follows from the loss of the training."""
        return "sigmoids" if self.spec.loss == "bce" else "probabilities"

    def scores(self, output: CostVolumeOutput) -> Tensor:
        """Convert an output to class scores.

        Args:
            output: What the model returned.

        Returns:
            (B, T, 4G, 4G) in 0..1: sigmoids for the published loss, softmax over classes for cross-
            entropy.
        """
        if self.score_kind == "sigmoids":
            return output.logits.sigmoid()
        return output.logits.softmax(dim=1)
