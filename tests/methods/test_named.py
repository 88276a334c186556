"""Models by name: which there are, where their files come from, and that a name is as good as its file."""

import hashlib
import logging
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rskt_seg
from rskt_seg.checkpoints.manifest import MODEL_ROLE
from rskt_seg.commands import segment
from rskt_seg.errors import CheckpointError, ConfigError, WeightsNotFoundError
from rskt_seg.methods import ListedModel, NamedModel
from rskt_seg.methods.named import find_named, named_models
from tests.checkpoints.conftest import server  # noqa: F401

BY_NAME = {named.name: named for named in named_models()}
TINY = BY_NAME["tiny"].weights.place()
CLIP = Path(str(files("rskt_seg.encoders").joinpath("tiny_clip.safetensors")))
NAMES = ("grass", "trees", "water")


def image(height=90, width=120):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command(*words):
    return segment.main([*map(str, words)])


def test_the_list_has_every_name_once_and_says_what_is_here(tmp_path):
    rows = rskt_seg.list_models()
    assert all(isinstance(row, ListedModel) for row in rows)
    assert [row.name for row in rows] == list(BY_NAME) and len(set(BY_NAME)) == len(rows) > 10
    listed = {row.name: row for row in rows}
    tiny, published, clip = (listed[name] for name in ("tiny", "rskt-vitb-dlrsd", "clip-vitb16"))
    assert tiny.present and Path(tiny.where) == TINY and tiny.size == TINY.stat().st_size
    assert (published.present, published.size) == (False, None)
    assert published.where == f"by hand: {BY_NAME['rskt-vitb-dlrsd'].weights.page}"
    assert clip.licence == "MIT" and clip.where == "openaipublic.azureedge.net" and not clip.present
    assert all(row.purpose and row.method and row.licence and row.where for row in rows)
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "rskt_vitb_dlrsd.pth").write_bytes(b"seven b")
    found = {row.name: row for row in rskt_seg.list_models("w")}["rskt-vitb-dlrsd"]
    assert found.present and found.size == 7 and Path(found.where) == Path("w", "rskt_vitb_dlrsd.pth")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tinny", "did you mean tiny?"),
        ("Tiny", "did you mean tiny?"),
        ("rskt_vitb_dlrsd", "did you mean rskt-vitb-dlrsd or "),
        ("clip-vitb32", "did you mean .*clip-vitb16"),
        ("zzz", "known are tiny, .*clip-vitb16"),
        ("vgg16", "known are tiny"),  # an encoder alone segments nothing
    ],
)
def test_an_unknown_name_is_one_line_with_the_near_ones(name, words, capsys):
    with pytest.raises(WeightsNotFoundError, match=f"no model and no file is called '{name}'; {words}"):
        rskt_seg.load(name)
    assert command("a.png", "--model", name, "--vocabulary", "a, b", "--output", "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line and not Path("out").exists()


def test_files_are_no_names_and_a_name_is_its_model_even_beside_a_file_called_so(caplog):
    assert [find_named(source) for source in ("./tiny", "tiny.pth", "a/tiny", Path("tiny"), {})] == [None] * 5
    torch.save(rskt_seg.create_model("rskt_tiny").state_dict(), "own")
    assert find_named("own") is None and rskt_seg.load("own", "rskt_tiny").model.spec.encoder == "tiny"
    assert find_named("tiny") is BY_NAME["tiny"] and not caplog.records
    Path("tiny").mkdir()
    assert find_named("tiny") is BY_NAME["tiny"] and not caplog.records
    Path("tiny").rmdir()
    Path("tiny").touch()
    assert find_named("tiny") is BY_NAME["tiny"]
    assert "for the file write ./tiny" in caplog.text


@pytest.mark.parametrize("name", [name for name, named in BY_NAME.items() if named.weights.by_hand])
def test_a_file_to_be_got_by_hand_is_one_line_that_says_how(name, capsys, tmp_path):
    row = BY_NAME[name].weights
    words = ["--model", name, "--vocabulary", "a, b", "--output", "out"]
    assert command("a.png", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in (name, row.page, row.by_hand, str(tmp_path / "pretrained" / row.file)):
        assert part in line
    with pytest.raises(WeightsNotFoundError):
        rskt_seg.load(name)


def test_a_name_takes_no_other_model():
    with pytest.raises(ConfigError, match="tiny is the name of one model; leave preset, num_layers out"):
        rskt_seg.load("tiny", "rskt_tiny", num_layers=3)
    with pytest.raises(ConfigError, match="has no classes of its own"):
        rskt_seg.load("tiny", class_names=NAMES)


@pytest.fixture
def served(server, monkeypatch):  # noqa: F811
    """A function that makes a file of this package a model to be fetched from a local server."""

    def serve(file: Path, named: NamedModel, **facts) -> NamedModel:
        server.files[f"/{file.name}"] = file.read_bytes()
        row = replace(
            named.weights, name="remote", file=file.name, package="", url=f"{server.url}/{file.name}",
            sha256=hashlib.sha256(file.read_bytes()).hexdigest(), size=None, **facts,
        )  # fmt: skip
        made = replace(named, weights=row)
        monkeypatch.setattr("rskt_seg.methods.named.named_models", lambda: (made,))
        return made

    return serve


def test_a_missing_file_is_fetched_once_and_its_size_and_licence_are_told_before(served, server, caplog):  # noqa: F811
    served(TINY, BY_NAME["tiny"], licence="MIT")
    fetched = rskt_seg.load("remote")
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    for part in (f"{TINY.stat().st_size:,} bytes", "licence MIT", server.url, f"pretrained/{TINY.name}"):
        assert part in line
    assert Path("pretrained", TINY.name).read_bytes() == TINY.read_bytes()
    weights = [model.state_dict() for model in (fetched.model, rskt_seg.load(TINY).model)]
    assert all(map(torch.equal, *(each.values() for each in weights)))
    server.asked.clear()
    assert rskt_seg.load("remote").options == fetched.options
    assert server.asked == []


def test_a_file_that_is_not_the_one_of_the_manifest_is_not_loaded(served, server):  # noqa: F811
    served(TINY, BY_NAME["tiny"])
    Path("pretrained").mkdir()
    Path("pretrained", TINY.name).write_bytes(CLIP.read_bytes())
    with pytest.raises(CheckpointError, match=r"expected sha256 .*move it away"):
        rskt_seg.load("remote")
    assert server.asked == []


@pytest.mark.parametrize("name", ["clip-vitb16", "remoteclip-vitb32"])
def test_an_encoder_is_the_whole_model_of_a_method_that_is_not_trained(served, name):
    row = replace(BY_NAME[name].weights, hub="")
    served(CLIP, NamedModel(row, "clip_zeroshot_tiny", "clip_zeroshot/tiny.yaml", "a test"))
    loaded = rskt_seg.load("remote")
    expected = rskt_seg.create_model("clip_zeroshot_tiny")
    rskt_seg.load_encoder(expected, "clip", "tiny")
    results = [rskt_seg.Segmenter(model, NAMES).predict(image()) for model in (loaded, expected)]
    assert torch.equal(*(result.score_map for result in results))
    assert not results[0].notices and row.role != MODEL_ROLE


def test_a_published_checkpoint_is_built_as_its_name_says(monkeypatch):
    """With a tiny model in the place of the full one."""
    torch.manual_seed(0)
    model = rskt_seg.create_model("rskt_tiny", num_layers=3)
    named = replace(BY_NAME["rskt-vitb-isaid"], preset="rskt_tiny", inference={"short_side": 320})
    monkeypatch.setattr("rskt_seg.methods.named.named_models", lambda: (named,))
    Path("pretrained").mkdir()
    torch.save({"model": model.state_dict()}, "pretrained/rskt_vitb_isaid.pth")
    loaded = rskt_seg.load(named.name)
    assert named.options == {"num_layers": 3} and loaded.model.spec == model.spec
    assert all(map(torch.equal, loaded.model.state_dict().values(), model.state_dict().values()))
    assert rskt_seg.Segmenter(loaded, NAMES).options["short_side"] == 320


def test_a_closed_set_model_gets_its_classes_from_the_vocabulary(monkeypatch):
    torch.manual_seed(0)
    model = rskt_seg.create_model("bicor_tiny", class_names=NAMES)
    named = replace(BY_NAME["bicor"], preset="bicor_tiny")
    monkeypatch.setattr("rskt_seg.methods.named.named_models", lambda: (named,))
    Path("pretrained").mkdir()
    torch.save({"model": model.state_dict()}, "pretrained/bicor.ckpt")
    Image.fromarray(image()).save("a.png")
    words = ["--model", "bicor", "--device", "cpu", "--vocabulary", ", ".join(NAMES), "--output", "out"]
    assert command("a.png", *words, "--whole") == 0
    expected = rskt_seg.Segmenter(model, precision="fp32").predict("a.png").labels
    np.testing.assert_array_equal(np.asarray(Image.open("out/a_ids.png")), expected)
