"""Time and memory: what is measured, not how long it takes."""

import numpy as np
import torch

from rskt_seg.analysis import measure_image


def test_every_run_after_the_warm_up_is_timed_and_both_counters_are_compared(build, monkeypatch, method):
    strategy, seen = build(), []
    score_map = type(strategy).score_map

    def watched(self, pixels):
        seen.append(pixels)
        return score_map(self, pixels)

    monkeypatch.setattr(type(strategy), "score_map", watched)
    found = measure_image(strategy, (64, 72), runs=3, warmup=2)
    assert len(found.seconds) == 3 and len(seen) == 3 + 2
    assert all(pixels.shape == (64, 72, 3) and np.ptp(pixels) > 200 for pixels in seen)
    assert min(found.seconds) <= found.median <= max(found.seconds)
    assert found.fvcore_agrees is (None if method.name == "colour" else True)
    assert found.threads == torch.get_num_threads() and found.device.startswith("cpu (")


def test_memory_counts_the_model_and_what_an_image_takes(build):
    found = measure_image(build(), (96, 96), runs=1, warmup=1)
    if found.memory_before is not None:  # Linux
        assert 0 < found.memory_before <= found.memory_peak
