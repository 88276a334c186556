"""Bricks of the models that aggregate cost volumes of CLIP: RSKT-Seg, CAT-Seg, OVRS and GSNet."""

from rskt_seg.models.cost_volumes.model import CostVolumeModel, CostVolumeOutput

__all__ = ["CostVolumeModel", "CostVolumeOutput"]
