"""A trained model from its checkpoint alone."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

import rskt_seg
from rskt_seg.checkpoints.files import read_weights
from rskt_seg.commands import segment
from rskt_seg.errors import CheckpointError, ConfigError, VocabularyError, WeightsNotFoundError
from rskt_seg.methods.export import export_model
from rskt_seg.methods.load import frozen_parts

NAMES = ("building", "road", "tree")
TINY = {
    "rskt_tiny": ({}, {"short_side": 96, "max_side": 256}),
    "bicor_tiny": ({"class_names": NAMES}, {"tile": 64, "tile_overlap": 16}),
    "fctl_tiny": ({"class_names": NAMES}, {"patch_overlap": 8}),
}


def saved(folder, preset, **entries):
    """A checkpoint as a training writes it, and its model."""
    classes, inference = TINY[preset]
    torch.manual_seed(0)
    model = rskt_seg.create_model(preset, **classes)
    with torch.no_grad():
        for parameter in model.parameters():  # the random start would be warned of
            parameter.add_(0.01)
    content = {"model": model.state_dict(), "options": asdict(model.spec), "inference": inference}
    content |= {"class_names": NAMES} if classes else {}
    torch.save({**content, **entries}, folder / "model_final.pth")
    return folder / "model_final.pth", model, inference


def image():
    return np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("preset", TINY)
def test_a_checkpoint_is_enough_for_the_maps_of_the_training(tmp_path, preset):
    path, model, inference = saved(tmp_path, preset)
    vocabulary = None if TINY[preset][0] else NAMES
    segmenter = rskt_seg.Segmenter(rskt_seg.load(path), vocabulary)
    expected = rskt_seg.Segmenter(model, vocabulary, **inference)
    assert segmenter.options == expected.options and inference.items() <= segmenter.options.items()
    assert segmenter.vocabulary.names == NAMES and not segmenter.model.training
    results = [each.predict(image()).score_map for each in (segmenter, expected)]
    assert torch.equal(*results)


TAMPERED = [
    {"device": "meta"}, {"vocabulary": ["a"]}, {"model": 1}, {"self": 1}, {5: 1}, {"views": ["a"]},
    {"short_side": "a"}, {"short_side": None}, {"short_side": 1.5}, {"max_side": torch.zeros(3)},
    {"tile": "x"}, {"tile_overlap": [1]}, {"patch_overlap": 1.5}, {"scales": "ab"}, {"scales": ["a"]},
    {"crf": {"iterations": 5}}, {"sliding": "yes"}, {"padding": {}}, {"flip": 1},
]  # fmt: skip


@pytest.mark.parametrize("preset", TINY)
@pytest.mark.parametrize("entry", TAMPERED, ids=str)
def test_what_a_checkpoint_states_wrongly_of_how_it_sees_images_is_one_line_with_its_name(
    tmp_path, preset, entry, capsys
):
    path, _, inference = saved(tmp_path, preset)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "inference": {**inference, **entry}}, path)
    with pytest.raises(
        CheckpointError, match=r"model_final\.pth: what it states of how its model sees images: "
    ):
        rskt_seg.load(path)
    Image.fromarray(image()).save(tmp_path / "a.png")
    arguments = [
        "--weights",
        str(path),
        "--input",
        str(tmp_path / "a.png"),
        "--output",
        str(tmp_path / "out"),
    ]
    assert segment.main([*arguments, *([] if TINY[preset][0] else ["--vocabulary", "a, b"])]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("preset", "option"),
    [
        ("rskt_tiny", "num_layers"),
        ("rskt_tiny", "hidden_dim"),
        ("bicor_tiny", "num_layers"),
        ("bicor_tiny", "inner_steps"),
        ("bicor_tiny", "width"),
        ("fctl_tiny", "patch_side"),
        ("fctl_tiny", "input_side"),
    ],
)
def test_a_checkpoint_that_states_a_model_beyond_all_memory_is_refused_before_it_is_built(
    tmp_path, preset, option
):
    path, model, _ = saved(tmp_path, preset)
    saved(tmp_path, preset, options={**asdict(model.spec), option: 10**7})
    with pytest.raises(CheckpointError, match=rf"model_final\.pth states options .*{option} must be between"):
        rskt_seg.load(path)


def test_memory_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    path, model, _ = saved(tmp_path, "rskt_tiny")

    def refuse(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory\nmore")

    monkeypatch.setattr(type(model), "__init__", refuse)
    with pytest.raises(
        CheckpointError, match=r"model_final\.pth states a model that cannot be built"
    ) as caught:
        rskt_seg.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("facts", [{"source": 5, "digest": "a"}, {"source": "tiny", "digest": None}, 5])
def test_what_a_checkpoint_states_wrongly_of_frozen_encoders_is_named(tmp_path, facts):
    path, _, _ = saved(tmp_path, "rskt_tiny", frozen={"clip": facts})
    with pytest.raises(CheckpointError, match="of frozen encoders is damaged"):
        rskt_seg.load(path)


def test_options_that_are_given_replace_those_of_the_checkpoint(tmp_path):
    path, _, _ = saved(tmp_path, "rskt_tiny")
    segmenter = rskt_seg.Segmenter(rskt_seg.load(path), NAMES, short_side=64)
    assert (segmenter.options["short_side"], segmenter.options["max_side"]) == (64, 256)


def test_safetensors_keep_what_a_checkpoint_states(tmp_path):
    path, model, inference = saved(tmp_path, "rskt_tiny")
    export_model(model, path, tmp_path / "m.safetensors")
    assert read_weights(tmp_path / "m.safetensors").inference == inference
    assert rskt_seg.load(tmp_path / "m.safetensors").options == inference


def test_a_checkpoint_that_states_nothing_needs_the_name_of_its_model(tmp_path):
    _, model, _ = saved(tmp_path, "rskt_tiny")
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match=r"bare\.pth does not state which model.*known are rskt_"):
        rskt_seg.load(tmp_path / "bare.pth")
    loaded = rskt_seg.load(tmp_path / "bare.pth", "rskt_tiny")
    assert loaded.options == {} and loaded.model.spec == model.spec
    assert all(map(torch.equal, loaded.model.state_dict().values(), model.state_dict().values()))
    deeper = rskt_seg.create_model("rskt_tiny", num_layers=4)
    assert rskt_seg.load(deeper.state_dict(), "rskt_tiny", num_layers=4).model.spec == deeper.spec


def test_what_contradicts_the_checkpoint_is_refused_in_one_line(tmp_path):
    path, model, _ = saved(tmp_path, "rskt_tiny")
    with pytest.raises(CheckpointError, match="states its model itself; leave preset='rskt_tiny' out"):
        rskt_seg.load(path, "rskt_tiny")
    with pytest.raises(CheckpointError, match="states its model itself; leave num_layers=1 out"):
        rskt_seg.load(path, num_layers=1)
    with pytest.raises(ConfigError, match="has no classes of its own"):
        rskt_seg.load(path, class_names=NAMES)
    with pytest.raises(CheckpointError, match=r"states the options flavour, .* no registered method"):
        rskt_seg.load({"model": model.state_dict(), "options": {"flavour": 1}})
    with pytest.raises(CheckpointError, match=r"states options that .* does not take"):
        rskt_seg.load({"model": model.state_dict(), "options": {**asdict(model.spec), "rotations": "many"}})
    with pytest.raises(WeightsNotFoundError):
        rskt_seg.load(tmp_path / "absent.pth")


def test_nothing_is_fetched_from_a_repository_that_only_the_file_names(tmp_path, monkeypatch):
    facts = {"source": "hf-hub:somebody/something", "digest": "0"}
    path, _, _ = saved(tmp_path, "rskt_tiny", frozen={"clip": facts})
    asked = []
    monkeypatch.setattr("rskt_seg.methods.trained.load_encoder", lambda _, *what: asked.append(what))
    with pytest.raises(CheckpointError, match=r"nothing is fetched .* encoders=\{'clip': 'hf-hub:somebody"):
        rskt_seg.load(path)
    assert asked == []


def test_frozen_encoders_come_from_where_they_were_or_are_given(tmp_path):
    torch.manual_seed(0)
    names = ("building", "road", "tree")
    model = rskt_seg.create_model("prior_wsss_tiny", class_names=names)
    rskt_seg.load_encoder(model, "clip", "tiny")
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("clip.")}
    content = {"model": state, "options": asdict(model.spec), "class_names": list(model.class_names)}
    kept = content | {"frozen": frozen_parts(model, {"clip": "tiny"})}
    loaded = rskt_seg.load(kept).model
    assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))
    moved = content | {"frozen": frozen_parts(model, {"clip": str(tmp_path / "gone.pt")})}
    with pytest.raises(WeightsNotFoundError, match=r"frozen encoder clip: .*encoders=\{'clip': FILE\}"):
        rskt_seg.load(moved)
    assert rskt_seg.load(moved, encoders={"clip": "tiny"}).model.class_names == model.class_names


def command(*words):
    return segment.main([*map(str, words)])


def test_the_command_line_takes_a_checkpoint_alone_and_gives_the_maps_of_python(tmp_path):
    path, _, _ = saved(tmp_path, "rskt_tiny")
    Image.fromarray(image()).save(tmp_path / "a.png")
    words = [
        "--weights",
        path,
        "--device",
        "cpu",
        "--input",
        tmp_path / "a.png",
        "--output",
        tmp_path / "out",
    ]
    assert command(*words, "--vocabulary", ", ".join(NAMES)) == 0
    ids = np.asarray(Image.open(tmp_path / "out/a_ids.png"))
    segmenter = rskt_seg.Segmenter(rskt_seg.load(path), NAMES, precision="fp32")
    python = segmenter.predict(tmp_path / "a.png")
    np.testing.assert_array_equal(ids, python.labels)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give either --weights FILE"),
        (("--weights", "a", "--config-file", "b"), "give either --weights FILE"),
        (("--weights", "a", "--opts", "MODEL.DEVICE", "cpu"), "--opts goes with --config-file"),
        (("--config-file", "a", "--preset", "rskt_tiny"), "--preset goes with --weights"),
    ],
)
def test_flags_that_exclude_each_other_are_one_line(tmp_path, capsys, words, message):
    given = ["--input", "i", "--output", tmp_path, "--vocabulary", "a, b"]
    split = words.index("--opts") if "--opts" in words else len(words)
    assert command(*words[:split], *given, *words[split:]) == 2
    assert message in capsys.readouterr().err


def test_an_open_vocabulary_needs_names_also_with_a_checkpoint_alone(tmp_path):
    path, _, _ = saved(tmp_path, "rskt_tiny")
    with pytest.raises(VocabularyError):
        rskt_seg.Segmenter(rskt_seg.load(path))
