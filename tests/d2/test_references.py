"""Which rows of the closed-set papers stand beside a run."""

import pytest

from rskt_seg.d2 import load_config
from rskt_seg.d2.references import closed_set_reference

VAIHINGEN, DEEPGLOBE, INRIA = (
    "Vaihingen_geoseg_padded_test_sem_seg",
    "deepglobe_fctl_test_sem_seg",
    "inria_test_sem_seg",
)
OURS = ("MODEL.FCTL.GPE", "True", "MODEL.FCTL.ALE", "d")
ISPRS = ("MODEL.BICOR.TOPK_RATIO", "1.0")
BASELINE = ("MODEL.FCTL.CONTEXTS", "()", "MODEL.FCTL.LCF", "False")


@pytest.fixture
def reference(tmp_path):
    """The reference of a head with options, for a test set."""

    def find(head: str, test_set: str, *opts: str):
        file = tmp_path / "config.yaml"
        file.write_text(f"MODEL:\n  META_ARCHITECTURE: RSSegmentor\n  SEM_SEG_HEAD:\n    NAME: {head}\n")
        return closed_set_reference(load_config(str(file), opts), test_set)

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


def test_an_open_vocabulary_model_has_none_here(reference):
    assert reference("RSKTSegHead", VAIHINGEN) is None
