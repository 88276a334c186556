"""The published code is timed beside our forms, if it computes the same; a stand-in takes its place here."""

import json
import logging
import os
import re
import sys

import bench
import pytest
import torch
from benchmarks import against, measuring
from benchmarks.against import Checkout, PublishedCode, find_checkout, give_weights
from benchmarks.equality import UnequalError
from benchmarks.forms import class_names, make_images
from benchmarks.report import report
from benchmarks.results import read_result
from benchmarks.timing import CpuClock
from benchmarks.training import Step, make_step, make_target, time_steps
from torch import nn

import rskt_seg.d2  # noqa: F401 - prepares Detectron2, and registers a set of the same name as the stand-in
from rskt_seg.commands.entry import run
from rskt_seg.errors import ConfigError
from rskt_seg.stopping import Terminated
from tests.tools.conftest import plan
from tests.tools.standin import CONFIG, published_name, write_checkout

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _default_setup_leaves_nothing(monkeypatch):
    """Detectron2's `default_setup` gives its loggers handlers that stay, and seeds all generators."""
    monkeypatch.setattr("detectron2.engine.defaults.seed_all_rng", lambda seed: None)
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore")]
    kept = [(each, each.handlers[:], each.propagate, each.level) for each in loggers]
    yield
    for logger, logger.handlers, logger.propagate, level in kept:
        logger.setLevel(level)


@pytest.fixture
def checkout(tmp_path):
    """Body of the class of the model -> a written checkout, as the benchmark finds it."""

    def write(body="pass"):
        return find_checkout(write_checkout(tmp_path, body), CONFIG, (), "rskt_tiny")

    return write


def call(capsys, monkeypatch, *argv):
    """Run the tool: arguments -> exit status, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["bench.py", "--tiny", "--no-stages", *map(str, argv)])
    return run(bench.main), *capsys.readouterr()


def refusal(err):
    """The one line of an error; libraries that the checkout starts may have logged before."""
    lines = [line for line in err.splitlines() if "error:" in line]
    assert len(lines) == 1 and err.splitlines()[-1] == lines[0] and "Traceback" not in err
    return lines[0]


def test_a_run_shows_and_judges_the_published_code_beside_our_forms(tmp_path, capsys, monkeypatch):
    folder, output, goals = write_checkout(tmp_path / "code"), tmp_path / "run.json", tmp_path / "goals.json"
    figures = {
        "whole/3/form fp32/against": "at_least",
        "whole/2/plain fp32/calibration": "at_least",
        "training step/2/model fp32/against": "at_least",
        "equality/3/published fp32/max_abs": "at_most",
    }
    goals.write_text(
        json.dumps({f"rskt_tiny cpu/{figure}": {kind: 1e-4} for figure, kind in figures.items()})
    )
    argv = ("--classes", 2, 3, "--train", "--against", folder, "--against-config", CONFIG)
    status, out, _ = call(capsys, monkeypatch, *argv, "--output", output, "--check", goals)
    assert status == 0 and out.count("holds  ") == len(figures) and "the stand-in" not in out
    rows = [re.split(r"\s*\|\s*", line) for line in out.splitlines() if line.startswith("| whole")]
    ratios = {(row[2], row[3]): row[7] for row in rows}
    assert set(ratios) == {
        (classes, f"{form} fp32")
        for classes in ("2", "3")
        for form in ("plain", "model", "form", "published")
    }
    for (_, form), ratio in ratios.items():
        assert bool(re.fullmatch(r"[\d.]+ \([\d.]+-[\d.]+\)", ratio)) == (form != "published fp32")
    assert "published fp32 / form" in out and out.count(" times the time of the published code, ") == 3
    assert f"Published code: {folder}, {CONFIG}, NUM_LAYERS 2 instead of 3." in out
    again = read_result(output)
    assert report(again) in out and again.settings["against"]["folder"] == str(folder)
    found = again.figures()
    for key in ("whole/2", "whole/3", "training step/2"):
        published = found[f"rskt_tiny cpu/{key}/published fp32/ratio"]
        assert found[f"rskt_tiny cpu/{key}/plain fp32/calibration"] == pytest.approx(abs(published - 1))
        samples = {each.form: each.samples for each in again.timings if each.key.startswith(f"{key}/")}
        ratios = [
            a.seconds / b.seconds
            for a, b in zip(samples["published fp32"], samples["form fp32"], strict=True)
        ]
        assert found[f"rskt_tiny cpu/{key}/form fp32/against"] == pytest.approx(sorted(ratios)[1])


def test_a_run_without_the_published_code_says_nothing_of_it(result):
    assert "ublished" not in report(result)
    assert not any("against" in figure or "calibration" in figure for figure in result.figures())


def test_a_checkout_that_computes_something_else_gets_no_time(tmp_path, capsys, monkeypatch):
    folder = write_checkout(tmp_path, "shift = 1e-3")
    monkeypatch.setattr(measuring, "alternate", lambda *_: pytest.fail("timed"))
    argv = ("--classes", 2, "--against", folder, "--against-config", CONFIG)
    status, out, err = call(capsys, monkeypatch, *argv)
    line = refusal(err)
    assert status == 2 and not out and "published fp32 differs from the plain form with 2 classes" in line
    assert "No time is given" in line and "--against-opts" in line


def test_a_training_step_with_another_loss_gets_no_time(checkout):
    settings = plan(classes=(2,), precisions=("fp32",), stages=False, against=checkout("loss_factor = 1.01"))
    with pytest.raises(UnequalError, match="a training step of published differs from the plain one"):
        measuring.measure(settings)


def without(name):
    """A change of a checkout: this file of it is missing."""
    return lambda folder: (folder / name).unlink()


def unchanged(folder):
    """A change of a checkout: none, as its model is what differs."""


def appended(name, text):
    """A change of a checkout: a file of it ends with this."""

    def change(folder):
        (path,) = folder.glob(name)
        path.write_text(path.read_text() + text)

    return change


SETUP = "\ndef setup(args):\n    raise "


@pytest.mark.parametrize(
    ("change", "body", "message"),
    [
        (without("train_net.py"), "pass", "has no train_net.py, by which"),
        (without(CONFIG), "pass", "has no configs/tiny.yaml: .* found no configs/"),
        (appended("train_net.py", "\nimport surely.absent"), "pass", "needs the module 'surely'"),
        (appended("standin_*/__init__.py", "\nimport third_party"), "pass", "the module 'third_party'"),
        (appended("train_net.py", "\nsetup = None"), "pass", r"no function setup\(args\)"),
        (appended("train_net.py", "\n)"), "pass", "importing train_net.py failed with SyntaxError"),
        (appended("train_net.py", f"{SETUP}SystemExit('too\\nold')"), "pass", "SystemExit: too old"),
        (appended(CONFIG, "    NO_KEY: 1\n"), "pass", r"KeyError: .*NO_KEY.* \(.*/train_net.py:\d+\)"),
        (without("pretrained/dino.pth"), "pass", "FileNotFoundError: .*dino.pth"),
        (
            unchanged,
            "without = 'dino_'",
            "other weights than ours.* 48 missing: guides.dino.0.side.weight, .*, and 38 more; check the",
        ),
        (
            unchanged,
            "def forward(self, entries):\n        raise ValueError('a batch of one')",
            r"evaluating an image failed with ValueError: a batch of one \(.*/__init__.py:\d+\)",
        ),
        (
            unchanged,
            "scored = 1",
            r"must return scores of shape \(2, 48, 48\); found \(1, 48, 48\)",
        ),
    ],
    ids=[
        "entry", "config", "module", "module of it", "setup", "syntax", "exit", "key", "file", "weights",
        "forward", "scores",
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_one_line(tmp_path, capsys, monkeypatch, change, body, message):
    folder = write_checkout(tmp_path, body)
    change(folder)
    argv = ("--classes", 2, "--against", folder, "--against-config", CONFIG)
    status, out, err = call(capsys, monkeypatch, *argv)
    line = refusal(err)
    assert status == 2 and not out and str(folder) in line and re.search(message, line), line


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ("--against", "nowhere", "--against-config", "a.yaml"),
            "must be a folder .* there is none at nowhere",
        ),
        (("--against", "."), "no published configuration has the encoders of rskt_tiny: .*rskt_vitb16"),
        (("--against", ".", "--batch", 2), "one image at a time, .* found --batch 2"),
        (("--against-opts", "A", "1"), "belong to --against"),
        (("--against-config", "a.yaml"), "belong to --against"),
        (("--method", "fctl", "--against", "."), "--method fctl reads no --against"),
    ],
)
def test_mistakes_in_the_arguments_are_one_line(capsys, monkeypatch, argv, message):
    status, out, err = call(capsys, monkeypatch, *argv)
    assert status == 2 and not out and err.count("\n") == 1 and re.search(message, err), err


def test_presets_of_published_size_have_the_published_configurations(tmp_path):
    for preset, config in against.CONFIGS.items():
        write_checkout(tmp_path)
        (tmp_path / config).write_text("")
        assert find_checkout(tmp_path, None, ("A", "1"), preset) == Checkout(
            str(tmp_path), config, ("A", "1")
        )


def test_a_missing_detectron2_is_one_line(tmp_path, capsys, monkeypatch):
    folder = write_checkout(tmp_path)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    status, _, err = call(capsys, monkeypatch, "--against", folder, "--against-config", CONFIG)
    assert status == 2 and err.count("\n") == 1 and "Detectron2 is not installed" in err


def test_overrides_reach_the_configuration(tmp_path):
    folder = write_checkout(tmp_path)
    (folder / "elsewhere.pth").write_text("")
    (folder / "pretrained/dino.pth").unlink()
    opts = ("MODEL.SEM_SEG_HEAD.DINO_WEIGHTS", "elsewhere.pth", "MODEL.SEM_SEG_HEAD.NUM_LAYERS", "2")
    model = measuring.make_model("rskt_tiny", CPU)
    code = PublishedCode(find_checkout(folder, CONFIG, opts, "rskt_tiny"), CPU)
    with code.built(model, class_names(2)) as published:
        assert published.depth == "NUM_LAYERS 2"


def test_the_published_model_gets_the_weights_of_ours(checkout, model):
    with PublishedCode(checkout(), CPU).built(model, class_names(3)) as published:
        theirs = published.module.state_dict()
        for name, tensor in model.state_dict().items():
            assert torch.equal(theirs.pop(published_name(name)), tensor), name
        # RemoteCLIP's last blocks, projection and text tower, which nothing uses.
        assert theirs and all(torch.equal(tensor, torch.ones(3)) for tensor in theirs.values())
        images = make_images(model, 1)
        logits = model(images, class_names(3)).logits
        torch.testing.assert_close(published(images, class_names(3)), logits, rtol=0, atol=2e-5)


def test_weights_reach_tensors_that_are_stored_together(model):
    packed = nn.Module()
    state = {published_name(name): torch.zeros_like(t) for name, t in model.state_dict().items()}
    prefix = "sem_seg_head.predictor.clip_model_remote.visual.transformer.resblocks.0.attn."
    parts = [state.pop(f"{prefix}{part}_proj_weight") for part in "qkv"]
    state[f"{prefix}in_proj_weight"] = torch.cat(parts)
    packed.state_dict = lambda: state
    give_weights(model, packed, "here")
    attention = model.remote_clip.transformer.resblocks[0].attn
    expected = torch.cat([getattr(attention, f"{part}_proj_weight") for part in "qkv"])
    assert torch.equal(state[f"{prefix}in_proj_weight"], expected)


def test_loss_and_gradients_are_those_of_the_plain_step(checkout, model):
    images, names = make_images(model, 1), class_names(2)
    with PublishedCode(checkout(), CPU).built(model, names) as published:
        published.module.train()
        step = Step(published.module, lambda: published.loss(images, make_target(images, 2)))
        steps = {"plain": make_step(model, "plain", images, names), "published": step}
        times = time_steps(steps, 1, CpuClock(1))
        assert times["published"].saved > 0 and not published.module.training
        assert all(each.grad is None for each in published.module.parameters())


def test_a_published_model_is_asked_for_what_it_can_answer(checkout, model):
    with PublishedCode(checkout(), CPU).built(model, class_names(2)) as published:
        for batch, classes in ((2, 2), (1, 3)):
            with pytest.raises(ValueError, match="takes one image"):
                published(make_images(model, batch), class_names(classes))


def test_the_process_is_left_as_it_was(checkout, model, monkeypatch):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")

    def state():
        return (
            os.getcwd(), sys.path[:], dict(os.environ), DatasetCatalog.data, MetadataCatalog.data,
            DatasetCatalog.list(), MetadataCatalog.get("DLRSD_all_sem_seg").stuff_classes,
            torch.get_float32_matmul_precision(), torch.Tensor.cuda, nn.Module.cuda, torch.cuda.is_available,
            sys.stdout,
        )  # fmt: skip

    before = state()
    code = PublishedCode(checkout(), CPU)
    assert state() == before
    with code.built(model, class_names(2)) as published:
        assert state() == before
        published(make_images(model, 1), class_names(2))
        assert state() == before
    with pytest.raises(ConfigError), code.running("failing"):
        os.environ["LEFT"] = "by a call"
        raise ValueError
    del os.environ["LEFT"]
    assert state() == before


def test_a_signal_ends_the_run_while_the_published_code_computes(checkout):
    code = PublishedCode(checkout(), CPU)
    for signal in (Terminated, KeyboardInterrupt):
        with pytest.raises(signal), code.running("computing"):
            raise signal
