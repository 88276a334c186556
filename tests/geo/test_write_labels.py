import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC
from rasterio.transform import Affine

from rskt_seg.errors import LabelError
from rskt_seg.geo import Georeference, read_image, write_labels
from rskt_seg.geo import labels as label_files
from rskt_seg.legend import Legend, LegendEntry
from rskt_seg.palette import palette
from tests.full_disk import file_limit

pytestmark = pytest.mark.filterwarnings("ignore", category=NotGeoreferencedWarning)

NAMES = ("building", "low vegetation", "Straße")
LEGEND = Legend.of(NAMES, palette(3))
UTM = Georeference(CRS.from_epsg(32632), Affine(0.5, 0, 300000, 0, -0.5, 5600000))
ROTATED = Georeference(None, Affine(17.5, 5, 100, 10, -8.75, 200))
POINTS = Georeference(
    gcps=tuple(
        GroundControlPoint(r, c, 7 + c / 100, 50 - r / 100, 0, str(i))
        for i, (r, c) in enumerate(((0, 0), (0, 9), (9, 0)))
    ),
    gcps_crs=CRS.from_epsg(4326),
)
POLYNOMIALS = Georeference(
    rpcs=RPC(
        height_off=100.0,
        height_scale=500.0,
        lat_off=50.0,
        lat_scale=1.0,
        line_den_coeff=[1.0] * 20,
        line_num_coeff=[2.0] * 20,
        line_off=200.0,
        line_scale=100.0,
        long_off=7.0,
        long_scale=1.0,
        samp_den_coeff=[3.0] * 20,
        samp_num_coeff=[4.0] * 20,
        samp_off=300.0,
        samp_scale=150.0,
        err_bias=0.5,
        err_rand=0.5,
    )
)


def labels(height=40, width=30, classes=3, nodata=255):
    values = np.random.default_rng(0).integers(0, classes, (height, width))
    values[0] = nodata
    return values


@pytest.mark.parametrize("georeference", [None, UTM, ROTATED, POINTS, POLYNOMIALS, Georeference(UTM.crs)])
def test_labels_lie_where_their_image_does(tmp_path, georeference):
    write_labels(tmp_path / "a.tif", labels(), georeference, LEGEND)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        found = Georeference.from_dataset(dataset)
    if georeference in (POINTS, POLYNOMIALS):
        assert found.gcps_crs == georeference.gcps_crs and found.transform is None
        assert [(p.row, p.col, p.x, p.y) for p in found.gcps] == [
            (p.row, p.col, p.x, p.y) for p in georeference.gcps
        ]
        assert (found.rpcs and found.rpcs.to_dict()) == (georeference.rpcs and georeference.rpcs.to_dict())
    else:
        assert found == georeference


@pytest.mark.parametrize("shape", [(40, 30), (1, 1), (1, 700), (1100, 600)])
def test_ids_colours_and_names_are_read_back(tmp_path, shape):
    original = labels(*shape)
    write_labels(tmp_path / "a.tif", original, UTM, LEGEND)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert np.array_equal(dataset.read(1), original)
        assert (dataset.count, dataset.dtypes[0], dataset.nodata) == (1, "uint8", 255)
        assert dataset.colorinterp == (ColorInterp.palette,)
        table = dataset.colormap(1)
        assert [table[k] for k in range(3)] == [(*color, 255) for color in palette(3).tolist()]
        assert dataset.descriptions == ("class id",)
        assert [dataset.tags(1)[f"CLASS_{k}"] for k in range(3)] == list(NAMES)
        assert dataset.profile["compress"] == "deflate"
        assert dataset.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR") == "2"
        if min(shape) >= 512:
            assert dataset.profile["tiled"] and dataset.block_shapes == [(512, 512)]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tif"]


def test_more_than_255_classes_take_16_bits(tmp_path):
    original = labels(classes=300, nodata=65535)
    write_labels(tmp_path / "a.tif", original, UTM, Legend.of([str(k) for k in range(300)], palette(300)))
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert (dataset.dtypes[0], dataset.nodata) == ("uint16", 65535)
        assert np.array_equal(dataset.read(1), original)
        assert dataset.colormap(1)[299] == (*palette(300)[299].tolist(), 255)


def test_written_labels_are_an_image_of_their_colours(tmp_path):
    original = labels()
    write_labels(tmp_path / "a.tif", original, UTM, LEGEND)
    image = read_image(tmp_path / "a.tif")
    assert np.array_equal(image.valid, original != 255) and image.georeference == UTM
    assert np.array_equal(image.pixels[image.valid], palette(3)[original[image.valid]])


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.array([[0, 3]]), {}, r"must be ids of the legend or 255; found 3 in 1 pixel"),
        (np.array([[-1, 0]]), {}, "found -1"),
        (np.zeros((2, 2), np.float32), {}, "integers"),
        (np.zeros((2, 2, 1), np.uint8), {}, r"\(H, W\)"),
        (np.zeros((0, 2), np.uint8), {}, "non-empty"),
        (np.array([[0]]), {"nodata": 2}, "above the class ids"),
        (np.array([[0]]), {"nodata": 256}, "above the class ids"),
    ],
)
def test_labels_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, values, options, message):
    with pytest.raises(LabelError, match=message):
        write_labels(tmp_path / "a.tif", values, None, LEGEND, **options)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_former_file(tmp_path, monkeypatch):
    write_labels(tmp_path / "a.tif", labels(), UTM, LEGEND)
    former = (tmp_path / "a.tif").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Georeference, "write_points", fail)
    with pytest.raises(OSError, match="disk full"):
        write_labels(tmp_path / "a.tif", np.zeros_like(labels()), UTM, LEGEND)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]
    assert (tmp_path / "a.tif").read_bytes() == former


@pytest.fixture(params=["rotated pole", "three dimensions"])
def system_beside(request):
    """A CRS that GDAL keeps in a file beside a GeoTIFF."""
    if request.param == "rotated pole":
        return CRS.from_user_input(
            "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6371229"
        )
    flat = CRS.from_epsg(32632).to_dict(projjson=True)
    up = {"name": "Ellipsoidal height", "abbreviation": "h", "direction": "up", "unit": "metre"}
    system, base = flat["coordinate_system"], CRS.from_epsg(4979).to_dict(projjson=True)
    flat["coordinate_system"] = {"subtype": "Cartesian", "axis": [*system["axis"], up]}
    return CRS.from_dict({key: flat[key] for key in flat if key != "id"} | {"base_crs": base})


def test_a_system_that_geotiff_cannot_hold_is_kept_beside_the_file(tmp_path, system_beside):
    georeference = Georeference(system_beside, Affine(0.5, 0, 30, 0, -0.5, 56))
    path = tmp_path / "out" / "a.tif"
    for _ in range(2):
        write_labels(path, labels(), georeference, LEGEND)
        assert {each.name for each in path.parent.iterdir()} == {"a.tif", "a.tif.aux.xml"}
        with rasterio.open(path) as dataset:
            assert dataset.crs == system_beside
    write_labels(path, labels(), UTM, LEGEND)
    assert list(path.parent.iterdir()) == [path]
    with rasterio.open(path) as dataset:
        assert dataset.crs == UTM.crs


def test_a_failed_write_leaves_nothing_beside_a_file(tmp_path, monkeypatch, system_beside):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Georeference, "write_points", fail)
    with pytest.raises(OSError, match="disk full"):
        write_labels(tmp_path / "a.tif", labels(), Georeference(system_beside, UTM.transform), LEGEND)
    assert not list(tmp_path.iterdir())


def test_overviews_of_a_former_map_do_not_show_for_the_new_one(tmp_path):
    write_labels(tmp_path / "a.tif", labels(1024, 1024), UTM, LEGEND)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.build_overviews([2])
    assert (tmp_path / "a.tif.ovr").exists()
    write_labels(tmp_path / "a.tif", labels(1024, 1024), UTM, LEGEND)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tif"]


@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("side", [40, 600])
def test_a_file_cut_by_a_full_disk_is_an_error_and_never_a_result(tmp_path, part, side):
    """rasterio itself reports no error when the last bytes do not fit."""
    path = tmp_path / "a.tif"
    write_labels(path, labels(side, side), UTM, LEGEND)
    former = path.read_bytes()
    message = r"a\.tif could not be written completely .*check the space left"
    with pytest.raises(OSError, match=message), file_limit(int(part * len(former))):
        write_labels(path, labels(side, side), UTM, LEGEND)
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == former


def test_a_file_beside_that_is_cut_is_an_error_too(tmp_path, monkeypatch, system_beside):
    georeference = Georeference(system_beside, UTM.transform)
    write_labels(tmp_path / "a.tif", labels(1, 1), georeference, LEGEND)
    former = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = label_files._write

    def write_and_cut(path, *rest):
        write(path, *rest)
        beside = path.with_name("a.tif.aux.xml")
        beside.write_bytes(beside.read_bytes()[:500])

    monkeypatch.setattr(label_files, "_write", write_and_cut)
    with pytest.raises(OSError, match="could not be written completely"):
        write_labels(tmp_path / "a.tif", labels(1, 1), georeference, LEGEND)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == former


def test_ids_may_be_any(tmp_path):
    legend = Legend((LegendEntry(3, "water", (1, 2, 3)), LegendEntry(200, "road", (4, 5, 6))))
    write_labels(tmp_path / "a.tif", np.array([[3, 200, 255]]), UTM, legend)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert dataset.read(1).tolist() == [[3, 200, 255]]
        assert dataset.tags(1)["CLASS_200"] == "road"
        assert dataset.colormap(1)[200] == (4, 5, 6, 255)
    with pytest.raises(LabelError, match="labels must be ids of the legend or 255; found 4 in 1 pixel"):
        write_labels(tmp_path / "a.tif", np.array([[4]]), UTM, legend)
