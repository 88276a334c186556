"""Findings about maps, folders, configurations and room."""

from dataclasses import replace

import pytest

from rskt_seg.diagnosis import NOTE, OK, PROBLEM, Outcome, diagnose
from rskt_seg.diagnosis.maps import PLAIN_RASTERIO
from rskt_seg.diagnosis.places import summary, why_unwritable
from tests.diagnosis.machines import SOUND, faults, only, with_outcome

WORKS = {"version": "1.4.4", "gdal": "3.10.3", "proj": "9.7.1"}
OTHER_PROJ = {**WORKS, "fault": "proj.db contains DATABASE.LAYOUT.VERSION.MINOR = 2"}


def maps(variables, facts, plain, error=""):
    """A machine with variables of GDAL and PROJ, with which rasterio does this, and that without them."""
    seen = with_outcome("rasterio", replace(SOUND, variables=variables), facts=facts, error=error)
    return with_outcome(PLAIN_RASTERIO, seen, facts=plain)


@pytest.mark.parametrize("name", ["PROJ_LIB", "PROJ_DATA"])
def test_files_of_another_proj_are_the_fault_of_the_variable(name, tmp_path):
    (tmp_path / "gdalvrt.xsd").touch()
    seen = maps({name: "/opt/proj", "GDAL_DATA": str(tmp_path)}, OTHER_PROJ, WORKS)
    found = only(seen, PROBLEM, "GDAL and PROJ")
    assert f"{name}=/opt/proj" in found.text and "MINOR = 2" in found.text and found.cure == f"unset {name}"


def test_a_variable_that_breaks_the_import_is_named_once():
    found = only(maps({"GDAL_DRIVER_PATH": "/opt"}, {}, WORKS, "ImportError: x"), PROBLEM, "GDAL and PROJ")
    assert found.cure == "unset GDAL_DRIVER_PATH"


def test_a_proj_that_does_not_work_by_itself_is_the_fault_of_rasterio():
    assert "rasterio" in only(with_outcome("rasterio", facts=OTHER_PROJ), PROBLEM, "GDAL and PROJ").cure
    seen = maps({"PROJ_LIB": "/opt/proj"}, OTHER_PROJ, OTHER_PROJ)
    assert "rasterio" in only(seen, PROBLEM, "GDAL and PROJ").cure


def test_a_folder_without_the_files_of_gdal_is_a_problem_and_one_with_them_a_note(tmp_path):
    seen = maps({"GDAL_DATA": str(tmp_path)}, WORKS, WORKS)
    assert only(seen, PROBLEM, "GDAL and PROJ").cure == "unset GDAL_DATA"
    (tmp_path / "gdalvrt.xsd").touch()
    assert "without harm" in only(seen, NOTE, "GDAL and PROJ").text


ROOT = {"variable": "DATA", "default": "datasets"}


def test_a_root_of_datasets_that_is_no_folder(tmp_path):
    seen = replace(SOUND, variables={"DATA": str(tmp_path / "gone")})
    seen = with_outcome("datasets", seen, facts={**ROOT, "DLRSD": ""})
    found = only(seen, PROBLEM, "datasets")
    assert "gone is no folder" in found.text and found.cure.startswith("export DATA=")


def test_an_unset_root_and_absent_datasets_are_a_note_and_present_ones_are_listed(tmp_path):
    seen = with_outcome(
        "datasets", replace(SOUND, folder=tmp_path), facts={**ROOT, "DLRSD": "train, val", "iSAID": ""}
    )
    found = only(seen, NOTE, "datasets")
    assert "DATA is not set" in found.text and "iSAID" in found.text and "DLRSD" not in found.text
    listed = [f.text for f in diagnose(seen) if f.subject == "datasets" and f.level == OK]
    assert len(listed) == 1 and "DLRSD (train, val)" in listed[0]
    set_to = replace(seen, variables={"DATA": str(tmp_path)})
    assert "is not set" not in only(set_to, NOTE, "datasets").text


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    facts = {"weights of the hub": str(tmp_path / "file/hub"), "text embeddings": str(tmp_path / "new/text")}
    found = only(with_outcome("caches", facts=facts), PROBLEM, "caches")
    assert "file is no folder" in found.text and found.cure.startswith("export HF_HOME")
    found = only(with_outcome("caches", facts={"text embeddings": ""}), PROBLEM, "caches")
    assert "no home" in found.text and found.cure.startswith("export XDG_CACHE_HOME")


def test_a_folder_is_writable_where_its_nearest_parent_is(tmp_path, monkeypatch):
    assert not why_unwritable(tmp_path / "a/b") and not (tmp_path / "a").exists()
    monkeypatch.setattr("os.access", lambda path, mode: False)  # whoever runs the tests
    assert f"no permission to write in {tmp_path}" in why_unwritable(tmp_path / "a/b")


def test_absent_weights_and_datasets_of_a_configuration():
    fact = "MODEL.ENCODERS.CLIP: the file a.pt does not exist"
    told = {
        f"{fact}. Run `rskt-seg weights fetch a`, or get it": "rskt-seg weights fetch --all-for a.yaml",
        f"{fact}; check the path": "",
    }
    for weights, cure in told.items():  # a line has one cure, and none that would not help
        facts = {"name": "a.yaml", "weights": weights, "absent": ""}
        found = only(with_outcome("configuration", facts=facts), PROBLEM, "a.yaml")
        assert found.cure == cure and found.text == (fact if cure else weights)
    found = only(
        with_outcome("configuration", facts={"name": "a.yaml", "weights": "", "absent": "DLRSD_val_sem_seg"}),
        NOTE,
        "a.yaml",
    )
    assert "DLRSD_val_sem_seg" in found.text


def test_a_configuration_that_nothing_can_read_is_the_fault_of_detectron2_if_that_fails():
    seen = with_outcome("configuration", facts={"name": "a.yaml"}, error="OSError: gone")
    assert "OSError: gone" in only(seen, PROBLEM, "a.yaml").text
    only(with_outcome("Detectron2", seen, error="ImportError: x"), PROBLEM, "Detectron2")


@pytest.mark.parametrize(("free", "level"), [(10**8, PROBLEM), (2 * 10**9, NOTE)])
def test_a_full_disk(free, level):
    assert f"{free / 1e9:.1f} GB free" in only(replace(SOUND, disk=free), level, "disk").text


def test_little_memory():
    assert "2.0 GB" in only(replace(SOUND, memory=2 * 10**9), NOTE, "memory").text


def test_the_last_line_counts():
    assert summary(faults(SOUND)) == "no problem, 0 notes"
    seen = replace(SOUND, disk=1, memory=1, outcomes={"torch": Outcome(error="x")})
    assert summary(faults(seen)) == "2 problems, 1 note"
