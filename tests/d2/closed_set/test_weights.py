"""Closed-set checkpoints name their classes; the stages of FCtL start from one another."""

import pytest
import torch
from detectron2.modeling import build_model as build_segmentor

import rskt_seg
from rskt_seg.d2 import build_model
from rskt_seg.d2.benchmark import Benchmark
from rskt_seg.d2.segmentor import plain_model
from rskt_seg.errors import CheckpointError, ConfigError, VocabularyError, WeightsNotFoundError
from tests.checkpoints.test_fctl import encoders as published_contexts
from tests.checkpoints.test_fctl import published as published_fctl
from tests.d2.closed_set.tiny import BASELINE, METHODS, config, names, segmentor


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_states_the_names_of_its_classes(method, tmp_path):
    model = plain_model(segmentor(method))
    torch.save({"model": model.state_dict(), "class_names": model.class_names}, tmp_path / "w.pth")
    nameless = type(model)(model.spec)
    rskt_seg.load_checkpoint(nameless, tmp_path / "w.pth")
    assert nameless.class_names == names(method)
    other = type(model)(model.spec, class_names=names(method)[::-1])
    with pytest.raises(
        CheckpointError, match=r"w\.pth was trained on the classes airplane, .*built for water"
    ):
        rskt_seg.load_checkpoint(other, tmp_path / "w.pth")
    with pytest.raises(VocabularyError, match="17 classes needs 17 class names; found 2: a, b"):
        type(model)(model.spec, class_names=("a", "b"))


def test_stages_start_from_the_stage_before_and_contexts_from_theirs(tmp_path):
    stage = ("MODEL.FCTL.CONTEXT_ENCODER", "frozen")
    paths = {}
    for seed, name in enumerate(("local", "medium", "large")):
        torch.manual_seed(seed)
        model = plain_model(build_segmentor(config("fctl", *BASELINE)))
        paths[name] = tmp_path / f"{name}.pth"
        torch.save({"model": model.state_dict()}, paths[name])
    opts = [*stage, "MODEL.START_FROM", str(paths["local"])]
    for name in ("medium", "large"):
        opts += [f"MODEL.ENCODERS.{name.upper()}", str(paths[name])]
    model = build_model(config("fctl", *opts))
    for name, part in (("local", model.encoder), *model.context_encoders.items()):
        stored = torch.load(paths[name], weights_only=True)["model"]
        for key, value in part.state_dict().items():
            assert torch.equal(value, stored[f"encoder.{key}"]), (name, key)
    assert not any(p.requires_grad for p in model.context_encoders.parameters())
    with pytest.raises(WeightsNotFoundError, match=r"MODEL\.START_FROM .*train the stage"):
        build_model(config("fctl", *opts, "MODEL.START_FROM", str(tmp_path / "none.pth")))
    with pytest.raises(WeightsNotFoundError, match=r"MODEL\.ENCODERS\.LARGE is empty"):
        build_model(config("fctl", *opts[:-2]))
    with pytest.raises(ConfigError, match="encoders of contexts are those of earlier stages: "):
        build_model(config("fctl", *opts, "MODEL.ENCODERS.LARGE", "random"))


def test_a_published_model_takes_the_files_of_its_contexts_from_the_configuration(tmp_path):
    opts = ["MODEL.FCTL.ENCODER", "vgg_tiny", "MODEL.FCTL.CONTEXT_ENCODER", "frozen"]
    trained = plain_model(segmentor("fctl", *opts))
    torch.save({"state_dict": published_fctl(trained)}, tmp_path / "all.pth")
    opts += ["MODEL.WEIGHTS", str(tmp_path / "all.pth")]
    for name, state in published_contexts(trained).items():
        torch.save(state, tmp_path / f"{name}.pth")
        opts += [f"MODEL.ENCODERS.{name.upper()}", str(tmp_path / f"{name}.pth")]
    loaded = build_model(config("fctl", *opts)).state_dict()
    for key, value in trained.state_dict().items():
        assert torch.equal(loaded[key], value), key
    with pytest.raises(WeightsNotFoundError, match=r"MODEL\.ENCODERS\.LARGE .*keeps the encoder of large"):
        build_model(config("fctl", *opts, "MODEL.ENCODERS.LARGE", str(tmp_path / "none.pth")))
    # Other context files are another model, whose counts must not be taken for this one's.
    identity = Benchmark(config("fctl", *opts), str(tmp_path / "all.pth"), ()).identity
    swapped = [*opts[:-1], str(tmp_path / "medium.pth")]
    assert Benchmark(config("fctl", *swapped), str(tmp_path / "all.pth"), ()).identity != identity
