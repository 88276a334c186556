"""What `rskt-seg segment` makes of facts that images and ground truths state."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from rskt_seg.commands.segment import pair_truths, parse_args
from rskt_seg.errors import DatasetError
from rskt_seg.segmenter import Segmenter
from tests.commands.test_segment import NAMES, noise, run
from tests.geo.rasters import UTM, write_tiff
from tests.stub_models import Colours

IDS = (np.arange(40 * 40).reshape(40, 40) // 300 % 3).astype(np.uint8)


def turned(path, orientation, shape=(40, 40)):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(noise(*shape)).save(path, exif=exif)
    return path


def test_a_truth_on_another_grid_than_its_image_fails_with_both_grids(tmp_path, caplog):
    image = write_tiff(tmp_path / "a.tif", noise(40, 40).transpose(2, 0, 1), **UTM)
    grid = UTM["transform"] * Affine.translation(0, 40) * Affine.scale(1, -1)
    truth = write_tiff(tmp_path / "gt.tif", IDS[None], crs=UTM["crs"], transform=grid)
    assert run([image], tmp_path / "out", {image: truth}) == 1
    assert "pixel (0.5, -0.5); label EPSG:32632, origin (300000, 5599980), pixel (0.5, 0.5)" in caplog.text
    same = write_tiff(tmp_path / "same.tif", IDS[None], **UTM)
    assert run([image], tmp_path / "out", {image: same}) == 0


@pytest.mark.parametrize(
    ("orientation", "shape", "status"),
    [(1, (40, 40), 0), (3, (40, 40), 1), (6, (40, 40), 1), (6, (30, 40), 0), (3, (30, 40), 1)],
)
def test_a_truth_of_a_turned_image_counts_only_where_sizes_tell_that_it_follows(
    tmp_path, caplog, orientation, shape, status
):
    image = turned(tmp_path / "a.jpg", orientation, shape)
    upright = shape[::-1] if orientation == 6 else shape
    Image.fromarray(np.resize(IDS, upright)).save(tmp_path / "gt.png")
    assert run([image], tmp_path / "out", {image: tmp_path / "gt.png"}) == status
    assert (f"turned by its EXIF orientation {orientation}" in caplog.text) is bool(status)


def test_pixels_without_data_are_no_errors_against_the_truth(tmp_path):
    bands = np.maximum(noise(40, 40), 1).transpose(2, 0, 1)
    bands[:, :20] = 0
    image = write_tiff(tmp_path / "a.tif", bands, nodata=0)
    for name, hole in (("full", IDS[:20]), ("ignored", 255), ("other", 2 - IDS[:20])):
        truth = IDS.copy()
        truth[:20] = hole
        Image.fromarray(truth).save(tmp_path / f"{name}.png")
        assert run([image], tmp_path / name, {image: tmp_path / f"{name}.png"}) == 0
    for picture in ("a_errors.png", "a_truth.png"):
        assert len({(tmp_path / name / picture).read_bytes() for name in ("full", "ignored", "other")}) == 1


def test_a_fill_is_told_and_declared_by_the_option(tmp_path, caplog):
    bands = np.maximum(noise(40, 40), 1).transpose(2, 0, 1)
    bands[:, :20] = 0
    image = write_tiff(tmp_path / "a.tif", bands)
    with caplog.at_level(logging.WARNING):
        run([image], tmp_path / "told")
    assert "--nodata 0" in caplog.text
    run([image], tmp_path / "declared", nodata=0.0)
    ids = np.asarray(Image.open(tmp_path / "declared/a_ids.png"))
    assert (ids[:20] == 255).all() and (ids[20:] < 3).all()
    pixels = json.loads((tmp_path / "declared/a_area.json").read_text())["nodata"]["pixels"]
    assert pixels == 20 * 40


def test_an_alpha_band_of_data_is_read_as_data_on_request(tmp_path):
    bands = noise(40, 40).transpose(2, 0, 1)
    infrared = np.where(IDS == 0, 0, 90).astype(np.uint8)
    path = tmp_path / "a.tif"
    write_tiff(path, np.concatenate([bands, infrared[None]]), photometric="RGB", ALPHA="YES")
    run([path], tmp_path / "alpha")
    run([path], tmp_path / "data", alpha=False)
    ids = {name: np.asarray(Image.open(tmp_path / name / "a_ids.png")) for name in ("alpha", "data")}
    np.testing.assert_array_equal(ids["alpha"] == 255, IDS == 0)
    assert (ids["data"] < 3).all()


def test_the_flags_of_the_command_line_reach_the_reader():
    words = ["--config-file", "c", "--input", "i", "--output", "o"]
    plain, flagged = parse_args(words), parse_args([*words, "--nodata", "-9999", "--no-alpha"])
    assert (plain.nodata, plain.no_alpha) == (None, False)
    assert (flagged.nodata, flagged.no_alpha) == (-9999.0, True)


@pytest.mark.parametrize("bands", [1, 3])
def test_the_mask_of_a_masked_array_is_honoured(bands):
    pixels = noise(40, 40)[..., :bands]
    mask = np.zeros(pixels.shape, bool)
    mask[:10] = True
    mask[10, :, 0] = bands > 1  # data in any band is enough
    array = np.ma.masked_array(pixels, mask)
    labels = Segmenter(Colours(cells=8), NAMES, short_side=48).predict(array.squeeze()).labels
    np.testing.assert_array_equal(labels == 255, np.arange(40)[:, None].repeat(40, 1) < 10)


def test_one_part_of_a_file_is_segmented_by_gdals_name(tmp_path):
    first, second = noise(40, 40)[..., 0], noise(40, 40, seed=1)[..., 0]
    pages = [Image.fromarray(page) for page in (first, second)]
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    segmenter = Segmenter(Colours(cells=8), NAMES, short_side=48)
    part = segmenter.predict(f"GTIFF_DIR:2:{tmp_path / 'two.tif'}")
    np.testing.assert_array_equal(part.labels, segmenter.predict(second).labels)
    with rasterio.open(tmp_path / "two.tif") as dataset:
        assert len(dataset.subdatasets) == 2


def test_a_pipe_in_place_of_a_label_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"--gt: expected label images; .*a\.png is a pipe or a device"):
        pair_truths([Path("a.jpg")], [tmp_path / "a.png"])
