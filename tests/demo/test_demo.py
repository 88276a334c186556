"""The command itself, in a process of its own, with an untrained tiny model."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rskt_seg.commands.segment import main

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "ovrsis" / "tiny_dlrsd.yaml"
RANDOM = [f"MODEL.ENCODERS.{role}" for role in ("CLIP", "REMOTE_CLIP", "DINO")]
OPTIONS = ["MODEL.DEVICE", "cpu", *(word for key in RANDOM for word in (key, "random"))]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from rskt_seg.d2 import build_model, load_config

    model = build_model(load_config(str(CONFIG), OPTIONS))
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save({"model": model.state_dict()}, path)
    return path


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "scene.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    return path


def test_the_command_segments_and_draws(tmp_path, image, weights):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "classes.txt").write_text("building, house\nroad\n")
    command = [sys.executable, ROOT / "demo" / "demo.py", "--config-file", CONFIG, "--sliding", "--cost-maps"]
    command += ["--input", image, broken, "--class-names", tmp_path / "classes.txt"]
    command += ["--output", tmp_path / "out", "--opts", *OPTIONS, "MODEL.WEIGHTS", weights]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd="/", env=environment)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "only its first name 'building'" in done.stderr and "failed: " in done.stderr
    ids = np.asarray(Image.open(tmp_path / "out" / "scene_ids.png"))
    assert ids.shape == (40, 60) and set(np.unique(ids)) <= {0, 1}
    assert (tmp_path / "out" / "scene_cost_maps.png").exists()


@pytest.mark.parametrize(
    ("arguments", "opts", "message"),
    [
        (["--vocabulary", "road, Road"], OPTIONS, "twice"),
        (["--vocabulary", "none.txt"], OPTIONS, "none.txt"),
        (["--vocabulary", "road", "--bands", "1,2"], OPTIONS, "--bands"),
        (["--vocabulary", "road", "--stretch", "x"], OPTIONS, "stretch"),
        (["--vocabulary", "road"], OPTIONS, "MODEL.WEIGHTS is empty"),
        (["--vocabulary", "road"], ["MODEL.DEVICE", "cuda:77"], "MODEL.DEVICE"),
        (["--vocabulary", "road"], ["MODEL.NONSENSE", "1"], "MODEL.NONSENSE"),
    ],
)
def test_a_mistake_is_one_line_and_no_traceback(tmp_path, image, arguments, opts, message, capsys):
    common = ["--config-file", str(CONFIG), "--input", str(image), "--output", str(tmp_path / "out")]
    assert main([*common, *arguments, "--opts", *opts]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("rskt-seg segment: error:") and message in line
    assert not (tmp_path / "out").exists()
