"""Laws of every closed-set layout: complete, accepted by the check, reproducible."""

import json

import pytest

from rskt_seg.data.catalog import SPLITS, Split, pairs
from rskt_seg.data.checking.check import check_split, select_splits, shared_images
from rskt_seg.data.preparation import RECIPES
from tests.data.preparation.official import CLOSED_SET, prepare_quietly, zipped


def rows(name: str) -> list[Split]:
    return [split for split in SPLITS if split.dataset == name]


@pytest.fixture(scope="module", params=CLOSED_SET)
def prepared(request, tmp_path_factory):
    """Prepare each dataset; return its name, download, ids and root."""
    folder = tmp_path_factory.mktemp(request.param)
    ids = CLOSED_SET[request.param](folder / "src")
    summary = prepare_quietly(request.param, folder / "src", folder / "out")
    assert summary.images == len(ids) == summary.fresh
    return request.param, folder / "src", ids, folder / "out"


def test_every_split_of_the_table_is_written_and_its_check_finds_no_error(prepared):
    name, _, ids, root = prepared
    assert {row.split for row in rows(name)} == set(RECIPES[name].splits)
    assert set(select_splits(name, root)) == set(rows(name))
    reports = {split: check_split(split, root, progress=False) for split in rows(name)}
    for split, report in reports.items():
        assert report.ok and report.fingerprint and len(report.histogram) == len(split.class_set) + 1
        assert report.classes == split.class_set.names
    assert shared_images(reports) == []
    assert ids


def test_a_second_run_touches_nothing_and_a_lost_file_is_written_again(prepared):
    name, source, _, root = prepared
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in root.rglob("*.*") if "prepare" not in p.name}
    assert prepare_quietly(name, source, root).fresh == 0
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in before} == before
    lost = pairs(rows(name)[0], root)[0].label
    lost.unlink()
    assert prepare_quietly(name, source, root).fresh == 1
    assert lost.read_bytes() == before[lost][1]


def test_one_worker_writes_what_several_write_and_zips_give_the_same(prepared, tmp_path):
    name, source, _, root = prepared
    archive = zipped(source, tmp_path / "all.zip")
    prepare_quietly(name, archive, tmp_path / "one", workers=1)
    for path in (p for p in root.rglob("*.*") if not p.name.startswith("prepare")):
        assert (tmp_path / "one" / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_a_manifest_states_parts_and_pixels(tmp_path):
    CLOSED_SET["Potsdam_geoseg"](tmp_path / "src")
    prepare_quietly("Potsdam_geoseg", tmp_path / "src", tmp_path / "out")
    manifest = json.loads((tmp_path / "out/Potsdam_geoseg/prepare.json").read_text())
    assert manifest["parts"] == {"train": 1, "val": 1, "test": 1}
    assert manifest["windows"] == 5 and sum(manifest["pixels"].values()) == 5 * 1024**2
