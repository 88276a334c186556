"""The configurations under configs/wsss are the paper's experiments; each says only what it changes."""

import re
from dataclasses import asdict

import pytest
import torch

from rskt_seg.d2 import load_config
from rskt_seg.d2.config_files import read_rows
from rskt_seg.d2.loaders import check_datasets
from rskt_seg.d2.optimizer import parameter_groups
from rskt_seg.d2.schedule import build_lr_scheduler
from rskt_seg.d2.specs import class_names, model_spec, untrained_model
from rskt_seg.data.catalog import DRAWN, find_split
from rskt_seg.errors import ConfigError
from tests.d2.configurations import ROOT, configurations, name_of, repeated_keys

FOLDER = ROOT / "wsss"
LEAVES = [source for source in configurations(FOLDER) if source.path.stem != "Base"]
TABLES = read_rows(FOLDER / "ablations.yaml")
MODULES = {"t": "TPE", "u": "USR", "v": "VPE"}
TABLE_3 = {
    "baseline": (),
    **{name: tuple(MODULES[c] for c in name) for name in ("t", "u", "v", "tu", "tv", "uv", "tuv")},
}
PAGE = (ROOT.parent / "docs/weak_supervision.md").read_text()


def config(name: str):
    """The configuration of a file or, where the name starts with that of a table, of a row."""
    return load_config(
        str(FOLDER / (f"ablations.yaml:{name}" if name.startswith("table") else f"{name}.yaml"))
    )


def spec_of(name: str) -> dict:
    return asdict(model_spec(config(name)))


def difference(name: str, base: str = "vitb_isaid") -> dict:
    ours, theirs = spec_of(name), spec_of(base)
    return {key: value for key, value in ours.items() if value != theirs[key]}


@pytest.mark.parametrize("source", LEAVES, ids=name_of)
def test_every_configuration_loads_and_names_known_datasets(source):
    cfg = load_config(str(source))
    model_spec(cfg)
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        assert name in DRAWN or find_split(name).name == name


def test_a_configuration_whose_data_a_tool_draws_names_the_tool():
    with pytest.raises(ConfigError, match="land_train_sem_seg' is not registered") as caught:
        check_datasets(config("tiny_land"), training=True)
    tool = re.search("`python ([a-z_/.]+) --set land`", str(caught.value))
    assert (ROOT.parent / tool[1]).is_file()


@pytest.mark.parametrize("source", LEAVES, ids=name_of)
def test_no_configuration_repeats_its_base(source):
    assert repeated_keys(source) == set()


@pytest.mark.parametrize(
    ("name", "background"), [("vitb_isaid", "background"), ("vitb_potsdam", "Clutter/background")]
)
def test_the_main_files_build_the_papers_model_for_their_data(name, background):
    cfg = config(name)
    with torch.device("meta"):
        model = untrained_model(cfg)
    assert model.class_names[model.channels.background] == background
    assert (model.spec.encoder, model.spec.dino, model.spec.dim) == ("vitb16", "vitb14", 256)
    assert model.class_names == class_names(cfg)


def test_the_training_is_that_of_the_paper():
    cfg = config("vitb_isaid")
    solver, images = cfg.SOLVER, cfg.INPUT
    assert (solver.MAX_ITER, solver.IMS_PER_BATCH, solver.BASE_LR) == (40000, 4, 2e-3)
    assert tuple(images.CROP.SIZE) == (320, 320) and tuple(images.SCALE_RANGE) == (0.625, 1.25)
    assert tuple(cfg.TEST.SCALES) == (0.75, 1.0, 1.25) and cfg.TEST.SCALES_FLIP and not cfg.TEST.CRF
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2), torch.nn.Embedding(2, 2))
    groups = parameter_groups(cfg, model)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(2e-3, 1e-3)]
    optimizer = torch.optim.AdamW(groups, solver.BASE_LR)
    scheduler, rates = build_lr_scheduler(cfg, optimizer), []
    for _ in range(60):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    for t in (0, 1, 49):
        assert rates[t] == pytest.approx(2e-3 * (1 - (1 - t / 50) * (1 - 1e-6)), rel=1e-9)
    assert rates[55] == pytest.approx(2e-3 * (1 - 55 / 40000), rel=1e-9)


def test_the_other_main_files_change_what_they_say():
    assert difference("vits_isaid") == {"dino": "vits14"}
    assert difference("vitb_potsdam") == {"background": "class:clutter"}
    assert config("vits_isaid").MODEL.ENCODERS.DINOV2.endswith("dinov2_vits14_pretrain.pth")


@pytest.mark.parametrize(("name", "on"), TABLE_3.items())
def test_table_3_switches_modules_and_nothing_else(name, on):
    changed = difference(f"table3_{name}")
    assert changed == {module.lower(): False for module in MODULES.values() if module not in on}
    assert TABLES[f"table3_{name}"].row == (" + ".join(on) or "none")


@pytest.mark.parametrize(
    ("table", "letter", "field", "values"),
    [(5, "b", "clusters", (4, 6, 8, 10)), (6, "a", "alpha", (1, 2, 3, 4))],
)
def test_tables_5_and_6_vary_one_number_on_the_validation_part(table, letter, field, values):
    rows = {source.row for source in LEAVES if source.row.startswith(f"table{table}_")}
    assert rows == {f"table{table}_{letter}{value}" for value in values}
    for value in values:
        name = f"table{table}_{letter}{value}"
        assert spec_of(name)[field] == value and set(difference(name)) <= {field}
        assert list(config(name).DATASETS.TEST) == ["iSAID_wsss_val_sem_seg"]
        assert TABLES[name].row == str(value)


def test_there_is_a_row_for_every_combination_of_modules():
    rows = {source.row for source in LEAVES if source.row.startswith("table3_")}
    assert rows == {f"table3_{name}" for name in TABLE_3}


def test_the_page_names_every_configuration_and_no_other():
    named = set(re.findall(r"`((?:table\d_\w+|vit[bs]_\w+|tiny(?:_land)?))`", PAGE))
    assert named == {source.row or source.path.stem for source in LEAVES}
