"""Scenes as unkind users and machines give them: what is left of killed runs, names, folders, numbers."""

import shutil

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from rskt_seg import writing
from rskt_seg.errors import ConfigError, ImageReadError
from rskt_seg.geo import read_image
from rskt_seg.scenes import segment as segmenting
from rskt_seg.scenes.job import SceneJob
from rskt_seg.windows import Window
from rskt_seg.writing import only_one, remove_at_once
from tests.geo.rasters import UTM, noise, write_tiff
from tests.scenes.test_segment import contents, half_done, segment
from tests.stub_models import Colours

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)


def interrupt(*_args, **_options):
    raise KeyboardInterrupt


@pytest.fixture
def scene(tmp_path):
    return write_tiff(tmp_path / "farm.tif", noise(3, 60, 70), photometric="rgb", **UTM)


def test_rasters_of_other_settings_are_not_taken_for_those_of_the_former_provenance(
    scene, tmp_path, monkeypatch
):
    expected = segment(scene, tmp_path / "out").ids()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(segmenting, "write_extras", interrupt)
        segment(scene, tmp_path / "out", vocabulary=["blue", "green", "red"])
    with pytest.raises(ConfigError, match=r"otherwise .classes and vocabulary"):
        segment(scene, tmp_path / "out")
    np.testing.assert_array_equal(segment(scene, tmp_path / "out", restart=True).ids(), expected)


def test_polygons_of_other_settings_are_not_taken_for_those_of_the_former_provenance(
    scene, tmp_path, monkeypatch
):
    options = {"polygons": ("gpkg",), "min_area": "9 px"}
    expected = segment(scene, tmp_path / "whole", **options)
    segment(scene, tmp_path / "out", **options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("rskt_seg.scenes.outputs.write_area_tables", interrupt)
        segment(scene, tmp_path / "out", polygons=("gpkg",))
    model = Colours()
    found = segment(scene, tmp_path / "out", model, **options)
    assert not model.calls
    assert found.files["gpkg"].stat().st_size == expected.files["gpkg"].stat().st_size


def test_what_killed_runs_leave_is_cleared_away(scene, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SceneJob, "remove_folder", interrupt)
        segment(scene, tmp_path / "out")
    assert (tmp_path / "out" / "farm_parts").exists()
    (tmp_path / "out" / ".farm_ids.tif.4194304999.1.part").mkdir()
    (tmp_path / "out" / ".forest_ids.tif.4194304999.1.part").mkdir()
    segment(scene, tmp_path / "out")
    left = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert left == {".forest_ids.tif.4194304999.1.part"}


def test_a_folder_that_is_removed_is_never_there_in_part(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(writing.shutil, "rmtree", interrupt)
        remove_at_once(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    remove_at_once(tmp_path / "a")


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_of_something_else_stays_as_it_is(scene, tmp_path, restart):
    (tmp_path / "out" / "farm_parts").mkdir(parents=True)
    (tmp_path / "out" / "farm_parts" / "tractor.jpg").touch()
    with pytest.raises(ConfigError, match=r"farm_parts .* holds something else; move it"):
        segment(scene, tmp_path / "out", restart=restart)
    assert (tmp_path / "out" / "farm_parts" / "tractor.jpg").exists()


@pytest.mark.parametrize("restart", [False, True])
def test_of_two_runs_in_one_folder_the_second_is_refused(tmp_path, restart):
    scene = write_tiff(tmp_path / "farm.tif", noise(3, 600, 700), photometric="rgb", **UTM)
    half_done(scene, tmp_path / "out")
    before = contents(tmp_path / "out" / "farm_parts")
    with only_one(tmp_path / "out" / "farm_parts" / ".lock") as alone:
        assert alone
        with pytest.raises(ConfigError, match=r"farm\.tif is being segmented .* by another process"):
            segment(scene, tmp_path / "out", restart=restart)
    assert contents(tmp_path / "out" / "farm_parts") == before
    segment(scene, tmp_path / "out", restart=restart)


def test_a_scene_is_not_replaced_by_results(tmp_path):
    scene = write_tiff(tmp_path / "farm_ids.tif", noise(3, 60, 70), photometric="rgb", **UTM)
    before = scene.read_bytes()
    with pytest.raises(ConfigError, match=r"replace the scene .*farm_ids\.tif; choose another folder"):
        segment(scene, tmp_path, name="farm")
    assert scene.read_bytes() == before


@pytest.mark.parametrize(
    "name",
    ["-farm", "gpkg farm", "[farm]*", "it's", 'a "farm"', "農場", "---", "farm; field", "farm!", "a!;b"],
)
def test_polygons_have_a_layer_whatever_the_name(scene, tmp_path, name):
    found = segment(scene, tmp_path / f"out {name}", name=name, polygons=("gpkg",), part=None)
    assert found.files["gpkg"].name == f"{name}_polygons.gpkg"
    expected = segment(scene, tmp_path / "out", name="a", polygons=("gpkg",))
    assert found.files["gpkg"].stat().st_size == expected.files["gpkg"].stat().st_size
    left = sorted(path.name.removeprefix(name) for path in found.base.parent.iterdir())
    assert left == sorted(path.name.removeprefix("a") for path in expected.base.parent.iterdir())


def test_chunks_of_another_scene_are_not_used(tmp_path):
    scenes = [
        write_tiff(tmp_path / folder / "farm.tif", noise(3, 600, 700, seed=seed), photometric="rgb", **UTM)
        for seed, folder in enumerate(("one", "two"))
        if not (tmp_path / folder).mkdir()
    ]
    for number, scene in enumerate(scenes):
        half_done(scene, tmp_path / f"out {number}")
    for path in (tmp_path / "out 1" / "farm_parts").glob("[0-9]*"):
        shutil.copy(path, tmp_path / "out 0" / "farm_parts")
    with pytest.raises(ImageReadError, match=r"do not hold what was written; give the command again"):
        segment(scenes[0], tmp_path / "out 0")
    np.testing.assert_array_equal(
        segment(scenes[0], tmp_path / "out 0").ids(), noise(3, 600, 700).argmax(axis=0)
    )


@pytest.mark.parametrize("report", ["", "{}", "[1]", "nonsense"])
def test_a_damaged_report_of_a_chunk_costs_the_chunk(tmp_path, report):
    scene = write_tiff(tmp_path / "farm.tif", noise(3, 600, 700), photometric="rgb", **UTM)
    half_done(scene, tmp_path / "out")
    (tmp_path / "out" / "farm_parts" / "0_0.json").write_text(report)
    with pytest.raises(ImageReadError, match=r"1 chunk .0_0. do not hold what was written"):
        segment(scene, tmp_path / "out")
    np.testing.assert_array_equal(segment(scene, tmp_path / "out").ids(), noise(3, 600, 700).argmax(axis=0))


@pytest.mark.parametrize(("name", "message"), [("a/b", "without its folder"), ("x" * 200, "over 180 bytes")])
def test_names_that_files_cannot_have_are_refused_first(scene, tmp_path, name, message):
    model = Colours()
    with pytest.raises(ConfigError, match=message):
        segment(scene, tmp_path / "out", model, name=name)
    assert not model.calls


@pytest.mark.parametrize("nodata", [float("nan"), float("inf")])
def test_values_without_data_need_not_be_finite(tmp_path, nodata):
    bands = noise(3, 60, 70, dtype=np.float32)
    bands[:, :20] = nodata
    scene = write_tiff(tmp_path / "farm.tif", bands, photometric="rgb", **UTM)
    found = segment(scene, tmp_path / "out", nodata=nodata)
    image = read_image(scene, nodata=nodata)
    np.testing.assert_array_equal(found.ids(), np.where(image.valid, image.pixels.argmax(axis=2), 255))
    model = Colours()
    segment(scene, tmp_path / "out", model, nodata=nodata)
    assert not model.calls


@pytest.mark.parametrize("options", [{"window": 10**9}, {"window": "99999999m"}, {"batch": 10**9}])
def test_numbers_beyond_the_scene_are_those_of_the_scene(tmp_path, options):
    bands = noise(3, 40, 48)
    scene = write_tiff(tmp_path / "farm.tif", bands, photometric="rgb", **UTM)
    np.testing.assert_array_equal(segment(scene, tmp_path / "out", **options).ids(), bands.argmax(axis=0))


def test_a_mosaic_without_one_of_its_tiles_is_one_line(scene, tmp_path, capfd):
    with rasterio.open(scene) as dataset:
        bands = "".join(
            f'<VRTRasterBand dataType="Byte" band="{band}">'
            + "".join(
                f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>{band}'
                '</SourceBand><SrcRect xOff="0" yOff="0" xSize="70" ySize="60"/>'
                f'<DstRect xOff="{left}" yOff="{left}" xSize="1400" ySize="1200"/></SimpleSource>'
                for name, left in (("farm.tif", 0), ("gone.tif", 1400))
            )
            + "</VRTRasterBand>"
            for band in dataset.indexes
        )
    mosaic = tmp_path / "mosaic.vrt"
    mosaic.write_text(f'<VRTDataset rasterXSize="2800" rasterYSize="2800">{bands}</VRTDataset>')
    with pytest.raises(ImageReadError, match=r"mosaic\.vrt.*gone\.tif"):
        segment(mosaic, tmp_path / "out", window=480)
    assert "ERROR" not in capfd.readouterr().err


def test_a_scene_that_is_replaced_during_a_run_gives_no_map_of_both(tmp_path):
    scene = write_tiff(tmp_path / "farm.tif", noise(3, 600, 1100), photometric="rgb", **UTM)

    class Replaced(Colours):
        def forward(self, *args, **options):
            if len(self.calls) == 300:
                write_tiff(scene, noise(3, 600, 1100, seed=1), photometric="rgb", **UTM)
            return super().forward(*args, **options)

    with pytest.raises(ImageReadError, match=r"farm\.tif has changed while it was read"):
        segment(scene, tmp_path / "out", Replaced())
    with pytest.raises(ConfigError, match=r"otherwise .raster"):
        segment(scene, tmp_path / "out")
    assert not (tmp_path / "out" / "farm_ids.tif").exists()


@pytest.mark.filterwarnings("error")
def test_nothing_is_said_of_the_coordinates_of_chunks(scene, tmp_path):
    segment(scene, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"part": Window(-5, 10, 20, 20)}, slice(0, 15)),
        ({"bounds": (300005, 5599980, 300015, 5600010)}, slice(0, 40)),
        ({"part": Window(0, 10, 15, 20)}, None),
    ],
)
def test_a_part_that_reaches_beyond_the_scene_is_cut_and_told(scene, tmp_path, options, rows):
    found = segment(scene, tmp_path / "out", **options)
    assert any("reaches beyond the scene" in each for each in found.notices) == (rows is not None)
    expected = noise(3, 60, 70).argmax(axis=0)[rows or slice(0, 15), 10:30]
    np.testing.assert_array_equal(found.ids(), expected)


@pytest.mark.parametrize(("nodata", "told"), [(300, True), (2.5, True), (-1, True), (255, False)])
def test_a_nodata_value_that_no_sample_can_have_is_told(scene, tmp_path, nodata, told):
    found = segment(scene, tmp_path / "out", nodata=nodata)
    assert any(f"nodata value {nodata:g}" in each for each in found.notices) == told
