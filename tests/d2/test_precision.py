"""Evaluations and trainings compute with the forms and the precision that the configuration states."""

import pytest
import torch
from safetensors.torch import save_file

from rskt_seg.d2 import load_config
from rskt_seg.d2.benchmark import evaluated_segmentor
from rskt_seg.d2.provenance import scoring_digest
from rskt_seg.d2.segmentor import plain_model, unwrapped
from rskt_seg.d2.trainer import Trainer
from rskt_seg.encoders.clip_blocks import Block
from rskt_seg.errors import ConfigError
from rskt_seg.layers.training_form import Recomputed
from tests.d2.conftest import CONFIGS, TINY
from tests.d2.resuming import ALONE, METHODS, write_data

CONFIG = str(CONFIGS / "tiny_dlrsd.yaml")
ENTRY = {
    "image": torch.randint(0, 256, (3, 50, 60), generator=torch.Generator().manual_seed(0)),
    "vocabulary": ("water", "road", "building"),
}


@pytest.fixture
def trained(tmp_path):
    """The segmentor of a training, and the file of its weights."""
    torch.manual_seed(1)
    segmentor = Trainer.build_model(load_config(CONFIG, TINY)).eval()
    file = tmp_path / "weights.safetensors"
    save_file(segmentor.state_dict(), file)
    return segmentor, file


def score(segmentor):
    with torch.no_grad():
        (output,) = segmentor.eval()([ENTRY])
    return output["sem_seg"]


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 2e-6), ("bf16", 1.5e-2)])
def test_an_evaluation_scores_what_the_trained_model_scores(trained, precision, bound):
    segmentor, file = trained
    cfg = load_config(CONFIG, [*TINY, "MODEL.PRECISION", precision])
    evaluated = evaluated_segmentor(cfg, str(file))
    with pytest.raises(ConfigError, match="inference form"):
        plain_model(evaluated).state_dict()
    expected, found = score(segmentor), score(evaluated)
    assert found.dtype == torch.float32 and 0 < (found - expected).norm() <= bound * expected.norm()


def test_scores_of_one_precision_are_not_taken_for_those_of_another():
    digests = {scoring_digest(load_config(CONFIG, ["MODEL.PRECISION", each])) for each in ("fp32", "bf16")}
    assert len(digests) == 2


def test_a_precision_that_is_unknown_or_needs_a_gpu_is_refused(trained):
    with pytest.raises(ConfigError, match=r"MODEL\.PRECISION must be one of fp32, bf16, fp16; found 'half'"):
        load_config(CONFIG, ["MODEL.PRECISION", "half"])
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        evaluated_segmentor(load_config(CONFIG, [*TINY, "MODEL.PRECISION", "fp16"]), str(trained[1]))


@pytest.mark.parametrize("recompute", [False, True])
def test_a_training_uses_the_training_form_that_is_asked_for_and_saves_the_model(recompute):
    segmentor = Trainer.build_model(load_config(CONFIG, [*TINY, "MODEL.CHECKPOINTING", str(recompute)]))
    keys, head = list(segmentor.state_dict()), segmentor.sem_seg_head
    entry = ENTRY | {"sem_seg": torch.zeros(50, 60, dtype=torch.long)}
    before = segmentor([entry])["loss_sem_seg"]
    head.begin_training(None)
    kinds = {type(each.module) for each in head.trained.modules() if type(each) is Recomputed}
    assert (Block in kinds) is recompute and list(segmentor.state_dict()) == keys
    after = segmentor([entry])["loss_sem_seg"]
    assert float(after) == pytest.approx(float(before), rel=1e-5)


def test_a_trainer_builds_the_training_form_once_the_weights_are_loaded(tmp_path, monkeypatch):
    write_data(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (tmp_path / "out").mkdir()
    trainer = Trainer(
        METHODS["rskt"](*ALONE, "SOLVER.IMS_PER_BATCH", "2", "OUTPUT_DIR", str(tmp_path / "out"))
    )
    head = unwrapped(trainer.model).sem_seg_head
    assert head.trained is head.model
    trainer.resume_or_load(resume=False)
    assert head.trained is not head.model
