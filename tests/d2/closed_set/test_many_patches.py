"""FCtL says before a training how many patches images mean, and after the first how long they take."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from rskt_seg.d2 import partwise
from rskt_seg.d2.datasets import register_own
from rskt_seg.d2.methods.registry import method_of
from rskt_seg.d2.segmentor import unwrapped
from rskt_seg.d2.specs import class_names
from rskt_seg.d2.trainer import Trainer
from tests.d2.closed_set.tiny import config
from tests.d2.test_own import own  # noqa: F401


def own_config(path: str, *opts: str):
    register_own([path])
    sets = ("DATASETS.OWN", path, "DATASETS.TRAIN", "farm_train_sem_seg", "DATASETS.TEST", "()")
    return config("fctl", *sets, "SOLVER.IMS_PER_BATCH", "2", *opts)


@pytest.mark.parametrize(("side", "told"), [(600, True), (400, False)])
def test_many_patches_are_counted_before_the_training(own, tmp_path, caplog, side, told):  # noqa: F811
    cfg = own_config(own(), "SOLVER.MAX_ITER", "10")
    for path in (tmp_path / "farm" / "images").iterdir():
        Image.new("RGB", (side, side)).save(path)
    with caplog.at_level(logging.WARNING, logger="rskt_seg"):
        method_of(cfg).check_training_data(cfg, class_names(cfg))
    # Patches of 64 px overlap by 16: 13 starts, of which the last is moved inwards, cover 600 px.
    found = (
        "the largest has 169 patches. Every patch of 2 images is seen before a step: about 338 an iteration"
    )
    assert (found in caplog.text) == told == bool(caplog.text)
    if told:
        assert "3380 in the 10 of" in caplog.text
        caplog.clear()
        entries = [{"file_name": str(path)} for path in (tmp_path / "farm" / "images").iterdir()]
        method_of(cfg).check_test_data(cfg, "farm", entries)
        assert "about 507 in all" in caplog.text


def test_the_number_of_parts_is_known_before_they_are_made(own):  # noqa: F811
    head = unwrapped(Trainer.build_model(own_config(own()))).sem_seg_head
    rng = np.random.default_rng(0)
    entries = [
        {
            "image": torch.from_numpy(rng.integers(0, 255, (3, *size), np.uint8)),
            "sem_seg": torch.zeros(size, dtype=torch.long),
        }
        for size in ((40, 48), (130, 65), (64, 200))
    ]
    assert head.count_parts(entries) == len(list(head.parts(entries)))


def test_the_first_iteration_says_how_long_one_takes(own, tmp_path, monkeypatch, caplog):  # noqa: F811
    cfg = own_config(own(), "SOLVER.MAX_ITER", "2", "OUTPUT_DIR", str(tmp_path / "out"))
    monkeypatch.setattr(partwise, "_MEASURED", 1)
    for many, lines in ((3, 0), (2, 1)):  # an image has one part
        monkeypatch.setattr(partwise, "_MANY", many)
        caplog.clear()
        (tmp_path / "out").mkdir(exist_ok=True)
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=False)
        with caplog.at_level(logging.INFO, logger="rskt_seg"):
            trainer.train()
        found = [each for each in caplog.messages if each.startswith("The first 1 of the 2 parts")]
        assert len(found) == lines and all("an iteration, and" in each for each in found)
