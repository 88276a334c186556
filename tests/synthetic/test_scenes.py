"""Laws of the synthetic scenes: the same seed draws the same world, and every pixel of it has a true name."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from rskt_seg.data import catalog
from rskt_seg.data.catalog import find_split, pairs
from rskt_seg.errors import DatasetError
from rskt_seg.synthetic import (
    CONCEPTS,
    INDEX,
    MINIATURES,
    NAMES,
    STYLES,
    THEMES,
    UNSEEN,
    render_scene,
    render_theme,
    write_miniature,
)
from rskt_seg.synthetic.canvas import Canvas
from rskt_seg.synthetic.objects import DRAWINGS
from rskt_seg.synthetic.shapes import rasterise
from rskt_seg.synthetic.themes import allowed_themes

SEEN = tuple(name for name in CONCEPTS if name not in UNSEEN)


def write_dlrsd(root, num_train, num_val, seed, side=96):
    return write_miniature(MINIATURES["DLRSD"], root, num_train, num_val, seed, side)


def _scenes(count, side=96, style="dlrsd", concepts=SEEN, seed=3):
    return [render_scene(np.random.default_rng([seed, i]), side, style, concepts) for i in range(count)]


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32), height=st.integers(32, 150), width=st.integers(32, 150))
def test_a_scene_is_determined_by_its_seed_and_holds_only_known_concepts(seed, height, width):
    first, second = (render_scene(np.random.default_rng(seed), (height, width)) for _ in range(2))
    assert first.image.shape == (height, width, 3) and first.image.dtype == np.uint8
    assert first.concept_map.shape == (height, width) and first.concept_map.dtype == np.uint8
    assert first.concept_map.max() < len(CONCEPTS)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.concept_map, second.concept_map)
    assert first.image.std() > 1


def test_other_seeds_draw_other_scenes():
    images = [scene.image.tobytes() for scene in _scenes(6)]
    assert len(set(images)) == 6


def test_the_theme_of_every_concept_draws_it():
    drawn = set()
    for theme in THEMES:
        for seed in range(4):
            scene = render_theme(np.random.default_rng(seed), (128, 128), STYLES["wild"], theme)
            here = {name for name, i in INDEX.items() if (scene.concept_map == i).sum() >= 8}
            drawn |= here & set(theme.focus)
    assert drawn >= {concept for theme in THEMES for concept in theme.focus}
    assert set().union(*(theme.focus for theme in THEMES)) | {"buildings"} >= set(CONCEPTS) - {"grass"}


def test_no_scene_holds_a_concept_that_was_not_asked_for():
    allowed = {INDEX[name] for name in SEEN}
    for scene in _scenes(60):
        assert set(np.unique(scene.concept_map).tolist()) <= allowed


def _long_axis(mask):
    """Direction (radians, 0..pi) of the longest extent of a (H, W) bool mask."""
    y, x = np.nonzero(mask)
    _, vectors = np.linalg.eigh(np.cov(np.stack([x, y])))
    return np.arctan2(vectors[1, 1], vectors[0, 1]) % np.pi


@settings(max_examples=25)
@given(angle=st.floats(0, 2 * np.pi), seed=st.integers(0, 1000))
def test_an_object_is_drawn_where_it_was_put_and_heads_where_it_was_told(angle, seed):
    canvas = Canvas(np.random.default_rng(seed), (96, 96), 1.2, (0.6, 0.8))
    canvas.paint_land("pavement", np.ones((96, 96), bool))
    truck = DRAWINGS["large vehicle"](canvas.rng, CONCEPTS["large vehicle"])
    before = canvas.host(("pavement",))
    assert canvas.place("large vehicle", truck, before, (40.0, 52.0), angle)
    mask = canvas.concepts == INDEX["large vehicle"]
    difference = abs(_long_axis(mask) - angle % np.pi)
    assert min(difference, np.pi - difference) < 0.12
    assert np.abs(np.argwhere(mask).mean(0) - (52, 40)).max() < 2.5
    assert not canvas.place("large vehicle", truck, before, (43.0, 52.0), angle), "one upon the other"


def test_objects_of_scenes_lie_at_every_orientation():
    theme = next(t for t in THEMES if t.name == "car park")
    sectors = np.zeros(6, int)
    for seed in range(40):
        scene = render_theme(np.random.default_rng(seed), (96, 96), STYLES["dlrsd"], theme)
        parts, count = ndimage.label(scene.concept_map == INDEX["cars"])
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        for part in np.flatnonzero((sizes > 30) & (sizes < 90))[:4]:
            sectors[int(_long_axis(parts == part) / np.pi * 6) % 6] += 1
    assert sectors.sum() > 60
    assert sectors.min() > 0 and sectors.max() < 0.5 * sectors.sum()


@pytest.mark.parametrize("name", list(DRAWINGS))
def test_every_drawing_covers_ground_and_grows_with_the_scale(name):
    drawing = DRAWINGS[name](np.random.default_rng(0), CONCEPTS[name])
    small, large = (rasterise(drawing, 0.7, scale, (20.3, 31.6)).alpha for scale in (1.0, 2.0))
    assert small.sum() > 5
    assert large.sum() == pytest.approx(4 * small.sum(), rel=0.25)
    rim = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    assert rim.max() < 0.3, "the tile cuts the drawing off"


def test_names_are_lower_case_cover_the_benchmark_and_are_true_of_known_concepts():
    sets = (
        catalog.DLRSD,
        catalog.ISAID,
        catalog.LOVEDA,
        catalog.ISPRS,
        catalog.UAVID,
        catalog.UDD5,
        catalog.VDD,
    )
    asked = {name.lower() for classes in sets for name in (*classes.names, *catalog.DEEPGLOBE.names)}
    assert asked <= set(NAMES)
    assert all(name == name.lower() and concepts for name, concepts in NAMES.items())
    assert {c for concepts in NAMES.values() for c in concepts} == set(CONCEPTS)


def test_colours_alone_do_not_tell_the_concepts_apart():
    """A Bayes classifier on the colour histogram of the very same pixels stays far from the truth."""
    colors, labels = [], []
    for scene in _scenes(60):
        code = (scene.image >> 5).astype(int) @ (64, 8, 1)
        colors.append(code.ravel()[::7])
        labels.append(scene.concept_map.ravel()[::7])
    counts = np.zeros((len(CONCEPTS), 512))
    np.add.at(counts, (np.concatenate(labels), np.concatenate(colors)), 1)
    best = counts == counts.max(axis=0)
    recall = (counts * best).sum(1)[counts.sum(1) > 0] / counts.sum(1)[counts.sum(1) > 0]
    assert recall.mean() < 0.4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    assert write_dlrsd(root, 90, 20, seed=5) == 110
    return root


def test_the_miniature_dlrsd_loads_through_the_data_table(dataset):
    train, val, both = (
        pairs(find_split(f"DLRSD_{part}_sem_seg"), dataset) for part in ("train", "val", "all")
    )
    assert (len(train), len(val), len(both)) == (90, 20, 110)
    assert {p.image.stem for p in train}.isdisjoint(p.image.stem for p in val)
    for pair in (*train[:5], *val, *both[:5]):
        image, label = Image.open(pair.image), Image.open(pair.label)
        assert (image.format, image.mode, label.mode) == ("JPEG", "RGB", "L")
        assert image.size == label.size == (96, 96)
    again = {p.image.name: p.image.read_bytes() for p in both}
    assert all(again[p.image.name] == p.image.read_bytes() for p in (*train, *val))


def test_every_class_of_dlrsd_occurs_and_no_other_id(dataset):
    images = np.zeros(256, int)
    for pair in pairs(find_split("DLRSD_all_sem_seg"), dataset):
        images += np.bincount(np.asarray(Image.open(pair.label)).ravel(), minlength=256) >= 16
    assert (images[:17] >= 3).all(), dict(zip(catalog.DLRSD.names, images[:17].tolist(), strict=True))
    assert images[17:].sum() == 0


def test_the_label_of_a_concept_is_the_class_that_names_it():
    table = MINIATURES["DLRSD"].label_table()
    for label, name in enumerate(catalog.DLRSD.names):
        assert table[INDEX[name]] == label
    assert all(table[INDEX[name]] == catalog.IGNORE_LABEL for name in ("road", "human", "bridge"))


def test_the_same_set_is_kept_and_an_interrupted_one_is_completed_alike(dataset):
    files = sorted(p for p in dataset.rglob("*") if p.is_file())
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in files}
    assert write_dlrsd(dataset, 90, 20, seed=5) == 0
    lost = [p for p in files if p.stem == "scene00007"]
    assert len(lost) == 4
    lost[0].unlink()
    assert write_dlrsd(dataset, 90, 20, seed=5) == 1
    assert {p: before[p][1] for p in files} == {p: p.read_bytes() for p in files}
    kept = [p for p in files if p not in lost and p.suffix != ".json"]
    assert all(p.stat().st_mtime_ns == before[p][0] for p in kept)


@pytest.mark.parametrize("change", [{"seed": 6}, {"num_train": 91}, {"side": 112}])
def test_another_set_at_the_same_place_is_refused(dataset, change):
    before = sorted(dataset.rglob("*"))
    manifest = json.loads((dataset / "DLRSD_miniature.json").read_text())
    with pytest.raises(DatasetError, match="another set"):
        write_dlrsd(dataset, **({"num_train": 90, "num_val": 20, "seed": 5, "side": 96} | change))
    assert sorted(dataset.rglob("*")) == before
    assert json.loads((dataset / "DLRSD_miniature.json").read_text()) == manifest


def test_files_of_someone_else_are_never_overwritten(tmp_path):
    theirs = tmp_path / "DLRSD" / "imgs" / "Airplane00.jpg"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"precious")
    with pytest.raises(DatasetError, match=r"Airplane00.*nothing is overwritten"):
        write_dlrsd(tmp_path, 2, 1, seed=0)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [theirs]


def test_a_scene_in_the_wrong_folder_is_refused(tmp_path):
    write_dlrsd(tmp_path, 2, 1, seed=0, side=32)
    train, val = (find_split(f"DLRSD_{part}_sem_seg") for part in ("train", "val"))
    for pair in pairs(val, tmp_path):
        shutil.copy(pair.image, tmp_path / train.images)
    with pytest.raises(DatasetError, match="scene00002"):
        write_dlrsd(tmp_path, 2, 1, seed=0, side=32)


def test_bad_requests_are_refused_with_advice(tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(DatasetError, match="volcano"):
        render_scene(rng, 96, "dlrsd", ["volcano"])
    with pytest.raises(DatasetError, match="no style 'mars'"):
        render_scene(rng, 96, "mars")
    with pytest.raises(DatasetError, match="add land covers"):
        render_scene(rng, 96, "dlrsd", ["cars"])
    with pytest.raises(DatasetError, match="at least 32"):
        render_scene(rng, 16)
    with pytest.raises(DatasetError, match="at least one scene"):
        write_dlrsd(tmp_path, 0, 1, seed=0)


def test_what_is_not_allowed_is_left_out_of_a_theme():
    themes = allowed_themes(frozenset({"grass", "buildings", "trees"}))
    assert {"suburb", "meadow"} <= {theme.name for theme in themes}
    for theme in themes:
        assert {c for choices in theme.regions for c in choices} <= {"grass", "trees"}
        assert {group.concept for group in theme.groups} <= {"buildings", "trees"}
        assert theme.street == ()
