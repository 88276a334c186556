"""CAT-Seg, OVRS and GSNet behind Detectron2: configurations, optimisers, heads, and whole runs."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from rskt_seg.checkpoints.rules import LoadReport, convert
from rskt_seg.commands.train import main
from rskt_seg.d2 import load_config
from rskt_seg.d2.benchmark import comparison
from rskt_seg.d2.methods import method_of
from rskt_seg.d2.optimizer import parameter_groups
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.d2.specs import model_spec
from rskt_seg.data.catalog import find_split
from rskt_seg.data.own import read_own
from rskt_seg.inference.predict import sliding_scores
from rskt_seg.metrics import PaperRows
from tests.d2.configurations import ROOT, configurations, name_of, repeated_keys
from tests.d2.conftest import tiny_peer

CONFIGS = ROOT / "peers"
PUBLISHED = Path(__file__).parents[1] / "parity" / "peers"
PEERS = {"catseg": "Cat-Seg", "ovrs": "OVRIS", "gsnet": "GSNet"}
ALL = configurations(CONFIGS)
TINY = ["MODEL.DEVICE", "cpu", "SEED", "1", "CUDNN_BENCHMARK", "False", "SOLVER.IMS_PER_BATCH", "2"]
each_peer = pytest.mark.parametrize("peer", PEERS)


def config(name, *opts):
    return load_config(str(CONFIGS / f"{name}.yaml"), opts)


@pytest.mark.parametrize("source", ALL, ids=name_of)
def test_every_configuration_loads_names_known_datasets_and_repeats_no_base(source):
    cfg = load_config(str(source))
    model_spec(cfg)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        find_split(name)
    assert repeated_keys(source) == set()


@pytest.mark.parametrize("data", ["DLRSD", "iSAID"])
@pytest.mark.parametrize("encoder", ["vitb", "vitl"])
@each_peer
def test_the_main_files_are_the_published_recipe(peer, encoder, data):
    cfg = config(f"{peer}_{encoder}_{data.lower()}")
    method, spec = method_of(cfg).method, model_spec(cfg)
    assert method.name == peer and spec == method.spec(encoder={"vitb": "vitb16", "vitl": "vitl14"}[encoder])
    assert (spec.num_layers, spec.pooling, spec.test_pooling, spec.window) == (2, 2, 1, 12)
    solver, iterations = cfg.SOLVER, 30000 if peer == "gsnet" else 80000
    assert (iterations, 4, 2e-4) == (solver.MAX_ITER, solver.IMS_PER_BATCH, solver.BASE_LR)
    assert (solver.CLIP_MULTIPLIER, solver.WEIGHT_DECAY, solver.CLIP_GRADIENTS.CLIP_VALUE) == (
        0.01,
        1e-4,
        0.01,
    )
    assert cfg.TEST.SLIDING_WINDOW and (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (640, 2560)
    assert (0 if peer == "gsnet" else 5000) == cfg.TEST.EVAL_PERIOD and not solver.AMP.ENABLED
    assert (f"{data}_train_sem_seg",) == cfg.DATASETS.TRAIN
    (row,) = comparison(cfg, cfg.DATASETS.TRAIN).rows
    backbone = {"vitb": "ViT-B", "vitl": "ViT-L"}[encoder]
    assert row.labels == {"trained_on": data, "method": PEERS[peer], "backbone": backbone}
    assert "not stated" in row.source and PEERS[peer] in row.source


def test_a_small_or_changed_peer_has_no_row_in_the_table():
    trained = ("DLRSD_train_sem_seg",)
    assert comparison(tiny_peer("catseg"), trained) == PaperRows(
        (), "RSKT-Seg, table 1: no row of Cat-Seg compares: encoder is 'tiny', there 'vitb16' or 'vitl14'"
    )
    deeper = config("ovrs_vitb_dlrsd", "MODEL.OVRS.NUM_LAYERS", "3")
    assert comparison(deeper, trained).why_none.endswith("does not compare: num_layers is 3, there 2")
    untrained = comparison(config("gsnet_vitb_dlrsd", "MODEL.ENCODERS.DINO", "random"), trained)
    assert untrained.rows == () and "dino weights is 'random', there 'RSIB.pth'" in untrained.why_none
    pooled = config("ovrs_vitb_dlrsd", "MODEL.OVRS.TEST_POOLING", "2")
    assert comparison(pooled, trained).rows[0].means["mIoU"] == 39.57


@pytest.mark.parametrize("case", ["catseg_vitb", "catseg_vitl", "ovrs_vitb", "gsnet_vitb"])
def test_learning_rate_and_decay_of_every_parameter_are_the_published_ones(case):
    cfg = config(f"{case}_dlrsd")
    with torch.device("meta"):
        method = method_of(cfg).method
        model = method.build(model_spec(cfg))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    ours = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in parameter_groups(cfg, model)
        for parameter in group["params"]
    }
    published = json.loads((PUBLISHED / f"param_groups_{case}_L2.json").read_text())
    assert published["base_lr"] == cfg.SOLVER.BASE_LR and len(published["params"]) == published["n_groups"]
    values = {
        key: torch.tensor([v["lr"], v["weight_decay"]], dtype=torch.float64)
        for key, v in published["params"].items()
    }
    rules = method.checkpoint.published_rules(model, {}, "published optimiser")
    converted = convert(values, rules, LoadReport("published optimiser"))
    assert ours.keys() == converted.keys()
    for key, (rate, decay) in ours.items():
        assert [rate, decay] == pytest.approx(converted[key].tolist(), rel=1e-12), key


@each_peer
def test_evaluation_is_that_of_windows_at_the_size_of_the_file(peer):
    segmentor = build_model(tiny_peer(peer, "TEST.SLIDING_WINDOW", "True")).eval()
    image = torch.randint(0, 256, (3, 120, 150), generator=torch.Generator().manual_seed(0))
    entry = {"image": image, "vocabulary": ("road", "water"), "height": 60, "width": 75}
    with torch.no_grad():
        (found,) = segmentor([entry])
        expected = sliding_scores(
            plain_model(segmentor), image.float(), entry["vocabulary"], tile=96, square=160
        )
    assert found["sem_seg"].shape == (2, 60, 75)
    expected = torch.nn.functional.interpolate(expected[None], (60, 75), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found["sem_seg"], expected[0])


@each_peer
def test_a_loss_needs_no_file_name(peer):
    segmentor = build_model(tiny_peer(peer)).train()
    entry = {"image": torch.zeros(3, 96, 96), "sem_seg": torch.zeros(96, 96), "vocabulary": ("road", "water")}
    assert torch.isfinite(segmentor([entry])["loss_sem_seg"])


def test_an_ignored_id_that_is_a_class_is_a_negative_of_every_class():
    """As GSNet was trained: id 0 is "background", and its map is never positive."""
    losses = []
    label = torch.arange(3).repeat_interleave(32)[:, None].expand(96, 96)
    for ignored, sem_seg in ((0, label), (255, label.where(label != 0, 255))):
        torch.manual_seed(0)
        segmentor = build_model(tiny_peer("gsnet", "MODEL.SEM_SEG_HEAD.IGNORE_VALUE", str(ignored))).train()
        entry = {"image": torch.ones(3, 96, 96), "sem_seg": sem_seg, "vocabulary": ("road", "water", "ship")}
        losses.append(segmentor([entry])["loss_sem_seg"].item())
    assert losses[0] == losses[1]


@each_peer
def test_a_peer_trains_and_evaluates_by_the_command(peer, data_root, tmp_path):
    out = tmp_path / "run"
    short = (*TINY, "MODEL.ENCODERS.CLIP", "random", "SOLVER.MAX_ITER", "2", "OUTPUT_DIR", str(out))
    assert main(["--config-file", str(CONFIGS / f"{peer}_tiny_dlrsd.yaml"), *short]) == 0
    report = json.loads((out / "inference" / "DLRSD_val_sem_seg.json").read_text())
    assert 0 <= report["datasets"]["DLRSD_val_sem_seg"]["mIoU"] <= 100
    stated = torch.load(out / "model_final.pth", weights_only=True)["options"]
    assert stated == {**stated, "pooling": 2, "test_pooling": 1, "encoder": "tiny"}


def test_landdiscover50k_is_the_published_list_of_40_names_that_ignores_the_first(tmp_path):
    for folder in ("TR_Image", "GT_ID"):
        (tmp_path / folder).mkdir()
    example = ROOT.parent / "datasets" / "examples" / "landdiscover50k.yaml"
    file = tmp_path / example.name
    file.write_text(example.read_text())
    (split,) = read_own(file)
    assert (split.name, split.ignore_label) == ("LandDiscover50K_train_sem_seg", 0)
    names = split.class_set.names
    assert (len(names), names[0], names[12], names[39]) == (40, "background", "large-vehicle", "windmill")
