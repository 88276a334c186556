"""Rasters of ids on the grid of the image, and on others."""

import numpy as np
import pytest
from rasterio.transform import from_origin
from rasterio.warp import transform as project

from rskt_seg.errors import LabelError
from tests.data.own_preparation.sources import (
    ORIGIN,
    UTM,
    colors_of,
    ids_of,
    only_labels,
    prepare,
    write_description,
    write_png,
    write_tif,
)


def image(folder, seed=1, **place):
    return write_tif(folder / "images/a.tif", np.moveaxis(colors_of(seed), 2, 0), **place)


def labels_of(folder, **labels):
    keys = {"form": "ids", "path": "labels"} | labels
    return only_labels(prepare(write_description(folder, labels=keys), folder / "out"))["a"]


def refusal(folder, **labels):
    with pytest.raises(LabelError) as error:
        labels_of(folder, **labels)
    return str(error.value)


def test_values_become_classes_and_the_nodata_of_the_label_is_ignored(tmp_path):
    image(tmp_path)
    stored = ids_of(2, classes=4).astype(np.int32) + 1  # 1..4
    write_tif(tmp_path / "labels/a.tif", stored, nodata=4)
    expected = np.select([stored == 1, np.isin(stored, (2, 3))], [1, 0], 255)
    assert (labels_of(tmp_path, values={"house": 1, "field": [2, 3]}) == expected).all()


def test_ids_that_are_no_class_are_refused_with_their_counts(tmp_path):
    image(tmp_path)
    stored = ids_of(2)
    stored[0, :7] = 9
    write_tif(tmp_path / "labels/a.tif", stored)
    assert "found ids 9 (7" in refusal(tmp_path) and "`values`" in refusal(tmp_path)
    assert (labels_of(tmp_path, ignore=[9])[0, :7] == 255).all()


def test_255_is_ignored_as_everywhere_unless_it_is_a_class(tmp_path):
    write_png(tmp_path / "images/a.jpg", colors_of(1))
    stored = ids_of(2) * np.uint8(255)
    write_png(tmp_path / "labels/a.png", stored)
    summary = prepare(write_description(tmp_path), tmp_path / "out")
    assert (only_labels(summary)["a"] == stored).all()
    assert "no label in all shows house" in "".join(summary.notes)
    other = write_description(
        tmp_path, name="other", labels={"form": "ids", "path": "labels", "values": {"field": 0, "house": 255}}
    )
    assert (only_labels(prepare(other, tmp_path / "out"))["a"] == stored // 255).all()


def nearest(stored, label_place, label_crs, size, place, crs):
    """The value of the label pixel that the centre of each image pixel lies in; 255 outside."""
    rows, columns = np.indices(size)
    xs, ys = place * (columns.ravel() + 0.5, rows.ravel() + 0.5)
    xs, ys = project(crs, label_crs, xs, ys)
    there = np.array([~label_place * point for point in zip(xs, ys, strict=True)])
    column, row = np.floor(there).astype(int).T
    inside = (row >= 0) & (row < stored.shape[0]) & (column >= 0) & (column < stored.shape[1])
    found = np.where(
        inside, stored[row.clip(0, stored.shape[0] - 1), column.clip(0, stored.shape[1] - 1)], 255
    )
    return found.reshape(size)


@pytest.mark.parametrize("crs", [UTM, "EPSG:32633", "EPSG:4326"])
def test_labels_on_another_grid_are_warped_by_nearest_neighbour(tmp_path, crs):
    image(tmp_path)
    (x, *_), (y, *_) = project(UTM, crs, [ORIGIN[0] - 3], [ORIGIN[1] + 11])
    pixel = 2.5 if crs != "EPSG:4326" else 2.5e-5
    stored = ids_of(2, 30, 25)
    write_tif(tmp_path / "labels/a.tif", stored, origin=(x, y), pixel=pixel, crs=crs)
    found = labels_of(tmp_path)
    expected = nearest(
        stored, from_origin(x, y, pixel, pixel), crs, (40, 50), from_origin(*ORIGIN, 1, 1), UTM
    )
    assert {0, 1} <= set(np.unique(found)) and (found != expected).mean() < 0.01


def test_what_a_label_on_another_grid_does_not_reach_is_ignored(tmp_path):
    image(tmp_path)
    write_tif(tmp_path / "labels/a.tif", np.zeros((40, 20), np.uint8))
    found = labels_of(tmp_path)
    assert (found[:, :20] == 0).all() and (found[:, 20:] == 255).all()


def test_a_label_of_another_place_size_or_kind_is_refused(tmp_path):
    image(tmp_path)
    label = tmp_path / "labels/a.tif"
    write_tif(label, ids_of(2), origin=(600_000.0, 5_300_000.0))
    assert "no pixel with data on its image" in refusal(tmp_path)
    write_tif(label, ids_of(2, 30, 30), origin=None)
    assert "30 x 30 but its image is 40 x 50" in refusal(tmp_path)
    write_tif(label, ids_of(2, 30, 30), crs=None)
    assert "the label has no CRS" in refusal(tmp_path)
    write_tif(label, np.moveaxis(colors_of(1), 2, 0))
    assert "form: colors" in refusal(tmp_path)
    write_tif(label, ids_of(2).astype(np.float32))
    assert "expected integer ids; found float32" in refusal(tmp_path)
    write_tif(label, ids_of(2), compress="deflate")
    label.write_bytes(label.read_bytes()[:-20])
    assert "damaged" in refusal(tmp_path) or "cannot be read" in refusal(tmp_path)


def test_neither_grid_needs_a_crs_if_both_have_none(tmp_path):
    image(tmp_path, crs=None)
    write_tif(
        tmp_path / "labels/a.tif", np.kron(ids_of(2, 20, 25), np.ones((1, 1), np.uint8)), pixel=2.0, crs=None
    )
    found = labels_of(tmp_path)
    assert (found == np.kron(ids_of(2, 20, 25), np.ones((2, 2), np.uint8))).all()
