"""Laws of prepared sets as a whole."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from rskt_seg.commands.cli import main
from rskt_seg.data.own_preparation import plan_own
from rskt_seg.errors import DatasetError, ImageReadError
from rskt_seg.geo import read_image
from tests.data.own_preparation.sources import (
    ORIGIN,
    colors_of,
    ids_of,
    only_labels,
    prepare,
    read_set,
    write_description,
    write_png,
    write_tif,
)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three pictures of ids, not georeferenced."""
    for number in range(3):
        write_png(tmp_path / f"images/{number}.png", colors_of(number))
        write_png(tmp_path / f"labels/{number}.png", ids_of(number))
    return tmp_path


def contents(root: Path) -> dict[str, bytes]:
    """All files below a folder but the journal, whose lines may come in another order."""
    files = (path for path in root.rglob("*") if path.is_file() and path.name != "prepare.jsonl")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_tiles_are_cuts_of_image_and_label_and_cover_both(folder):
    path = write_description(folder, tiles={"size": 16, "overlap": 4})
    summary = prepare(path, folder / "out")
    covered = {str(number): np.zeros((40, 50), bool) for number in range(3)}
    for stem, ids in only_labels(summary).items():
        name, top, bottom, left, right = re.fullmatch(r"(\d)_(\d+)_(\d+)_(\d+)_(\d+)", stem).groups()
        rows, columns = slice(int(top), int(bottom)), slice(int(left), int(right))
        assert ids.shape == (16, 16) and (ids == ids_of(int(name))[rows, columns]).all()
        image = np.array(Image.open(summary.folder / "all/images" / f"{stem}.png"))
        assert (image == colors_of(int(name))[rows, columns]).all()
        covered[name][rows, columns] = True
    assert all(each.all() for each in covered.values())


def test_without_tiles_images_stay_whole(folder):
    labels = only_labels(prepare(write_description(folder), folder / "out"))
    assert labels.keys() == {"0", "1", "2"} and labels["0"].shape == (40, 50)


def test_sources_are_never_touched(folder):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.png")}
    prepare(write_description(folder, tiles={"size": 16}, split={"val": 0.3}), folder / "out")
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}
    assert after == before


def test_a_second_run_has_nothing_to_do_and_changes_no_byte(folder):
    path = write_description(folder, tiles={"size": 16}, split={"val": 0.3})
    assert prepare(path, folder / "out").fresh == 3
    before = contents(folder / "out")
    again = prepare(path, folder / "out")
    assert again.fresh == 0 and contents(folder / "out") == before
    assert "nothing was left to do" in str(again)


def test_a_changed_source_is_prepared_again_alone(folder):
    path = write_description(folder, tiles={"size": 16})
    prepare(path, folder / "out")
    write_png(folder / "labels/1.png", 1 - ids_of(1))
    summary = prepare(path, folder / "out")
    assert summary.fresh == 1 and (only_labels(summary)["1_0_16_0_16"] == 1 - ids_of(1)[:16, :16]).all()


def test_images_called_like_tiles_of_others_are_refused(folder):
    write_png(folder / "images/0_0_16_0_16.png", colors_of(1, 16, 16))
    write_png(folder / "labels/0_0_16_0_16.png", ids_of(1, 16, 16))
    with pytest.raises(DatasetError, match=r"would be written as all/images/0_0_16_0_16\.png"):
        prepare(write_description(folder, tiles={"size": 16}), folder / "out")


def test_another_division_moves_tiles_and_leaves_none_behind(folder):
    prepare(write_description(folder, tiles={"size": 16}), folder / "out")
    summary = prepare(write_description(folder, tiles={"size": 20}, split={"val": 0.3}), folder / "out")
    left = {name for name in contents(folder / "out") if name.startswith("farm/all/")}
    assert not left and sum(map(len, read_set(summary).values())) == sum(summary.tiles.values())


def test_images_that_have_gone_are_an_error_until_the_set_is_made_anew(folder):
    path = write_description(folder)
    prepare(path, folder / "out")
    (folder / "images/2.png").unlink()
    (folder / "labels/2.png").unlink()
    with pytest.raises(DatasetError, match="1 images that are not among the sources any more"):
        prepare(path, folder / "out")
    assert only_labels(prepare(path, folder / "out", overwrite=True)).keys() == {"0", "1"}


def test_a_run_that_is_killed_goes_on_to_the_same_bytes(folder):
    for number in range(3, 40):
        write_png(folder / f"images/{number}.png", colors_of(number, 120, 120))
        write_png(folder / f"labels/{number}.png", ids_of(number, 120, 120))
    path = write_description(folder, tiles={"size": 32, "overlap": 8}, split={"val": 0.3})
    prepare(path, folder / "whole")
    code = (
        "from pathlib import Path; import sys; from rskt_seg.data.own_preparation import prepare_own;"
        "prepare_own(Path(sys.argv[1]), Path(sys.argv[2]), workers=1, progress=False)"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(path), str(folder / "killed")])
    journal = folder / "killed/farm/prepare.jsonl"
    while run.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 6):
        time.sleep(0.005)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert not (folder / "killed/farm/farm.yaml").exists(), "it was killed too late to show anything"
    with journal.open("ab") as file:
        file.write(b'{"scene": "cut off')
    assert 0 < prepare(path, folder / "killed").fresh < 40
    assert contents(folder / "killed") == contents(folder / "whole")


def test_tiles_of_georeferenced_images_stay_on_the_ground(tmp_path):
    pixels = np.moveaxis(colors_of(1), 2, 0)
    write_tif(tmp_path / "images/a.tif", pixels, pixel=0.5)
    write_tif(tmp_path / "labels/a.tif", ids_of(1), pixel=0.5)
    summary = prepare(write_description(tmp_path, tiles={"size": 32, "overlap": 8}), tmp_path / "out")
    for kind, expected in (("images", pixels), ("labels", ids_of(1)[None])):
        tiles = sorted((summary.folder / "all" / kind).iterdir())
        assert len(tiles) == 4
        for path in tiles:
            with rasterio.open(path) as tile:
                left, top = (tile.transform.c - ORIGIN[0]) / 0.5, (ORIGIN[1] - tile.transform.f) / 0.5
                there = expected[:, int(top) : int(top) + 32, int(left) : int(left) + 32]
                assert (tile.read() == there).all() and tile.crs.to_epsg() == 32632
    with rasterio.open(tiles[0]) as tile:
        assert tile.tags(1)["CLASS_1"] == "house" and tile.nodata == 255


def test_pixels_without_data_in_the_image_have_no_class_and_stay_without_data(tmp_path):
    pixels = np.maximum(np.moveaxis(colors_of(1), 2, 0), 1)
    pixels[:, :7], pixels[0, 20] = 0, 0
    write_tif(tmp_path / "images/a.tif", pixels, nodata=0)
    write_tif(tmp_path / "labels/a.tif", ids_of(1))
    write_png(tmp_path / "images/b.png", np.dstack([colors_of(2), np.full((40, 50), 255, np.uint8)]))
    rgba = np.array(Image.open(tmp_path / "images/b.png"))
    rgba[:, :9, 3] = 0
    write_png(tmp_path / "images/b.png", rgba)
    write_png(tmp_path / "labels/b.png", ids_of(2))
    summary = prepare(write_description(tmp_path), tmp_path / "out")
    labels = only_labels(summary)
    assert (labels["a"][:7] == 255).all() and (labels["a"][7:] == ids_of(1)[7:]).all()
    assert (labels["b"][:, :9] == 255).all() and (labels["b"][:, 9:] == ids_of(2)[:, 9:]).all()
    for name, expected in (("a.tif", labels["a"] < 255), ("b.png", labels["b"] < 255)):
        assert (read_image(summary.folder / "all/images" / name).valid == expected).all()


def test_deep_images_of_a_set_have_one_stretch_which_is_told(tmp_path):
    rng = np.random.default_rng(1)
    deep = {name: rng.integers(*ends, (3, 40, 50)).astype(np.uint16) for name, ends in
            (("a", (100, 1000)), ("b", (2000, 4000)))}  # fmt: skip
    for name, bands in deep.items():
        write_tif(tmp_path / f"images/{name}.tif", bands)
        write_tif(tmp_path / f"labels/{name}.tif", ids_of(1))
    path = write_description(tmp_path, images={"path": "images", "stretch": "p0-100"})
    summary = prepare(path, tmp_path / "out")
    assert "one stretch for all images" in "".join(summary.notes)
    for band in range(3):
        low, high = min(d[band].min() for d in deep.values()), max(d[band].max() for d in deep.values())
        assert f"band {band + 1} {low}..{high}" in "".join(summary.notes)
        for name, bands in deep.items():
            expected = np.rint((bands[band].astype(float) - low) * 255 / (float(high) - low))
            found = read_image(summary.folder / f"all/images/{name}.tif").pixels[:, :, band]
            assert np.abs(found - expected).max() == 0


def test_bands_are_chosen_by_number_or_description(tmp_path):
    bands = np.random.default_rng(1).integers(1, 255, (4, 40, 50)).astype(np.uint8)
    write_tif(tmp_path / "images/a.tif", bands, names=("Blue", "Green", "Red", "NIR"))
    write_tif(tmp_path / "labels/a.tif", ids_of(1))
    for number, chosen in enumerate(([4, 3, 2], ["NIR", "red", "Green"])):
        path = write_description(tmp_path, images={"path": "images", "bands": chosen})
        summary = prepare(path, tmp_path / f"out{number}")
        pixels = read_image(summary.folder / "all/images/a.tif").pixels
        assert (np.moveaxis(pixels, 2, 0) == bands[[3, 2, 1]]).all()
    for chosen, expected in ((["SWIR"] * 3, "found: Blue, Green, Red, NIR"), ([1, 2, 5], "no band 5")):
        with pytest.raises(ImageReadError, match=expected):
            prepare(write_description(tmp_path, images={"path": "images", "bands": chosen}), tmp_path / "x")


def test_gray_images_may_stand_among_coloured_ones(folder):
    write_png(folder / "images/1.png", colors_of(1)[:, :, 0])
    summary = prepare(write_description(folder), folder / "out")
    pixels = read_image(summary.folder / "all/images/1.png").pixels
    assert (pixels == colors_of(1)[:, :, :1]).all()


def test_images_of_several_depths_need_limits(tmp_path):
    write_tif(tmp_path / "images/a.tif", np.full((3, 40, 50), 300, np.uint16))
    write_tif(tmp_path / "images/b.tif", np.full((3, 40, 50), 30, np.uint8))
    for name in "ab":
        write_tif(tmp_path / f"labels/{name}.tif", ids_of(1))
    with pytest.raises(ImageReadError, match='stretch: "0,3000"'):
        prepare(write_description(tmp_path), tmp_path / "out")
    path = write_description(tmp_path, images={"path": "images", "stretch": "0,300"})
    summary = prepare(path, tmp_path / "out")
    assert set(np.unique(read_image(summary.folder / "all/images/a.tif").pixels)) == {255}
    assert set(np.unique(read_image(summary.folder / "all/images/b.tif").pixels)) == {26}


def test_turned_images_are_refused_because_no_label_says_whether_it_is_turned(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(folder / "images/1.png").save(folder / "images/1.png", exif=exif)
    with pytest.raises(ImageReadError, match="EXIF orientation 6"):
        prepare(write_description(folder), folder / "out")


def test_tiles_with_nothing_but_background_are_thinned_and_those_without_a_class_left_out(tmp_path):
    ids = np.zeros((160, 160), np.uint8)
    ids[:16, :16], ids[144:, :] = 1, 255
    write_png(tmp_path / "images/a.png", colors_of(1, 160, 160))
    write_png(tmp_path / "labels/a.png", ids)
    keys = {"size": 16, "background": "field"}
    for keep, least, most in ((1.0, 90, 90), (0.0, 1, 1), (0.3, 15, 40)):
        path = write_description(tmp_path, tiles=keys | {"keep_empty": keep})
        summary = prepare(path, tmp_path / "out")
        assert least <= summary.tiles["all"] <= most and "a_0_16_0_16" in only_labels(summary)
        notes = "".join(summary.notes)
        assert "10 tiles left out, which have no labelled pixel" in notes
        assert keep == 1 or f"{90 - summary.tiles['all']} tiles left out, which show background" in notes


def test_statistics_are_those_of_the_tiles(folder):
    summary = prepare(write_description(folder, tiles={"size": 16}, split={"val": 0.3}), folder / "out")
    for split, labels in read_set(summary).items():
        counted = np.bincount(np.concatenate([ids.ravel() for ids in labels.values()]))
        assert summary.pixels[split] == {k: n for k, n in enumerate(counted.tolist()) if n}
    files = sorted(summary.folder.glob("*/images/*.png"))
    pixels = np.concatenate([np.array(Image.open(path)).reshape(-1, 3) for path in files])
    np.testing.assert_allclose(summary.mean, pixels.mean(axis=0))
    np.testing.assert_allclose(summary.std, pixels.std(axis=0))
    manifest = json.loads((summary.folder / "prepare.json").read_text())
    assert manifest["tiles"] == summary.tiles and manifest["mean"] == list(summary.mean)


def test_prepared_files_never_mix_with_sources_or_strangers(folder):
    with pytest.raises(DatasetError, match="lies where the sources are"):
        prepare(write_description(folder), folder / "images")
    labels = {"form": "ids", "path": "../labels/{stem}.png"}
    for images in ("**/*.png", "images/*.png"):
        path = write_description(folder, images=images, labels=labels)
        if images.startswith("**"):
            with pytest.raises(DatasetError, match="lies where the sources are"):
                prepare(path, folder, allow_missing=True)
        else:
            prepare(path, folder / "prepared")
    (folder / "ready/farm").mkdir(parents=True)
    own = write_description(
        folder / "ready/farm",
        images=str(folder / "images"),
        labels={"form": "ids", "path": str(folder / "labels")},
    )
    with pytest.raises(DatasetError, match="lies where the sources are"):
        prepare(own, folder / "ready")
    write_png(folder / "out/farm/all/images/own.png", colors_of(1))
    with pytest.raises(DatasetError, match="no earlier run has written"):
        prepare(write_description(folder), folder / "out")


def test_a_split_that_is_left_without_a_labelled_tile_is_refused(folder):
    write_png(folder / "labels/2.png", np.full((40, 50), 255, np.uint8))
    path = write_description(folder, split={"train": "rest", "val": ["2"]})
    with pytest.raises(DatasetError, match=r"split\.val is left without a tile"):
        prepare(path, folder / "out")


def test_the_command_tells_its_plan_prepares_and_draws(folder, capsys):
    path = write_description(folder, tiles={"size": 16}, split={"val": 0.3})
    assert main(["prepare", "own", str(path), str(folder / "out"), "--dry-run"]) == 0
    assert "would cut at most" in capsys.readouterr().out and not (folder / "out").exists()
    place = folder / "set (1)"
    assert main(["prepare", "own", str(path), str(place)]) == 0
    out = capsys.readouterr().out
    assert "house" in out and f"rskt-seg check '{place / 'farm/farm.yaml'}';" in out
    sheet = place / "farm/contact_sheet.png"
    assert np.array(Image.open(sheet)).std() > 0
    drawn = sheet.stat().st_mtime_ns
    assert main(["prepare", "own", str(path), str(place)]) == 0
    assert sheet.stat().st_mtime_ns == drawn
    assert main(["check", str(place / "farm/farm.yaml")]) == 0


def test_a_users_mistake_is_one_line(folder, capsys):
    path = write_description(folder, imgaes="x")
    assert main(["prepare", "own", str(path), str(folder / "out")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "did you mean images?" in err
    assert main(["prepare", "own", str(path), str(folder / "out"), "--tolerance", "0.1"]) == 2
    assert "--tolerance is for official downloads" in capsys.readouterr().err
    path = write_description(folder)
    assert main(["prepare", "own", str(path), str(folder / "out"), "--workers", "-1"]) == 2
    assert "at least one worker" in capsys.readouterr().err


def test_a_plan_writes_nothing(folder):
    before = contents(folder)
    path = write_description(folder, split={"val": 0.3})
    plan = plan_own(path, workers=1, progress=False)
    assert len(plan.scenes) == 3 and contents(folder) == before | {path.name: path.read_bytes()}
