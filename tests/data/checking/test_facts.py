"""Checking a dataset: facts that the files state, compared with each other."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from rskt_seg.data.catalog import pairs
from rskt_seg.data.checking.check import check_split
from rskt_seg.data.checking.findings import ERROR, NOTE
from rskt_seg.data.checking.quick import quick_check
from rskt_seg.data.own import read_own
from rskt_seg.errors import DatasetError
from rskt_seg.geo.grids import grid_difference, read_georeference
from tests.geo.rasters import UTM, noise, write_tiff

SIZE = 32
IDS = (np.arange(SIZE * SIZE).reshape(SIZE, SIZE) // 100 % 3).astype(np.uint8)
GRID = UTM["transform"]
OTHER_GRIDS = {
    "south-up": GRID * Affine.translation(0, SIZE) * Affine.scale(1, -1),
    "shifted": Affine.translation(500, 0) * GRID,
    "pixel size": GRID * Affine.scale(2),
}


def dataset(folder: Path, palette_line: str = ""):
    """The only split of a dataset of the user's own, whose files lie in x and y."""
    for name in ("x", "y"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "own.yaml").write_text(
        f"name: own\nclasses: [a, b, c]\n{palette_line}\nsplits: {{train: {{images: x, labels: y}}}}\n"
    )
    return read_own(folder / "own.yaml")[0]


def both_checks(split, folder):
    """The findings of the full check and of that before a run."""
    report = check_split(split, folder, progress=False)
    files = pairs(split, folder)
    ignored, colors = split.ignore_label, split.palette_colors
    return report.findings, quick_check("own", files, split.class_set.names, ignored, colors=colors)


def write_grids(folder, label_grid, crs="EPSG:32632"):
    split = dataset(folder)
    write_tiff(folder / "x/a.tif", noise(3, SIZE, SIZE), **UTM)
    write_tiff(folder / "y/a.tif", IDS[None], crs=crs, transform=label_grid)
    return split


@pytest.mark.parametrize("how", [*OTHER_GRIDS, "zone"])
def test_a_label_on_another_grid_is_an_error_of_both_checks_with_both_grids(tmp_path, how):
    split = write_grids(tmp_path, OTHER_GRIDS.get(how, GRID), "EPSG:32633" if how == "zone" else "EPSG:32632")
    for findings in both_checks(split, tmp_path):
        (finding,) = [f for f in findings if "different grids" in f.kind.what]
        ((path, detail),) = finding.files
        assert finding.kind.level == ERROR and path.endswith("a.tif")
        assert "image EPSG:32632, origin (300000, 5600000), pixel (0.5, -0.5); label EPSG:3263" in detail


def test_equal_grids_and_files_without_one_are_no_finding(tmp_path):
    split = write_grids(tmp_path, GRID * Affine.translation(0.01, 0))
    write_tiff(tmp_path / "x/b.tif", noise(3, SIZE, SIZE, seed=1), **UTM)
    Image.fromarray(IDS).save(tmp_path / "y/b.png")
    for findings in both_checks(split, tmp_path):
        assert not [f for f in findings if "grids" in f.kind.what]


FEET = Affine.scale(1 / 0.3048006096012192)


@pytest.mark.parametrize(
    ("crs", "grid"),
    [
        ("EPSG:25832", GRID),  # ETRS89
        ("EPSG:5555", GRID),  # ETRS89 with heights
        ("+proj=utm +zone=32 +ellps=WGS84 +units=m", GRID),
        ("+proj=utm +zone=32 +datum=WGS84 +units=us-ft", FEET * GRID),
        ("ESRI", GRID),
        ("+proj=utm +zone=32 +ellps=bessel +towgs84=598,73,418", None),
        ("EPSG:32732", None),
        ('LOCAL_CS["hall",UNIT["metre",1]]', None),
    ],
)
def test_systems_of_the_same_ground_are_no_other_grids(tmp_path, crs, grid):
    crs = rasterio.CRS.from_epsg(32632).to_wkt("WKT1_ESRI") if crs == "ESRI" else crs
    split = write_grids(tmp_path, grid or GRID, crs)
    for findings in both_checks(split, tmp_path):
        assert bool([f for f in findings if "grids" in f.kind.what]) == (grid is None)


def test_a_grid_of_a_world_file_counts(tmp_path):
    Image.fromarray(IDS).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text("0.5\n0\n0\n-0.5\n300500.25\n5599999.75\n")
    label = read_georeference(tmp_path / "a.png")
    image = read_georeference(write_tiff(tmp_path / "a.tif", IDS[None], **UTM))
    assert "label no CRS, origin (300500, 5600000)" in grid_difference(image, label, IDS.shape)
    assert grid_difference(image, image, IDS.shape) == "" == grid_difference(image, None, IDS.shape)


def write_palette_label(path, colors, ids=IDS):
    image = Image.fromarray(ids).convert("P")
    image.putpalette([value for color in colors for value in color])
    image.save(path)


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def test_palettes_that_contradict_each_other_are_an_error(tmp_path):
    split = dataset(tmp_path)
    for name, colors in (("a", (RED, GREEN, BLUE)), ("b", (GREEN, RED, BLUE))):
        Image.fromarray(noise(SIZE, SIZE, 3, seed=ord(name))).save(tmp_path / f"x/{name}.png")
        write_palette_label(tmp_path / f"y/{name}.png", colors)
    for findings in both_checks(split, tmp_path):
        (finding,) = [f for f in findings if "contradict" in f.kind.what]
        ((path, detail),) = finding.files
        assert finding.kind.level == ERROR and path.endswith("b.png")
        assert detail == f"id 0 is {GREEN}, in a.png {RED}" and "by colour" in finding.kind.cure


def test_a_palette_that_contradicts_that_of_the_dataset_is_an_error(tmp_path):
    Image.fromarray(noise(SIZE, SIZE, 3)).convert("RGB")
    for line, wrong in (("palette: [[0,255,0], [255,0,0], [0,0,255]]", True), ("", False)):
        split = dataset(tmp_path, line)
        Image.fromarray(noise(SIZE, SIZE, 3)).save(tmp_path / "x/a.png")
        write_palette_label(tmp_path / "y/a.png", (RED, GREEN, BLUE))
        for findings in both_checks(split, tmp_path):
            assert any("contradict" in f.kind.what for f in findings) is wrong
            assert not wrong or not any("nothing to do" in f.kind.cure for f in findings)


def test_a_palette_of_the_ids_as_grays_states_no_colours(tmp_path):
    split = dataset(tmp_path, "palette: [[0,255,0], [255,0,0], [0,0,255]]")
    Image.fromarray(noise(SIZE, SIZE, 3)).save(tmp_path / "x/a.png")
    write_palette_label(tmp_path / "y/a.png", [(k, k, k) for k in range(3)])
    for findings in both_checks(split, tmp_path):
        assert not [f for f in findings if "contradict" in f.kind.what]


def test_colours_of_ids_that_do_not_occur_play_no_role(tmp_path):
    split = dataset(tmp_path)
    for name, last in (("a", BLUE), ("b", RED)):
        Image.fromarray(noise(SIZE, SIZE, 3, seed=ord(name))).save(tmp_path / f"x/{name}.png")
        write_palette_label(tmp_path / f"y/{name}.png", (RED, GREEN, last), IDS // 2)
    for findings in both_checks(split, tmp_path):
        assert not [f for f in findings if "contradict" in f.kind.what]


def test_nodata_of_images_and_labels_is_counted_as_notes(tmp_path):
    split = dataset(tmp_path)
    bands = np.maximum(noise(3, SIZE, SIZE), 1)
    bands[:, : SIZE // 4] = 0
    write_tiff(tmp_path / "x/a.tif", bands, nodata=0)
    write_tiff(tmp_path / "y/a.tif", IDS[None], nodata=2)
    findings = check_split(split, tmp_path, progress=False).findings
    shares = {f.kind.what: f.files[0][1] for f in findings if "data" in f.kind.what}
    assert shares["images with pixels without data (nodata, mask or alpha)"] == "25.0%"
    assert shares["labels that declare a nodata value or a mask"] == "nodata 2"
    assert all(f.kind.level == NOTE for f in findings)


@pytest.mark.parametrize("line", ["bands declared blue, green, red", "a flipped bit"])
def test_the_check_reads_images_as_training_does(tmp_path, line):
    split = dataset(tmp_path)
    Image.fromarray(IDS).save(tmp_path / "y/a.png")
    path = tmp_path / "x/a.png"
    if line == "a flipped bit":
        Image.fromarray(noise(SIZE, SIZE, 3)).save(path)
        content = bytearray(path.read_bytes())
        content[-40] ^= 4
        path.write_bytes(content)
        (finding,) = check_split(split, tmp_path, progress=False).findings
        assert finding.kind.level == ERROR and finding.kind.what == "image cannot be read"
        return
    colors = [f"{name}" for name in ("blue", "green", "red")]
    write_tiff(tmp_path / "x/a.tif", noise(3, SIZE, SIZE))
    import rasterio

    with rasterio.open(tmp_path / "x/a.tif", "r+") as dataset_file:
        dataset_file.colorinterp = [rasterio.enums.ColorInterp[name] for name in colors]
    (finding,) = check_split(split, tmp_path, progress=False).findings
    assert finding.kind.level == NOTE and "bands 3, 2, 1 of 3 are used" in finding.kind.what


def test_names_that_differ_in_their_unicode_form_alone_are_told(tmp_path):
    split = dataset(tmp_path)
    name = "caf\u00e9"
    Image.fromarray(noise(SIZE, SIZE, 3)).save(tmp_path / f"x/{name}.png")
    Image.fromarray(IDS).save(tmp_path / f"y/{unicodedata.normalize('NFD', name)}.png")
    if len(list((tmp_path / "y").iterdir())) and (tmp_path / f"y/{name}.png").exists():
        pytest.skip("this file system does not tell the forms apart")
    (images, labels) = check_split(split, tmp_path, progress=False).findings
    assert labels.files[0][1] == "decomposed letters, NFD" and images.files[0][1] == ""
    assert "Unicode NFC, NFD" in images.kind.cure
    with pytest.raises(DatasetError, match="Unicode NFC, NFD"):
        pairs(split, tmp_path)


def test_images_with_another_number_of_bands_than_most_are_noted(tmp_path):
    split = dataset(tmp_path)
    for name, bands in (("a", 3), ("b", 4), ("c", 3)):
        write_tiff(tmp_path / f"x/{name}.tif", noise(bands, SIZE, SIZE, seed=ord(name)), photometric="RGB")
        Image.fromarray(IDS).save(tmp_path / f"y/{name}.png")
    findings = check_split(split, tmp_path, progress=False).findings
    (finding,) = [f for f in findings if "number of bands differs" in f.kind.what]
    assert finding.kind.level == NOTE and finding.files == ((str(tmp_path / "x/b.tif"), "4, most have 3"),)
