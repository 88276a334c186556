"""Settings that a resumed run changes: applied and told, or refused by name; none is ignored."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rskt_seg.commands.train import main
from rskt_seg.d2.checkpointer import last_checkpoint
from rskt_seg.d2.ranges import leaves
from rskt_seg.d2.resuming import CHANGES, Change, RunFacts, change_of, compare_runs
from rskt_seg.d2.steps import CheckedAMPTrainer, CheckedTrainer
from rskt_seg.errors import CheckpointError, ConfigError
from tests.d2.conftest import CONFIGS, TINY, tiny_config
from tests.d2.resuming import ALONE, differences, left, run
from tests.d2.test_train_net import one_line


def config(out, *opts: str):
    return tiny_config(*ALONE, "SOLVER.MAX_ITER", "3", "OUTPUT_DIR", str(out), *opts)


def changed(*opts: str, processes: int = 1, **facts):
    """What becomes of a run of `tiny_config()` that is resumed with some overrides."""
    stated = replace(RunFacts.of(tiny_config(), 1), **facts)
    return compare_runs(stated, RunFacts.of(tiny_config(*opts), processes), Path("a.pth"))


def test_every_rule_is_about_a_key_or_a_section_that_exists():
    keys = [key for key, _ in leaves(tiny_config())]
    for name in CHANGES:
        assert not name or any(f"{key}.".startswith(f"{name}.") for key in keys), name


def test_an_unchanged_run_has_nothing_to_tell(data_root):
    found = changed()
    assert found.harmless == found.departing == ()


@pytest.mark.parametrize(
    ("key", "value", "was"),
    [
        ("MODEL.RSKT.LOSS", "cross_entropy", "'bce'"),
        ("MODEL.RSKT.CLIP_FINETUNE", "full", "'attention'"),
        ("MODEL.SEM_SEG_HEAD.IGNORE_VALUE", "254", "255"),
        ("INPUT.COLOR_AUG_SSD", "True", "False"),
        ("INPUT.CROP.SIZE", "[64, 64]", "[96, 96]"),
        ("DATASETS.TRAIN", "('UDD5_all_sem_seg',)", "['DLRSD_train_sem_seg']"),
        ("DATALOADER.ASPECT_RATIO_GROUPING", "False", "True"),
        ("SEED", "5", "1"),
        ("SOLVER.OPTIMIZER", "SGD", "'ADAMW'"),
        ("SOLVER.WEIGHT_DECAY", "0.5", "0.0001"),
        ("SOLVER.WEIGHT_DECAY_NORM", "0.5", "0.0"),
        ("SOLVER.IMS_PER_BATCH", "4", "2"),
        ("SOLVER.CLIP_MULTIPLIER", "1.0", "0.25"),
        ("SOLVER.LOOKAHEAD_STEPS", "5", "0"),
    ],
)
def test_what_cannot_be_applied_is_refused_with_what_was_and_the_way_out(data_root, key, value, was):
    with pytest.raises(ConfigError) as caught:
        changed(key, value)
    text = str(caught.value)
    assert text.startswith(f"--resume: a.pth cannot be continued with {key} ") and f"(was {was})" in text
    assert text.endswith("start a new run in another OUTPUT_DIR with MODEL.WEIGHTS a.pth")
    assert text.count("(was") == 1


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("DATALOADER.NUM_WORKERS", "3", "harmless"),
        ("SOLVER.CHECKPOINT_PERIOD", "7", "harmless"),
        ("TEST.EVAL_PERIOD", "7", "harmless"),
        ("TEST.AUG.ENABLED", "True", "harmless"),
        ("DATASETS.TEST", "()", "harmless"),
        ("INPUT.MIN_SIZE_TEST", "64", "harmless"),
        ("SOLVER.MAX_ITER", "9", "departing"),
        ("SOLVER.AMP.ENABLED", "True", "departing"),
        ("SOLVER.BASE_LR", "0.5", "departing"),
        ("SOLVER.LR_SCHEDULER_NAME", "PolyLR", "departing"),
        ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "5.0", "departing"),
        ("MODEL.DEVICE", "meta", "departing"),
    ],
)
def test_what_is_applied_is_told(data_root, key, value, kind):
    found = changed(key, value)
    (line,) = found.harmless + found.departing
    assert line.startswith(f"{key} ") and "(was " in line
    assert bool(found.harmless) == (kind == "harmless")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("OUTPUT_DIR", "elsewhere"),
        ("MODEL.WEIGHTS", "moved.pth"),
        ("MODEL.ENCODERS.CLIP", "moved.pt"),
        ("SEED", "-1"),
        ("CUDNN_BENCHMARK", "True"),
    ],
)
def test_what_does_not_matter_is_neither_stated_nor_told(data_root, key, value):
    assert change_of(key) is Change.UNSAID
    found = changed(key, value)
    assert found.harmless == found.departing == ()
    assert key not in RunFacts.of(tiny_config(key, value), 1).settings


def test_other_processes_are_told_and_other_training_files_refused(data_root):
    assert changed(processes=2).departing == ("number of processes 2 (was 1)",)
    with pytest.raises(ConfigError, match=r"other files in DATASETS\.TRAIN: 3 images \(was 7\)"):
        changed(images=7)
    before, folder = RunFacts.of(tiny_config(), 1), data_root / "DLRSD_split/train"
    for path in (folder / "imgs/scene1.jpg", folder / "D2masks/scene1.png"):
        path.rename(path.with_stem("renamed"))
    with pytest.raises(ConfigError, match=r"other files in DATASETS\.TRAIN: 3 images \(was 3\)"):
        changed(names=before.names)


def test_other_classes_of_a_training_set_of_the_same_name_are_refused(data_root):
    names = RunFacts.of(tiny_config(), 1).classes
    assert len(names) == 17
    with pytest.raises(ConfigError, match=r"continued with the classes airplane, .* \(was tree, airplane, "):
        changed(classes=["tree", *names])
    assert changed(classes=()).departing == ()  # a checkpoint of an earlier version states none


def test_training_files_are_the_same_wherever_they_are(data_root, monkeypatch):
    before = RunFacts.of(tiny_config(), 1)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(data_root.rename(data_root.with_name("moved"))))
    assert RunFacts.of(tiny_config(), 1) == before


def test_mixed_precision_begins_with_a_new_scaler_where_a_checkpoint_has_none():
    def step(kind):
        model = torch.nn.Linear(1, 1)
        return kind(model, [], torch.optim.SGD(model.parameters(), lr=0.1))

    plain, mixed = step(CheckedTrainer), step(CheckedAMPTrainer)
    mixed.load_state_dict(plain.state_dict() | {"iteration": 4})
    assert mixed.iter == 4
    plain.load_state_dict(mixed.state_dict() | {"iteration": 5})
    assert plain.iter == 5


@pytest.mark.parametrize(
    ("key", "value"),
    [("SOLVER.BASE_LR", "0.5"), ("SOLVER.MAX_ITER", "9"), ("SOLVER.LR_SCHEDULER_NAME", "PolyLR")],
)
def test_a_changed_rate_or_schedule_is_that_of_the_very_next_iteration(
    data_root, tmp_path, caplog, key, value
):
    run(config(tmp_path / "out"), stop=2)
    resumed = run(config(tmp_path / "out", key, value), stop=3, resume=True)
    assert (
        re.search(rf"resumed with {key} '?{value}'? \(was", caplog.text) and "weights differ" in caplog.text
    )
    fresh = run(config(tmp_path / "fresh", key, value), stop=3)
    rates = [[group["lr"] for group in each.optimizer.param_groups] for each in (resumed, fresh)]
    assert rates[0] == rates[1]
    told = [(path / "metrics.json").read_text().rpartition('"lr": ')[2].split(",")[0] for path in
            (tmp_path / "out", tmp_path / "fresh")]  # fmt: skip
    assert told[0] == told[1]


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder but the log, which the first run of this process has open."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix not in (".txt", "")}


def test_a_command_refuses_before_it_writes(data_root, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--config-file", str(CONFIGS / "tiny_dlrsd.yaml"), "--resume", *TINY, *ALONE]
    arguments += ["OUTPUT_DIR", str(out), "SOLVER.MAX_ITER"]
    assert main([*arguments, "1"]) == 0
    before = contents(out)
    capsys.readouterr()
    assert main([*arguments, "2", "SOLVER.WEIGHT_DECAY", "0.5", "SEED", "2"]) == 2
    line = one_line(capsys.readouterr().err)
    for part in ("SOLVER.WEIGHT_DECAY 0.5 (was 0.0001)", "SEED 2 (was 1)", "another OUTPUT_DIR"):
        assert part in line
    assert contents(out) == before
    assert main([*arguments, "2", "SOLVER.CHECKPOINT_PERIOD", "7"]) == 0
    assert "Resumed with SOLVER.CHECKPOINT_PERIOD 7 (was 100)" in (out / "log.txt").read_text()
    assert left(out)["trainer"]["run"]["settings"]["SOLVER.CHECKPOINT_PERIOD"] == 7


class TestEarlierCheckpoints:
    """Those that state nothing of their run."""

    @pytest.fixture
    def out(self, data_root, tmp_path) -> Path:
        run(config(tmp_path / "out"), stop=2)
        content = left(tmp_path / "out")
        del content["trainer"]["run"]
        torch.save(content, last_checkpoint(tmp_path / "out"))
        return tmp_path / "out"

    def test_they_resume_with_one_warning(self, out, caplog):
        caplog.set_level(logging.WARNING, "rskt_seg.d2.trainer")
        assert run(config(out, "SOLVER.BASE_LR", "0.5"), resume=True).start_iter == 2
        (told,) = [each for each in caplog.messages if "earlier version" in each]
        assert "the order of the images begins anew" in told
        assert left(out)["trainer"]["run"]["seed"] == 1

    def test_another_optimizer_is_refused_by_its_state(self, out):
        with pytest.raises(CheckpointError, match="state of another optimizer"):
            run(config(out, "SOLVER.OPTIMIZER", "SGD"), resume=True)

    @pytest.mark.parametrize("entry", [{"seed": 1}, "a", {"seed": 1, "processes": "a", "images": 1,
                                                          "names": "", "settings": {}}])  # fmt: skip
    def test_a_damaged_statement_is_named(self, out, entry):
        content = left(out)
        content["trainer"]["run"] = entry
        torch.save(content, last_checkpoint(out))
        with pytest.raises(CheckpointError, match="what it states of its run is damaged"):
            run(config(out), resume=True)


def test_a_lost_tag_beside_checkpoints_is_told_before_they_are_overwritten(data_root, tmp_path, caplog):
    caplog.set_level(logging.WARNING, "rskt_seg.d2.resuming")
    run(config(tmp_path), stop=1, resume=True)
    assert "a new run begins" not in caplog.text
    (tmp_path / "last_checkpoint").unlink()
    (tmp_path / "model_0000001.pth").touch()
    assert run(config(tmp_path), stop=1, resume=True).start_iter == 0
    assert "a new run begins" in caplog.text and "model_" in caplog.text


def tensors(content: dict) -> dict[str, object]:
    return content["trainer"]["run"]["settings"] | {"SOLVER.BASE_LR": torch.zeros(3)}


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda content: content.pop("trainer"), "does not say how far its training was"),
        (lambda content: content.update(trainer=torch.zeros(3)), "does not say how far its training was"),
        (lambda content: content["trainer"].update(iteration=-1), "does not say how far its training was"),
        (
            lambda content: content["trainer"].pop("hooks"),
            "its schedule is at iteration 0, its training at 2",
        ),
        (lambda content: content["trainer"].update(hooks=5), "or is damaged"),
        (lambda content: content["trainer"].update(iteration=0), "its schedule is at iteration 2"),
        (lambda content: content["trainer"]["_trainer"].update(optimizer=[]), "or is damaged"),
        (
            lambda content: content["trainer"]["run"].update(settings=tensors(content)),
            "what it states of its run is damaged",
        ),
        (lambda content: content.update(model=torch.zeros(3)), "must have an entry 'model'"),
    ],
)
def test_a_damaged_state_of_a_training_is_one_line_and_never_another_training(
    data_root, tmp_path, damage, told
):
    run(config(tmp_path), stop=2)
    content = left(tmp_path)
    damage(content)
    torch.save(content, last_checkpoint(tmp_path))
    with pytest.raises(CheckpointError, match=told) as caught:
        run(config(tmp_path), resume=True)
    assert "\n" not in str(caught.value)


def test_a_resumed_run_that_is_complete_stays_as_it_is_and_says_so(data_root, tmp_path, caplog):
    run(config(tmp_path))
    before = left(tmp_path)
    caplog.set_level(logging.WARNING, "rskt_seg.d2.trainer")
    run(config(tmp_path), resume=True)
    assert differences(before, left(tmp_path)) == []
    assert "nothing is left to train: the run has 3 iterations, and SOLVER.MAX_ITER is 3" in caplog.text


def test_a_run_that_overwrites_checkpoints_of_an_earlier_one_is_told_so_and_a_resumed_one_is_not(
    data_root, tmp_path
):
    arguments = ["--config-file", str(CONFIGS / "tiny_dlrsd.yaml")]
    keys = [*TINY, *ALONE, "OUTPUT_DIR", str(tmp_path / "out"), "SOLVER.MAX_ITER", "1"]

    def told(*flags: str) -> bool:
        log, words = (
            tmp_path / "out" / "log.txt",
            "holds checkpoints of an earlier run, such as model_final.pth",
        )
        before = log.read_text() if log.exists() else ""
        assert main([*arguments, *flags, *keys]) == 0
        return words in log.read_text().removeprefix(before)

    assert [told(), told("--resume"), told()] == [False, False, True]
