"""Mixed precision on the CPU: bfloat16 trains every method as float32 does, within its rounding."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from detectron2.utils.env import seed_all_rng

from rskt_seg.d2.methods.registry import detectron_methods
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.steps import amp_dtype
from rskt_seg.d2.trainer import Trainer
from rskt_seg.synthetic.miniature import WSSS_MINIATURES, write_miniature
from tests.d2.closed_set import tiny as closed_set
from tests.d2.conftest import tiny_config, tiny_peer, write_split
from tests.d2.wsss import tiny as wsss

SHORT = ("SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0")
CROPS = ("INPUT.CROP.SIZE", "[32,32]", "INPUT.MOSAIC_SIDE", "32", "SOLVER.EPOCHS", "1")
CONFIGS = {
    "RSKTSegHead": lambda *opts: tiny_config(*opts),
    "BiCoRHead": lambda *opts: closed_set.config("bicor", *CROPS, *opts),
    "FCtLHead": lambda *opts: closed_set.config("fctl", *opts),
    "PriorWSSSHead": lambda *opts: wsss.config(*opts),
    "CATSegHead": partial(tiny_peer, "catseg"),
    "OVRSHead": partial(tiny_peer, "ovrs"),
    "GSNetHead": partial(tiny_peer, "gsnet"),
}
AMP = ("SOLVER.AMP.ENABLED", "True")
LOSS_DISTANCE, SCORE_DISTANCE = 0.02, 0.02
"""Bounds of the relative difference of the losses of two steps (measured: up to 0.0057), and of scores in
0..1 after them (up to 0.0061) or with autocast (0.0039), between bfloat16 and float32."""
UNBOUNDED_COSTS = {"CATSegHead": 0.1, "OVRSHead": 0.1, "GSNetHead": 0.1}
"""Heads whose scores differ more (measured: up to 0.058): CAT-Seg and OVRS embed costs without a sigmoid, and
at a learning rate of 0.003 two steps change much."""


class Trained(NamedTuple):
    """What came of a training; the dtypes are those of the convolutions."""

    losses: np.ndarray
    dtypes: set[torch.dtype]
    scores: torch.Tensor
    cast_scores: torch.Tensor
    figures: dict[str, float]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A few images of both miniature datasets."""
    root = tmp_path_factory.mktemp("scenes")
    for name in ("DLRSD_train_sem_seg", "DLRSD_val_sem_seg"):
        write_split(root, name)
    write_miniature(WSSS_MINIATURES["iSAID_wsss"], root, 4, 1, 0, 48, 2)
    return root


@pytest.fixture
def build(scenes, tmp_path, monkeypatch):
    """Return a function that builds the trainer of a head, with overrides."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(scenes))

    def make(head, *opts, resume=False):
        seed_all_rng(1)
        trainer = Trainer(CONFIGS[head]("OUTPUT_DIR", str(tmp_path), *SHORT, *opts))
        trainer.resume_or_load(resume=resume)
        return trainer

    return make


def train(trainer) -> Trained:
    """Train, evaluate, and score one image, also with autocast."""
    dtypes: set[torch.dtype] = set()
    for layer in plain_model(trainer.model).modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda _, __, x: dtypes.add(x.dtype))
    trainer.train()
    seen = set(dtypes)
    losses = np.array([value for value, _ in trainer.storage.history("total_loss").values()])
    model = trainer.model.eval()
    entry = [{**closed_set.entry(48, 40), "vocabulary": model.vocabulary}]
    with torch.no_grad():
        scores = model(entry)[0]["sem_seg"]
        with torch.autocast("cpu", torch.bfloat16):
            cast = model(entry)[0]["sem_seg"]
    return Trained(losses, seen, scores, cast, trainer.test(trainer.cfg, model)["sem_seg"])


TRAINED = [name for name, record in detectron_methods().items() if record.method.is_trained]


@pytest.mark.parametrize("head", TRAINED)
def test_bfloat16_trains_and_evaluates_every_method_close_to_float32(head, build):
    plain, trainer = train(build(head)), build(head, *AMP)
    amp = train(trainer)
    assert plain.dtypes == {torch.float32} and torch.bfloat16 in amp.dtypes
    assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
    assert plain.losses == pytest.approx(amp.losses, rel=LOSS_DISTANCE) and (plain.losses != amp.losses).all()
    bound = UNBOUNDED_COSTS.get(head, SCORE_DISTANCE)
    for scores in (amp.scores, plain.cast_scores):
        assert torch.isfinite(scores).all()
        torch.testing.assert_close(scores.float(), plain.scores, atol=bound, rtol=0)
    assert all(0 <= amp.figures[name] <= 100 for name in ("mIoU", "pACC"))


@pytest.mark.parametrize(("before", "after"), [(AMP, AMP), ((), AMP), (AMP, ())], ids=("same", "on", "off"))
def test_a_run_resumes_in_the_same_precision_or_another(before, after, build):
    build("BiCoRHead", *before, "SOLVER.MAX_ITER", "1").train()
    again = build("BiCoRHead", *after, resume=True)
    assert again.start_iter == 1
    again.train()
    assert np.isfinite(again.storage.history("total_loss").latest())


@pytest.mark.parametrize(
    ("opts", "expected"),
    [
        (("MODEL.DEVICE", "cpu"), None),
        (("MODEL.DEVICE", "cpu", *AMP), torch.bfloat16),
        (("MODEL.DEVICE", "cuda", *AMP), torch.float16),
        (("MODEL.DEVICE", "cuda", *AMP, "SOLVER.AMP.DTYPE", "bfloat16"), torch.bfloat16),
    ],
)
def test_the_dtype_follows_the_device_unless_it_is_given(opts, expected):
    assert amp_dtype(tiny_config(*opts)) == expected


@pytest.mark.parametrize(("opts", "told"), [((), False), (AMP, True)])
def test_the_log_names_the_dtype_of_mixed_precision(opts, told, build, caplog):
    caplog.set_level("INFO", "rskt_seg.d2.trainer")
    build("BiCoRHead", *opts)
    assert ("Mixed precision: bfloat16" in caplog.messages) == told
