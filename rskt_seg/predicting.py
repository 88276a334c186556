"""From images to batches of them, and from the scores of each to its result."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rskt_seg.decision import Decision
from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.finite import check_scores
from rskt_seg.geo.area import pixel_areas
from rskt_seg.geo.arrays import ImageSource, Reading, as_image, name_of
from rskt_seg.geo.raster import RasterImage
from rskt_seg.inference.resize import best_scores, label_map
from rskt_seg.inference.strategies import Strategy
from rskt_seg.methods.notices import model_notices
from rskt_seg.methods.use import score_kind
from rskt_seg.reading import brief
from rskt_seg.segmentation import Segmentation, coarseness_notices


def batches(sources: Sequence[ImageSource], batch_size: int, reading: Reading) -> Iterator[list[RasterImage]]:
    """Read images, some at a time.

    Args:
        sources: The images.
        batch_size: How many are read at a time.
        reading: How they are read.

    Yields:
        The next images.

    Raises:
        ConfigError: The size of a batch is no number from 1.
        ImageReadError: An image cannot be read; the message says which.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size must be a number from 1; found {brief(batch_size)}")
    for start in range(0, len(sources), batch_size):
        images = []
        for number, source in enumerate(sources[start : start + batch_size], start + 1):
            try:
                images.append(as_image(source, **reading))
            except ImageReadError as error:
                raise ImageReadError(f"image {number} of {len(sources)}: {error}") from error
        yield images


def make_result(
    strategy: Strategy, decision: Decision, image: RasterImage, score_map: Tensor | None
) -> Segmentation:
    """Decide what each pixel of an image is.

    Args:
        strategy: The model with the names that it was asked for.
        decision: What becomes of its scores.
        image: The image.
        score_map: What `strategy.score_map` returned for it; None if no pixel is valid.

    Returns:
        The result.

    Raises:
        NotFiniteError: A score is NaN or infinite.
    """
    size = image.valid.shape
    area_notices = pixel_areas(image.georeference, size).notices
    notices = [*image.notices, *area_notices, *strategy.notices, *model_notices(strategy.model)]
    if score_map is None:
        score_map = torch.zeros(len(strategy.vocabulary.names), 1, 1)
    else:
        check_scores(score_map, name_of(image))
        notices += coarseness_notices(image, strategy.coarseness(size, score_map))
    best = best_scores(score_map, size) if decision.thresholds.any() else np.empty(0, np.float32)
    labels = decision.apply(label_map(score_map, size), best)
    labels[~image.valid] = decision.legend.nodata
    return Segmentation(
        labels,
        decision.legend,
        image.valid,
        score_map,
        image.georeference,
        tuple(notices),
        strategy.vocabulary.names,
        score_kind(strategy),
        image,
        background_id(strategy, decision),
        decision.other,
    )


def background_id(strategy: Strategy, decision: Decision) -> int | None:
    """Return the id of the class that stands for everything else; None if there is none."""
    return None if strategy.background is None else int(decision.ids[strategy.background])
