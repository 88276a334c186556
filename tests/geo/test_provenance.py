"""What a map was made of, beside it."""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import rasterio

import rskt_seg
from rskt_seg.geo import write_provenance


def test_facts_are_read_back_beside_the_versions_of_what_made_the_map(tmp_path):
    facts = {"command": ["rskt-seg", "segment", "a ö.tif"], "settings": {"window": 384, "bands": None}}
    write_provenance(tmp_path / "out" / "p.json", {**facts, "raster": Path("a.tif"), "n": np.int64(3)}, "cpu")
    found = json.loads((tmp_path / "out" / "p.json").read_text(encoding="utf-8"))
    versions = found.pop("versions")
    assert found == {**facts, "raster": "a.tif", "n": 3}
    assert versions["rskt_seg"] == rskt_seg.__version__ and versions["torch"] == version("torch")
    assert (versions["rasterio"], versions["GDAL"]) == (rasterio.__version__, rasterio.__gdal_version__)
    assert versions["device"].startswith("cpu (")


def test_the_same_facts_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_provenance(tmp_path / name, {"x": 1}, "cpu")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("fact", [float("nan"), object(), {1, 2}])
def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path, fact):
    with pytest.raises((ValueError, TypeError)):
        write_provenance(tmp_path / "p.json", {"x": fact}, "cpu")
    with pytest.raises(ValueError, match="versions"):
        write_provenance(tmp_path / "p.json", {"versions": {}}, "cpu")
    assert not list(tmp_path.iterdir())
