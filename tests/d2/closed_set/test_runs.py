"""train_net.py trains, resumes and evaluates the closed-set methods, and refuses bad runs at once."""

import json

import pytest
import torch

from rskt_seg.commands.train import start
from rskt_seg.d2.loaders import check_datasets
from rskt_seg.errors import ConfigError, DatasetError
from rskt_seg.synthetic import MINIATURES, write_miniature
from tests.d2.closed_set.tiny import METHODS, ROOT, SMALL, config, names

SHORT = {"bicor": ("INPUT.CROP.SIZE", "[32,32]", "INPUT.MOSAIC_SIDE", "32", "SOLVER.EPOCHS", "1"), "fctl": ()}
OTHER = {"bicor": ("MODEL.BICOR.MIN_PIXELS", "9"), "fctl": ("MODEL.FCTL.BRANCH", "deepglobe")}


def run_command(*arguments: str) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start(arguments)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def scenes(tmp_path, monkeypatch) -> None:
    """A few generated scenes of the miniature DLRSD, which the run's environment points to."""
    write_miniature(MINIATURES["DLRSD"], tmp_path / "scenes", num_train=4, num_val=2, seed=1, side=96)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "scenes"))


@pytest.mark.parametrize("method", METHODS)
def test_train_net_trains_resumes_and_evaluates(method, scenes, tmp_path):
    out = tmp_path / "out"
    common = ("--config-file", str(ROOT / f"configs/{method}/tiny.yaml"))
    opts = ("MODEL.DEVICE", "cpu", *SMALL[method], "SOLVER.IMS_PER_BATCH", "2", "OUTPUT_DIR", str(out),
            *SHORT[method], "SEED", "1")  # fmt: skip
    run_command(*common, *opts, "SOLVER.MAX_ITER", "2")
    for key, value in (OTHER[method], ("SOLVER.OPTIMIZER", "SGD")):
        with pytest.raises(ConfigError, match=rf"cannot be continued with {key} '?{value}'? \(was "):
            run_command(*common, "--resume", *opts, "SOLVER.MAX_ITER", "3", key, value)
    run_command(*common, "--resume", *opts, "SOLVER.MAX_ITER", "3")
    final = torch.load(out / "model_final.pth", weights_only=True)
    assert final["iteration"] == 2
    assert tuple(final["class_names"]) == names(method)
    (group,) = final["trainer"]["_trainer"]["optimizer"]["param_groups"]
    assert group.get("lookahead_count") == (3 if method == "bicor" else None)
    weights = ("MODEL.WEIGHTS", str(out / "model_final.pth"), "TEST.AUG.ENABLED", "True")
    run_command(*common, "--eval-only", *opts, *weights)
    for suffix in ("", "_TTA"):
        found = json.loads((out / f"benchmark{suffix}.json").read_text())
        assert "DLRSD_val_sem_seg" in json.dumps(found)


def test_an_evaluation_on_other_classes_says_which_set_to_name(data_root):
    cfg = config("bicor", "DATASETS.TEST", "('UDD5_all_sem_seg',)")
    with pytest.raises(DatasetError, match=r"fixed: .* those of DLRSD_train_sem_seg; name in DATASETS"):
        check_datasets(cfg, training=False)
    with pytest.raises(DatasetError, match="To train without a test set"):
        check_datasets(cfg, training=True)


@pytest.mark.parametrize(
    ("opts", "error", "message"),
    [
        (("DATASETS.TEST", "('UDD5_all_sem_seg',)"), DatasetError, "of the model are fixed: airplane"),
        (("SOLVER.IMS_PER_BATCH", "1"), ConfigError, "at least 2 images in a batch"),
    ],
)
def test_runs_that_cannot_end_well_are_refused_before_they_start(data_root, tmp_path, opts, error, message):
    out = ("MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path / "out"), "SOLVER.IMS_PER_BATCH", "2")
    with pytest.raises(error, match=message):
        run_command("--config-file", str(ROOT / "configs/bicor/tiny.yaml"), *out, *opts)
    assert not (tmp_path / "out").exists()
