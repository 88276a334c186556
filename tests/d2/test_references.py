"""Which rows of papers stand beside a run."""

import re
from dataclasses import asdict

import pytest

from rskt_seg.d2 import load_config
from rskt_seg.d2.benchmark import comparison
from rskt_seg.d2.methods import EvaluationPass, method_of
from rskt_seg.d2.specs import model_spec
from rskt_seg.data.catalog import SPLITS
from rskt_seg.methods.bicor.references import TABLES as BICOR_TABLES
from rskt_seg.methods.fctl.references import TABLES as FCTL_TABLES
from rskt_seg.methods.ovrsis import COLUMNS as RSKT_COLUMNS
from rskt_seg.methods.ovrsis import main_row
from rskt_seg.methods.wsss.references import TABLES as WSSS_TABLES
from rskt_seg.methods.wsss.references import reference as wsss_reference
from rskt_seg.metrics.published import read_table
from rskt_seg.metrics.results import PaperRows
from rskt_seg.models.wsss import PriorWSSSSpec
from tests.d2.conftest import CONFIGS

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


def of_rskt(config: str, *opts: str, trained_on: str = "", augmented: bool = False) -> PaperRows:
    """The rows for an RSKT-Seg configuration, trained on its own set or on another."""
    cfg = load_config(str(CONFIGS / f"{config}.yaml"), opts)
    sets = (trained_on,) if trained_on else cfg.DATASETS.TRAIN
    return comparison(cfg, sets, EvaluationPass(augmented=augmented))


@pytest.mark.parametrize(
    ("config", "miou", "macc"),
    [
        ("vitb_dlrsd", 43.90, 59.51),
        ("vitb_isaid", 30.03, 52.73),
        ("vitl_dlrsd", 46.21, 62.69),
        ("vitl_isaid", 36.76, 57.91),
    ],
)
def test_rskt_segs_main_row_stands_beside_its_main_configuration(config, miou, macc):
    row = of_rskt(config).rows[0]
    assert row.means == {"mIoU": miou, "mACC": macc}
    backbone, trained_on = (
        {"b": "ViT-B", "l": "ViT-L"}[config[3]],
        load_config(str(CONFIGS / f"{config}.yaml")).DATASETS.TRAIN[0].split("_")[0],
    )
    assert row.source == f"RSKT-Seg, table 1: RSKT-Seg {backbone} trained on {trained_on}"
    assert row.labels == {"trained_on": trained_on, "method": "RSKT-Seg", "backbone": backbone}
    assert [list(figures) for figures in row.figures.values()] == [list(RSKT_COLUMNS.values())] * 2
    if config == "vitl_isaid":
        assert (row.figures["mIoU"]["DLRSD"], row.figures["mACC"]["DLRSD"]) == (31.57, 61.66)


@pytest.mark.parametrize(
    ("opts", "differs"),
    [
        (("NUM_LAYERS", "7"), "num_layers is 7, there 5"),
        (("LOSS", "cross_entropy"), "loss is 'cross_entropy', there 'bce'"),
        (("MASK_IGNORED", "True"), "mask_ignored is True, there False"),
        (("PADDING", "aligned"), "padding is 'aligned', there 'published'"),
        (("GUIDED_VALUES", "True"), "guided_values is True, there False"),
        (("CLIP_FINETUNE", "full"), "clip_finetune is 'full', there 'attention'"),
        (("HIDDEN_DIM", "64"), "hidden_dim is 64, there 128"),
        (("TEMPLATES", "('a photo of a {}',)"), "templates is"),
        (("REMOTE_CLIP", "False", "TEST.SLIDING_WINDOW", "True"), "sliding is True, there False"),
        (("ENCODER", "vitb16", "TEST.SLIDING_WINDOW", "True"), "sliding is True, there False"),
        (("ENCODER", "vitb16", "INPUT.MIN_SIZE_TEST", "384"), "short_side is 384, there 640"),
        (("ENCODER", "vitb16", "INPUT.MAX_SIZE_TEST", "1333"), "max_side is 1333, there 2560"),
        (("ENCODER", "vitb16", "MODEL.ENCODERS.DINO", "a/x"), "dino weights is 'x', there 'RSIB.pth'"),
        (("ENCODER", "vitb16", "MODEL.ENCODERS.REMOTE_CLIP", "tiny"), "remote_clip weights is 'tiny', there"),
        (("ENCODER", "vitb16", "MODEL.ENCODERS.CLIP", "a/b.pt"), "clip weights is 'b.pt', there 'ViT"),
    ],
)  # fmt: skip
def test_a_model_or_protocol_that_is_not_the_papers_has_no_row_and_is_told_why(opts, differs):
    found = of_rskt("vitb_dlrsd", f"MODEL.RSKT.{opts[0]}", *opts[1:])
    assert found.rows == ()
    assert re.match(r"RSKT-Seg, table .* does not compare: [^\n]*$", found.why_none)
    assert found.why_none.count("there") == 1 and differs in found.why_none


def test_rows_of_ablations_are_guarded_by_the_protocol_too():
    row = "ablations.yaml:table3_rotate_ndino"
    cfg = load_config(str(CONFIGS / row), ("TEST.SLIDING_WINDOW", "True"))
    found = comparison(cfg, cfg.DATASETS.TRAIN, EvaluationPass())
    row = "RSKT-Seg, table 3 (rotate + N-DINO; trained on DLRSD)"
    assert found == PaperRows((), f"{row} does not compare: sliding is True, there False")


def test_where_the_weights_of_an_encoder_lie_does_not_matter_nor_in_how_many_classes_at_a_time():
    opts = ("MODEL.ENCODERS.DINO", "/data/weights/RSIB.pth", "MODEL.RSKT.CLASS_CHUNK", "3",
            "MODEL.ENCODERS.CLIP", "ViT-B-16/openai")  # fmt: skip
    assert of_rskt("vitb_dlrsd", *opts) == of_rskt("vitb_dlrsd")


def test_how_a_checkpoint_says_it_was_trained_counts_and_not_what_the_evaluation_is_configured_with():
    cfg = load_config(str(CONFIGS / "ablations.yaml:table6_clip_attention_dino_frozen"))
    sets, stated = cfg.DATASETS.TRAIN, asdict(model_spec(cfg))
    assert comparison(cfg, sets, stated=stated) == comparison(cfg, sets)
    other = comparison(cfg, sets, stated=stated | {"clip_finetune": "full", "padding": "aligned"})
    assert other.rows == () and other.why_none.endswith(": clip_finetune is 'full', there 'attention'")
    # Another row of the table is that of a checkpoint that says so.
    (row,) = comparison(cfg, sets, stated=stated | {"dino_finetune": "attention"}).rows
    assert row.labels == {"clip": "attention", "dino": "attention"}


def test_augmented_views_are_not_the_papers_protocol():
    found = of_rskt("vitl_dlrsd", augmented=True)
    assert found.rows == () and "test-time augmentation is True, there False" in found.why_none


SETS = "DLRSD_train_sem_seg or iSAID_train_sem_seg"


def no_row(reason: str) -> PaperRows:
    return PaperRows((), f"RSKT-Seg, table 1: no row of RSKT-Seg compares: {reason}")


def test_training_sets_and_encoders_that_the_table_does_not_have_are_told():
    for trained_on in ("Potsdam_all_sem_seg", "DLRSD_all_sem_seg"):
        found = of_rskt("vitb_dlrsd", trained_on=trained_on)
        assert found == no_row(f"trained on {trained_on}, there on {SETS}")
    small = of_rskt("tiny_dlrsd", trained_on="VDD_all_sem_seg")
    assert small == no_row(
        f"encoder is 'tiny', there 'vitb16' or 'vitl14', trained on VDD_all_sem_seg, there on {SETS}"
    )


def test_the_row_of_a_benchmark_is_that_of_its_one_training_set():
    cfg = load_config(str(CONFIGS / "vitb_dlrsd.yaml"))
    plain = EvaluationPass()
    assert comparison(cfg, ("DLRSD_train_sem_seg",), plain).rows
    assert comparison(cfg, ("DLRSD_train_sem_seg", "iSAID_train_sem_seg"), plain) == no_row(
        f"trained on DLRSD_train_sem_seg and iSAID_train_sem_seg, there on {SETS} alone"
    )
    assert comparison(cfg, (), plain) == no_row(f"the training set is unknown, there on {SETS}")
    # iSAID: the main model of DLRSD has as many layers as an ablation on iSAID.
    (row,) = comparison(cfg, ("iSAID_train_sem_seg",), plain).rows
    assert row.source == "RSKT-Seg, table 5 (iSAID, 5)"


def test_controls_and_passes_that_are_no_predictions_are_compared_with_nothing(tmp_path):
    assert of_rskt("vitb_dlrsd", "TEST.ROTATE_NAMES", "1") == PaperRows()
    cfg = load_config(str(CONFIGS / "vitb_dlrsd.yaml"))
    cams = EvaluationPass("_CAM", note="no scores of predictions")
    assert comparison(cfg, cfg.DATASETS.TRAIN, cams) == PaperRows()
    file = tmp_path / "config.yaml"
    file.write_text("MODEL:\n  META_ARCHITECTURE: RSSegmentor\n  SEM_SEG_HEAD:\n    NAME: BiCoRHead\n")
    closed = load_config(str(file), ())
    assert comparison(closed, ("DLRSD_train_sem_seg",), EvaluationPass()) == PaperRows()


def test_every_method_of_table_1_has_its_row_for_whoever_compares_with_it():
    table = read_table("rskt_table1")
    for method, encoder, trained_on, miou in (
        ("Cat-Seg", "vitb16", "DLRSD", 36.62),
        ("OVRIS", "vitl14", "iSAID", 36.18),
        ("GSNet", "vitb16", "iSAID", 27.87),
    ):
        row = main_row(table, method, encoder, trained_on)
        assert row.means["mIoU"] == miou and f"{method} ViT-{encoder[3].upper()}" in row.source
    assert all(main_row(table, *other, "DLRSD") is None for other in (("GSNet", "tiny"), ("SED", "vitb16")))


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
