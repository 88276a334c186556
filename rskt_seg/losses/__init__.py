"""Losses as functions on logits, labels and embeddings."""

from rskt_seg.losses.affinity import affinity_loss, affinity_target
from rskt_seg.losses.dice import dice_loss
from rskt_seg.losses.focal import focal_loss
from rskt_seg.losses.pixel import balanced_cross_entropy, check_target, one_hot_bce, one_hot_cross_entropy
from rskt_seg.losses.separation import fisher_loss

__all__ = [
    "affinity_loss",
    "affinity_target",
    "balanced_cross_entropy",
    "check_target",
    "dice_loss",
    "fisher_loss",
    "focal_loss",
    "one_hot_bce",
    "one_hot_cross_entropy",
]
