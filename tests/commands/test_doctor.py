"""`rskt-seg doctor`: broken libraries are found without breaking it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rskt_seg.commands import doctor_probes
from rskt_seg.commands.doctor import main
from rskt_seg.commands.doctor_probes import PROBES, run_probes
from rskt_seg.diagnosis.maps import PLAIN_RASTERIO
from tests.diagnosis.machines import SOUND, with_outcome

ROOT = Path(__file__).parents[2]


def plant(folder: Path, module: str, code: str) -> None:
    """Make a module that hides the installed one."""
    (folder / module).mkdir()
    (folder / module / "__init__.py").write_text(code)


def probe(*names: str, seconds: float = 60, **variables: str):
    return run_probes(names, {**os.environ, **variables}, time.monotonic() + seconds)


def test_a_library_that_kills_python_is_named_and_the_next_probes_still_run(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    plant(tmp_path, "cv2", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    plant(tmp_path, "scipy", "raise ImportError('two\\nlines')")
    found = probe("pillow", "OpenCV", "scipy", "numpy")
    assert list(found) == ["pillow", "OpenCV", "scipy", "numpy"]
    assert "SIGSEGV" in found["OpenCV"].error and found["scipy"].error == "ImportError: two lines"
    assert not found["pillow"].error and not found["numpy"].error and found["numpy"].facts["version"]


def test_a_library_that_waits_for_ever_is_named_and_the_deadline_holds(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    plant(tmp_path, "cv2", "import time; time.sleep(1000)")
    found = probe("OpenCV", "pillow", seconds=1)
    assert list(found) == ["OpenCV"] and "no answer" in found["OpenCV"].error
    monkeypatch.setattr(doctor_probes, "PATIENCE_S", 5)
    found = probe("OpenCV", "pillow")
    assert "no answer" in found["OpenCV"].error and not found["pillow"].error


def test_what_a_library_prints_is_kept_apart(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    noise = "import os, warnings; print('{'); os.write(2, b'from C'); os.write(1, b'too'); warnings.warn('W')"
    plant(tmp_path, "cv2", f"__version__ = '1'\n{noise}")
    found = probe("OpenCV")["OpenCV"]
    assert (
        found.facts == {"version": "1"} and "from C" in found.said and "W" in found.said and not found.error
    )


def test_every_probe_but_that_of_a_configuration_finds_its_facts_here():
    found = probe(*(name for name in PROBES if name != "configuration"), seconds=300)
    assert not [(name, outcome.error) for name, outcome in found.items() if outcome.error]
    assert found["torch"].facts["version"] and found["rasterio"].facts["proj"]
    assert (
        "detectron2" in found["Detectron2"].facts["folder"]
        and "text" in found["caches"].facts["text embeddings"]
    )
    assert {"variable", "DLRSD", "Potsdam_wsss"} <= found["datasets"].facts.keys()


@pytest.mark.parametrize("name", ["PROJ_LIB", "PROJ_DATA"])
def test_a_proj_of_another_installation_is_a_fault_of_rasterio(name, tmp_path):
    assert "proj.db" in probe("rasterio", **{name: str(tmp_path)})["rasterio"].facts["fault"]


def test_the_probe_of_datasets_sees_the_root_of_the_environment(tmp_path):
    for name in ("imgs", "D2masks"):
        (tmp_path / "DLRSD" / name).mkdir(parents=True)
    facts = probe("datasets", DETECTRON2_DATASETS=str(tmp_path))["datasets"].facts
    assert facts["DLRSD"] == "all" and not facts["iSAID"]


def test_the_probe_of_a_configuration_names_what_it_lacks(tmp_path):
    variables = {**os.environ, "DETECTRON2_DATASETS": str(tmp_path)}
    deadline = time.monotonic() + 100
    (found,) = run_probes(["configuration"], variables, deadline, "ovrsis/vitb_dlrsd.yaml").values()
    assert "MODEL.ENCODERS" in found.facts["weights"] and "DLRSD_train_sem_seg" in found.facts["absent"]


@pytest.fixture
def seeing(monkeypatch):
    """Let the command see another machine."""

    def see(seen):
        monkeypatch.setattr(doctor_probes, "observe", lambda config: seen)

    return see


def test_it_prints_a_line_a_finding_and_ends_with_0_without_a_problem(seeing, capsys):
    seeing(SOUND)
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ok       Python: 3.11.4" and lines[-1] == "no problem, 0 notes"
    assert any(line.startswith("versions: ") and "torch 2.11.0" in line for line in lines)


def test_it_ends_with_1_with_a_problem_whose_cure_is_in_its_line(seeing, capsys):
    seeing(with_outcome("torch", error="ImportError: x"))
    assert main([]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("problem"))
    assert "torch: cannot be used: ImportError: x -> pip install" in line


def test_json_has_the_same_findings(seeing, capsys):
    seeing(with_outcome("torch", error="ImportError: x"))
    assert main(["--json"]) == 1
    tree = json.loads(capsys.readouterr().out)
    assert tree["python"] == "3.11.4" and tree["versions"]["torch"] == "2.11.0"
    problems = [each for each in tree["findings"] if each["level"] == "problem"]
    assert [each["subject"] for each in problems] == ["torch"] and problems[0]["cure"]


def test_a_configuration_that_does_not_exist_is_misuse(seeing, capsys):
    seeing(with_outcome("configuration", error="ConfigError: configuration 'a.yaml' does not exist"))
    assert main(["--config-file", "a.yaml"]) == 2
    assert capsys.readouterr().err == "rskt-seg doctor: error: configuration 'a.yaml' does not exist\n"


def test_variables_of_gdal_are_also_left_out_for_a_second_look(monkeypatch):
    asked = []

    def record(names, variables, *rest):
        asked.append((list(names), "PROJ_LIB" in variables))
        return dict.fromkeys(names, SOUND.outcomes["rasterio"])

    monkeypatch.setattr(doctor_probes, "run_probes", record)
    monkeypatch.setenv("PROJ_LIB", "/opt/proj")
    assert PLAIN_RASTERIO in doctor_probes.observe().outcomes
    assert asked[1] == (["rasterio"], False) and asked[0][1]
    assert "configuration" not in asked[0][0]


def test_it_works_where_torch_is_broken_and_loads_it_not_in_its_own_process(tmp_path):
    plant(tmp_path, "torch", "raise ImportError('libtorch is gone')")
    code = (
        "import sys; from rskt_seg.commands.doctor import main; status = main([]); "
        "assert not {'numpy', 'rasterio', 'cv2'} & set(sys.modules); raise SystemExit(status)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert done.returncode == 1 and not done.stderr, done.stderr
    assert len(problems) == 1 and "libtorch is gone" in problems[0]
