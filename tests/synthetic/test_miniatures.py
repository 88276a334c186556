"""The miniature copies of the benchmark's eight sets."""

import numpy as np
import pytest
from PIL import Image

from rskt_seg.data.catalog import IGNORE_LABEL, find_split, pairs
from rskt_seg.data.labels import check_label, read_label
from rskt_seg.errors import DatasetError
from rskt_seg.synthetic import (
    INDEX,
    MINIATURES,
    NAMES,
    UNSEEN,
    WSSS_MINIATURES,
    render_scene,
    write_miniature,
)

TESTED = [row for row in MINIATURES.values() if not row.train]
BENCHMARK = ("DLRSD", "iSAID", "LoveDA", "Potsdam", "UAVid", "UDD5", "Vaihingen", "VDD")
NEVER_LABELLED = {"Static car"}  # its drawings are those of a moving car, which comes first


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    for row in TESTED:
        assert write_miniature(row, folder, 0, 150, seed=4, side=64) == 150
    return folder


def test_every_set_of_the_benchmark_has_a_miniature():
    assert tuple(MINIATURES) == BENCHMARK
    assert [find_split(row.both).dataset for row in MINIATURES.values()] == list(BENCHMARK)


@pytest.mark.parametrize("row", TESTED, ids=lambda row: row.name)
def test_a_miniature_loads_through_the_data_table_and_shows_every_class(root, row):
    split = find_split(row.both)
    found = set()
    for pair in pairs(split, root):
        label = read_label(pair.label)
        with Image.open(pair.image) as image:
            check_label(label, len(row.classes), IGNORE_LABEL, pair.label, (image.height, image.width))
        assert pair.image.suffix == f".{split.image_extensions[0]}"
        found |= {row.classes[k] for k in np.unique(label) if k != IGNORE_LABEL}
    assert found == set(row.classes) - NEVER_LABELLED


@pytest.mark.parametrize("row", TESTED, ids=lambda row: row.name)
def test_a_label_is_a_name_of_the_concept_below_it(row):
    for index in range(12):
        scene = render_scene(np.random.default_rng([index]), 64, row.style, row.concepts)
        label = row.labels(scene)
        for k, name in enumerate(row.classes):
            below = {INDEX[concept] for concept in NAMES[name.lower()]}
            assert set(np.unique(scene.concept_map[label == k])) <= below


def test_borders_between_the_classes_of_isprs_are_ignored_and_nothing_else_of_them():
    row = MINIATURES["Potsdam"]
    scene = render_scene(np.random.default_rng([3]), 64, row.style, row.concepts)
    plain, label = row.label_table()[scene.concept_map], row.labels(scene)
    for y, x in np.ndindex(64, 64):
        around = plain[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        expected = plain[y, x] if (around == plain[y, x]).all() else IGNORE_LABEL
        assert label[y, x] == expected


def test_undrawn_classes_name_nothing_that_the_training_set_contains():
    assert MINIATURES["DLRSD"].undrawn() == ()
    assert UNSEEN.isdisjoint(MINIATURES["DLRSD"].concepts)
    assert "Road" in MINIATURES["VDD"].undrawn()
    assert {"Vegetation", "Vehicle"}.isdisjoint(MINIATURES["VDD"].undrawn())
    assert len(MINIATURES["iSAID"].undrawn()) == 9


def test_the_sets_of_one_seed_are_different_scenes(root):
    first = [next(iter(pairs(find_split(row.both), root))).image for row in TESTED]
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in first]
    assert len({picture.tobytes() for picture in pictures}) == len(TESTED)


def test_a_test_set_has_no_training_scenes_and_a_training_set_has_some(tmp_path):
    with pytest.raises(DatasetError, match=r"VDD: no scene to train and at least one to validate.*2 and 3"):
        write_miniature(MINIATURES["VDD"], tmp_path, 2, 3, seed=0, side=32)
    with pytest.raises(DatasetError, match=r"DLRSD: at least one scene to train.*0 and 3"):
        write_miniature(MINIATURES["DLRSD"], tmp_path, 0, 3, seed=0, side=32)
    assert not any(tmp_path.iterdir())


WSSS = WSSS_MINIATURES["iSAID_wsss"]
WSSS_PARTS = ("train", "val", "test")


def wsss_files(root) -> dict[str, dict[str, bytes]]:
    """Image and label of every scene, by part and stem."""
    return {
        part: {
            pair.image.stem: pair.image.read_bytes() + pair.label.read_bytes()
            for pair in pairs(find_split(f"iSAID_wsss_{part}_sem_seg"), root)
        }
        for part in WSSS_PARTS
    }


def test_the_crops_of_isaid_have_a_miniature_of_three_parts_that_share_no_scene(tmp_path):
    assert write_miniature(WSSS, tmp_path, 6, 2, seed=1, side=64, num_test=3) == 11
    found = wsss_files(tmp_path)
    assert [len(found[part]) for part in WSSS_PARTS] == [6, 2, 3]
    assert len({data for scenes in found.values() for data in scenes.values()}) == 11
    assert write_miniature(WSSS, tmp_path, 6, 2, seed=1, side=64, num_test=3) == 0
    next((tmp_path / "iSAID_wsss/test/labels").iterdir()).unlink()
    assert write_miniature(WSSS, tmp_path, 6, 2, seed=1, side=64, num_test=3) == 1
    assert wsss_files(tmp_path) == found
    with pytest.raises(DatasetError, match="describes another set"):
        write_miniature(WSSS, tmp_path, 6, 2, seed=1, side=64, num_test=2)


def test_what_is_of_no_class_is_background_and_nothing_is_ignored():
    plain = MINIATURES["iSAID"]
    for index in range(20):
        scene = render_scene(np.random.default_rng([index]), 64, WSSS.style, WSSS.concepts)
        label, ignoring = WSSS.labels(scene), plain.labels(scene)
        assert np.array_equal(label, np.where(ignoring == IGNORE_LABEL, 0, ignoring + 1))


def test_only_a_set_with_a_test_part_has_scenes_for_it(tmp_path):
    with pytest.raises(DatasetError, match="iSAID_wsss: at least one scene to test expected; found 0"):
        write_miniature(WSSS, tmp_path, 6, 2, seed=1, side=64)
    with pytest.raises(DatasetError, match="DLRSD: no scene to test expected; found 1"):
        write_miniature(MINIATURES["DLRSD"], tmp_path, 6, 2, seed=1, side=64, num_test=1)
    assert not any(tmp_path.iterdir())


def test_the_miniature_of_the_crops_shows_other_scenes_than_that_of_the_benchmark(tmp_path):
    write_miniature(WSSS, tmp_path, 1, 1, seed=4, side=64, num_test=1)
    write_miniature(MINIATURES["iSAID"], tmp_path, 0, 3, seed=4, side=64)
    ours = {p.read_bytes() for p in tmp_path.glob("iSAID_wsss/*/images/*")}
    assert len(ours) == 3 and ours.isdisjoint(p.read_bytes() for p in tmp_path.glob("iSAID/imgs/*"))
