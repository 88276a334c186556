"""Which augmentations a training image goes through, and in which order: `INPUT.AUGMENTATION`."""

from collections.abc import Callable, Sequence
from operator import attrgetter

from detectron2.config import CfgNode
from detectron2.data import transforms as T

from rskt_seg.d2.augmentation import (
    PadToMultiple,
    RandomCropOrFill,
    RandomPhotometricDistortion,
    RandomQuarterTurn,
    RandomScale,
    RandomScaleBetween,
)
from rskt_seg.d2.crops import RandomMosaic, Sample, SmartCrop
from rskt_seg.encoders.presets import CLIP_PIXEL_MEAN
from rskt_seg.errors import ConfigError

Reader = Callable[[dict], Sample]
_MEAN_COLOR = tuple(round(mean) for mean in CLIP_PIXEL_MEAN)


def training_augmentations(
    cfg: CfgNode, samples: Sequence[dict] = (), read: Reader | None = None
) -> list[T.Augmentation]:
    """The chain of `INPUT.AUGMENTATION`.

    "ovrsis" (RSKT-Seg): short side to one of `MIN_SIZE_TRAIN`, crop, colour, flip, padding. "geoseg"
    (BiCoR-Seg): mosaic, scale, crop, turn, flips. "fctl" (FCtL): flip and turn of the whole image. "wsss"
    (weakly supervised): scale, flips, turn, crop, filled with the mean colour where the image is smaller.
    `samples` and `read` are the dataset of which a mosaic takes its other parts. Raises `ConfigError`.
    """
    name = cfg.INPUT.AUGMENTATION
    if name not in _CHAINS:
        raise ConfigError(f"INPUT.AUGMENTATION must be one of {', '.join(_CHAINS)}; found {name!r}")
    return _CHAINS[name](cfg, samples, read)


def evaluation_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """Short side to `INPUT.MIN_SIZE_TEST`; 0 leaves the image as it is."""
    return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)]


def _ovrsis(cfg: CfgNode, *_: object) -> list[T.Augmentation]:
    sizes, style = cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
    ignore = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    augmentations = [T.ResizeShortestEdge(sizes, cfg.INPUT.MAX_SIZE_TRAIN, style)]
    crop = cfg.INPUT.CROP
    if crop.ENABLED:
        augmentations.append(
            T.RandomCrop_CategoryAreaConstraint(crop.TYPE, crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA, ignore)
        )
    if cfg.INPUT.COLOR_AUG_SSD:
        augmentations.append(RandomPhotometricDistortion())
    if cfg.INPUT.RANDOM_FLIP != "none":
        vertical = cfg.INPUT.RANDOM_FLIP == "vertical"
        augmentations.append(T.RandomFlip(horizontal=not vertical, vertical=vertical))
    if cfg.INPUT.SIZE_DIVISIBILITY > 0:
        augmentations.append(PadToMultiple(cfg.INPUT.SIZE_DIVISIBILITY, ignore))
    return augmentations


def _geoseg(cfg: CfgNode, samples: Sequence[dict], read: Reader | None) -> list[T.Augmentation]:
    _refuse(cfg, "COLOR_AUG_SSD", "SIZE_DIVISIBILITY")
    return [
        *_mosaic(cfg, samples, read),
        RandomScale(_scales(cfg)),
        *_smart_crop(cfg),
        # As albumentations has it, which GeoSeg uses: a turn by 0 degrees is one of the four.
        RandomQuarterTurn(_probability("ROTATE90", cfg.INPUT.ROTATE90), turns=(0, 1, 2, 3)),
        T.RandomFlip(_probability("HFLIP", cfg.INPUT.HFLIP), horizontal=True, vertical=False),
        T.RandomFlip(_probability("VFLIP", cfg.INPUT.VFLIP), horizontal=False, vertical=True),
    ]


def _fctl(cfg: CfgNode, *_: object) -> list[T.Augmentation]:
    _refuse(cfg, "COLOR_AUG_SSD", "SIZE_DIVISIBILITY", "CROP.ENABLED")
    return [
        T.RandomFlip(_probability("HFLIP", cfg.INPUT.HFLIP), horizontal=True, vertical=False),
        RandomQuarterTurn(_probability("ROTATE90", cfg.INPUT.ROTATE90)),
    ]


def _wsss(cfg: CfgNode, *_: object) -> list[T.Augmentation]:
    _refuse(cfg, "COLOR_AUG_SSD", "SIZE_DIVISIBILITY")
    if cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA < 1:
        raise ConfigError(
            "INPUT.CROP.SINGLE_CATEGORY_MAX_AREA has no effect with INPUT.AUGMENTATION wsss: it has no labels"
        )
    if not cfg.INPUT.CROP.ENABLED:
        raise ConfigError("INPUT.AUGMENTATION wsss needs crops of one size: set INPUT.CROP.ENABLED True")
    return [
        RandomScaleBetween(*_scale_range(cfg)),
        T.RandomFlip(_probability("HFLIP", cfg.INPUT.HFLIP), horizontal=True, vertical=False),
        T.RandomFlip(_probability("VFLIP", cfg.INPUT.VFLIP), horizontal=False, vertical=True),
        RandomQuarterTurn(_probability("ROTATE90", cfg.INPUT.ROTATE90)),
        RandomCropOrFill(_crop_size(cfg), _MEAN_COLOR, cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE),
    ]


_CHAINS = {"ovrsis": _ovrsis, "geoseg": _geoseg, "fctl": _fctl, "wsss": _wsss}


def _refuse(cfg: CfgNode, *keys: str) -> None:
    for key in keys:
        if attrgetter(key)(cfg.INPUT) > 0:  # False, 0 and -1 are off
            raise ConfigError(f"INPUT.{key} has no effect with INPUT.AUGMENTATION {cfg.INPUT.AUGMENTATION}")


def _probability(key: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(f"INPUT.{key} must be a probability, 0 to 1; found {value}")
    return value


def _scales(cfg: CfgNode) -> tuple[float, ...]:
    scales = tuple(cfg.INPUT.SCALES)
    if not scales or min(scales) <= 0:
        raise ConfigError(f"INPUT.SCALES must be one or more factors above 0; found {scales}")
    return scales


def _scale_range(cfg: CfgNode) -> tuple[float, float]:
    bounds = tuple(cfg.INPUT.SCALE_RANGE)
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
        raise ConfigError(f"INPUT.SCALE_RANGE must be two factors above 0, ascending; found {bounds}")
    return bounds


def _mosaic(cfg: CfgNode, samples: Sequence[dict], read: Reader | None) -> list[T.Augmentation]:
    probability, side = _probability("MOSAIC", cfg.INPUT.MOSAIC), cfg.INPUT.MOSAIC_SIDE
    if probability == 0:
        return []
    if side < 4:
        raise ConfigError(f"INPUT.MOSAIC_SIDE must be at least 4 px; found {side}")
    if len(samples) == 0 or read is None:
        raise ConfigError(
            f"INPUT.MOSAIC {probability} takes parts of other images: give the mapper the samples of the "
            "dataset, or set it to 0"
        )
    return [RandomMosaic(probability, side, cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE, samples, read)]


def _smart_crop(cfg: CfgNode) -> list[T.Augmentation]:
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return []
    size = _crop_size(cfg)
    if size[0] != size[1] and cfg.INPUT.ROTATE90 > 0:
        raise ConfigError(
            f"INPUT.CROP.SIZE {list(size)} is not square, so that crops would have two sizes: set "
            "INPUT.ROTATE90 to 0"
        )
    return [SmartCrop(size, crop.SINGLE_CATEGORY_MAX_AREA, cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE)]


def _crop_size(cfg: CfgNode) -> tuple[int, int]:
    crop, size = cfg.INPUT.CROP, tuple(cfg.INPUT.CROP.SIZE)
    if crop.TYPE != "absolute" or len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise ConfigError(
            f"INPUT.AUGMENTATION {cfg.INPUT.AUGMENTATION} crops to INPUT.CROP.SIZE [height, width] in pixels,"
            f" with INPUT.CROP.TYPE absolute; found {list(size)} and {crop.TYPE}"
        )
    return size
