"""Affinity refinement of CAMs (USR): joint affinity, filtered attention, diffusion (equations 10 to 15).

Shapes: B image, T foreground class, C channel, L token, n attention map. All of it computes in float32:
a filter compares sums of L * L terms, so the caller keeps autocast out.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.cams import normalised, stack_cams

AFFINITY_KINDS = ("dot", "scaled", "cosine")
_COSINE_GAIN = 3.0
_LEAST_SUM = 1e-12


@dataclass(frozen=True)
class Refinement:
    """CAMs after the refinement, and what it went through; all float32 and without gradient.

    `cams` (B, 1 + T, L): M_f; `diffused` (B, 1 + T, L): M_d, before it is stretched to 0..1 again;
    `transition` (B, L, L); `scores` (B, n): distance of each attention map to the affinity;
    `kept` (B, n) bool: the maps that were used.
    """

    cams: Tensor
    diffused: Tensor
    transition: Tensor
    scores: Tensor
    kept: Tensor


def joint_affinity(features: Tensor, kind: str = "dot") -> Tensor:
    """How much two tokens belong together, in 0..1 (equations 10 and 11); keeps the gradient.

    "dot" (paper): sigmoid of the dot product. "scaled": of the dot product over sqrt(C), which saturates
    less. "cosine": of three times the cosine, less the image's mean cosine over all pairs of tokens.

    Args: features (B, C, L), the joint features F_cd. Returns (B, L, L) float32, symmetric. Raises
    `ConfigError` for another kind.
    """
    if kind not in AFFINITY_KINDS:
        raise ConfigError(f"the kind of affinity must be one of {', '.join(AFFINITY_KINDS)}; found {kind!r}")
    features = features.float()
    if kind == "scaled":
        # On both sides: the products are as large as the features make them, whatever their number.
        features = features * features.shape[1] ** -0.25
    elif kind == "cosine":
        features = F.normalize(features, dim=1)
    product = features.transpose(1, 2) @ features
    if kind == "cosine":
        product = _COSINE_GAIN * (product - product.mean(dim=(1, 2), keepdim=True))
    return product.sigmoid()


def keep_maps(affinity: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
    """Attention maps that are nearer to the affinity than the mean of them (equations 12 and 13).

    A score is the sum of absolute differences; a map passes when its score is below the image's mean. Where
    none passes (all scores equal) every map is kept: the paper would divide by zero.

    Args: affinity (B, L, L); attention (B, n, L, L). Returns scores (B, n) float32 and kept (B, n) bool,
    with at least one map kept per image.
    """
    affinity = affinity.float()
    distances = [(affinity - each).abs().sum(dim=(1, 2)) for each in attention.unbind(dim=1)]
    scores = torch.stack(distances, dim=1)
    passed = scores < scores.mean(dim=1, keepdim=True)
    return scores, passed | ~passed.any(dim=1, keepdim=True)


def transition(affinity: Tensor, attention: Tensor, kept: Tensor, rounds: int = 3) -> Tensor:
    """The symmetric transition matrix T of the diffusion (equation 14 and the first half of 15).

    The affinity times, element by element, the mean of the kept attention maps; then `rounds` times columns
    and rows are brought to sum 1 (rows last); then the mean with its transpose. A sum of zero (a token
    that nobody attends to) stays zero.

    Args: affinity (B, L, L); attention (B, n, L, L); kept (B, n) bool, at least one per image. Returns
    (B, L, L) float32 >= 0.
    """
    share = kept.float() / kept.sum(dim=1, keepdim=True)
    matrix = affinity.float() * torch.einsum("bn,bnij->bij", share, attention.float())
    for _ in range(rounds):
        for axis in (1, 2):
            matrix = matrix / matrix.sum(dim=axis, keepdim=True).clamp(min=_LEAST_SUM)
    return (matrix + matrix.transpose(1, 2)) / 2


def diffuse(transition: Tensor, cams: Tensor, steps: int) -> Tensor:
    """Every map moved `steps` times along the transitions: T ** steps times M (equation 15, a matrix power).

    Computed as products of the matrix with the maps, so no power of the matrix is formed.

    Args: transition (B, L, L); cams (B, 1 + T, L). Returns (B, 1 + T, L) float32.
    """
    maps, backwards = cams.float(), transition.float().transpose(1, 2)
    for _ in range(steps):
        maps = maps @ backwards
    return maps


@torch.no_grad()
def refine(
    affinity: Tensor,
    attention: Tensor,
    cams: Tensor,
    present: Tensor,
    *,
    steps: int = 3,
    rounds: int = 3,
    power: float | None = 1.0,
    renorm: bool = True,
    kept: Tensor | None = None,
) -> Refinement:
    """CAMs refined by the filtered affinity (equations 12 to 15).

    Diffused maps tend to their spatial means, and one class would win everywhere; so each is stretched to
    0..1 again and the background rebuilt, as the ancestors of the method do. `renorm` False: equation 15 as
    it is written.

    Args: affinity (B, L, L); attention (B, n, L, L) of the deep blocks alone, without the class token;
    cams (B, 1 + T, L); present (B, T) bool; `power` as in `stack_cams`; `kept` (B, n) bool, at least one
    per image: use these maps instead of those that pass the filter.
    """
    scores, passed = keep_maps(affinity, attention)
    kept = passed if kept is None else kept
    matrix = transition(affinity, attention, kept, rounds)
    diffused = diffuse(matrix, cams, steps)
    if power is None:
        # Rows of T sum to 1 but for rounding: the channel that stands for no background stays what it is.
        diffused[:, 0] = cams[:, 0]
    refined = stack_cams(normalised(diffused[:, 1:]), present, power) if renorm else diffused
    return Refinement(refined, diffused, matrix, scores, kept)
