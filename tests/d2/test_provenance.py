"""The digest of the code changes with what scores depend on, and with nothing else; settings are plain."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

import rskt_seg
from rskt_seg.d2.provenance import code_digest, settings
from tests.d2.resuming import METHODS


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    copy = tmp_path_factory.mktemp("copy") / "rskt_seg"
    shutil.copytree(Path(rskt_seg.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def changes_digest(package: Path, name: str) -> bool:
    path = package / name
    before, content = code_digest(package), path.read_bytes()
    path.write_bytes(content + b"\n")
    try:
        return code_digest(package) != before
    finally:
        path.write_bytes(content)


def test_a_copy_of_the_package_has_its_digest(package):
    assert code_digest(package) == code_digest()


@pytest.mark.parametrize("name", ["models/rskt/model.py", "d2/provenance.py", "encoders/tiny_words.txt"])
def test_what_scores_depend_on_changes_the_digest(package, name):
    assert changes_digest(package, name)


@pytest.mark.parametrize(
    "name",
    [
        "synthetic/__init__.py",
        "models/wsss/descriptions/tiny.json",
        "metrics/tables/rskt_table1.csv",
        "data/splits/inria_test.txt",
    ],
)
def test_drawn_scenes_and_data_that_no_score_depends_on_leave_the_digest_as_it_is(package, name):
    assert not changes_digest(package, name)


def test_a_new_file_of_the_drawn_scenes_is_left_out_and_one_elsewhere_is_not(package):
    before = code_digest(package)
    for name, kept in (("synthetic/new.py", True), ("layers/new.py", False)):
        (package / name).touch()
        assert (code_digest(package) == before) is kept
        (package / name).unlink()


def test_no_other_room_imports_the_drawn_scenes():
    root = Path(rskt_seg.__file__).parent
    rooms = [path for path in root.rglob("*.py") if path.relative_to(root).parts[0] != "synthetic"]
    assert {path.name for path in rooms if "rskt_seg.synthetic" in path.read_text()} == {
        "demo.py",
        "examples.py",  # of the page
    }


@pytest.mark.parametrize("method", ["rskt", "fctl"])
def test_settings_are_those_of_the_yaml_of_the_configuration_in_the_same_order(method):
    cfg = METHODS[method](
        "SOLVER.BASE_LR", "3e-16", "INPUT.MIN_SIZE_TRAIN", "(1,2)", "OUTPUT_DIR", "1e3 é: x"
    )
    assert json.dumps(settings(cfg)) == json.dumps(yaml.safe_load(cfg.dump()))
