"""What the README says can be typed as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rskt_seg

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


SMALL = {
    "rskt": ('"rskt_vitb16", num_layers=5', '"rskt_tiny"', 4),
    "bicor": ('"bicor_convnextb"', '"bicor_tiny"', 4),
    "fctl": ('"fctl_vgg16"', '"fctl_tiny"', 2),
    "wsss": ('"prior_wsss_vitb16"', '"prior_wsss_tiny"', 4),
}


@pytest.mark.parametrize("method", SMALL)
def test_the_python_examples_run_and_their_results_have_the_stated_shapes(tmp_path, monkeypatch, method):
    """With a tiny model in the place of the full one, whose untrained weights are the checkpoint."""
    monkeypatch.chdir(tmp_path)
    full, tiny, classes = SMALL[method]
    (example,) = [block for block in blocks("python") if "Segmenter" in block and full in block]
    small = example.replace(full, tiny).replace('dino="vitb14"', 'dino="tiny"').replace("ViT-B-16.pt", "tiny")
    torch.manual_seed(0)
    line = next(line for line in small.splitlines() if line.startswith("model ="))
    names = {"rskt_seg": rskt_seg}
    exec(line, names)
    if method == "wsss":
        torch.save(names["model"].dinov2.state_dict(), "dinov2_vitb14_pretrain.pth")
        rskt_seg.load_encoder(names["model"], "clip", "tiny")
        names["model"].encode_classes()
    torch.save({"model": names["model"].state_dict()}, "model_final.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("scene.tif")
    exec(compile(small, "README.md", "exec"), names)
    result = names["result"]
    assert result.labels.shape == (20, 30) and result.scores.shape == (classes, 20, 30)
    listed = re.search(r"\[(.*?)\]", example)[1].replace('"', "").split(", ")
    assert list(result.class_names) == (["background", *listed] if method == "wsss" else listed)


@pytest.mark.parametrize("script", sorted(set(re.findall(r"python (\S+\.py)", README))))
def test_every_flag_that_the_readme_gives_a_script_exists(script):
    usage = subprocess.run(
        [sys.executable, ROOT / script, "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout
    for block in blocks("sh"):
        for command in re.split(r"(?<!\\)\n", block):
            if f"python {script}" in command:
                for flag in re.findall(r"\s(--[a-z-]+)", command):
                    assert flag in usage, f"{script} has no {flag}"


def test_every_file_that_the_readme_links_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert link.startswith("http") or (ROOT / link).exists(), link
    for path in re.findall(r"configs/\S+?\.yaml", README):
        assert list(ROOT.glob(path)), path


def test_the_table_of_configurations_states_their_layers():
    import yaml

    rows = re.findall(r"\[`(\w+\.yaml)`\].*?\|.*?\| (\d) \|", README)
    assert len(rows) == 5
    for name, layers in rows:
        tree = yaml.safe_load((ROOT / "configs/ovrsis" / name).read_text())
        assert tree["MODEL"]["RSKT"].get("NUM_LAYERS", 5) == int(layers), name
