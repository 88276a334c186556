"""The Detectron2 side of the project: configuration, data, training and evaluation.

Importing it registers `RSSegmentor` and the datasets of the catalog with Detectron2; `add_rskt_seg_config`
registers the heads of the methods. The import raises `rskt_seg.d2.compat.MissingDetectron2Error` if
Detectron2 is not installed.
"""

from rskt_seg.d2 import compat

compat.prepare()  # before the imports below, all of which need Detectron2

from rskt_seg.d2.config import add_rskt_seg_config, load_config  # noqa: E402
from rskt_seg.d2.config_files import find_config  # noqa: E402
from rskt_seg.d2.datasets import register_splits  # noqa: E402
from rskt_seg.d2.methods import DetectronMethod  # noqa: E402
from rskt_seg.d2.segmentor import RSSegmentor  # noqa: E402
from rskt_seg.d2.weights import build_model  # noqa: E402

register_splits()

__all__ = [
    "DetectronMethod",
    "RSSegmentor",
    "add_rskt_seg_config",
    "build_model",
    "find_config",
    "load_config",
    "register_splits",
]
