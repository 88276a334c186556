"""Interface between `rskt_seg.segmenter.Segmenter` and inference strategies."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.inference.cells import WindowPlan
from rskt_seg.vocabulary import Vocabulary
from rskt_seg.windows import Window

PADDINGS = ("aligned", "published")
"""How images whose size is not a multiple of a model's stride are padded."""


class Coarseness(NamedTuple):
    """Why a result is coarse: `what` covers `cell` pixels of the image.

    Attributes:
        side: Side (px) of what the model sees.
        what: Unit of the result, for messages, such as "one output cell".
        cell: (rows, columns) px of the image in one such unit.
        remedy: What to do about it.
    """

    side: int
    what: str
    cell: tuple[float, float]
    remedy: str


class ModelCall(NamedTuple):
    """A call of the model, as often as one image needs it.

    Attributes:
        crop: What the model sees, for reports, such as "tile of 512 x 512 px".
        crops: Number of crops that one call sees; 0 for a call that prepares what the crops share.
        times: Number of such calls for one image.
        run: Makes the call with blank crops on the device of the model.
    """

    crop: str
    crops: int
    times: int
    run: Callable[[], object]


@dataclass(frozen=True)
class Strategy:
    """A model with its classes, and how it sees images. Subclasses add options as fields with defaults.

    `Segmenter` builds strategies and calls them inside `rskt_seg.inference.predict.evaluating(model)`. Images
    are (H, W, 3) uint8 RGB. Constructors raise `ConfigError` for values of options that cannot be used.

    Attributes:
        model: A model of a method with this strategy. What it is asked for differs between strategies.
        vocabulary: The classes of the results.
    """

    model: Any
    vocabulary: Vocabulary

    @property
    def prompts(self) -> tuple[str, ...]:
        """Names that the model is asked for: by default one for each class."""
        return self.vocabulary.names

    @property
    def notices(self) -> tuple[str, ...]:
        """Decisions about the vocabulary that the user should know of, one line each."""
        return self.vocabulary.remarks

    @property
    def background(self) -> int | None:
        """Id of the class that stands for everything else; None if there is none."""
        return None

    @property
    def merges_names(self) -> bool:
        """Whether the score of a class is not that of a single name, so that a softmax loses its sum."""
        return False

    def score_map(self, pixels: np.ndarray) -> Tensor:
        """Segment an image.

        Args:
            pixels: (H, W, 3) uint8 RGB.

        Returns:
            Scores (T, h, w) in 0..1, float32 on the CPU, at the resolution of the model.
        """
        raise NotImplementedError

    def score_maps(self, images: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """Segment images, together where the model sees images of one size.

        Args:
            images: Images (H, W, 3) uint8 RGB of any sizes, all of which may be in memory at a time.

        Yields:
            The `score_map` of each, in their order.
        """
        yield from map(self.score_map, images)

    def plan_scene(
        self, size: tuple[int, int], window: int | None, overlap: float | None, taper: str
    ) -> WindowPlan:
        """Plan the windows in which a scene of any size is segmented at its own resolution.

        Args:
            size: (H, W) of the scene, px.
            window: Side (px) of a window; None: what the model sees, at native resolution.
            overlap: As for `rskt_seg.inference.cells.plan_windows`; None: what suits the model.
            taper: As there.

        Returns:
            The plan.

        Raises:
            ConfigError: A value is out of its range, the model does not see windows, or an option has no
                effect on them.
        """
        raise ConfigError("this model does not see scenes in windows; segment whole images")

    def scene_context(self, overview: np.ndarray) -> object:
        """Return what the windows of a scene share.

        Args:
            overview: The scene reduced to some size, (h, w, 3) uint8.

        Returns:
            What `window_maps` is given.
        """
        return None

    def window_maps(self, images: Tensor, windows: Sequence[Window], plan: WindowPlan, shared: Any) -> Tensor:
        """Compute what is blended of some windows.

        Args:
            images: (B, 3, h, w) float32 RGB in 0..255 on the device of the model, each a window with
                `plan.margin` around it.
            windows: The B windows in the scene, px.
            plan: What `plan_scene` returned.
            shared: What `scene_context` returned.

        Returns:
            Maps (B, K, rows, columns) float32 on the CPU, in cells of the plan.
        """
        raise NotImplementedError

    def map_scores(self, maps: Tensor) -> Tensor:
        """Compute scores of blended maps.

        Args:
            maps: (K, h, w), at pixels.

        Returns:
            Scores (T, h, w) in 0..1.
        """
        raise NotImplementedError

    @property
    def contexts(self) -> Mapping[str, float]:
        """Contexts that the model sees with each window: name -> side in windows, 0 for the whole scene."""
        return {}

    def graph_inputs(self, plan: WindowPlan) -> dict[str, tuple[int, ...]]:
        """Return what the graph of an export takes, besides the number of windows: name -> shape.

        Args:
            plan: What `plan_scene` returned for a large scene.

        Returns:
            By default "images" (3, side, side), float32 RGB in 0..255.
        """
        return {"images": (3, plan.side, plan.side)}

    def graph_maps(self, inputs: Mapping[str, Tensor], plan: WindowPlan) -> Tensor:
        """Compute `window_maps` of the inputs of a graph, by tensors alone, so that it can be traced.

        Args:
            inputs: Name -> (B, ...), see `graph_inputs`.
            plan: As there.

        Returns:
            Maps (B, K, rows, columns) float32, in cells of the plan.
        """
        return self.window_maps(inputs["images"], (), plan, None)

    @property
    def usual_size(self) -> tuple[int, int]:
        """Size (H, W) in px of an image that stands for others where none is given."""
        return 512, 512

    def model_calls(self, size: tuple[int, int]) -> tuple[ModelCall, ...] | None:
        """Return the calls of the model that `score_map` makes, from which the cost of an image follows.

        A subclass that states them spares a caller who counts operations the calls that repeat each other.

        Args:
            size: (H, W) of the image.

        Returns:
            The calls in any order; None if the strategy does not state them.
        """
        return None

    def coarseness(self, size: tuple[int, int], score_map: Tensor) -> Coarseness | None:
        """Return why the result for an image is coarser than the image; None if it is not.

        Args:
            size: (H, W) of the image.
            score_map: Its `score_map`.

        Returns:
            The reason, in the parts of a notice; None if there is none.
        """
        return None


def channels_first(pixels: np.ndarray) -> Tensor:
    """Move the channels of an image to the front.

    Args:
        pixels: (H, W, 3) uint8.

    Returns:
        (3, H, W) uint8 on the CPU.
    """
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)


def blank_images(model: Any, count: int, size: Sequence[int]) -> Tensor:
    """Return images (count, 3, h, w) of zeros, float32, on the device of a model."""
    return torch.zeros(count, 3, *size, device=model.device)


def batched_calls(
    crop: str, crops: int, batch: int, run: Callable[[int], object], times: int = 1
) -> Iterator[ModelCall]:
    """Yield the calls for crops that go through a model in batches.

    Args:
        crop: As in `ModelCall`.
        crops: Number of crops of an image.
        batch: Greatest number of crops of a call.
        run: Calls the model with so many blank crops.
        times: How often an image is seen so.

    Yields:
        The call of full batches, and that of the rest; those that occur.
    """
    full, rest = divmod(crops, batch)
    for size, count in ((batch, full), (rest, 1)):
        if size * count:
            yield ModelCall(crop, size, count * times, partial(run, size))


def check_choice(name: str, value: object, choices: Sequence[str] | Mapping[str, object]) -> None:
    """Check that the value of an option is one of its choices.

    Args:
        name: Name of the option, for the message.
        value: Its value.
        choices: The permitted values.

    Raises:
        ConfigError: `value` is not one of them.
    """
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}; found {value!r}")


def check_tiles(tile: int, overlap: int) -> None:
    """Check that tiles can overlap as requested.

    Args:
        tile: Side (px) of a tile.
        overlap: Overlap (px) of neighbouring tiles.

    Raises:
        ConfigError: Unless tile >= 1 and 0 <= overlap < tile.
    """
    if tile < 1 or not 0 <= overlap < tile:
        raise ConfigError(
            f"expected tile >= 1 and 0 <= tile_overlap < tile; found tile {tile}, tile_overlap {overlap}"
        )
