"""Prototypes: of texts by clustering (TPE, equations 2 to 4), and of pixels by momentum (VPE, 16 to 20).

Shapes: B image, T foreground class, C channel, L token. Everything on tensors is computed in float32.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.cams import min_max_normalize, stack_cams

_LLOYD_STEPS = 100


def kmeans(
    points: NDArray[np.floating],
    start: NDArray[np.floating] | int,
    *,
    minit: Literal["matrix", "++"],
    rng: int | None = None,
) -> tuple[NDArray[np.float64], float]:
    """Run Lloyd's algorithm once, in float64 (SciPy's `kmeans2`).

    Args:
        points: (n, C).
        start: The initial centroids (k, C) for minit="matrix", their number k for minit="++".
        minit: Start from the given centroids, or draw them by k-means++.
        rng: Seed of k-means++.

    Returns:
        Centroids (k, C), and the sum of squared distances of all points to the nearest of them (inertia).
    """
    # Not above: it takes half as long to import as torch, and only training needs it.
    from scipy.cluster.vq import kmeans2, vq

    points = np.asarray(points, dtype=np.float64)
    centroids, _ = kmeans2(points, start, iter=_LLOYD_STEPS, missing="warn", minit=minit, rng=rng)
    _, distances = vq(points, centroids)
    return centroids, float((distances**2).sum())


def cluster_texts(texts: Tensor, clusters: int, restarts: int = 10) -> Tensor:
    """Return the centroids of the embedded descriptions (equation 2), the same in every run.

    The best of `restarts` runs of k-means++ with the seeds 0, 1, ... Centroids are not normalized.

    Args:
        texts: (n, C), each of unit length.
        clusters: Number of centroids.
        restarts: Number of runs.

    Returns:
        (clusters, C) float32 on the device of `texts`.

    Raises:
        ConfigError: If there are fewer distinct texts than clusters.
    """
    points = texts.detach().double().cpu().numpy()
    distinct = len(np.unique(points, axis=0))
    if not 1 <= clusters <= distinct:
        raise ConfigError(
            f"{clusters} clusters need at least as many different descriptions; found {len(points)}, "
            f"{distinct} of them different: write more descriptions, or use 1..{distinct} clusters"
        )
    runs = [kmeans(points, clusters, minit="++", rng=seed) for seed in range(restarts)]
    centroids, _ = min(runs, key=lambda run: run[1])
    return torch.from_numpy(centroids).to(texts.device, torch.float32)


@dataclass(frozen=True)
class Enrichment:
    """Enriched class texts.

    Attributes:
        texts: (T, C), not normalized.
        order: (T, topk) int64, indices of the chosen centroids, the nearest first.
        weights: (T, topk), weights of the chosen centroids, which sum to 1.
    """

    texts: Tensor
    order: Tensor
    weights: Tensor


def enrich_texts(base: Tensor, centroids: Tensor, topk: int, weight: float) -> Enrichment:
    """Add `weight` times the mean of the `topk` nearest centroids to each class text (equations 3 and 4).

    Nearness is the dot product, ties go to the lower index; the mean is weighted by its softmax.

    Args:
        base: (T, C), each of unit length.
        centroids: (N, C).
        topk: Number of centroids for each class, 1..N.
        weight: Factor lambda of the added mean.

    Returns:
        The enriched texts, and which centroids were added.

    Raises:
        ConfigError: If `topk` is not in 1..N.
    """
    if not 1 <= topk <= len(centroids):
        raise ConfigError(
            f"topk must be between 1 and the number of centroids {len(centroids)}; found {topk}"
        )
    base, centroids = base.float(), centroids.float()
    scores, order = (base @ centroids.T).sort(dim=1, descending=True, stable=True)
    order, weights = order[:, :topk], scores[:, :topk].softmax(dim=1)
    added = torch.einsum("tk,tkc->tc", weights, centroids[order])
    return Enrichment(base + weight * added, order, weights)


@torch.no_grad()
def select_seeds(cams: Tensor, present: Tensor, percent: float) -> Tensor:
    """Select the most certain tokens of every labeled class (equations 16 and 17).

    Candidates are the tokens where the class wins against the background and the other labeled classes (ties
    go to the lower channel) with a positive value. The strongest `percent` % of them are seeds, rounded down
    but at least one; ties go to the lower token.

    Args:
        cams: (B, 1 + T, L).
        present: (B, T) bool, the image-level labels.
        percent: Share of the candidates, in 0..100.

    Returns:
        (B, T, L) bool.
    """
    cams = cams.float()
    competing = F.pad(present, (1, 0), value=True)[..., None]  # (B, 1 + T, 1), the background included
    winner = cams.where(competing, -torch.inf).argmax(dim=1, keepdim=True)  # (B, 1, L)
    classes = torch.arange(1, cams.shape[1], device=cams.device)[:, None]
    candidates = (winner == classes) & (cams[:, 1:] > 0)  # (B, T, L)
    found = candidates.sum(dim=-1, keepdim=True)
    # The product first: 53 % of 100 is 53, but 0.53 in single precision times 100 is less.
    wanted = (found * percent / 100).floor().clamp(min=1).minimum(found)
    order = cams[:, 1:].where(candidates, 0.0).argsort(dim=-1, descending=True, stable=True)
    chosen = torch.arange(cams.shape[-1], device=cams.device) < wanted
    return torch.zeros_like(candidates).scatter(-1, order, chosen)


class VisualPrototypes(nn.Module):
    """One momentum prototype per foreground class, in the space of the joint features.

    Buffers: `prototypes` (T, C) float32, zero until the class is observed; `ready` (T,) bool, True once it
    was.

    Args:
        num_classes: Number of foreground classes T.
        channels: Channels C of the joint features.
        momentum: Weight tau of the old prototype in an update.
    """

    prototypes: Tensor
    ready: Tensor

    def __init__(self, num_classes: int, channels: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("prototypes", torch.zeros(num_classes, channels))
        self.register_buffer("ready", torch.zeros(num_classes, dtype=torch.bool))

    @torch.no_grad()
    def update(self, features: Tensor, seeds: Tensor) -> None:
        """Move the prototype of every class with a seed towards the mean feature of its seeds (equation 18).

        One step per call, over the seeds of the whole batch and, under `torch.distributed`, of the batches
        of all processes (which must all call it), so prototypes are the same everywhere. The first
        observation sets a prototype. In evaluation mode nothing changes.

        Args:
            features: (B, C, L), not normalized.
            seeds: (B, T, L) bool.
        """
        if not self.training:
            return
        sums = torch.einsum("btl,bcl->tc", seeds.float(), features.float())
        totals = torch.cat([sums, seeds.sum(dim=(0, 2))[:, None]], dim=1)  # (T, C + 1): sums, counts
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(totals)
        sums, counts = totals[:, :-1], totals[:, -1:]
        mean = sums / counts.clamp(min=1)
        moved = self.momentum * self.prototypes + (1 - self.momentum) * mean
        moved = moved.where(self.ready[:, None], mean)
        self.prototypes.copy_(moved.where(counts > 0, self.prototypes))
        self.ready |= counts[:, 0] > 0

    @torch.no_grad()
    def similarity(self, features: Tensor) -> Tensor:
        """Return the cosine of every token with every prototype, clamped to at least 0 (equation 19).

        Args:
            features: (B, C, L).

        Returns:
            (B, T, L) float32 in 0..1; 1 for a class that was never observed.
        """
        tokens = F.normalize(features.float(), dim=1)
        cosine = F.normalize(self.prototypes, dim=1) @ tokens
        return cosine.clamp(min=0).where(self.ready[:, None], 1.0)

    @torch.no_grad()
    def cam(self, features: Tensor, cams: Tensor, present: Tensor, power: float | None) -> Tensor:
        """Weight CAMs by the squared similarity and stretch them to 0..1 again (equation 20).

        Args:
            features: (B, C, L).
            cams: (B, 1 + T, L).
            present: (B, T) bool, the image-level labels.
            power: As in `rskt_seg.models.wsss.cams.stack_cams`.

        Returns:
            (B, 1 + T, L) float32.
        """
        weighted = cams[:, 1:].float() * self.similarity(features).square()
        return stack_cams(min_max_normalize(weighted), present, power)
