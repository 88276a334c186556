"""Prototypes: of texts by clustering (TPE, equations 2 to 4), and of pixels by momentum (VPE, 16 to 20).

Shapes: B image, T foreground class, C channel, L token. All of it computes in float32.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2, vq
from torch import Tensor, nn

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.cams import normalised, stack_cams

_LLOYD_STEPS = 100


def lloyd(points: np.ndarray, start: np.ndarray | int, **options) -> tuple[np.ndarray, float]:
    """K-means in float64 by SciPy: the centroids, and the sum of squared distances of all points to them.

    `start` and `options` are those of `scipy.cluster.vq.kmeans2`: first centroids with minit="matrix", or
    their number with minit="++" and an rng.
    """
    points = np.asarray(points, dtype=np.float64)
    centroids, _ = kmeans2(points, start, iter=_LLOYD_STEPS, missing="warn", **options)
    _, distances = vq(points, centroids)
    return centroids, float((distances**2).sum())


def cluster_texts(texts: Tensor, clusters: int, restarts: int = 10) -> Tensor:
    """Centroids of the embedded descriptions (equation 2), the same in every run.

    The best of `restarts` runs of k-means++ with the seeds 0, 1, ... Centroids are not normalised.

    Args: texts (n, C), each of length 1. Returns (clusters, C) float32 on the device of `texts`. Raises
    `ConfigError` for fewer distinct texts than clusters.
    """
    points = texts.detach().double().cpu().numpy()
    distinct = len(np.unique(points, axis=0))
    if not 1 <= clusters <= distinct:
        raise ConfigError(
            f"{clusters} clusters need at least as many different descriptions; found {len(points)}, "
            f"{distinct} of them different: write more of them, or ask for 1..{distinct} clusters"
        )
    runs = [lloyd(points, clusters, minit="++", rng=seed) for seed in range(restarts)]
    centroids, _ = min(runs, key=lambda run: run[1])
    return torch.from_numpy(centroids).to(texts.device, torch.float32)


@dataclass(frozen=True)
class Enrichment:
    """`texts` (T, C), not normalised; `order` (T, topk) int64, the chosen centroids, nearest first;
    `weights` (T, topk), how much each counts, of sum 1."""

    texts: Tensor
    order: Tensor
    weights: Tensor


def enrich(base: Tensor, centroids: Tensor, topk: int, weight: float) -> Enrichment:
    """Class texts plus `weight` times the mean of their `topk` nearest centroids (equations 3 and 4).

    Nearness is the dot product, ties go to the lower index; the mean is weighted by the softmax of it.

    Args: base (T, C), each of length 1; centroids (N, C). Raises `ConfigError` unless 1 <= topk <= N.
    """
    if not 1 <= topk <= len(centroids):
        raise ConfigError(f"a class text takes its nearest 1..{len(centroids)} centroids; found {topk}")
    base, centroids = base.float(), centroids.float()
    scores, order = (base @ centroids.T).sort(dim=1, descending=True, stable=True)
    order, weights = order[:, :topk], scores[:, :topk].softmax(dim=1)
    added = torch.einsum("tk,tkc->tc", weights, centroids[order])
    return Enrichment(base + weight * added, order, weights)


@torch.no_grad()
def seeds(cams: Tensor, present: Tensor, percent: float) -> Tensor:
    """The most certain tokens of every labelled class (equations 16 and 17).

    Candidates are the tokens where the class wins against the background and the other labelled classes
    (ties to the lower channel) with a positive value. The strongest `percent` % of them are seeds, rounded
    down but at least one; ties go to the lower token.

    Args: cams (B, 1 + T, L); present (B, T) bool; percent in 0..100. Returns (B, T, L) bool.
    """
    cams = cams.float()
    competing = F.pad(present, (1, 0), value=True)[..., None]
    winner = cams.where(competing, -torch.inf).argmax(dim=1, keepdim=True)
    classes = torch.arange(1, cams.shape[1], device=cams.device)[:, None]
    candidates = (winner == classes) & (cams[:, 1:] > 0)
    found = candidates.sum(dim=-1, keepdim=True)
    # The product first: 53 % of 100 is 53, while 0.53 in single precision times 100 falls short of it.
    wanted = (found * percent / 100).floor().clamp(min=1).minimum(found)
    order = cams[:, 1:].where(candidates, 0.0).argsort(dim=-1, descending=True, stable=True)
    chosen = torch.arange(cams.shape[-1], device=cams.device) < wanted
    return torch.zeros_like(candidates).scatter(-1, order, chosen)


class VisualPrototypes(nn.Module):
    """One momentum prototype per foreground class, in the space of the joint features.

    Buffers: `prototypes` (T, C) float32, zero until observed; `ready` (T,) bool, which were.
    """

    def __init__(self, num_classes: int, channels: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("prototypes", torch.zeros(num_classes, channels))
        self.register_buffer("ready", torch.zeros(num_classes, dtype=torch.bool))

    @torch.no_grad()
    def update(self, features: Tensor, seeds: Tensor) -> None:
        """Move every class with a seed towards the mean feature of its seeds (equation 18).

        One step per call, over the seeds of the whole batch and, under `torch.distributed`, of the batches
        of all processes (which must all call it): prototypes stay the same everywhere. The first
        observation sets a prototype. In evaluation mode nothing changes.

        Args: features (B, C, L), as they are; seeds (B, T, L) bool.
        """
        if not self.training:
            return
        sums = torch.einsum("btl,bcl->tc", seeds.float(), features.float())
        totals = torch.cat([sums, seeds.sum(dim=(0, 2))[:, None]], dim=1)
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
        """Cosine of every token with every prototype, negative ones as 0 (equation 19).

        Args: features (B, C, L). Returns (B, T, L) float32 in 0..1; 1 for a class never observed.
        """
        tokens = F.normalize(features.float(), dim=1)
        cosine = F.normalize(self.prototypes, dim=1) @ tokens
        return cosine.clamp(min=0).where(self.ready[:, None], 1.0)

    @torch.no_grad()
    def cam(self, features: Tensor, cams: Tensor, present: Tensor, power: float | None) -> Tensor:
        """CAMs weighted by the squared similarity and stretched to 0..1 again (equation 20).

        Args: features (B, C, L); cams (B, 1 + T, L); present (B, T) bool; `power` as in
        `rskt_seg.models.wsss.cams.stack_cams`. Returns (B, 1 + T, L) float32.
        """
        weighted = cams[:, 1:].float() * self.similarity(features).square()
        return stack_cams(normalised(weighted), present, power)
