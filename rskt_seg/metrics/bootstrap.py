"""Confidence intervals of mIoU and its differences: images are drawn again, for all methods alike.

The percentile bootstrap of paired samples: a resample draws as many images of a set as it has, with
replacement; every method is scored on the same ones, from counts that are summed over them. The intervals say
how far scores depend on which images a set happens to have, not how they vary between trainings.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rskt_seg.errors import DatasetError
from rskt_seg.metrics.image_counts import mean_iou
from rskt_seg.metrics.protocols import Protocol

RESAMPLES, SEED = 2000, 0
COVERAGE = 95.0
"""Percent of the resamples that lie within an interval."""
_CHUNK = 1 << 21
"""Images drawn at once, which bounds the memory."""


def resampled_miou(
    counts: Sequence[NDArray[np.int64]],
    name: str,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    protocol: Protocol | None = None,
    chunk: int = _CHUNK,
) -> NDArray[np.float64]:
    """Compute the mIoU of several methods on resamples of the images of a set.

    Args:
        counts: For each of M methods the counts of the same N images in the same order, (N, 3, K) as in
            `ImageCounts`.
        name: Name of the set. With `seed` it decides which images are drawn, so that a set has the same
            resamples whatever other sets and methods are compared.
        resamples: Number of resamples, R.
        seed: Seed of the draws.
        protocol: The rule of the mean; None: the common one.
        chunk: Images drawn at once; the result does not depend on it.

    Returns:
        Percent, (M, R); NaN for a resample without a labelled pixel.

    Raises:
        DatasetError: There is no image, or the methods have other numbers of images.
    """
    images = {len(each) for each in counts}
    if len(images) != 1 or 0 in images:
        raise DatasetError(f"{name}: expected counts of the same images, found {sorted(images)} of them")
    (number,) = images
    generator = np.random.default_rng([seed, *hashlib.sha256(name.encode(errors="surrogatepass")).digest()])
    # Sums of whole numbers below 2^53 are exact in float64, in any order.
    flat = [each.reshape(number, -1).astype(np.float64) for each in counts]
    scores = np.empty((len(counts), resamples))
    step = max(1, chunk // number)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(0, number, (rows, number)) + number * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * number).reshape(rows, number).astype(np.float64)
        for method, each in enumerate(flat):
            sums = (times @ each).reshape(rows, 3, -1)
            scores[method, start : start + rows] = mean_iou(sums, protocol)
    return scores


def interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the bounds between which the middle `COVERAGE` percent of resampled values lie.

    Args:
        values: One value for each resample, (R,); those that are NaN are left out.

    Returns:
        Lower and upper bound; None if all values are NaN.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    outside = (100 - COVERAGE) / 2
    low, high = np.percentile(defined, [outside, 100 - outside])
    return float(low), float(high)
