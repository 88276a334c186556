"""The graphs of exported models compute what the models compute, alone and through `Segmenter`."""

import json
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

import rskt_seg
from rskt_seg import Segmenter, create_model
from rskt_seg.commands.export import main
from rskt_seg.commands.segment import main as segment_main
from rskt_seg.errors import CheckpointError, ConfigError, VocabularyError, WeightsNotFoundError
from rskt_seg.exporting import onnx_files
from rskt_seg.exporting.export import FACTS_FILE
from rskt_seg.exporting.facts import DIGEST, FACTS, SCORES
from rskt_seg.inference.predict import evaluating
from tests.geo.rasters import noise
from tests.pages import ROOT, blocks

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
WORDS = "water, road, building"
CLASSES = ["background", "water", "road", "building"]


def segmenter(name):
    torch.manual_seed(0)
    match name:
        case "words":
            return Segmenter(rskt_seg.load("tiny"), WORDS.split(", "))
        case "synonyms":
            names = [{"grass": ["tree", "forest"], "water": []}, "mean", ["building"], 0.4]
            return Segmenter(
                rskt_seg.load("tiny"), names[0], synonyms=names[1], background=names[2], threshold=names[3]
            )
        case "tiles":
            return Segmenter(create_model("bicor_tiny", class_names=CLASSES), tile=64)
        case "scales":
            model = create_model("prior_wsss_tiny", class_names=CLASSES)
            return Segmenter(model, tile=64, scales=(1.0,), flip=False)
        case "patches":  # a context around the patch, and the whole scene, whose place is read
            model = create_model("fctl_tiny", class_names=CLASSES, branch="deepglobe", ale="d")
            return Segmenter(model)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Returns a segmenter by name and its ONNX file, each written once; that of "words" by the command."""

    @cache
    def export(name):
        seen, path = segmenter(name), tmp_path_factory.mktemp(name) / "model.onnx"
        if name == "words":
            flags = ["--vocabulary", WORDS, "--resolution", "0.3", "--output", str(path)]
            assert main(["--model", "tiny", *flags]) == 0
        else:
            seen.export(path)
        return seen, path

    return export


@pytest.fixture(scope="module", params=["words", "synonyms", "tiles", "scales", "patches"])
def exported(request, export):
    return export(request.param)


@pytest.fixture(scope="module")
def tiles(export):
    return export("tiles")  # which is quick


def smooth(height, width, seed=0):
    """Noise of 8 x 8 px, on which models disagree with themselves elsewhere."""
    coarse = noise(height // 8 + 1, width // 8 + 1, 3, seed=seed)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]


def random_inputs(strategy, plan, count):
    shapes = strategy.graph_inputs(plan)
    inputs = {name: 255 * torch.rand(count, *shape) for name, shape in shapes.items()}
    for name in (name for name in inputs if name.startswith("window_")):
        inputs[name] = torch.tensor([[-0.5, -1.0, 3.0, 2.5]]).repeat(count, 1)
    return inputs


def test_a_graph_has_the_scores_of_the_model_for_any_number_of_windows(exported):
    seen, path = exported
    strategy = seen.strategy
    plan = strategy.plan_scene((9999, 9999), None, None, "hann")
    session = onnxruntime.InferenceSession(str(path))
    assert [output.name for output in session.get_outputs()] == ["scores"]
    for count in (1, 3):
        inputs = random_inputs(strategy, plan, count)
        (scores,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with evaluating(seen.model):
            maps = strategy.graph_maps(inputs, plan)
            side = (plan.side, plan.side)
            pixels = torch.nn.functional.interpolate(maps, side, mode="bilinear") if plan.cell > 1 else maps
            expected = torch.stack([strategy.map_scores(each) for each in pixels]).numpy()
        assert scores.shape == (count, len(seen.vocabulary.names), *side)
        assert np.abs(scores - expected).max() < 1e-4 and np.ptp(expected) > 0.01


def test_a_graph_segments_a_scene_as_the_model_does(exported, tmp_path):
    seen, path = exported
    graph = Segmenter.from_onnx(path)
    assert (graph.legend, graph.score_kind) == (seen.legend, seen.score_kind)
    assert (graph.vocabulary.names, graph.background) == (seen.vocabulary.names, seen.background)
    scene = smooth(150, 200)
    expected, found = (
        each.segment_scene(scene, tmp_path / name, polygons=()) for each, name in ((seen, "a"), (graph, "b"))
    )
    assert (expected.ids() == found.ids()).mean() > 0.9999
    assert np.abs(expected.confidence() - found.confidence()).max() < 1.01 / 254  # a step of the rasters
    assert (graph.predict(scene).labels == found.ids()).mean() > (0.9 if graph.options else 0.9999)


def test_a_file_states_what_is_needed_to_use_it(exported):
    seen, path = exported
    stated = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    facts = json.loads(stated[FACTS])
    plan = seen.strategy.plan_scene((9999, 9999), None, None, "hann")
    hidden = len(facts["background"])
    names = seen.vocabulary.names
    assert facts["class_names"] + facts["background"] == list(names)
    assert [tuple(color) for color in facts["palette"]] == [
        entry.color for entry in seen.legend.entries[: len(names) - hidden]
    ]
    assert (facts["window"], facts["stride"], facts["cell"]) == (plan.side, plan.stride, plan.cell)
    assert facts["overlap"] == pytest.approx(1 - plan.stride / plan.side, abs=1e-6)
    assert len(facts["weights"]) == len(stated[DIGEST]) == 64
    if seen.strategy.contexts:
        assert "model_type" not in stated and facts["contexts"] == {"medium": 3.0, "large": 0.0}
        return
    deepness = {key: json.loads(value) for key, value in stated.items() if not key.startswith("rskt_seg")}
    expected = {
        "model_type": "Segmentor",
        "class_names": {str(number): name for number, name in enumerate(names)},
        "tiles_size": plan.side,
        "tiles_overlap": round(100 * (1 - plan.stride / plan.side)),
        "standardization_mean": [0, 0, 0],
        "standardization_std": [1 / 255] * 3,
        "seg_thresh": 0,
        "seg_small_segment": 0,
    }
    if facts["resolution"] is not None:  # that of the command
        expected["resolution"] = 30
    assert deepness == expected


def test_the_file_alone_is_enough_without_torch(exported, tmp_path):
    """The example of docs/export.md, in a process that cannot import torch or this package."""
    seen, path = exported
    if seen.strategy.contexts:
        return
    (tmp_path / "scene.onnx").write_bytes(path.read_bytes())
    side = seen.strategy.plan_scene((9999, 9999), None, None, "hann").side
    pixels = smooth(side + 9, side + 5)
    np.save(tmp_path / "scene.npy", pixels)
    (example,) = (each for each in blocks(ROOT / "docs/export.md", "python") if "onnxruntime" in each)
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'onnx', 'rskt_seg'): raise ImportError(name)\n"
        f"sys.meta_path.insert(0, Refuse())\n{example}\nnp.save('labels.npy', labels)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    expected = Segmenter.from_onnx(path).predict(pixels[:side, :side]).labels
    decided = expected != (seen.legend.entries[-1].id if seen.legend.entries[-1].name == "other" else -1)
    assert (np.load(tmp_path / "labels.npy") == expected)[decided].all()


def test_an_image_smaller_than_a_window_is_continued_by_its_border(tiles):
    seen, path = tiles
    pixels = smooth(40, 50)
    found = Segmenter.from_onnx(path).predict(pixels)
    padded = np.pad(pixels, ((0, 24), (0, 14), (0, 0)), mode="edge")
    assert found.labels.shape == (40, 50)
    assert np.array_equal(found.labels, seen.predict(padded).labels[:40, :50])


def test_a_pt2_file_is_the_same_program(tmp_path):
    seen = segmenter("tiles")
    seen.export(tmp_path / "tiles.pt2")
    texts = {FACTS_FILE: ""}
    program = torch.export.load(tmp_path / "tiles.pt2", extra_files=texts)
    images = 255 * torch.rand(3, 3, 64, 64)
    with evaluating(seen.model):
        expected = seen.model(images).logits.softmax(dim=1)
        assert torch.allclose(program.module()(images)["scores"], expected, atol=1e-5)
    assert json.loads(texts[FACTS_FILE])["class_names"] == CLASSES


def test_the_command_segments_with_the_file(tiles, tmp_path, capsys):
    _, path = tiles
    Image.fromarray(smooth(90, 100)).save(tmp_path / "a.png")
    common = [str(tmp_path / "a.png"), "--model", str(path), "--output", str(tmp_path / "out")]
    assert segment_main(common) == 0 and (tmp_path / "out/a_ids.png").is_file()
    assert segment_main([*common, "--vocabulary", "water, road"]) == 2
    assert "'background', 'water', 'road', 'building'; found 'water', 'road'" in capsys.readouterr().err
    assert segment_main([*common, "--precision", "bf16"]) == 2
    assert "--precision has no effect on an ONNX file" in capsys.readouterr().err


def changed(path, target, change):
    model = onnx.load(path)
    change(model)
    target.write_bytes(model.SerializeToString())
    return target


def restate(key, value):
    def change(model):
        (stated,) = (each for each in model.metadata_props if each.key == key)
        stated.value = value(stated.value)

    return change


def test_other_and_damaged_files_are_refused_in_one_line(tiles, tmp_path):
    _, path = tiles

    def refused(file, error, match):
        with pytest.raises(error, match=match) as raised:
            Segmenter.from_onnx(file)
        assert "\n" not in str(raised.value)

    refused(tmp_path / "none.onnx", WeightsNotFoundError, "is no file")
    (tmp_path / "text.onnx").write_text("no graph")
    refused(tmp_path / "text.onnx", CheckpointError, "is no ONNX file, or not all of it")
    (tmp_path / "half.onnx").write_bytes(path.read_bytes()[:5000])
    refused(tmp_path / "half.onnx", CheckpointError, "is no ONNX file, or not all of it")
    other = changed(path, tmp_path / "other.onnx", lambda model: model.ClearField("metadata_props"))
    refused(other, CheckpointError, "ONNX file of another program")
    later = restate(FACTS, lambda text: text.replace('"format": 1', '"format": 2'))
    refused(changed(path, tmp_path / "later.onnx", later), CheckpointError, "found format 2")

    def disturb(model):
        weights = model.graph.initializer[0]
        weights.raw_data = bytes([weights.raw_data[0] ^ 1]) + weights.raw_data[1:]

    refused(changed(path, tmp_path / "bits.onnx", disturb), CheckpointError, "damaged or changed")
    renamed = restate(FACTS, lambda text: text.replace("water", "waste"))
    refused(changed(path, tmp_path / "names.onnx", renamed), CheckpointError, "damaged or changed")
    shorter = restate(FACTS, lambda text: text.replace('"ids": [0, ', '"ids": ['))
    refused(changed(path, tmp_path / "ids.onnx", shorter), CheckpointError, "cannot be used")
    rest = restate(SCORES, lambda text: f"{text}!")
    refused(changed(path, tmp_path / "rest.onnx", rest), CheckpointError, "damaged or changed")


def test_what_a_graph_cannot_do_is_refused(tiles, tmp_path, monkeypatch):
    seen, path = tiles
    graph = Segmenter.from_onnx(path)
    with pytest.raises(ConfigError, match="windows of 64 px and nothing else, and a window of 32"):
        graph.segment_scene(smooth(90, 100), tmp_path, window=32)
    with pytest.raises(VocabularyError, match="are frozen"):
        Segmenter.from_onnx(path, ["sea", "land"])
    with pytest.raises(CheckpointError, match=r"use it by rskt_seg\.Segmenter\.from_onnx"):
        rskt_seg.load(path)
    with pytest.raises(ConfigError, match="has no effect on ONNX models"):
        Segmenter.from_onnx(path, views="lr")
    with pytest.raises(ConfigError, match=r"ends in \.onnx or \.pt2"):
        seen.export(tmp_path / "model.pth")
    with pytest.raises(ConfigError, match="in metres a pixel, above 0; found -1"):
        seen.export(tmp_path / "model.onnx", resolution=-1)
    with pytest.raises(ConfigError, match="sees whole images"):
        Segmenter(
            create_model("fctl_tiny", 3, contexts=(), lcf=False, view="whole", patch_side=508),
            ["a", "b", "c"],
        ).export(tmp_path / "model.onnx")
    with pytest.raises(ConfigError, match="has no NoProvider"):
        Segmenter.from_onnx(path, providers=["NoProvider"])
    with pytest.raises(ConfigError, match="plain model"):
        Segmenter(seen.model, precision="fp32").export(tmp_path / "model.onnx")

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(onnx_files, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'rskt_seg\[export\]'"):
        Segmenter.from_onnx(path)
    with pytest.raises(ConfigError, match=r"pip install 'rskt_seg\[export\]'"):
        seen.export(tmp_path / "model.onnx")
    assert not list(tmp_path.glob("model*"))
