"""Weights of CLIP zero-shot: those of a CLIP, in a file of its own or in a checkpoint of this package."""

from collections.abc import Mapping, Set

from torch import Tensor

from rskt_seg.checkpoints import clip
from rskt_seg.checkpoints.files import Source, WeightFile
from rskt_seg.checkpoints.rules import LoadReport, convert, load_strict
from rskt_seg.methods.layout import OTHER_ENCODER, CheckpointLayout
from rskt_seg.methods.record import EncoderRole
from rskt_seg.models.clip_zeroshot import ClipZeroShot


class ClipZeroShotLayout(CheckpointLayout):
    """Checkpoints of this package; a CLIP file is a whole checkpoint too, for the model has nothing else."""

    output_key = "clip.visual.proj"

    def is_encoder(self, keys: Set[str]) -> bool:
        """See `CheckpointLayout.is_encoder`."""
        return clip.is_clip(keys)

    def load(
        self,
        model: ClipZeroShot,
        weights: WeightFile,
        source: str,
        left_out: Mapping[str, Tensor],
        companions: Mapping[str, Source] | None = None,
    ) -> LoadReport:
        """See `CheckpointLayout.load`."""
        if self.is_encoder(weights.state.keys()) and not companions:
            return _load_clip(model, weights.state, source)
        return super().load(model, weights, source, left_out, companions)


def _load_clip(model: ClipZeroShot, state: Mapping[str, Tensor], source: str) -> LoadReport:
    report = LoadReport(source)
    load_strict(model.clip, convert(clip.normalise_names(state), clip.RULES, report), source, OTHER_ENCODER)
    return report


ENCODERS = {
    "clip": EncoderRole(
        _load_clip,
        "CLIP: OpenAI's ViT-B-16.pt (ViT-L-14-336px.pt, or a ViT-B/32 such as RemoteCLIP-ViT-B-32.pt, for "
        "the models of these sizes), or an open_clip name such as ViT-B-16/openai, which is fetched",
        named=True,
    ),
}
