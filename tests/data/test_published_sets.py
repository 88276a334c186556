"""Which sets can be those that papers scored."""

import pytest

from rskt_seg.data.catalog import SPLITS, find_split
from rskt_seg.data.preparation.recipes import RECIPES
from rskt_seg.data.published_sets import PUBLISHED_IMAGES, why_unpublished
from rskt_seg.synthetic import MINIATURES, write_miniature


def test_a_set_with_another_number_of_images_is_another_set(tmp_path):
    split = find_split("DLRSD_all_sem_seg")
    assert why_unpublished(split, tmp_path, 2100) == ""
    assert why_unpublished(split, tmp_path, 100) == "it has 100 images, the published set 2100"
    loveda = find_split("LoveDA_all_8c_sem_seg")
    assert [why_unpublished(loveda, tmp_path, n) for n in (1669, 4191)] == ["", ""]
    assert why_unpublished(loveda, tmp_path, 5) == "it has 5 images, the published set 1669 or 4191"
    assert why_unpublished(find_split("iSAID_all_sem_seg"), tmp_path, 5) == ""  # no number is published


@pytest.mark.parametrize("name", ["iSAID", "DLRSD"])
def test_a_drawn_set_is_told_by_the_file_beside_it_whatever_its_number(tmp_path, name):
    train = 1 if name == "DLRSD" else 0
    write_miniature(MINIATURES[name], tmp_path, num_train=train, num_val=1, seed=0, side=32)
    reason = why_unpublished(find_split(f"{name}_all_sem_seg"), tmp_path, 2100)
    assert reason == f"its scenes are drawn ({tmp_path / f'{name}_miniature.json'})"
    assert why_unpublished(find_split("VDD_all_sem_seg"), tmp_path, 400) == ""


def test_the_numbers_are_of_known_splits_and_those_that_preparation_expects():
    assert PUBLISHED_IMAGES.keys() <= {split.name for split in SPLITS}
    counts = {
        dataset: [part.count for part in RECIPES[dataset].layouts[0].parts if part.labelled]
        for dataset in ("DLRSD", "LoveDA", "UAVid")
    }
    assert sum(counts["DLRSD"]) in PUBLISHED_IMAGES["DLRSD_all_sem_seg"]
    assert sum(counts["LoveDA"]) in PUBLISHED_IMAGES["LoveDA_all_8c_sem_seg"]
    assert sum(counts["UAVid"]) in PUBLISHED_IMAGES["uavid_all_sem_seg"]
