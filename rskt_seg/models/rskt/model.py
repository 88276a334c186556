"""RSKT-Seg as one plain torch module.

Source: "Exploring Efficient Open-Vocabulary Segmentation in the Remote Sensing" (AAAI 2026) and its
published code. Shapes: B image, R rotation, P prompt, T class, C channel, E text channel, G side of the cost
volume in cells.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.encoders.clip import VisionTrunk
from rskt_seg.layers.fourier import FourierConv
from rskt_seg.layers.inference_form import FormBuilder, copy_around
from rskt_seg.layers.trained_fourier import CLASSES_AT_A_TIME, TrainedFourierConv
from rskt_seg.layers.training_form import Recomputed
from rskt_seg.models.cost_volumes.cost import (
    ConcatFusion,
    CostEmbedding,
    MeanFusion,
    SeparateFusion,
    cosine_cost,
    rotated_cost,
)
from rskt_seg.models.cost_volumes.decoder import Decoder, clip_guides
from rskt_seg.models.cost_volumes.finetune import set_trainable
from rskt_seg.models.cost_volumes.model import CostVolumeModel, Encoded
from rskt_seg.models.cost_volumes.original import original_layer
from rskt_seg.models.cost_volumes.trained_decoder import trained_decoder
from rskt_seg.models.rskt.fusion import FusionLayer
from rskt_seg.models.rskt.spec import RSKTSpec
from rskt_seg.models.rskt.trained_fusion import TrainedFusionLayer


class RSKT(CostVolumeModel):
    """Open-vocabulary segmentation model, called with images and a list of class names."""

    spec: RSKTSpec
    decoder: Decoder
    cheap = (FusionLayer, Decoder)  # 3 % of the operations of a training step, half of what it keeps

    def __init__(self, spec: RSKTSpec) -> None:
        super().__init__(spec)
        dim = spec.hidden_dim
        if spec.remote_clip:
            self.sides["remote_clip"] = self.encoders.remote_side
            self.remote_clip = VisionTrunk(self.encoders.remote, layers=max(self.encoders.remote_taps) + 1)
            self.guides["remote_clip"] = clip_guides(self.encoders.remote.width, dim)
        if spec.dino:
            self.add_dino()
        if spec.dino_in_set:
            self.dino_guidance = nn.Conv2d(self.encoders.clip.embed_dim, dim, 3, padding=1)
        projection = nn.Conv2d(dim, dim, 1) if spec.cost_projection else None
        self.add_aggregation(
            CostEmbedding(build_fusion(spec), spec.class_chunk, projection),
            [self._build_layer() for _ in range(spec.num_layers)],
            Decoder(dim, len(self.guides), spec.class_chunk),
        )
        set_trainable(self, spec.clip_finetune, spec.dino_finetune)

    def _build_layer(self) -> nn.Module:
        if self.spec.aggregator == "efficient":
            return FusionLayer(self.spec, self.spec.hidden_dim * (2 if self.spec.dino_in_set else 1))
        return original_layer(
            self.spec.hidden_dim,
            grid=self.grid_side,
            window=self.spec.window,
            heads=self.spec.window_heads,
            pooling=self.spec.pooling,
            test_pooling=self.spec.test_pooling,
            attention=self.spec.attention,
            chunk=self.spec.class_chunk,
        )

    def encode(self, squares: Mapping[str, Tensor], text: Tensor) -> Encoded:
        """See `CostVolumeModel.encode`."""
        features, clip_taps = self.see_by_clip(squares["clip"], 4 if self.spec.rotations else 1)
        costs, taps = {"clip": rotated_cost(features, text)}, {"clip": clip_taps}  # (B, T, R * P, G, G)
        guidance = [F.relu(self.image_guidance(features[0]))]  # (B, C, G, G)
        if self.spec.remote_clip:
            remote = self.remote_clip.tapped(squares["remote_clip"], self.encoders.remote_taps)
            taps["remote_clip"] = [remote.taps[i] for i in self.encoders.remote_taps]
        if self.spec.dino:
            dino_features, taps["dino"] = self.see_by_dino(squares["dino"])
            costs["dino"] = cosine_cost(dino_features, text)  # (B, T, P, G, G)
            if self.spec.dino_in_set:
                guidance.append(F.relu(self.dino_guidance(dino_features)))
        return Encoded(costs, torch.cat(guidance, dim=1), taps)

    def inference_form(self, builder: FormBuilder) -> Self:
        """See `HasInferenceForm`.

        Args:
            builder: As there.

        Returns:
            The form.
        """
        form = super().inference_form(builder)
        fusion = form.cost.fusion
        if isinstance(fusion, SeparateFusion):
            form.set_submodule("cost.fusion.both", FourierConv(fusion.both, self.grid_side))
            form.cost.chunk = 2 * self.spec.class_chunk  # the more classes share the spectrum, the better
        return form

    def training_form(self, builder: FormBuilder, recompute: bool) -> Self:
        """See `HasTrainingForm`.

        Args:
            builder: As there.
            recompute: As there.

        Returns:
            The form.
        """
        form = super().training_form(builder, recompute)
        if builder.packed and builder.dtype is torch.float32:
            for index, layer in enumerate(self.layers):
                if isinstance(layer, FusionLayer) and layer.published:
                    form.set_submodule(f"layers.{index}", Recomputed(TrainedFusionLayer(layer)))
            if isinstance(fusion := self.cost.fusion, SeparateFusion):
                both = TrainedFourierConv(fusion.both, self.grid_side)
                form.cost = copy_around(self.cost, {"fusion": copy_around(fusion, {"both": both})})
                form.cost.chunk = CLASSES_AT_A_TIME
            form.set_submodule("decoder", Recomputed(trained_decoder(self.decoder)))
        return form

    def embed_text(self, vocabulary: Sequence[str]) -> Tensor:
        """Embed class names by the prompts of the specification.

        Args:
            vocabulary: T class names.

        Returns:
            Embeddings (T, P, E) of unit length; P is 1 unless `prompt_mode` is "channels".

        Raises:
            VocabularyError: The names cannot be used, or not be encoded.
        """
        if self.spec.prompt_mode == "channels":
            return self.text_bank(self.clip, vocabulary)
        return super().embed_text(vocabulary)


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
