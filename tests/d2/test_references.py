"""Which rows of papers stand beside a run."""

import pytest

from rskt_seg.d2 import load_config
from rskt_seg.d2.benchmark import benchmark_reference
from rskt_seg.d2.methods import method_of
from rskt_seg.d2.specs import model_spec
from rskt_seg.data.catalog import SPLITS
from rskt_seg.methods.bicor.references import TABLES as BICOR_TABLES
from rskt_seg.methods.fctl.references import TABLES as FCTL_TABLES
from rskt_seg.methods.ovrsis import COLUMNS as RSKT_COLUMNS
from rskt_seg.methods.rskt.references import published_row
from rskt_seg.methods.wsss.references import TABLES as WSSS_TABLES
from rskt_seg.methods.wsss.references import reference as wsss_reference
from rskt_seg.metrics.published import read_table
from rskt_seg.models.rskt import RSKTSpec
from rskt_seg.models.wsss import PriorWSSSSpec

VAIHINGEN, DEEPGLOBE, INRIA = (
    "Vaihingen_geoseg_padded_test_sem_seg",
    "deepglobe_fctl_test_sem_seg",
    "inria_test_sem_seg",
)
OURS = ("MODEL.FCTL.GPE", "True", "MODEL.FCTL.ALE", "d")
ISPRS = ("MODEL.BICOR.TOPK_RATIO", "1.0")
ISAID_VAL, ISAID_TEST, POTSDAM = (
    "iSAID_wsss_val_sem_seg",
    "iSAID_wsss_test_sem_seg",
    "Potsdam_wsss_test_sem_seg",
)
BASELINE = ("MODEL.FCTL.CONTEXTS", "()", "MODEL.FCTL.LCF", "False")


@pytest.fixture
def reference(tmp_path):
    """The reference of a head with options, for a test set."""

    def find(head: str, test_set: str, *opts: str):
        file = tmp_path / "config.yaml"
        file.write_text(f"MODEL:\n  META_ARCHITECTURE: RSSegmentor\n  SEM_SEG_HEAD:\n    NAME: {head}\n")
        if head == "PriorWSSSHead":
            opts = ("INPUT.AUGMENTATION", "wsss", *opts)
        cfg = load_config(str(file), opts)
        return method_of(cfg).method.reference(model_spec(cfg), test_set)

    return find


def test_bicors_isprs_rows_stand_beside_the_padded_patches_alone(reference):
    assert reference("BiCoRHead", VAIHINGEN, *ISPRS).mF1 == 91.94
    potsdam = "Potsdam_geoseg_padded_test_sem_seg"
    assert "table 3" in reference("BiCoRHead", potsdam, *ISPRS, "MODEL.BICOR.NUM_LAYERS", "3").source
    for name in ("Vaihingen_geoseg_test_sem_seg", "LoveDA_geoseg_val_sem_seg", DEEPGLOBE):
        assert reference("BiCoRHead", name, *ISPRS) is None
    # Rows of the ablations are none of the main tables; what serves training alone does not matter.
    assert reference("BiCoRHead", VAIHINGEN, *ISPRS, "MODEL.BICOR.NUM_LAYERS", "1") is None
    assert reference("BiCoRHead", potsdam, *ISPRS) is None
    assert reference("BiCoRHead", VAIHINGEN, *ISPRS, "MODEL.BICOR.FINAL_FISHER_WEIGHT", "0.0") is not None


def test_bicors_baseline_and_small_encoder_are_no_row_of_the_main_tables(reference):
    assert reference("BiCoRHead", VAIHINGEN, *ISPRS, "MODEL.BICOR.ENCODER", "tiny") is None
    assert reference("BiCoRHead", VAIHINGEN, "MODEL.BICOR.INTERACTION", "cross_attention") is None


@pytest.mark.parametrize(
    ("opts", "test_set", "miou"),
    [
        ((*OURS, "MODEL.FCTL.FACTORS", "(3.0, 0.0)"), DEEPGLOBE, 73.9),
        (OURS, INRIA, 74.6),
        ((*OURS, "MODEL.FCTL.ENCODER", "mitb5"), INRIA, 78.7),
        (BASELINE, DEEPGLOBE, 71.8),
        ((*BASELINE, "MODEL.FCTL.VIEW", "whole"), DEEPGLOBE, 68.8),
        ((*BASELINE, "MODEL.FCTL.ENCODER", "mitb2"), DEEPGLOBE, 74.4),
        ((*BASELINE, "MODEL.FCTL.ENCODER", "mitb2", "MODEL.FCTL.VIEW", "whole"), DEEPGLOBE, 54.6),
    ],
)
def test_fctls_row_is_found_by_what_the_model_has(reference, opts, test_set, miou):
    row = reference("FCtLHead", test_set, *opts)
    assert row.mIoU == miou and "eight views" in row.source


@pytest.mark.parametrize(
    ("opts", "test_set"),
    [
        ((), DEEPGLOBE),  # the published code: without embeddings and ALE it is none of the rows
        (("MODEL.FCTL.ALE", "d"), INRIA),
        (("MODEL.FCTL.GPE", "True"), INRIA),
        ((*OURS, "MODEL.FCTL.SELF_CONTEXT", "False"), INRIA),
        (OURS, DEEPGLOBE),  # the contexts of the other data set
        ((*OURS, "MODEL.FCTL.MCF", "average"), INRIA),
        (OURS, "deepglobe_test_sem_seg"),
        (OURS, VAIHINGEN),
        ((*BASELINE, "MODEL.FCTL.ENCODER", "vgg_tiny"), DEEPGLOBE),
        ((*BASELINE, "MODEL.FCTL.ENCODER", "mitb2", "MODEL.FCTL.FCN_DECODER", "True"), DEEPGLOBE),
        ((*BASELINE, "MODEL.FCTL.VIEW", "whole"), INRIA),
    ],
)
def test_variants_and_other_protocols_have_no_row(reference, opts, test_set):
    assert reference("FCtLHead", test_set, *opts) is None


def test_an_open_vocabulary_model_has_no_row_for_a_single_set(reference):
    assert reference("RSKTSegHead", VAIHINGEN) is None


def test_the_weakly_supervised_row_stands_beside_its_data_sets(reference):
    for name in (ISAID_VAL, ISAID_TEST):
        row = reference("PriorWSSSHead", name)
        assert (row.mIoU, row.mF1, row.OA) == (38.01, None, None) and "table 1" in row.source
    row = reference("PriorWSSSHead", POTSDAM)
    assert (row.mIoU, row.mF1, row.OA) == (47.01, 56.70, 66.89) and "table 2" in row.source
    for name in ("iSAID_wsss_train_sem_seg", "iSAID_all_sem_seg", "Potsdam_all_sem_seg", VAIHINGEN):
        assert reference("PriorWSSSHead", name) is None


@pytest.mark.parametrize("name", [ISAID_VAL, ISAID_TEST])
def test_every_row_of_the_weakly_supervised_ablations_is_found_by_its_options(reference, name):
    for line in read_table("wsss_table3").rows:
        modules, mean = line.labels["modules"], line.figures["mIoU"]
        left_out = [part for part in ("TPE", "USR", "VPE") if part not in modules]
        row = reference(
            "PriorWSSSHead", name, *(w for part in left_out for w in (f"MODEL.WSSS.{part}", "False"))
        )
        assert row.mIoU == mean and f"table {3 if left_out else 1}," in row.source
    for number, key in ((5, "CLUSTERS"), (6, "ALPHA")):
        for line in read_table(f"wsss_table{number}").rows:
            value, mean = line.labels[key.lower()], line.figures["mIoU"]
            row = reference("PriorWSSSHead", name, f"MODEL.WSSS.{key}", value)
            assert row.mF1 is row.OA is None
            assert row.mIoU == mean and (mean == 38.01 or f"table {number}," in row.source)


@pytest.mark.parametrize(
    "opts",
    [
        ("MODEL.WSSS.DINO", "vits14"),
        ("MODEL.WSSS.BACKGROUND", "class:clutter"),
        ("MODEL.WSSS.TOPK", "2", "MODEL.WSSS.MOMENTUM", "0.9", "MODEL.WSSS.SEED_PERCENT", "10.0"),
        ("MODEL.WSSS.DECODE_DINO", "True", "MODEL.WSSS.RENORM", "False"),
        ("MODEL.WSSS.AFFINITY_WEIGHT", "0.5", "MODEL.WSSS.SEG_LOSS", "plain"),
    ],
)
def test_what_the_weakly_supervised_paper_leaves_open_does_not_matter(reference, opts):
    assert reference("PriorWSSSHead", POTSDAM, *opts).mIoU == 47.01


@pytest.mark.parametrize(
    ("opts", "test_set"),
    [
        (("ENCODER", "tiny"), ISAID_TEST),
        (("DINO", "tiny"), ISAID_TEST),
        (("DIM", "128"), ISAID_TEST),
        (("DECODER_LAYERS", "2"), ISAID_TEST),
        (("HEADS", "4"), ISAID_TEST),
        (("CAM_ATTENTION", "value"), ISAID_TEST),
        (("AFFINITY", "cosine"), ISAID_TEST),
        (("TEMPLATE", "a photo of a {}."), ISAID_TEST),
        (("PSEUDO", "dual_threshold"), ISAID_TEST),
        (("AFFINITY_WEIGHT", "0.0"), ISAID_TEST),
        (("SEG_WEIGHT", "0.0"), ISAID_TEST),
        (("CLUSTERS", "5"), ISAID_TEST),
        (("ALPHA", "5"), ISAID_TEST),
        (("CLUSTERS", "4", "MODEL.WSSS.ALPHA", "2"), ISAID_TEST),
        (("VPE", "False", "MODEL.WSSS.CLUSTERS", "4"), ISAID_TEST),
        (("CLUSTERS", "4"), POTSDAM),
        (("TPE", "False"), POTSDAM),
        (("ALPHA", "2"), POTSDAM),
    ],
)
def test_other_weakly_supervised_models_have_no_row(reference, opts, test_set):
    assert reference("PriorWSSSHead", test_set, f"MODEL.WSSS.{opts[0]}", *opts[1:]) is None


@pytest.mark.parametrize(
    ("trained_on", "encoder", "miou", "macc"),
    [("DLRSD", "vitb16", 43.90, 59.51), ("iSAID", "vitl14", 36.76, 57.91)],
)
def test_rskt_segs_row_is_found_by_training_set_and_encoder(trained_on, encoder, miou, macc):
    row = published_row(RSKTSpec(encoder=encoder), trained_on)
    assert row.means == {"mIoU": miou, "mACC": macc}
    backbone = {"vitb16": "ViT-B", "vitl14": "ViT-L"}[encoder]
    assert row.source == f"RSKT-Seg, table 1: {backbone} trained on {trained_on}"
    assert row.labels == {"trained_on": trained_on, "method": "RSKT-Seg", "backbone": backbone}
    assert [list(figures) for figures in row.figures.values()] == [list(RSKT_COLUMNS.values())] * 2


def test_rskt_segs_figures_are_those_of_its_row():
    row = published_row(RSKTSpec(encoder="vitl14"), "iSAID").figures
    assert (row["mIoU"]["DLRSD"], row["mACC"]["DLRSD"], row["mIoU"]["VDD"]) == (31.57, 61.66, 33.40)


def test_other_training_sets_and_encoders_have_no_row():
    assert published_row(RSKTSpec(), "Potsdam") is None
    assert published_row(RSKTSpec(encoder="tiny", hidden_dim=32), "DLRSD") is None


def test_the_row_of_a_benchmark_is_that_of_its_one_training_set(tmp_path):
    file = tmp_path / "config.yaml"
    for head, trained_on, miou in (
        ("RSKTSegHead", {"DLRSD"}, 43.90),
        ("RSKTSegHead", {"DLRSD", "iSAID"}, None),
        ("RSKTSegHead", set(), None),
        ("BiCoRHead", {"DLRSD"}, None),
    ):
        file.write_text(f"MODEL:\n  META_ARCHITECTURE: RSSegmentor\n  SEM_SEG_HEAD:\n    NAME: {head}\n")
        row = benchmark_reference(load_config(str(file), ()), trained_on)
        assert (row.means["mIoU"] if row else None) == miou


def test_the_columns_are_of_registered_sets_and_loveda_in_its_published_form():
    rows = {split.name: split for split in SPLITS}
    assert sorted(RSKT_COLUMNS.values()) == sorted(set(read_table("rskt_table1").columns) - {"mean"})
    assert all(rows[name].dataset == column for name, column in RSKT_COLUMNS.items())
    assert "no-data" in rows["LoveDA_all_8c_sem_seg"].class_set.names
    assert "LoveDA_all_sem_seg" not in RSKT_COLUMNS


def test_every_table_that_a_registration_compares_with_exists_and_every_registration_does():
    names = {split.name for split in SPLITS}
    for tables in (BICOR_TABLES, FCTL_TABLES, WSSS_TABLES):
        assert tables.keys() <= names
        assert all(read_table(table).rows for table in tables.values())


def test_the_whole_weakly_supervised_model_has_one_row_on_both_parts_of_isaid():
    assert wsss_reference(PriorWSSSSpec(16), ISAID_VAL) == wsss_reference(PriorWSSSSpec(16), ISAID_TEST)
