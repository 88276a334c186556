"""A training that is watched: its console and log, curves, the best checkpoint, and early stopping."""

import json
import logging
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rskt_seg
from rskt_seg.commands.report import main as report
from rskt_seg.commands.train import main as train
from rskt_seg.d2 import load_config
from rskt_seg.d2.checkpointer import last_checkpoint
from rskt_seg.d2.curves import TIMES, drop_later_lines, tag_of
from rskt_seg.d2.evaluations import Choice, evaluation_period
from rskt_seg.d2.progress import duration
from rskt_seg.d2.run_record import TRAINING, read_record
from rskt_seg.d2.trainer import Trainer
from rskt_seg.errors import ConfigError
from tests.d2 import resuming
from tests.d2.closed_set.tiny import SMALL
from tests.d2.conftest import CONFIGS, TINY
from tests.d2.resuming import BICOR, METHODS, differences, left, run, write_data

TINY_FILE = str(CONFIGS / "tiny_dlrsd.yaml")
PERIODS = (
    "TEST.EVAL_PERIOD",
    "2",
    "SOLVER.CHECKPOINT_PERIOD",
    "2",
    "LOG_PERIOD",
    "3",
    "TEST.BEST_BY",
    "mIoU",
)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    write_data(tmp_path / "data")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def config(out: Path, *opts: str, method: str = "bicor", iterations: int = 5):
    fixed = ("DATASETS.TEST", "('DLRSD_val_sem_seg',)", "OUTPUT_DIR", str(out), *PERIODS)
    return METHODS[method](*fixed, "SOLVER.MAX_ITER", str(iterations), *opts)


def curves(out: Path) -> list[dict]:
    """The lines of `metrics.json` without what measures the machine."""
    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


class Killed(BaseException):
    """Ends a training as a kill does: nothing after it is caught or saved."""


def kill(monkeypatch, iteration: int) -> None:
    class Dying(Trainer):
        def after_step(self):
            super().after_step()
            if self.iter == iteration:
                raise Killed

        def after_train(self):
            if self.iter != iteration:
                super().after_train()

    monkeypatch.setattr(resuming, "Trainer", Dying)


def scripted(monkeypatch, scores: list[float]) -> list[int]:
    """Replace evaluations by scores; return the iterations after which they were asked for."""
    asked: list[int] = []

    def evaluate(self):
        asked.append(self.iter)
        return {"sem_seg": {"mIoU": scores[len(asked) - 1]}}

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    return asked


# Console and log.


def test_the_console_is_short_and_the_log_has_the_rest_without_escapes(tmp_path, capsys):
    out = tmp_path / "out"
    opts = ("SOLVER.MAX_ITER", "2", "LOG_PERIOD", "1", "OUTPUT_DIR", str(out))
    assert train(["--config-file", TINY_FILE, *TINY, *opts]) == 0
    console, log = capsys.readouterr().out, (out / "log.txt").read_bytes().decode()
    assert len(console.splitlines()) < 60 and "\x1b" not in console + log
    for told in (
        "5 images",
        "17 classes",
        "2 iterations",
        "on cpu",
        str(out),
        "iteration 2 of 2: loss",
        "mIoU",
    ):
        assert told in console, told
    assert all(line in log for line in ("iteration 2 of 2: loss", "Parts of the model", "SOLVER:\n"))
    assert log.count("The whole configuration") == 1 == log.count("ANCHOR_GENERATOR")
    assert "AUGMENTATION" not in console and "torchvision" not in console
    assert (out / "config.yaml").read_text() in log
    record = read_record(out, TRAINING)
    assert record["changes"]["SOLVER.MAX_ITER"] == ["320", "2"] and record["iterations"] == 2
    assert not any(key.startswith("SOLVER.WEIGHT_DECAY") for key in record["changes"])
    assert report([str(out)]) == 0 and "RSKT-Seg" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min"), (4830, "1 h 20 min"), (180000, "2 d 2 h")],
)
def test_durations_have_the_units_that_matter(seconds, said):
    assert duration(seconds) == said


# Curves.


@pytest.mark.parametrize("killed", [2, 3])
def test_a_killed_and_resumed_training_leaves_what_an_undisturbed_one_leaves(killed, tmp_path, monkeypatch):
    run(config(tmp_path / "straight"))
    with monkeypatch.context() as patch:
        kill(patch, killed)
        with pytest.raises(Killed):
            run(config(tmp_path / "parts"))
    assert last_checkpoint(tmp_path / "parts").name == "model_0000001.pth" if killed == 2 else True
    run(config(tmp_path / "parts"), resume=True)
    straight, parts = curves(tmp_path / "straight"), curves(tmp_path / "parts")
    assert straight == parts
    assert [line["iteration"] for line in straight] == [1, 1, 2, 3, 3, 4, 5]
    assert differences(left(tmp_path / "straight"), left(tmp_path / "parts")) == []
    files = (tmp_path / name / "model_best.pth" for name in ("straight", "parts"))
    best = [torch.load(file, weights_only=True) for file in files]
    assert differences(*best) == [] and best[0]["best"]["by"] == "mIoU"


def test_an_interrupted_training_adds_no_line_that_an_undisturbed_one_lacks(tmp_path, monkeypatch):
    class Interrupted(Trainer):
        def run_step(self):
            if self.iter == 2:
                raise KeyboardInterrupt
            super().run_step()

    monkeypatch.setattr(resuming, "Trainer", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(config(tmp_path, "TEST.EVAL_PERIOD", "4"))
    assert last_checkpoint(tmp_path).name == "model_0000001.pth" and curves(tmp_path) == []


def test_a_new_run_in_a_folder_begins_its_curves_anew(tmp_path):
    run(config(tmp_path / "out", iterations=2))
    first = curves(tmp_path / "out")
    run(config(tmp_path / "out", iterations=2))
    assert curves(tmp_path / "out") == first


def test_lines_that_are_written_again_are_dropped_and_no_others(tmp_path):
    path = tmp_path / "metrics.json"
    steps = [{"iteration": k, "lr": 0.1} for k in range(4)]
    evaluations = [{"iteration": k, "sem_seg/mIoU": 1.0} for k in (1, 3)]
    lines = [json.dumps(line) for line in (*steps, *evaluations)]
    for start, again, kept in ((4, False, 6), (4, True, 5), (2, False, 3), (2, True, 2), (0, False, 0)):
        path.write_text("\n".join([*lines, '{"iteration": 4, "l']))
        assert drop_later_lines(path, start, again) == 7 - kept
        found = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(found) == kept and all(line["iteration"] < start for line in found)
    assert drop_later_lines(tmp_path / "none.json", 3, True) == 0


@pytest.mark.parametrize("method", ["rskt", "bicor", "fctl", "wsss"])
def test_tensorboard_has_curves_of_every_class_and_pictures_that_can_be_compared(method, tmp_path):
    sets = {"fctl": "iSAID_wsss_train_sem_seg", "wsss": "iSAID_wsss_train_sem_seg"}
    test = sets.get(method, "DLRSD_val_sem_seg")
    if method == "fctl":
        test = METHODS[method]().DATASETS.TRAIN[0]
    out = tmp_path / "out"
    run(config(out, "DATASETS.TEST", f"('{test}',)", "TEST.PICTURES", "2", method=method, iterations=3))
    events = EventAccumulator(str(out), {"images": 0, "scalars": 0}).Reload()
    scalars, images = events.Tags()["scalars"], events.Tags()["images"]
    assert sorted(images) == [f"{test}/confusion", f"{test}/scenes"]
    shapes = {(event.width, event.height) for event in events.Images(f"{test}/scenes")}
    assert len(events.Images(f"{test}/scenes")) == 2 and len(shapes) == 1
    state = json.loads((out / "inference" / f"{test}.confusion.json").read_text())
    counts = np.array(state["counts"])
    for k, name in enumerate(state["classes"]):
        hits, predicted, true = counts[k, k], counts[k].sum(), counts[:, k].sum()
        if not true:
            assert f"IoU/{name}" not in scalars
            continue
        assert events.Scalars(f"recall/{name}")[-1].value == pytest.approx(100 * hits / true)
        iou = 100 * hits / (true + predicted - hits)
        assert events.Scalars(f"IoU/{name}")[-1].value == pytest.approx(iou)
        if predicted:
            assert events.Scalars(f"precision/{name}")[-1].value == pytest.approx(100 * hits / predicted)
    with Image.open(out / "inference" / f"{test}.png") as drawn:
        assert drawn.size in shapes


def test_tags_keep_names_of_classes_with_dashes_and_slashes():
    assert tag_of("farm_sem_seg/sem_seg/ACC-a-b/c") == "farm_sem_seg recall/a-b/c"
    assert tag_of("sem_seg/precision-x") == "precision/x"
    assert tag_of("sem_seg/mIoU") == "sem_seg/mIoU" and tag_of("total_loss") == "total_loss"


# The best checkpoint and early stopping.


@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0]), min_size=1), st.integers(0, 3))
def test_the_best_is_the_first_of_the_greatest_and_patience_is_exact(scores, patience):
    choice, stopped = Choice("mIoU", patience), None
    for number, score in enumerate(scores):
        is_best = choice.take(score, number)
        assert is_best == all(score > earlier for earlier in scores[:number])
        assert choice.score == max(scores[: number + 1])
        assert choice.iteration == scores.index(choice.score)
        assert not choice.take(score + 1, number)  # the same evaluation, after a run was resumed
        if choice.is_over and stopped is None:
            stopped = number
    runs = [n for n in range(len(scores)) if patience and n - scores.index(max(scores[: n + 1])) >= patience]
    assert stopped == (runs[0] if runs else None)


def test_a_training_stops_after_patience_and_goes_on_with_more(tmp_path, monkeypatch, caplog):
    asked = scripted(monkeypatch, [10, 30, 30, 20, 40, 5])
    opts = ("TEST.EVAL_PERIOD", "1", "TEST.PATIENCE", "2", "SOLVER.CHECKPOINT_PERIOD", "100")
    trainer = run(config(tmp_path, *opts, iterations=8))
    assert asked == [0, 1, 2, 3] and trainer.iter == 4
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert (best["iteration"], best["best"]) == (1, {"by": "mIoU", "score": 30.0})
    assert last_checkpoint(tmp_path).name == "model_final.pth" and left(tmp_path)["iteration"] == 3
    rskt_seg.load(tmp_path / "model_best.pth")
    with caplog.at_level(logging.WARNING, "rskt_seg"):
        again = run(config(tmp_path, *opts, iterations=8), resume=True)
    assert again.iter == 4 and "TEST.PATIENCE" in caplog.text
    asked.clear()
    asked = scripted(monkeypatch, [20, 40, 5, 5])  # first that of the checkpoint, which counts once
    more = (*opts[:3], "3", *opts[4:])
    longer = run(config(tmp_path, *more, iterations=6), resume=True)
    assert longer.iter == 6 and longer.evaluations.choice.iteration == 4
    assert torch.load(tmp_path / "model_best.pth", weights_only=True)["iteration"] == 4


def test_the_mean_over_several_sets_decides():
    results = {
        name: {"sem_seg": {"mIoU": value, "IoU-mIoU": 0.0}} for name, value in (("a", 1.0), ("b", 4.0))
    }
    assert Choice("mIoU").score_of(results) == 2.5
    assert Choice("mIoU").score_of(results["b"]) == 4.0


@pytest.mark.parametrize(
    ("opts", "told"),
    [
        (("TEST.PATIENCE", "3", "TEST.EVAL_PERIOD", "5"), "TEST.BEST_BY"),
        (("TEST.BEST_BY", "mIoU"), "TEST.EVAL_PERIOD"),
        (("TEST.BEST_BY", "accuracy", "TEST.EVAL_PERIOD", "5"), "mIoU, mACC"),
        (("LOG_PERIOD", "0"), "at least 1"),
    ],
)
def test_a_choice_without_evaluations_is_refused(opts, told):
    with pytest.raises(ConfigError, match=told):
        load_config(TINY_FILE, [*TINY, *opts])


# Own data.


@pytest.fixture
def farm(tmp_path) -> Path:
    for name, count in (("train", 5), ("val", 2)):
        for part in ("images", "labels"):
            (tmp_path / "farm" / name / part).mkdir(parents=True)
        for k in range(count):
            label = np.full((40, 40), k % 2, np.uint8)
            Image.fromarray(label).save(tmp_path / f"farm/{name}/labels/{k}.png")
            Image.fromarray(np.stack([label * 200] * 3, -1)).save(tmp_path / f"farm/{name}/images/{k}.png")
    splits = {name: {"images": f"{name}/images", "labels": f"{name}/labels"} for name in ("train", "val")}
    file = tmp_path / "farm" / "farm.yaml"
    file.write_text(yaml.safe_dump({"name": "farm", "classes": ["soil", "<script>"], "splits": splits}))
    return file


def own(file: Path, *opts: str, base: str = TINY_FILE):
    names = ("DATASETS.TRAIN", "('farm_train_sem_seg',)", "DATASETS.TEST", "('farm_val_sem_seg',)")
    return load_config(base, [*TINY, "DATASETS.OWN", f"('{file}',)", *names, *opts])


def test_own_data_are_evaluated_after_each_epoch_unless_the_user_says_otherwise(farm, tmp_path):
    cfg = own(farm)
    assert (cfg.TEST.EVAL_PERIOD, cfg.TEST.BEST_BY) == (-1, "mIoU")
    assert evaluation_period(cfg, 12) == 6 and evaluation_period(own(farm, "SOLVER.MAX_ITER", "900"), 3) == 9
    assert evaluation_period(own(farm, "DATASETS.TEST", "()"), 12) == 0
    for opts, expected in (
        (("TEST.EVAL_PERIOD", "7"), (7, "mIoU")),
        (("TEST.EVAL_PERIOD", "0"), (0, "")),
        (("TEST.BEST_BY", "pACC"), (-1, "pACC")),
        (("DATASETS.TRAIN", "('DLRSD_train_sem_seg',)"), (0, "")),
    ):
        cfg = own(farm, *opts)
        assert expected == (cfg.TEST.EVAL_PERIOD, cfg.TEST.BEST_BY)
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump({"_BASE_": TINY_FILE, "TEST": {"EVAL_PERIOD": 9}}))
    assert own(farm, base=str(mine)).TEST.EVAL_PERIOD == 9
    assert own(farm, base=TINY_FILE).TEST.EVAL_PERIOD == -1
    published = load_config(str(CONFIGS / "vitb_dlrsd.yaml"))
    assert (published.TEST.EVAL_PERIOD, published.TEST.BEST_BY) == (5000, "")


def test_the_page_of_own_data_escapes_the_names_of_classes(farm, tmp_path, capsys):
    out = tmp_path / "out"
    sets = ("DATASETS.OWN", f"('{farm}',)", "DATASETS.TRAIN", "('farm_train_sem_seg',)")
    words = ("MODEL.DEVICE", "cpu", *SMALL["bicor"], *BICOR, *sets, "DATASETS.TEST", "('farm_val_sem_seg',)")
    file = str(CONFIGS.parent / "bicor" / "tiny.yaml")
    assert train(["--config-file", file, *words, "SOLVER.MAX_ITER", "3", "OUTPUT_DIR", str(out)]) == 0
    assert "best mIoU" in capsys.readouterr().out and (out / "model_best.pth").is_file()
    assert report([str(out)]) == 0
    page = (out / "report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and "TEST.EVAL_PERIOD" in page


# Weights & Biases.


class Recorder(ModuleType):
    """A stand-in for the package: it keeps what it is given."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = SimpleNamespace(name="wandb")
        self.begun, self.logged, self.ended = [], [], 0

    def init(self, **options):
        self.begun.append(options)
        return SimpleNamespace(
            id=options["id"] or "drawn",
            log=self.logged.append,
            finish=self.finish,
            define_metric=lambda *a, **k: 0,
        )

    def finish(self):
        self.ended += 1

    def Image(self, pixels):
        return pixels


def test_curves_and_pictures_are_sent_and_a_resumed_run_is_the_same(tmp_path, monkeypatch):
    wandb = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    on = ("WANDB.ENABLED", "True", "WANDB.PROJECT", "farms")
    run(config(tmp_path, *on), stop=2)
    run(config(tmp_path, *on), resume=True)
    assert [each["id"] for each in wandb.begun] == [None, "drawn"] and wandb.ended == 2
    assert wandb.begun[0]["project"] == "farms" and wandb.begun[0]["config"]["SOLVER"]["MAX_ITER"] == 5
    steps = [each for each in wandb.logged if "total_loss" in each]
    assert [each["iteration"] for each in steps] == [1, 2, 3, 4]
    pictures = [each for each in wandb.logged if "DLRSD_val_sem_seg/scenes" in each]
    assert pictures and pictures[0]["DLRSD_val_sem_seg/scenes"].shape[2] == 3


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    words = ["WANDB.ENABLED", "True", "OUTPUT_DIR", str(tmp_path / "out")]
    assert train(["--config-file", TINY_FILE, *TINY, *words]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "pip install 'rskt_seg[wandb]'" in error and not (tmp_path / "out" / "model_final.pth").exists()
