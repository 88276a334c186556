"""What a wheel contains, from the metadata of its build alone."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rskt_seg

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LIST = """
import json
from distutils.core import run_setup
distribution = run_setup("setup.py", stop_after="config")
build = distribution.get_command_obj("build_py")
build.build_lib = ""
build.ensure_finalized()
print(json.dumps([distribution.get_version(), *build.get_outputs(include_bytecode=False)]))
"""


@pytest.fixture(scope="module")
def wheel() -> tuple[str, set[str]]:
    """Version of the wheel, and the files that it installs."""
    pytest.importorskip("setuptools", minversion="77")
    done = subprocess.run(
        [sys.executable, "-c", f"import setuptools\n{LIST}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    version, *files = json.loads(done.stdout.splitlines()[-1])
    return version, {Path(file).as_posix() for file in files}


def committed(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}


def test_it_has_every_module_and_configuration_and_the_data_of_the_package(wheel):
    _, files = wheel
    assert committed("rskt_seg", "*.py") <= files
    assert {f"rskt_seg/{path}" for path in committed("configs", "*.yaml")} <= files
    data = {"*.json", "*.csv", "*.txt", "*.safetensors", "*.sha256", "py.typed"}
    assert set().union(*(committed("rskt_seg", pattern) for pattern in data)) <= files
    assert {"rskt_seg/py.typed", "rskt_seg/configs/ovrsis/tiny_dlrsd.yaml"} <= files


def test_it_has_nothing_else(wheel):
    _, files = wheel
    assert all(file.startswith("rskt_seg/") for file in files)
    suffixes = {Path(file).suffix for file in files}
    assert suffixes == {".py", ".yaml", ".json", ".txt", ".safetensors", ".sha256", ".typed"} | (
        suffixes & {".csv"}
    )


def test_its_version_command_and_requirements_are_those_of_the_project(wheel):
    assert wheel[0] == rskt_seg.__version__
    assert PROJECT["scripts"] == {"rskt-seg": "rskt_seg.commands.cli:main"}
    assert not any("detectron2" in name for name in PROJECT["dependencies"])


def test_the_pinned_set_up_covers_the_requirements_and_the_tests_come_apart():
    def names(file: str) -> set[str]:
        lines = (ROOT / file).read_text().splitlines()
        return {line.split("==")[0].lower() for line in lines if line and not line.startswith("#")}

    required = {name.split(">")[0].lower() for name in PROJECT["dependencies"]}
    demo, tests = names("requirements.txt"), names("requirements-test.txt")
    assert required <= demo and not demo & tests
    extras = PROJECT["optional-dependencies"]
    assert {name.lower() for name in (*extras["dev"], *extras["docs"])} == tests
    app = names("requirements-app.txt")
    (needed,) = extras["app"]
    assert needed.split(">")[0] in app and not app & (demo | tests)
