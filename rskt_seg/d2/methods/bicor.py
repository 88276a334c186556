"""BiCoR-Seg behind Detectron2."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor

from rskt_seg.d2.augmentation import RandomFlip, RandomQuarterTurn, RandomScale
from rskt_seg.d2.chains import check_probability, crop_size
from rskt_seg.d2.crops import RandomMosaic, ScaledCrop, SmartCrop
from rskt_seg.d2.heads import ClosedSetHead
from rskt_seg.d2.methods.record import Chain, DetectronMethod, SampleReader
from rskt_seg.d2.typing import DatasetDict, Entries, Entry
from rskt_seg.errors import ConfigError
from rskt_seg.inference.tiles import tile_logits
from rskt_seg.inference.views import VIEWS, View
from rskt_seg.methods import bicor
from rskt_seg.models.bicor import BiCoR


@SEM_SEG_HEADS_REGISTRY.register()
class BiCoRHead(ClosedSetHead):
    """BiCoR-Seg (`rskt_seg.models.bicor.BiCoR`).

    Args:
        model: The plain model.
        ignore_value: Id of target pixels that the loss ignores.
        views: The views of a tile that test-time augmentation averages.
        tile: Side (px) of the tiles in which larger images are evaluated.
        tile_overlap: Overlap (px) of neighbouring tiles.
    """

    model: BiCoR

    @configurable
    def __init__(
        self,
        *,
        model: BiCoR,
        ignore_value: int = 255,
        views: Sequence[View] = VIEWS["lr"],
        tile: int = 1024,
        tile_overlap: int = 0,
    ) -> None:
        super().__init__(model, ignore_value, views)
        self.tile, self.tile_overlap = tile, tile_overlap

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec] | None = None) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        tiles = {"tile": cfg.TEST.TILE, "tile_overlap": cfg.TEST.TILE_OVERLAP}
        return super().from_config(cfg, input_shape) | tiles

    def losses(self, entries: Entries, vocabulary: Sequence[str]) -> dict[str, Tensor]:
        """Return named scalars for images and targets of one size."""
        self.check_classes(vocabulary)
        targets = self.targets(entries)
        return self.model.losses(self.model(self.images(entries)), targets, self.ignore_value)

    def probabilities(self, entry: Entry, views: Sequence[View]) -> Tensor:
        """Return scores (T, H, W) in 0..1 of one image, at the size of `entry["image"]`."""
        logits = tile_logits(
            self.model, entry["image"], tile=self.tile, overlap=self.tile_overlap, views=views
        )
        return logits.softmax(dim=0)


def _geoseg_chain(
    cfg: CfgNode, samples: Sequence[DatasetDict], read: SampleReader | None
) -> list[T.Augmentation]:
    scales = tuple(cfg.INPUT.SCALES)
    if not scales or min(scales) <= 0:
        raise ConfigError(f"INPUT.SCALES must be one or more factors above 0; found {scales}")
    return [
        *_mosaic(cfg, samples, read),
        _scaled_crop(cfg, RandomScale(scales)),
        # As albumentations has it, which GeoSeg uses: a turn by 0 degrees is one of the four.
        RandomQuarterTurn(check_probability("ROTATE90", cfg.INPUT.ROTATE90), turns=(0, 1, 2, 3)),
        RandomFlip(check_probability("HFLIP", cfg.INPUT.HFLIP), horizontal=True, vertical=False),
        RandomFlip(check_probability("VFLIP", cfg.INPUT.VFLIP), horizontal=False, vertical=True),
    ]


def _mosaic(cfg: CfgNode, samples: Sequence[DatasetDict], read: SampleReader | None) -> list[T.Augmentation]:
    probability, side = check_probability("MOSAIC", cfg.INPUT.MOSAIC), cfg.INPUT.MOSAIC_SIDE
    if probability == 0:
        return []
    if side < 4:
        raise ConfigError(f"INPUT.MOSAIC_SIDE must be at least 4 px; found {side}")
    if len(samples) == 0 or read is None:
        raise ConfigError(
            f"INPUT.MOSAIC {probability} needs other images of the dataset: give the mapper its samples, or "
            "set INPUT.MOSAIC to 0"
        )
    return [RandomMosaic(probability, side, cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE, samples, read)]


def _scaled_crop(cfg: CfgNode, scale: RandomScale) -> T.Augmentation:
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return scale
    size = crop_size(cfg)
    if size[0] != size[1] and cfg.INPUT.ROTATE90 > 0:
        raise ConfigError(
            f"INPUT.CROP.SIZE {list(size)} is not square, so that crops would have two sizes: set "
            "INPUT.ROTATE90 to 0"
        )
    ignore = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    return ScaledCrop(scale, SmartCrop(size, crop.SINGLE_CATEGORY_MAX_AREA, ignore))


_CHAIN_KEYS = (
    "SCALES",
    "MOSAIC",
    "MOSAIC_SIDE",
    "HFLIP",
    "VFLIP",
    "ROTATE90",
    "CROP.ENABLED",
    "CROP.SINGLE_CATEGORY_MAX_AREA",
)


@dataclass(frozen=True)
class _BiCoRMethod(DetectronMethod):
    def check_batch(self, cfg: CfgNode, images: int, processes: int) -> None:
        """Require two images: the Fisher losses compare the class embeddings of the images of a batch."""
        options = cfg.MODEL.BICOR
        if options.FISHER_WEIGHT + options.FINAL_FISHER_WEIGHT and images < 2:
            raise ConfigError(
                "the Fisher losses of BiCoR-Seg need at least 2 images in a batch, and are 0 for one: raise "
                "SOLVER.IMS_PER_BATCH, or set MODEL.BICOR.FISHER_WEIGHT and FINAL_FISHER_WEIGHT to 0"
            )

    def segmenter_options(self, cfg: CfgNode) -> dict[str, Any]:
        """Leave the overlap to `Segmenter` where the published evaluation has none: pictures show seams."""
        return {"tile": cfg.TEST.TILE, "tile_overlap": cfg.TEST.TILE_OVERLAP or None}

    def evaluation_options(self, cfg: CfgNode) -> dict[str, Any]:
        tiles = {"tile": cfg.TEST.TILE, "tile_overlap": cfg.TEST.TILE_OVERLAP}
        return {**tiles, "padding": cfg.MODEL.BICOR.PADDING}


BICOR = _BiCoRMethod(
    method=bicor.BICOR,
    head=BiCoRHead,
    section="BICOR",
    chain="geoseg",
    chains={"geoseg": Chain(_geoseg_chain, reads=frozenset(f"INPUT.{key}" for key in _CHAIN_KEYS))},
    reads=frozenset({"TEST.TILE", "TEST.TILE_OVERLAP"}),
)
