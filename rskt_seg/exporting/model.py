"""Models that are graphs of an ONNX file, as `Segmenter` uses them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rskt_seg.errors import ConfigError, VocabularyError
from rskt_seg.exporting.facts import GraphFacts
from rskt_seg.exporting.onnx_files import OnnxFile, open_session, read_onnx
from rskt_seg.inference.cells import RunningMeans, WindowPlan, plan_windows
from rskt_seg.inference.strategies import PatchContextStrategy, Strategy, channels_first
from rskt_seg.methods.layout import CheckpointLayout
from rskt_seg.methods.notices import keep_notices
from rskt_seg.methods.record import Method, StatesMethod
from rskt_seg.typing import SegmentationModel, Spec
from rskt_seg.windows import Window

PROVIDERS = ("CPUExecutionProvider",)
"""What computes by default, a name of ONNX Runtime."""
_BATCH = 4  # windows of an image that are seen at a time


class GraphModel(nn.Module, StatesMethod):
    """The graph of an ONNX file, which needs neither a model nor weights of this package.

    Args:
        path: The file.
        providers: What computes, names of ONNX Runtime.
        file: Its content; None: it is read.

    Raises:
        ConfigError: A package is missing.
        CheckpointError: The file cannot be used.
    """

    spec = Spec()

    def __init__(
        self,
        path: str | os.PathLike[str],
        providers: Sequence[str] = PROVIDERS,
        file: OnnxFile | None = None,
    ) -> None:
        super().__init__()
        self.path, self.providers = os.fspath(path), tuple(providers)
        self._file = read_onnx(path) if file is None else file
        digest = torch.frombuffer(bytearray.fromhex(self._file.digest), dtype=torch.uint8)
        self.register_buffer("digest", digest)  # its state, by which scenes tell it from others
        keep_notices(cast(SegmentationModel, self), self.facts.notices)
        self.eval()

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what opens the file again in another process."""
        return type(self), (self.path, self.providers)

    @property
    def facts(self) -> GraphFacts:
        """What the file states."""
        return self._file.facts

    @property
    def options(self) -> dict[str, object]:
        """Options of `Segmenter` by which images are seen as the file states."""
        return {}

    @property
    def device(self) -> torch.device:
        """Device of images and maps."""
        return torch.device("cpu")

    @property
    def method(self) -> Method:
        """See `StatesMethod.method`."""
        return Method(
            name="graph",
            title="ONNX",
            model=cast(type[SegmentationModel], type(self)),
            spec=Spec,
            presets={},
            vocabulary="open",
            strategy=PatchContextStrategy if self.facts.sees_patches else GraphStrategy,
            checkpoint=CheckpointLayout(),
            supervision="none",
            score_kind=lambda model: self.facts.score_kind,
        )

    def maps(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Compute what is blended of windows.

        Args:
            inputs: Name -> (B, ...) float32.

        Returns:
            Maps (B, K, rows, columns) float32.
        """
        feed = {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
        (found,) = self._windows.run(None, feed)
        return torch.from_numpy(found)

    def map_scores(self, maps: Tensor) -> Tensor:
        """Compute the scores of blended maps.

        Args:
            maps: (K, h, w).

        Returns:
            (T, h, w) in 0..1.
        """
        (found,) = self._scores.run(None, {"maps": np.ascontiguousarray(maps.numpy())})
        return torch.from_numpy(found)

    def open(self) -> None:
        """Open the graphs, which is done on first use otherwise.

        Raises:
            ConfigError: ONNX Runtime or a provider is missing.
            CheckpointError: It cannot run the graphs.
        """
        self._windows, self._scores  # noqa: B018

    @cached_property
    def _windows(self) -> Any:
        return open_session(self._file.windows, torch.get_num_threads(), self.providers)

    @cached_property
    def _scores(self) -> Any:
        return open_session(self._file.scores, torch.get_num_threads(), PROVIDERS)


@dataclass(frozen=True)
class GraphStrategy(Strategy):
    """Windows of one side at the resolution of the image, whatever its size, blended as in scenes.

    Where an image is smaller than a window, its border is repeated.
    """

    model: GraphModel

    def __post_init__(self) -> None:
        names = self.model.facts.channels
        if self.vocabulary.names not in (names, self.model.facts.class_names):
            raise VocabularyError(f"the classes of a graph are frozen: {', '.join(map(repr, names))}")

    @property
    def background(self) -> int | None:
        """See `Strategy.background`."""
        return self.model.facts.rest

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """See `Strategy.score_map`; at the size of the image."""
        height, width = pixels.shape[:2]
        plan = self.plan_scene((height, width), None, None, "hann")
        windows = plan.windows(plan.cells)
        running: RunningMeans | None = None
        for start in range(0, len(windows), _BATCH):
            group = windows[start : start + _BATCH]
            crops = [pixels[plan.pixels(each).slices] for each in group]
            images = torch.stack([self._padded(channels_first(crop).float()) for crop in crops])
            maps = self._maps(images, plan)
            running = running or RunningMeans(plan, maps.shape[1], plan.cells)
            for window, each in zip(group, maps, strict=True):
                running.add(window, each)
        assert running is not None  # there is a window
        return self.map_scores(running.mean().pixels(Window(0, 0, height, width)))

    def plan_scene(
        self, size: tuple[int, int], window: int | None, overlap: float | None, taper: str
    ) -> WindowPlan:
        """See `Strategy.plan_scene`: windows of the side of the graph."""
        facts = self.model.facts
        if window not in (None, facts.window):
            raise ConfigError(
                f"this graph sees windows of {facts.window} px and nothing else, and a window of {window} "
                "was asked for; leave it out, or export another graph"
            )
        share = facts.overlap if overlap is None else overlap
        return plan_windows(size, facts.window, share, cell=facts.cell, taper=taper)

    def window_maps(self, images: Tensor, windows: Sequence[Window], plan: WindowPlan, shared: Any) -> Tensor:
        """See `Strategy.window_maps`."""
        return self._maps(torch.stack([self._padded(image) for image in images]), plan)

    def map_scores(self, maps: Tensor) -> Tensor:
        """See `Strategy.map_scores`."""
        return self.model.map_scores(maps)

    @property
    def usual_size(self) -> tuple[int, int]:
        """See `Strategy.usual_size`: a window."""
        return self.model.facts.window, self.model.facts.window

    def _padded(self, image: Tensor) -> Tensor:
        """Return an image (3, h, w) as a whole window (3, side, side), with its border repeated."""
        side = self.model.facts.window
        return F.pad(image[None], (0, side - image.shape[2], 0, side - image.shape[1]), mode="replicate")[0]

    def _maps(self, images: Tensor, plan: WindowPlan) -> Tensor:
        rows, columns = plan.window_cells
        return self.model.maps({"images": images})[:, :, :rows, :columns]


class PatchGraphModel(GraphModel):
    """A graph that takes resized patches with their contexts: `rskt_seg.inference.contexts.PatchModel`."""

    sees_whole = False

    @property
    def options(self) -> dict[str, object]:
        """See `GraphModel.options`."""
        return {"patch_overlap": self.facts.window - self.facts.stride}

    @property
    def working_side(self) -> int:
        """See `PatchModel.working_side`."""
        return self.facts.input_side

    @property
    def patch_side(self) -> int:
        """See `PatchModel.patch_side`."""
        return self.facts.window

    @property
    def context_factors(self) -> Mapping[str, float]:
        """See `PatchModel.context_factors`."""
        return self.facts.contexts

    def encode_context(self, name: str, images: Tensor) -> Tensor:
        """See `PatchModel.encode_context`; these are the images, which the graph encodes with every patch."""
        return images

    def forward(
        self,
        patches: Tensor,
        contexts: Mapping[str, Tensor],
        windows: Mapping[str, Tensor],
        return_maps: bool = False,
    ) -> "PatchLogits":
        """See `PatchModel.__call__`; graphs have no context maps."""
        count = len(patches)
        inputs = {f"context_{name}": images.expand(count, -1, -1, -1) for name, images in contexts.items()}
        places = {
            f"window_{name}": windows[name].float()
            for name, factor in self.context_factors.items()
            if not factor
        }
        return PatchLogits(self.maps({"images": patches, **inputs, **places}))


class PatchLogits(NamedTuple):
    """Output of `PatchGraphModel`: logits (B, T, side, side)."""

    logits: Tensor
    maps: None = None


def open_graph(path: str | os.PathLike[str], providers: Sequence[str] = PROVIDERS) -> GraphModel:
    """Open an ONNX file that `rskt-seg export` wrote.

    Args:
        path: The file.
        providers: What computes, names of ONNX Runtime.

    Returns:
        The model.

    Raises:
        ConfigError: A package or a provider is missing.
        WeightsNotFoundError: There is no such file.
        CheckpointError: It is no such file, it is damaged, or ONNX Runtime cannot run it.
    """
    file = read_onnx(path)
    model = (PatchGraphModel if file.facts.sees_patches else GraphModel)(path, providers, file)
    model.open()
    return model
