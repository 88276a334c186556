"""The Detectron2 side of the project: configuration, data, training and evaluation.

Importing it registers `RSSegmentor`, its heads and the dataset table with Detectron2. Raises
`rskt_seg.d2.compat.MissingDetectron2Error` where Detectron2 is not installed.
"""

from rskt_seg.d2 import compat

compat.prepare()  # before the imports below, all of which need Detectron2

from rskt_seg.d2.config import add_rskt_seg_config, load_config  # noqa: E402
from rskt_seg.d2.datasets import register_splits  # noqa: E402
from rskt_seg.d2.fctl_head import FCtLHead  # noqa: E402
from rskt_seg.d2.heads import BiCoRHead, RSKTSegHead  # noqa: E402
from rskt_seg.d2.segmentor import RSSegmentor  # noqa: E402
from rskt_seg.d2.weights import build_model  # noqa: E402
from rskt_seg.d2.wsss_head import PriorWSSSHead  # noqa: E402

register_splits()

__all__ = [
    "BiCoRHead",
    "FCtLHead",
    "PriorWSSSHead",
    "RSKTSegHead",
    "RSSegmentor",
    "add_rskt_seg_config",
    "build_model",
    "load_config",
    "register_splits",
]
