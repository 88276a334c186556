"""Dense CRF: makes class probabilities follow the edges of the image.

Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials"
(NIPS 2011), by the optional package pydensecrf2, imported on use. The weakly supervised method's paper names
a dense CRF without its parameters.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rskt_seg.errors import ConfigError
from rskt_seg.inference.blend import blend
from rskt_seg.windows import Window, window_grid

_LEAST = 1e-5


@dataclass(frozen=True)
class CRFParameters:
    """Parameters of the two kernels; the defaults are CTFA's for remote sensing.

    For photographs WeCLIP and CLIP-ES use `gaussian_sxy` 3, `gaussian_compat` 3 and `bilateral_sxy` 64.

    `gaussian_sxy` (px) and `gaussian_compat` are reach and weight of the kernel that only knows distance;
    `bilateral_sxy` (px), `bilateral_srgb` (grey levels) and `bilateral_compat` those of the one that also
    knows colour. Raises `ConfigError` unless all are positive; weights may be 0, iterations are whole.
    """

    iterations: int = 10
    gaussian_sxy: float = 1.0
    gaussian_compat: float = 1.0
    bilateral_sxy: float = 121.0
    bilateral_srgb: float = 5.0
    bilateral_compat: float = 4.0

    def __post_init__(self) -> None:
        if type(self.iterations) is not int or self.iterations < 1:
            raise ConfigError(
                f"iterations of the CRF: a whole number from 1 expected; found {self.iterations!r}"
            )
        for field in fields(self)[1:]:
            value, may_be_zero = getattr(self, field.name), field.name.endswith("compat")
            if not (0 < value < math.inf or (may_be_zero and value == 0)):
                raise ConfigError(f"{field.name} of the CRF must be positive; found {value!r}")


def check_crf_installed() -> None:
    """Raise `ConfigError`, with what to do, unless the optional package can be used."""
    _library()


def refine_probabilities(
    probabilities: np.ndarray, image: np.ndarray, parameters: CRFParameters | None = None
) -> np.ndarray:
    """Class probabilities (K, H, W) after mean-field inference, float32; they sum to 1 in every pixel.

    Args: probabilities (K, H, W) float, at least 1e-5 is taken; image (H, W, 3) uint8 RGB. Memory is several
    hundred bytes a pixel: see `refine_in_tiles`. Raises `ConfigError` without the optional package, and
    `ValueError` for arrays that do not belong together.
    """
    parameters = parameters or CRFParameters()
    classes, *size = probabilities.shape
    if image.shape != (*size, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"probabilities {probabilities.shape} need an image {(*size, 3)} uint8; found {image.shape} "
            f"{image.dtype}"
        )
    height, width = size
    field = _library().DenseCRF2D(width, height, classes)
    energy = -np.log(np.clip(probabilities.astype(np.float32), _LEAST, 1))
    field.setUnaryEnergy(np.ascontiguousarray(energy.reshape(classes, -1)))
    field.addPairwiseGaussian(sxy=parameters.gaussian_sxy, compat=parameters.gaussian_compat)
    field.addPairwiseBilateral(
        sxy=parameters.bilateral_sxy,
        srgb=parameters.bilateral_srgb,
        rgbim=np.ascontiguousarray(image),
        compat=parameters.bilateral_compat,
    )
    return np.array(field.inference(parameters.iterations), np.float32).reshape(classes, height, width)


def refine_in_tiles(
    probabilities: Tensor,
    image: np.ndarray,
    *,
    tile: int,
    overlap: int,
    parameters: CRFParameters | None = None,
) -> Tensor:
    """`refine_probabilities` tile by tile, float32 on the CPU; where tiles overlap, their mean counts.

    Args: probabilities (K, H, W); image (H, W, 3) uint8; tile and overlap as in
    `rskt_seg.inference.tiles.tiled`. Raises as `refine_probabilities`.
    """

    def tiles() -> Iterator[tuple[Window, Tensor]]:
        """One at a time, for the library holds several hundred bytes a pixel."""
        grid = window_grid(*image.shape[:2], tile, tile - overlap)
        hidden = None if len(grid) > 1 else True  # None shows the bar in a terminal alone
        for window in tqdm(grid, desc="CRF", unit="tile", leave=False, disable=hidden):
            part = probabilities[:, window.rows, window.columns].cpu().numpy()
            refined = refine_probabilities(part, image[window.rows, window.columns], parameters)
            yield window, torch.from_numpy(refined)

    return blend(tiles(), image.shape[1])


def _library() -> ModuleType:
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise ConfigError(
            "a dense CRF was asked for, and its optional package is missing: pip install 'pydensecrf2>=1.1' "
            f"(it needs a C++ compiler), or leave the CRF out ({error})"
        ) from error
    return densecrf
