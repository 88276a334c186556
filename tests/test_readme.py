"""README and docs: the Python examples run."""

import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rskt_seg
from tests.pages import EXTENDING, PAGES, ROOT, blocks, every_page, named


def test_the_readme_is_short_and_shows_one_picture():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 900
    assert len(re.findall(r"!\[.*?\]\(", text)) == 1


# Python examples.

SMALL = {
    '"rskt_vitb16", num_layers=5': '"rskt_tiny"',
    '"bicor_convnextb"': '"bicor_tiny"',
    '"fctl_vgg16"': '"fctl_tiny"',
    '"catseg_vitb16"': '"catseg_tiny"',
    '"prior_wsss_vitb16"': '"prior_wsss_tiny"',
    '"clip_zeroshot_vitb16"': '"clip_zeroshot_tiny"',
    'dino="vitb14"': 'dino="tiny"',
    "ViT-B-16.pt": "tiny",
}
"""What the examples build or load -> the tiny one that stands in for it."""
EXAMPLES = [
    pytest.param(block, id=f"{named(page)}:{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page, "python"))
    if "rskt_seg.create_model(" in block and page != EXTENDING
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_inference_run_and_their_results_have_the_stated_shapes(
    tmp_path, monkeypatch, example
):
    """With a tiny model in place of the full one, whose untrained weights are the checkpoint."""
    monkeypatch.chdir(tmp_path)
    small = example
    for full, tiny in SMALL.items():
        small = small.replace(full, tiny)
    torch.manual_seed(0)
    names: dict = {"rskt_seg": rskt_seg}
    exec(next(line for line in small.splitlines() if line.startswith("model =")), names)
    model = names["model"]
    if '"dinov2"' in small:
        torch.save(model.dinov2.state_dict(), "dinov2_vitb14_pretrain.pth")
        rskt_seg.load_encoder(model, "clip", "tiny")
        model.encode_classes()
    torch.save({"model": model.state_dict()}, "model_final.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("scene.tif")
    exec(compile(small, "example", "exec"), names)
    if "result" in names:
        listed = [name.split(",")[0] for name in re.findall(r'"(.*?)"', re.search(r"\[(.*?)\]", example)[1])]
        classes = ["background", *listed] if "wsss" in example else listed
        assert list(names["result"].class_names) == classes
        assert names["result"].labels.shape == (20, 30)
        assert names["result"].scores.shape == (len(classes), 20, 30)


def test_there_is_an_example_of_every_method():
    shown = "".join(example.values[0] for example in EXAMPLES)
    assert all(full in shown for full in SMALL)


@every_page
def test_python_blocks_compile(page):
    for block in blocks(page, "python"):
        compile(block, named(page), "exec")


@pytest.fixture
def fcn(tmp_path, monkeypatch) -> Iterator[Path]:
    """The package of docs/extending.md on disk and importable; forgotten afterwards."""
    from rskt_seg.methods import registered_methods, unregister_method

    (tmp_path / "my_fcn").mkdir()
    for language in ("python", "yaml", "toml"):
        for block in blocks(EXTENDING, language):
            if path := re.match(r"# ([\w/]+\.\w+)\n", block):
                (tmp_path / path[1]).write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if "fcn" in {method.name for method in registered_methods()}:
        unregister_method("fcn")
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_fcn"]:
        del sys.modules[name]
    if "rskt_seg.d2" in sys.modules:
        from rskt_seg.d2.methods import registry

        registry._import.cache_clear()  # modules of this name are others in the next test


def use_fcn() -> dict:
    """What docs/extending.md does with its package in a script."""
    (block,) = [block for block in blocks(EXTENDING, "python") if block.startswith("# use it")]
    names: dict = {}
    exec(compile(block, "docs/extending.md", "exec"), names)
    return names


def test_the_method_of_the_page_on_extending_is_built_used_saved_and_loaded(fcn):
    model = use_fcn()["model"]
    torch.save({"model": model.state_dict()}, "model_final.pth")
    other = rskt_seg.create_model("fcn", class_names=["water", "land"], width=16)
    rskt_seg.load_checkpoint(other, "model_final.pth")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_its_entry_point_names_its_record(fcn):
    project = tomllib.loads((fcn / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["rskt_seg.methods"] == {"fcn": "my_fcn:METHOD"}
    from rskt_seg.methods import Method

    assert isinstance(importlib.import_module("my_fcn").METHOD, Method)


def test_its_configuration_builds_a_segmentor_that_learns_and_predicts(fcn):
    from rskt_seg.d2 import load_config  # isort: skip  # prepares Detectron2 for the imports below
    from detectron2.modeling import SEM_SEG_HEADS_REGISTRY, build_model

    use_fcn()
    try:
        segmentor = build_model(load_config("fcn.yaml", ["MODEL.DEVICE", "cpu"]))
        model = segmentor.sem_seg_head.model
        assert model.spec.width == 64 and len(model.class_names) == 17
        image, target = torch.rand(3, 32, 48) * 255, torch.zeros(32, 48, dtype=torch.uint8)
        entry = {"image": image, "sem_seg": target, "vocabulary": model.class_names}
        losses = segmentor.train()([entry, entry])
        sum(losses.values()).backward()
        assert set(losses) == {"loss_ce"} and all(p.grad is not None for p in model.parameters())
        (result,) = segmentor.eval()([{**entry, "height": 64, "width": 96}])
        assert result["sem_seg"].shape == (17, 64, 96)
    finally:
        SEM_SEG_HEADS_REGISTRY._obj_map.pop("FCNHead", None)


def test_its_cost_is_what_the_page_says(fcn, capsys):
    import rskt_seg.d2  # isort: skip  # prepares Detectron2 for the imports below
    from detectron2.modeling import SEM_SEG_HEADS_REGISTRY

    from rskt_seg.commands.cli import main

    record = fcn / "my_fcn" / "__init__.py"
    text = record.read_text()
    changed = text.replace("strategy=TiledStrategy", "strategy=StripStrategy, printed_costs=printed_costs")
    assert changed != text
    record.write_text(f"from my_fcn.cost import StripStrategy, printed_costs\n{changed}")
    try:
        use_fcn()
        (command,) = [
            line for block in blocks(EXTENDING, "console") for line in block.splitlines() if "analyze" in line
        ]
        assert main(command.removeprefix("$ rskt-seg ").split()) == 0
        printed = {" ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
        (shown,) = blocks(EXTENDING, "text")
        assert {" ".join(line.split()) for line in shown.splitlines()} <= printed
        segmenter = rskt_seg.Segmenter(
            rskt_seg.create_model("fcn", class_names=["water", "land"], width=16), rows=7
        )
        assert segmenter.predict(np.zeros((20, 30, 3), np.uint8)).labels.shape == (20, 30)
    finally:
        SEM_SEG_HEADS_REGISTRY._obj_map.pop("FCNHead", None)
