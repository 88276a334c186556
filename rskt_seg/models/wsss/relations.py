"""Affinity refinement of CAMs (USR): joint affinity, filtered attention, diffusion (equations 10 to 15).

Shapes: B image, T foreground class, C channel, L token, n attention map. Everything is computed in float32:
the filter compares sums of L * L terms, so callers disable autocast.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rskt_seg.errors import ConfigError
from rskt_seg.models.wsss.cams import min_max_normalize, stack_cams

AFFINITY_KINDS = ("dot", "scaled", "cosine")
_COSINE_GAIN = 3.0
_MIN_SUM = 1e-12


@dataclass(frozen=True)
class Refinement:
    """Refined CAMs and the intermediate results; all float32 and without gradient.

    Attributes:
        cams: (B, 1 + T, L), M_f.
        diffused: (B, 1 + T, L), M_d: the CAMs after the diffusion, before they are stretched to 0..1 again.
        transition: (B, L, L), the transition matrix T.
        scores: (B, n), distance of each attention map to the affinity.
        kept: (B, n) bool, the attention maps that were used.
    """

    cams: Tensor
    diffused: Tensor
    transition: Tensor
    scores: Tensor
    kept: Tensor


def joint_affinity(features: Tensor, kind: str = "dot") -> Tensor:
    """Return the affinity of every pair of tokens (equations 10 and 11); the gradient is kept.

    Args:
        features: (B, C, L), the joint features F_cd.
        kind: "dot" (paper): sigmoid of the dot product. "scaled": sigmoid of the dot product divided by
            sqrt(C), which saturates less. "cosine": sigmoid of three times the cosine minus the image's mean
            cosine over all pairs of tokens.

    Returns:
        (B, L, L) float32 in 0..1, symmetric.

    Raises:
        ConfigError: If `kind` is unknown.
    """
    if kind not in AFFINITY_KINDS:
        raise ConfigError(f"the kind of affinity must be one of {', '.join(AFFINITY_KINDS)}; found {kind!r}")
    features = features.float()
    if kind == "scaled":
        # Scaling both factors instead of the product keeps the product in range, however many channels.
        features = features * features.shape[1] ** -0.25
    elif kind == "cosine":
        features = F.normalize(features, dim=1)
    product = features.transpose(1, 2) @ features
    if kind == "cosine":
        product = _COSINE_GAIN * (product - product.mean(dim=(1, 2), keepdim=True))
    return product.sigmoid()


def select_attention(affinity: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
    """Select the attention maps that are closer to the affinity than their mean (equations 12 and 13).

    A score is the sum of absolute differences; a map is kept if its score is below the image's mean. If none
    is (all scores are equal), all are kept: the paper would divide by zero.

    Args:
        affinity: (B, L, L).
        attention: (B, n, L, L).

    Returns:
        Scores (B, n) float32, and kept (B, n) bool with at least one map per image.
    """
    affinity = affinity.float()
    distances = [(affinity - each).abs().sum(dim=(1, 2)) for each in attention.unbind(dim=1)]
    scores = torch.stack(distances, dim=1)
    passed = scores < scores.mean(dim=1, keepdim=True)
    return scores, passed | ~passed.any(dim=1, keepdim=True)


def transition_matrix(affinity: Tensor, attention: Tensor, kept: Tensor, rounds: int = 3) -> Tensor:
    """Return the symmetric transition matrix T of the diffusion (equation 14 and the first half of 15).

    The affinity is multiplied element-wise by the mean of the kept attention maps. Then, `rounds` times,
    columns and rows are normalized to sum 1 (rows last). The result is the mean with its transpose. A sum of
    zero (a token that no token attends to) stays zero.

    Args:
        affinity: (B, L, L).
        attention: (B, n, L, L).
        kept: (B, n) bool, at least one map per image.
        rounds: Rounds of column and row normalization.

    Returns:
        (B, L, L) float32 >= 0.
    """
    share = kept.float() / kept.sum(dim=1, keepdim=True)
    matrix = affinity.float() * torch.einsum("bn,bnij->bij", share, attention.float())
    for _ in range(rounds):
        for axis in (1, 2):
            matrix = matrix / matrix.sum(dim=axis, keepdim=True).clamp(min=_MIN_SUM)
    return (matrix + matrix.transpose(1, 2)) / 2


def diffuse(transition: Tensor, cams: Tensor, steps: int) -> Tensor:
    """Propagate every map `steps` times along the transitions: T ** steps times M (equation 15).

    The exponent is that of a matrix power, but no power is formed: the matrix is multiplied with the maps.

    Args:
        transition: (B, L, L).
        cams: (B, 1 + T, L).
        steps: Exponent of the transition matrix.

    Returns:
        (B, 1 + T, L) float32.
    """
    maps, transposed = cams.float(), transition.float().transpose(1, 2)
    for _ in range(steps):
        maps = maps @ transposed
    return maps


@torch.no_grad()
def refine_cams(
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
    """Refine CAMs by the filtered affinity (equations 12 to 15).

    Diffused maps tend to their spatial means, so one class would win everywhere; therefore each is stretched
    to 0..1 again and the background rebuilt, as in the methods that this one builds on.

    Args:
        affinity: (B, L, L).
        attention: (B, n, L, L) of the deep blocks alone, without the class token.
        cams: (B, 1 + T, L).
        present: (B, T) bool, the image-level labels.
        steps: Exponent of the transition matrix.
        rounds: As in `transition_matrix`.
        power: As in `stack_cams`.
        renorm: Stretch the diffused maps to 0..1 again. False: equation 15 as it is written.
        kept: Bool, of a shape that broadcasts to (B, n): attention maps to use besides those that
            `select_attention` keeps.

    Returns:
        The refined CAMs (B, 1 + T, L), and what they were made from.
    """
    scores, passed = select_attention(affinity, attention)
    kept = passed if kept is None else passed | kept
    matrix = transition_matrix(affinity, attention, kept, rounds)
    diffused = diffuse(matrix, cams, steps)
    if power is None:
        # Rows of T sum to 1 only up to rounding: restore the channel that stands for no background.
        diffused[:, 0] = cams[:, 0]
    refined = stack_cams(min_max_normalize(diffused[:, 1:]), present, power) if renorm else diffused
    return Refinement(refined, diffused, matrix, scores, kept)
