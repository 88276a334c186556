"""A batch that several processes share is the batch of one: the same images, losses and gradients."""

import argparse
from pathlib import Path

import pytest
import torch

from rskt_seg.d2 import load_config
from rskt_seg.d2.compat import launch
from rskt_seg.d2.launch import check_run
from rskt_seg.d2.methods import detectron_methods, method_of
from rskt_seg.errors import ConfigError
from tests.d2.configurations import ROOT, configurations, name_of
from tests.d2.one_step import STEPS, WHOLE, take
from tests.d2.resuming import ALONE, METHODS, write_data

NOISE = 1e-4
"""Largest difference of a gradient in shares of the largest of its tensor: the order of sums in float32."""


@pytest.fixture(scope="module")
def taken(tmp_path_factory) -> dict[int, list[dict]]:
    """Number of processes -> what each of `STEPS` left."""
    root = tmp_path_factory.mktemp("shared")
    write_data(root / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(root / "data"))
        patch.setenv("OMP_NUM_THREADS", "1")
        for processes in (1, 4):
            launch(take, processes, 1, 0, "auto", (str(root / str(processes)),), True)
    return {
        processes: [
            torch.load(Path(root, str(processes), str(number), "step.pth"), weights_only=True)
            for number in range(len(STEPS))
        ]
        for processes in (1, 4)
    }


@pytest.mark.parametrize("name", STEPS)
def test_four_processes_have_the_loss_and_the_gradients_of_one_with_the_same_batch(name, taken):
    number = list(STEPS).index(name)
    one, four = (taken[processes][number] for processes in (1, 4))
    assert four["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert one["gradients"].keys() <= four["gradients"].keys()
    largest = max(each.abs().max().item() for each in one["gradients"].values())
    for key, gradient in four["gradients"].items():
        expected = one["gradients"].get(key, torch.zeros_like(gradient))
        bound = NOISE * max(expected.abs().max().item(), 1e-3 * largest)
        assert (gradient - expected).abs().max() <= bound, key


def test_every_method_takes_a_step():
    """`METHODS` of tests/d2/resuming.py is the table that a new method joins."""
    trained = {name for name, each in detectron_methods().items() if each.method.is_trained}
    assert {method_of(config()).name for config in METHODS.values()} == trained


@pytest.mark.parametrize("source", configurations(ROOT), ids=name_of)
def test_every_configuration_has_an_image_for_each_of_four_processes(source):
    cfg = load_config(str(source))
    assert cfg.SOLVER.IMS_PER_BATCH >= 4
    method_of(cfg).check_batch(cfg, cfg.SOLVER.IMS_PER_BATCH, 4)


def test_a_batch_need_be_no_multiple_of_the_processes_but_has_an_image_for_each(tmp_path, monkeypatch):
    write_data(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    args = argparse.Namespace(num_gpus=4, num_machines=1, eval_only=False, resume=False)
    args.config_file, args.opts = str(ROOT / "bicor/tiny.yaml"), ["MODEL.DEVICE", "cpu"]
    given = (*ALONE, "OUTPUT_DIR", str(tmp_path / "out"), "SOLVER.IMS_PER_BATCH")
    check_run(METHODS["bicor"](*given, "5"), args)
    with pytest.raises(ConfigError, match="3 leaves some of 4 processes without an image: use at most 3"):
        check_run(METHODS["bicor"](*given, "3"), args)


def test_batch_norm_over_the_whole_images_of_a_process_is_told(caplog):
    for encoder, told in (("vgg_tiny", False), ("mit_tiny", True)):
        cfg = METHODS["fctl"](*WHOLE, "MODEL.FCTL.ENCODER", encoder)
        method_of(cfg).check_batch(cfg, 6, 1)
        assert not caplog.text
        method_of(cfg).check_batch(cfg, 6, 4)
        assert (f"the batch norm of {encoder} sees the whole images of one process" in caplog.text) == told
