"""Findings about libraries: each fault has its own line, and the command that cures it."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from rskt_seg.diagnosis import NOTE, OK, PROBLEM, Outcome, diagnose, versions
from rskt_seg.diagnosis.requirements import EXTRAS
from tests.diagnosis.machines import SOUND, faults, only, with_installed, with_outcome

ROOT = Path(__file__).parents[2]


def test_a_machine_without_a_fault_has_none():
    assert not faults(SOUND)
    assert {finding.level for finding in diagnose(SOUND)} == {OK}
    assert versions(SOUND)["torch"] == "2.11.0"


def test_nothing_is_said_of_what_was_not_looked_at():
    assert not faults(replace(SOUND, outcomes={}, memory=None, disk=None))


@pytest.mark.parametrize("found", ["3.10.2", "3.9.0"])
def test_an_old_python(found):
    assert found in only(replace(SOUND, python=found), PROBLEM, "Python").text


def test_a_package_that_is_not_installed_is_one_line_with_its_command():
    seen = with_outcome("rasterio", with_installed(rasterio=None), error="ModuleNotFoundError: No module")
    assert only(seen, PROBLEM, "rasterio").cure == 'pip install "rasterio>=1.4"'


@pytest.mark.parametrize(("name", "version"), [("numpy", "1.25.0"), ("open_clip_torch", "2.24.0")])
def test_a_version_outside_the_declared_range(name, version):
    found = only(with_installed(**{name: version}), PROBLEM, name)
    assert version in found.text and "rskt_seg takes >=" in found.text and "pip install" in found.cure


def test_versions_that_the_neighbours_declare_count_too():
    assert "open-clip-torch 3.3.0 takes >=1.0.17" in only(with_installed(timm="0.9.2"), PROBLEM, "timm").text
    assert "torchvision 0.26.0 takes ==2.11.0" in only(with_installed(torch="2.12.0"), PROBLEM, "torch").text


def test_an_extra_is_a_note():
    found = only(with_installed(pyogrio=None), NOTE, "extra vector")
    assert "pyogrio" in found.text and found.cure == 'pip install "rskt_seg[vector]"'


def test_every_extra_that_users_choose_is_looked_for():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - {"dev", "docs", "detectron2-deps"}


def test_a_requirement_of_some_machines_is_compared_where_it_applies_and_once():
    needs = SOUND.requirements["rskt-seg"]
    for marker, expected in (('python_version >= "3.8"', ["tqdm"]), ('python_version < "3.8"', [])):
        needed = {**SOUND.requirements, "rskt-seg": (*needs, f"tqdm; {marker}")}
        assert [each.subject for each in faults(replace(SOUND, requirements=needed))] == expected


def test_a_checkout_that_is_not_installed_is_a_note():
    only(replace(SOUND, requirements={}), NOTE, "requirements")


def test_another_build_of_opencv_will_do_and_two_of_them_will_not():
    assert not faults(with_installed(opencv_python_headless=None, opencv_python="5.0.0"))
    found = only(with_installed(opencv_python="5.0.0"), PROBLEM, "OpenCV")
    assert found.cure.startswith("pip uninstall -y") and found.cure.endswith("opencv-python-headless")


MISMATCH = "RuntimeError: operator torchvision::nms does not exist"


def test_torch_and_torchvision_of_different_builds_are_one_problem():
    seen = with_outcome("torchvision", error=MISMATCH)
    seen = with_outcome("open_clip", seen, error="AttributeError: partially initialized module 'torchvision'")
    seen = with_outcome("Detectron2", seen, error=MISMATCH)
    found = only(seen, PROBLEM, "torchvision")
    assert "0.26.0 was not built for torch 2.11.0" in found.text and "torch torchvision" in found.cure


@pytest.mark.parametrize(
    ("probe", "error", "text", "cure"),
    [
        ("torch", "ImportError: libcudnn.so.9: cannot open shared object file: No such file", "CUDA library",
         "torch torchvision"),
        ("torch", "Python was ended by SIGILL while importing it", "SIGILL", "torch torchvision"),
        ("OpenCV", "ImportError: libGL.so.1: cannot open shared object file",
         "build with windows, and this machine has no libGL.so.1", "pip uninstall -y"),
        ("pycocotools", "ValueError: numpy.dtype size changed, may indicate binary incompatibility",
         "another NumPy than 2.4.6", "pip install --upgrade --force-reinstall pycocotools"),
        ("scipy", "ImportError: numpy.core.multiarray failed to import", "another NumPy", "scipy"),
        ("matplotlib", "ImportError: cannot import name 'x'", "cannot import name", "--no-deps matplotlib"),
    ],
)  # fmt: skip
def test_a_library_that_cannot_be_imported(probe, error, text, cure):
    found = only(with_outcome(probe, error=error), PROBLEM, probe)
    assert text in found.text and cure in found.cure


def test_a_numpy_that_torch_only_warns_of_is_found():
    said = "UserWarning: Failed to initialize NumPy: _ARRAY_API not found"
    found = only(with_outcome("torch", facts={"version": "2.2.0"}, said=said), PROBLEM, "torch")
    assert "another NumPy than 2.4.6" in found.text


def test_a_broken_numpy_is_the_only_problem():
    names = [name for name in SOUND.outcomes if name != "pillow"]
    broken = dict.fromkeys(names, Outcome(error="ImportError: numpy"))
    only(replace(SOUND, outcomes={**SOUND.outcomes, **broken}), PROBLEM, "numpy")


@pytest.mark.parametrize(
    ("outcome", "text", "cure"),
    [
        ({"error": "MissingDetectron2Error: Detectron2 is not installed"}, "not installed",
         "-r requirements-det"),
        ({"error": "ImportError: No module named 'yacs'", "facts": {"version": "0.6", "folder": "/d2"}},
         "0.6 in /d2 lacks yacs", "rskt_seg[detectron2-deps]"),
        ({"error": "ImportError: _C.so: undefined symbol", "facts": {"version": "0.6", "folder": "/d2"}},
         "0.6 in /d2 does not work: ImportError", "-r requirements-det"),
    ],
)  # fmt: skip
def test_a_detectron2_that_is_absent_or_broken(outcome, text, cure):
    found = only(with_outcome("Detectron2", **outcome), PROBLEM, "Detectron2")
    assert text in found.text and cure in found.cure


def test_which_detectron2_is_installed_is_said():
    assert any("0.5 in /site/detectron2" in f.text for f in diagnose(SOUND) if f.subject == "Detectron2")


CUDA = {"version": "2.11.0", "build": "CUDA 13.0"}


@pytest.mark.parametrize(
    ("facts", "said", "has_nvidia", "level", "text"),
    [
        (CUDA, "", False, NOTE, "no driver"),
        (CUDA, "UserWarning: The NVIDIA driver on your system is too old", True, PROBLEM, "too old"),
        ({"version": "2.11.0"}, "", True, NOTE, "a build for the CPU"),
        ({**CUDA, "device": "H200", "device_error": "no kernel image"}, "", True, PROBLEM, "no kernel image"),
        ({**CUDA, "device": "H200", "free": "9", "total": "150000000000"}, "", True, NOTE, "all but 0.0 GB"),
    ],
)
def test_a_gpu_that_is_not_used_and_why(facts, said, has_nvidia, level, text):
    seen = with_outcome("torch", replace(SOUND, has_nvidia=has_nvidia), facts=facts, said=said)
    assert text in only(seen, level, "GPU").text


def test_a_gpu_that_works_is_named_with_its_memory():
    facts = {**CUDA, "device": "H200", "free": str(140 * 10**9), "total": str(150 * 10**9)}
    seen = with_outcome("torch", replace(SOUND, has_nvidia=True), facts=facts)
    assert not faults(seen)
    assert any("140.0 of 150.0 GB free" in f.text for f in diagnose(seen) if f.subject == "GPU")
