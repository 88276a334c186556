"""Which printed costs stand beside a model: those of the row that it is, and no others."""

from types import SimpleNamespace

# isort: split
import pytest
import torch

from rskt_seg.d2 import load_config
from rskt_seg.d2.methods import method_of
from rskt_seg.d2.specs import built_spec
from rskt_seg.metrics.published import read_table
from rskt_seg.models.bicor import BiCoR


def printed(config: str, *opts: str) -> dict[str, float]:
    """Source and quantity -> figure that is printed beside the model of a configuration."""
    cfg = load_config(config, opts)
    model, method = SimpleNamespace(spec=built_spec(cfg)), method_of(cfg).method
    if method.model is BiCoR:  # its operations are counted
        with torch.device("meta"):
            model = BiCoR(model.spec)
    return {f"{each.source}: {each.quantity}": each.printed for each in method.printed_costs(model)}


ROWS = {
    "ovrsis/vitb_dlrsd.yaml": "RSKT-Seg",
    "ovrsis/bench_vitb_isaid.yaml": "RSKT-Seg",
    "ovrsis/vitl_isaid.yaml": "RSKT-Seg",
    "ovrsis/ablations.yaml:table2_isaid_ri_dino_rst_rsf": "RSKT-Seg",
    "peers/catseg_vitb_dlrsd.yaml": "Cat-Seg",
    "peers/bench_catseg_vitl_isaid.yaml": "Cat-Seg",
    "peers/ovrs_vitb_isaid.yaml": "OVRs",
}


@pytest.mark.parametrize("config", ROWS)
def test_the_row_of_table_7_stands_beside_its_method(config):
    row, found = ROWS[config], printed(config)
    figures = read_table("rskt_table7").find(method=row).figures
    assert found == {f"RSKT-Seg, table 7, {row}: {name}": figure for name, figure in figures.items()}


@pytest.mark.parametrize(
    "config",
    [
        "ovrsis/ablations.yaml:table2_dlrsd_ri",
        "ovrsis/ablations.yaml:table3_rsdino",
        "ovrsis/ablations.yaml:table4_mean",
        "ovrsis/paper.yaml",
        "ovrsis/tiny_dlrsd.yaml",
        "peers/gsnet_vitb_dlrsd.yaml",  # not in table 7
        "peers/catseg_tiny_dlrsd.yaml",
        "clip_zeroshot/vitb16.yaml",
    ],
)
def test_other_models_have_no_row_of_table_7(config):
    assert printed(config) == {}


def test_a_peer_with_other_options_than_the_published_ones_has_no_row():
    assert printed("peers/catseg_vitb_dlrsd.yaml", "MODEL.CATSEG.NUM_LAYERS", "3") == {}


def test_tables_4_and_5_of_bicor_seg_stand_beside_the_models_of_their_rows():
    layers = "BiCoR-Seg, table 5, {} layers: parameters (M)".format
    for config in ("bicor/loveda.yaml", "bicor/ablations.yaml:table4_hbis"):
        found = printed(config)
        assert found["BiCoR-Seg, table 4, HBIS: FLOPs (G)"] == 87.8 and found[layers(2)] == 89.5
    assert printed("bicor/vaihingen.yaml") == {layers(2): 89.5}
    assert printed("bicor/ablations.yaml:table5_vaihingen_l3") == {layers(3): 90.0}
    baseline = printed("bicor/ablations.yaml:table4_baseline")
    assert baseline["BiCoR-Seg, table 4, cross-attention: parameters (M)"] == 93.5 and len(baseline) == 3


@pytest.mark.parametrize(
    "config", ["bicor/paper.yaml", "bicor/tiny.yaml", "bicor/ablations.yaml:figure3_topk_010"]
)
def test_other_forms_of_bicor_seg_have_no_row(config):
    assert printed(config) == {}


def test_section_4_4_6_of_fctl_stands_beside_the_papers_models_alone():
    ours = printed("fctl/deepglobe/4_fused.yaml")
    assert ours and ours == printed("fctl/inria/4_fused.yaml")
    assert all("Ours: " in name for name in ours)
    assert all("FCN-8s: " in name for name in printed("fctl/inria/1_local.yaml"))
    for row in ("4_published.yaml", "paper.yaml", "mitb2_4_fused.yaml", "2_medium.yaml"):
        assert printed(f"fctl/inria/{row}") == {}


def test_table_4_of_the_weakly_supervised_method_stands_beside_no_ablation():
    assert printed("wsss/vits_isaid.yaml", "MODEL.WSSS.USR", "False") == {}
