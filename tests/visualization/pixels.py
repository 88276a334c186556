"""What the tests count in pictures."""

import matplotlib
import numpy as np


def share_of(picture, color, tolerance=0):
    """The share of pixels of a colour, up to `tolerance` in each channel."""
    return (abs(picture.astype(int) - np.array(color)) <= tolerance).all(axis=2).mean()


def heat(value):
    """The colour of a heat value drawn over black."""
    return np.array(matplotlib.colormaps["turbo"](value)[:3]) * 255 * 0.6
