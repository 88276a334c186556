"""The cost of an evaluated model stands beside its scores: eval, analyze and compare of one configuration."""

import torch
from safetensors.torch import save_file

from rskt_seg.analysis import json_report
from rskt_seg.d2 import load_config
from rskt_seg.d2.analysis import Request, analyze
from rskt_seg.d2.benchmark import evaluate
from rskt_seg.d2.trainer import Trainer
from rskt_seg.d2.tta import evaluated_model
from rskt_seg.metrics.comparison import compare_runs
from rskt_seg.metrics.costs import with_costs
from rskt_seg.metrics.stored import read_run
from tests.d2.conftest import CONFIGS, TINY, tiny_config


def test_analyze_and_eval_of_one_configuration_are_of_one_model(data_root, tmp_path):
    weights = tmp_path / "weights.safetensors"
    save_file(Trainer.build_model(tiny_config()).state_dict(), weights)
    test = ["DATASETS.TEST", "('DLRSD_val_sem_seg',)"]
    views = ["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(48, 64)"]
    out = tmp_path / "out"
    torch.manual_seed(1)
    evaluate(tiny_config("MODEL.WEIGHTS", str(weights), "OUTPUT_DIR", str(out), *test, *views))
    config = str(CONFIGS / "tiny_dlrsd.yaml")

    def cost(name, *opts):
        found = analyze(Request(config, (*TINY, *test, *opts), runs=0))
        (out / name).write_text(json_report(found))
        return found.images[0]

    image = cost("analyze.json", *views)
    runs = with_costs([read_run(out), read_run(out / "benchmark_TTA.json", "views")])
    plain, averaged = compare_runs(runs, resamples=9).rows
    assert plain.cost.images[0].flops == image.cost.flops
    assert averaged.cost.images[0].flops == image.augmented.flops > image.cost.flops
    cost("analyze.json", *views, "TEST.SLIDING_WINDOW", "True")
    assert "evaluation sliding is True, of the run False" in with_costs(runs)[0].no_cost


def test_a_closed_set_model_is_stated_with_its_number_of_classes():
    cfg = load_config("bicor/loveda.yaml")
    assert evaluated_model(cfg, augmented=False).options["num_classes"] == 7
    assert evaluated_model(cfg, augmented=True).augmentation == {"views": cfg.TEST.AUG.VIEWS}
