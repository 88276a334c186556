"""The Detectron2 side of each method, one file each."""

from rskt_seg.d2.methods.record import Chain, DetectronMethod, EvaluationPass
from rskt_seg.d2.methods.registry import chains, detectron_methods, method_of

__all__ = ["Chain", "DetectronMethod", "EvaluationPass", "chains", "detectron_methods", "method_of"]
