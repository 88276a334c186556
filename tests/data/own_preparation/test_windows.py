"""Windows that are read of sources against the tiles that a preparation writes of them."""

import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
import yaml
from pycocotools import mask

from rskt_seg.data import read_label
from rskt_seg.data.own_preparation import OwnWindows, windows
from rskt_seg.errors import DatasetError, LabelError
from rskt_seg.geo import read_image
from tests.data.own_preparation.sources import (
    ORIGIN,
    UTM,
    ids_of,
    prepare,
    write_description,
    write_png,
    write_tif,
)
from tests.data.own_preparation.test_vectors import write_vector

X, Y = ORIGIN
SIZE = (44, 60)
PLACES = [ORIGIN, (X + 55, Y - 20)]
DIVISION = {"val": 0.3, "blocks": "24 px"}
TILES = {"size": 12, "overlap": 3, "keep_empty": 0.5, "background": "field"}


def scenes(folder: Path) -> None:
    """Two georeferenced scenes of four deep bands, without data along two sides."""
    for number, place in enumerate(PLACES):
        bands = np.random.default_rng(number).integers(1, 3000, (4, *SIZE)).astype(np.uint16)
        bands[:, :9], bands[:, :, 50:] = 4000, 4000
        write_tif(folder / f"images/s{number}.tif", bands, origin=place, nodata=4000)


def outlines(seed: int, count: int = 12) -> list[shapely.Polygon]:
    """Polygons in pixels of a scene, which overlap and leave it."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-5, 60, (count, 2))
    return [shapely.Point(each).buffer(rng.uniform(3, 9), quad_segs=3) for each in centres]


def ids(folder: Path) -> dict[str, object]:
    for number, place in enumerate(PLACES):
        write_tif(folder / f"labels/s{number}.tif", ids_of(number, *SIZE, classes=3) + 1, place, nodata=3)
    return {"form": "ids", "path": "labels", "values": {"field": 1, "house": 2}}


def ids_elsewhere(folder: Path) -> dict[str, object]:
    west, north = rasterio.warp.transform(UTM, "EPSG:32633", [X - 9], [Y + 9])
    for number in range(2):
        stored = ids_of(number, 30, 40)
        write_tif(folder / f"labels/s{number}.tif", stored, (west[0], north[0]), pixel=2.7, crs="EPSG:32633")
    return {"form": "ids", "path": "labels"}


def colors(folder: Path) -> dict[str, object]:
    table = np.array([(200, 0, 0), (0, 0, 200), (0, 0, 0), (190, 3, 3), (90, 90, 90)], np.uint8)
    for number, suffix in enumerate(("tif", "png")):  # rasterio reads windows of one, Pillow all of the other
        drawn = table[ids_of(number, *SIZE, classes=5)]
        path = folder / f"labels/s{number}.{suffix}"
        write_png(path, drawn) if suffix == "png" else write_tif(path, np.moveaxis(drawn, 2, 0))
    return {
        "form": "colors", "path": "labels", "colors": {"field": "#C80000", "house": "#0000C8"},
        "ignore": ["#000000"], "snap": 20, "tolerance": 0.5,
    }  # fmt: skip


def vector(folder: Path) -> dict[str, object]:
    polygons = [shapely.affinity.affine_transform(p, (1, 0, 0, -1, X, Y)) for p in outlines(5, 40)]
    pair = shapely.MultiPolygon(
        [shapely.box(X + 3, Y - 60, X + 9, Y - 40), shapely.box(X + 30, Y - 60, X + 50, Y)]
    )
    kinds = ["house", "field", "hedge", "field"] * 10
    write_vector(folder / "land.gpkg", [*polygons, pair], [*kinds, "house"], crs="EPSG:4326")
    return {
        "form": "vector", "path": "land.gpkg", "attribute": "kind", "ignore": ["hedge"], "all_touched": True,
        "background": "field", "priority": ["house", "field"],
    }  # fmt: skip


def vectors(folder: Path) -> dict[str, object]:
    for number, (x, y) in enumerate(PLACES):
        polygons = [shapely.affinity.affine_transform(p, (1, 0, 0, -1, x, y)) for p in outlines(number)]
        write_vector(folder / f"labels/s{number}.geojson", polygons, ["house", "field", "house"] * 4)
    return {"form": "vector", "path": "labels", "attribute": "kind"}


def coco(folder: Path) -> dict[str, object]:
    height, width = SIZE
    annotations = []
    for number, each in enumerate(outlines(3) + outlines(4)):
        ring = [float(value) for point in np.array(each.exterior.coords) for value in point]
        segmentation: object = [ring]
        if number % 3 == 1:
            segmentation = mask.merge(mask.frPyObjects([ring], height, width))
            segmentation["counts"] = segmentation["counts"].decode()
        if number % 3 == 2:
            drawn = np.asfortranarray(ids_of(number, height, width)).ravel("F")
            steps = np.flatnonzero(np.diff(drawn)) + 1
            counts = np.diff([0, *steps, drawn.size]).tolist()
            segmentation = {"size": [height, width], "counts": counts if not drawn[0] else [0, *counts]}
        annotations.append({"image_id": number % 2, "category_id": number % 3, "segmentation": segmentation})
    tree = {
        "images": [{"id": k, "file_name": f"s{k}.tif", "height": height, "width": width} for k in range(2)],
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in enumerate(("house", "field", "hedge"))],
    }
    (folder / "coco.json").write_text(json.dumps(tree))
    return {"form": "coco", "path": "coco.json", "ignore": ["hedge"], "background": "field"}


def labelme(folder: Path) -> dict[str, object]:
    for number in range(2):
        shapes = [
            {"label": "house" if k % 2 else "field", "points": np.array(each.exterior.coords).tolist()}
            for k, each in enumerate(outlines(number))
        ]
        path = folder / f"labels/s{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"shapes": shapes, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}))
    return {"form": "labelme", "path": "labels", "background": "field"}


def of_images(folder: Path) -> dict[str, object]:
    (folder / "classes.csv").write_text("s0.tif,house,field\ns1.tif,field\n")
    return {"form": "image_labels", "path": "classes.csv"}


FORMS = [ids, ids_elsewhere, colors, vector, vectors, coco, labelme, of_images]


def described(folder: Path, form) -> Path:
    scenes(folder)
    whole = form is of_images
    return write_description(
        folder, images={"path": "images", "bands": [4, 3, 2]}, labels=form(folder),
        tiles=None if whole else TILES, split=None if whole else DIVISION,
    )  # fmt: skip


def read_all(found: OwnWindows) -> dict[str, dict[str, tuple[np.ndarray, ...]]]:
    """Split -> stem -> pixels, valid pixels and ids of its windows."""
    splits = {}
    for split in found.description.division.names:
        tiles = {each.stem: found.read(each.stem) for each in found.of_split(split)}
        splits[split] = {stem: (image.pixels, image.valid, ids) for stem, (image, ids) in tiles.items()}
    return splits


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_windows_are_the_tiles_to_the_byte(tmp_path, form):
    path = described(tmp_path, form)
    summary = prepare(path, tmp_path / "out")
    found = OwnWindows(path, tmp_path / "run", renew=True)
    passed_on = pickle.loads(pickle.dumps(found))  # as a worker process that is spawned receives it
    assert len(pickle.dumps(passed_on)) and set(summary.tiles) == set(found.description.division.names)
    for split, tiles in read_all(passed_on).items():
        files = sorted((summary.folder / split / "images").iterdir())
        assert [file.name for file in files] == [Path(each.image).name for each in found.of_split(split)]
        for file in files:
            pixels, valid, labels = tiles[file.stem]
            image = read_image(file)
            np.testing.assert_array_equal(pixels, image.pixels)
            np.testing.assert_array_equal(valid, image.valid)
            if form is not of_images:
                np.testing.assert_array_equal(
                    labels, read_label(summary.folder / split / "labels" / file.name)
                )
    assert set(found.notes()) <= set(summary.notes) and found.plan.stretch in summary.notes
    assert form in (of_images, vectors, ids_elsewhere) or "left out" in "".join(found.notes())


@pytest.mark.parametrize("form", FORMS[:-1], ids=lambda form: form.__name__)
def test_a_window_of_a_label_is_that_part_of_the_whole(tmp_path, form):
    found = OwnWindows(described(tmp_path, form), tmp_path / "run", renew=True)
    rng = np.random.default_rng(1)
    for scene in found.plan.scenes:
        with found.plan.labels.open(scene.source, scene.image) as label:
            whole = label.read(windows.Window(0, 0, *SIZE))
            assert len(np.unique(whole)) > 1
            for _ in range(20):
                top, left = rng.integers(0, 25, 2).tolist()
                window = windows.Window(top, left, *rng.integers(1, 19, 2).tolist())
                np.testing.assert_array_equal(label.read(window), whole[window.slices])


def test_sources_are_looked_at_once_and_the_plan_says_what_they_were(tmp_path, monkeypatch):
    path, run = described(tmp_path, ids), tmp_path / "run"
    first = read_all(OwnWindows(path, run, renew=True))
    kept = (run / "windows_farm.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(windows, "survey_scene", None)
        np.testing.assert_equal(read_all(OwnWindows(path, run, renew=False)), first)
    assert (run / "windows_farm.json").read_bytes() == kept
    write_tif(tmp_path / "labels/s1.tif", ids_of(9, *SIZE) + 1, PLACES[1], nodata=3)
    with pytest.raises(DatasetError, match=r"windows_farm\.json belongs to .*labels/s1\.tif changed since"):
        OwnWindows(path, run, renew=False).of_split("train")
    assert (run / "windows_farm.json").read_bytes() == kept
    again = read_all(OwnWindows(path, run, renew=True))
    np.testing.assert_equal(again, read_all(OwnWindows(path, run, renew=False)))
    tree = yaml.safe_load(path.read_text()) | {"tiles": TILES | {"size": 14}}
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(DatasetError, match=r"farm_source\.yaml changed since"):
        OwnWindows(path, run, renew=False).of_split("train")


def test_sources_may_move_together_with_the_file_that_describes_them(tmp_path):
    (tmp_path / "here").mkdir()
    path, run = described(tmp_path / "here", ids), tmp_path / "run"
    first = read_all(OwnWindows(path, run, renew=True))
    (tmp_path / "here").rename(tmp_path / "there")
    moved = OwnWindows(tmp_path / "there" / path.name, run, renew=False)
    np.testing.assert_equal(read_all(moved), first)


def test_a_source_that_changes_while_it_is_trained_on_is_refused(tmp_path):
    path = described(tmp_path, vector)
    found = OwnWindows(path, tmp_path / "run", renew=True)
    stem = found.of_split("train")[0].stem
    found.read(stem)
    (tmp_path / "land.gpkg").touch()
    with pytest.raises(DatasetError, match="or its label has changed since the run began"):
        found.read(stem)


def test_a_damaged_plan_is_refused_in_a_line(tmp_path):
    path = described(tmp_path, ids)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/windows_farm.json").write_text('{"format": ')
    with pytest.raises(DatasetError, match=r"is damaged .* delete it, and it is made anew"):
        OwnWindows(path, tmp_path / "run", renew=True).of_split("train")


def test_a_label_of_no_class_is_refused_before_any_training(tmp_path):
    path = described(tmp_path, ids)
    stored = ids_of(0, *SIZE) + 1
    stored[40, 40] = 9
    write_tif(tmp_path / "labels/s0.tif", stored, nodata=3)
    with pytest.raises(LabelError, match=r"found ids 9 \(1"):
        OwnWindows(path, tmp_path / "run", renew=True).of_split("train")
    assert not (tmp_path / "run").exists()


def test_pictures_of_a_run_are_never_taken_for_sources(tmp_path):
    path = described(tmp_path, ids)
    for images, run in (("images", "images/run"), ("**/*.png", "run")):
        tree = yaml.safe_load(path.read_text()) | {"images": {"path": images}}
        path.write_text(yaml.safe_dump(tree))
        with pytest.raises(DatasetError, match="choose another --output"):
            OwnWindows(path, tmp_path / run, renew=True).of_split("train")


@pytest.mark.parametrize("form", ["ids", "colors"])
def test_a_window_of_a_huge_scene_takes_little_memory(tmp_path, form):
    side = 2**15
    for name, bands in (("images/a.tif", 3), ("labels/a.tif", 1 if form == "ids" else 3)):
        path = tmp_path / name
        path.parent.mkdir()
        profile = {"height": side, "width": side, "count": bands, "dtype": "uint8", "tiled": True}
        with rasterio.open(path, "w", driver="GTiff", **profile, sparse_ok=True) as dataset:
            dataset.write(
                np.ones((bands, 512, 512), np.uint8), window=rasterio.windows.Window(512, 512, 512, 512)
            )
    labels = {"form": form, "path": "labels"}
    labels |= {"colors": {"field": "#000000", "house": "#010101"}} if form == "colors" else {}
    found = OwnWindows(write_description(tmp_path, labels=labels, tiles={"size": 512}), tmp_path, renew=True)
    assert found.plan.scenes[0].image.size == (side, side)  # all of the label is not looked at here
    tracemalloc.start()
    try:
        image, seen = found.read("a_512_1024_512_1024")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (image.pixels == 1).all() and (seen == 1).all() and peak < 2**27, peak
