"""Strategy of closed-set models that see patches with larger context crops, or whole images."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.inference.cells import WindowPlan, plan_windows
from rskt_seg.inference.contexts import (
    PATCH_OVERLAP,
    ContextReader,
    context_window,
    encode_whole,
    pad_image,
    patch_grid,
    relative_window,
)
from rskt_seg.inference.patches import PATCH_BATCH, probabilities
from rskt_seg.inference.strategies.strategy import (
    Coarseness,
    ModelCall,
    Strategy,
    batched_calls,
    blank_images,
    check_choice,
)
from rskt_seg.inference.views import VIEWS
from rskt_seg.windows import Window


class PatchContextOptions(TypedDict, total=False):
    """Options of `PatchContextStrategy`, as `Segmenter` takes them."""

    patch_overlap: int | None
    views: str


@dataclass(frozen=True)
class PatchContextStrategy(Strategy):
    """Overlapping patches with their contexts; whole images for models that are built for them.

    Attributes:
        patch_overlap: Smallest overlap (px) of neighbouring patches; None: 50 as published, but at most a
            quarter of a patch. Models of whole images take None only.
        views: Test-time augmentation, a name in `rskt_seg.inference.views.VIEWS`.
    """

    patch_overlap: int | None = None
    views: str = "none"

    def __post_init__(self) -> None:
        check_choice("views", self.views, VIEWS)
        if self.model.sees_whole:
            if self.patch_overlap is not None:
                raise ConfigError(
                    f"patch_overlap={self.patch_overlap} has no effect, as this model sees whole images; "
                    "leave it out"
                )
        elif not 0 <= self.overlap < self.model.patch_side:
            raise ConfigError(
                f"expected 0 <= patch_overlap < {self.model.patch_side}, the side of a patch; found "
                f"{self.patch_overlap}"
            )

    @property
    def overlap(self) -> int:
        """Smallest overlap (px) of neighbouring patches."""
        if self.patch_overlap is not None:
            return self.patch_overlap
        return min(PATCH_OVERLAP, self.model.patch_side // 4)

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`."""
        return probabilities(self.model, pixels, VIEWS[self.views], overlap=self.overlap)

    def plan_scene(
        self, size: tuple[int, int], window: int | None, overlap: float | None, taper: str
    ) -> WindowPlan:
        """See `Strategy.plan_scene`: the patches, with contexts around them, blended at every pixel."""
        side = self.model.patch_side
        if self.model.sees_whole:
            raise ConfigError("this model sees whole images; segment the scene as a whole (--whole)")
        if self.views != "none":
            raise ConfigError(
                "patches of a scene are seen as they are; leave test-time augmentation out, or use --whole"
            )
        if window not in (None, side):
            raise ConfigError(
                f"this model sees patches of {side} px and nothing else, and a window of {window} was asked "
                "for; leave it out"
            )
        margin = 0
        patch = Window(0, 0, side, side)
        for factor in filter(None, self.model.context_factors.values()):
            context = context_window(patch, factor)
            margin = max(margin, -context.top, context.bottom - side)
        share = self.overlap / side if overlap is None else overlap
        return plan_windows(size, side, share, margin=margin, taper=taper)

    def scene_context(self, overview: np.ndarray) -> object:
        """See `Strategy.scene_context`: the contexts that are the whole scene."""
        return encode_whole(self.model, overview)

    def window_maps(self, images: Tensor, windows: Sequence[Window], plan: WindowPlan, shared: Any) -> Tensor:
        """See `Strategy.window_maps`: the logits, of one patch at a time."""
        side, (height, width) = self.model.patch_side, plan.window_cells
        maps = []
        for image, window in zip(images, windows, strict=True):
            pixels = image.permute(1, 2, 0).to("cpu", torch.uint8).numpy()
            around = pad_image(pixels, side + 2 * plan.margin)
            extent = Window(plan.margin - window.top, plan.margin - window.left, plan.height, plan.width)
            reader = ContextReader(self.model, around, shared, extent)
            logits = reader.predict([Window(plan.margin, plan.margin, side, side)]).logits.float().cpu()
            maps.append(_resized(logits, side)[:, :, :height, :width])
        return torch.cat(maps)

    @property
    def contexts(self) -> Mapping[str, float]:
        """See `Strategy.contexts`."""
        return self.model.context_factors

    def graph_inputs(self, plan: WindowPlan) -> dict[str, tuple[int, ...]]:
        """See `Strategy.graph_inputs`: patch and contexts as resized outside of the graph.

        Of a context that is the whole scene also where it lies, as `relative_window` says.
        """
        square = (3, self.model.working_side, self.model.working_side)
        contexts = {f"context_{name}": square for name in self.contexts}
        windows = {f"window_{name}": (4,) for name, factor in self.contexts.items() if not factor}
        return {"images": square, **contexts, **windows}

    def graph_maps(self, inputs: Mapping[str, Tensor], plan: WindowPlan) -> Tensor:
        """See `Strategy.graph_maps`: the logits of the patches."""
        patch = Window(0, 0, plan.side, plan.side)
        windows = {
            name: torch.tensor([relative_window(context_window(patch, factor), patch)])
            if factor
            else inputs[f"window_{name}"]
            for name, factor in self.contexts.items()
        }
        contexts = {name: inputs[f"context_{name}"] for name in self.contexts}
        return _resized(self.model(inputs["images"], contexts=contexts, windows=windows).logits, plan.side)

    def map_scores(self, maps: Tensor) -> Tensor:
        """See `Strategy.map_scores`."""
        return maps.softmax(dim=0)

    @property
    def usual_size(self) -> tuple[int, int]:
        """See `Strategy.usual_size`: a patch."""
        return self.model.patch_side, self.model.patch_side

    def model_calls(self, size: tuple[int, int]) -> tuple[ModelCall, ...]:
        """See `Strategy.model_calls`: patches in batches, and contexts of the whole image once a view."""
        side = self.model.working_side
        if self.model.sees_whole:
            whole = partial(self.model, blank_images(self.model, 1, (side, side)))
            return (ModelCall(f"whole image, as {side} x {side} px", 1, len(VIEWS[self.views]), whole),)
        height, width = (max(length, self.model.patch_side) for length in size)
        seen = Counter(view.size(height, width) for view in VIEWS[self.views])
        return tuple(call for each, views in seen.items() for call in self._patch_calls(each, views))

    def _patch_calls(self, size: tuple[int, int], views: int) -> Iterator[ModelCall]:
        """Yield the calls for `views` views of one size."""
        side = self.model.working_side
        for name, factor in self.model.context_factors.items():
            if not factor:
                encode = partial(self.model.encode_context, name, blank_images(self.model, 1, (side, side)))
                yield ModelCall(f"context {name}, the whole image", 0, views, encode)
        size = max(size[0], self.model.patch_side), max(size[1], self.model.patch_side)
        grid = patch_grid(*size, self.model.patch_side, self.overlap)
        reader = ContextReader(self.model, np.zeros((*size, 3), np.uint8))
        crop = f"patch of {self.model.patch_side} x {self.model.patch_side} px with its contexts"
        yield from batched_calls(
            crop, len(grid), PATCH_BATCH, lambda count: reader.predict(grid[:count]), views
        )

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> Coarseness | None:
        """See `Strategy.coarseness`."""
        if not self.model.sees_whole:
            return None
        side = self.model.working_side
        what = f"one pixel of the {side} px that the model sees"
        return Coarseness(side, what, (size[0] / side, size[1] / side), "use a model of patches")


def _resized(logits: Tensor, side: int) -> Tensor:
    """Resize the logits of patches (B, T, h, w) to their side, bilinearly."""
    if logits.shape[-1] == side:
        return logits
    return F.interpolate(logits, size=(side, side), mode="bilinear", align_corners=False)
