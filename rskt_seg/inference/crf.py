"""Dense CRF post-processing: makes class probabilities follow the edges of the image.

Source: Krähenbühl and Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials"
(NIPS 2011), as implemented by the optional package pydensecrf2, which is imported on use. The paper of the
weakly supervised method names a dense CRF without its parameters.
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

_LEAST_PROBABILITY = 1e-5


@dataclass(frozen=True)
class CRFParameters:
    """Parameters of the two Gaussian kernels; the defaults are CTFA's for remote sensing.

    For photographs WeCLIP and CLIP-ES use `gaussian_sxy` 3, `gaussian_compat` 3 and `bilateral_sxy` 64.

    Attributes:
        iterations: Mean-field iterations, a whole number from 1.
        gaussian_sxy: Standard deviation (px) of the kernel over positions.
        gaussian_compat: Weight of that kernel, 0 or more.
        bilateral_sxy: Standard deviation (px) over positions of the kernel over positions and colours.
        bilateral_srgb: Its standard deviation over colours (grey levels of 0..255).
        bilateral_compat: Its weight, 0 or more.

    Raises:
        ConfigError: If a value is out of range.
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
                f"iterations of the CRF must be a whole number from 1; found {self.iterations!r}"
            )
        for field in fields(self)[1:]:
            value, may_be_zero = getattr(self, field.name), field.name.endswith("compat")
            if not (0 < value < math.inf or (may_be_zero and value == 0)):
                raise ConfigError(f"{field.name} of the CRF must be positive; found {value!r}")


def check_crf_installed() -> None:
    """Raise `ConfigError` if the optional package pydensecrf2 is missing."""
    _library()


def refine_probabilities(
    probabilities: np.ndarray, image: np.ndarray, parameters: CRFParameters | None = None
) -> np.ndarray:
    """Refine class probabilities by mean-field inference; takes several hundred bytes a pixel.

    Args:
        probabilities: (K, H, W) float; values below 1e-5 are raised to it.
        image: (H, W, 3) uint8 RGB.
        parameters: None for the defaults.

    Returns:
        Probabilities (K, H, W) float32, which sum to 1 in every pixel.

    Raises:
        ConfigError: If the optional package is missing.
        ValueError: If image and probabilities do not belong together.
    """
    parameters = parameters or CRFParameters()
    classes, height, width = probabilities.shape
    if image.shape != (height, width, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"probabilities {probabilities.shape} need an image {(height, width, 3)} uint8; found "
            f"{image.shape} {image.dtype}"
        )
    field = _library().DenseCRF2D(width, height, classes)
    energy = -np.log(np.clip(probabilities.astype(np.float32), _LEAST_PROBABILITY, 1))
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
    """Refine class probabilities tile by tile, which bounds memory; where tiles overlap, their mean counts.

    Args:
        probabilities: (K, H, W) on any device.
        image: (H, W, 3) uint8 RGB.
        tile: Side (px) of a tile, as in `rskt_seg.inference.tiles.tiled`.
        overlap: Overlap (px) of neighbouring tiles.
        parameters: None for the defaults.

    Returns:
        Probabilities (K, H, W) float32 on the CPU.

    Raises:
        ConfigError: If the optional package is missing.
        ValueError: If image and probabilities do not belong together.
    """
    height, width = image.shape[:2]
    grid = window_grid(height, width, tile, tile - overlap)

    def tiles() -> Iterator[tuple[Window, Tensor]]:
        hidden = None if len(grid) > 1 else True  # None shows the bar in a terminal only
        for window in tqdm(grid, desc="CRF", unit="tile", leave=False, disable=hidden):
            scores = probabilities[:, window.rows, window.columns].cpu().numpy()
            refined = refine_probabilities(scores, image[window.slices], parameters)
            yield window, torch.from_numpy(refined)

    return blend(tiles(), width)


def _library() -> ModuleType:
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise ConfigError(
            "the dense CRF needs an optional package: pip install 'pydensecrf2>=1.1' (which needs a C++ "
            f"compiler), or switch the CRF off ({error})"
        ) from error
    return densecrf
