"""`--stages`: the stages of a configuration by one command, which continues whatever ended it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rskt_seg.checkpoints.fetch import sha256_of
from rskt_seg.commands.train import main
from rskt_seg.d2 import load_config
from rskt_seg.d2.config_files import read_rows
from rskt_seg.d2.stages import plan_stages
from rskt_seg.d2.weights import starting_files
from rskt_seg.synthetic import MINIATURES, write_miniature
from tests.d2.closed_set.tiny import ROOT
from tests.d2.test_train_net import one_line

FUSED = str(ROOT / "configs/fctl/deepglobe/4_fused.yaml")
TABLES = str(ROOT / "configs/fctl/deepglobe/ablations.yaml")
TINY = (
    "MODEL.DEVICE", "cpu", "SEED", "1", "MODEL.FCTL.ENCODER", "mit_tiny",
    "MODEL.FCTL.INPUT_SIDE", "64", "MODEL.ENCODERS.LOCAL", "random", "INPUT.PATCH_OVERLAP", "16",
    "SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "2", "SOLVER.CHECKPOINT_PERIOD", "1",
    "DATASETS.TRAIN", "('DLRSD_train_sem_seg',)", "DATASETS.TEST", "('DLRSD_val_sem_seg',)",
    "DATALOADER.NUM_WORKERS", "0", "TEST.AUG.ENABLED", "False", "CUDNN_BENCHMARK", "False",
)  # fmt: skip
ORDER = ["1_local", "2_medium", "3_global", "4_fused"]


@pytest.fixture(autouse=True, scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    write_miniature(MINIATURES["DLRSD"], root, num_train=3, num_val=1, seed=1, side=96)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(root))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def straight(scenes, tmp_path_factory) -> Path:
    """What a command leaves that nothing interrupts."""
    out = tmp_path_factory.mktemp("straight")
    assert main(command(out)) == 0
    return out


def command(out: Path, *opts: str, config: str = FUSED, flags: tuple[str, ...] = ()) -> list[str]:
    return ["--config-file", config, "--stages", *flags, *TINY, "OUTPUT_DIR", str(out), *opts]


def finals(out: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(out.glob("*/model_final.pth"))}


KILLED = """
import os, signal, sys
from rskt_seg.commands.train import main
from rskt_seg.d2.trainer import Trainer

class Killed(Trainer):
    def after_step(self):
        super().after_step()
        if sys.argv[1] in self.cfg.OUTPUT_DIR and self.iter == 0:
            os.kill(os.getpid(), signal.SIGKILL)

import rskt_seg.d2.trainer
rskt_seg.d2.trainer.Trainer = Killed
main(sys.argv[2:])
"""


def test_a_command_that_is_killed_and_given_again_leaves_what_the_uninterrupted_one_leaves(
    straight, tmp_path, capsys
):
    stage = "2_medium"
    killed = [sys.executable, "-c", KILLED, stage, *command(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(killed, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(finals(tmp_path)) == ORDER[: ORDER.index(stage)]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/model_final.pth")}
    capsys.readouterr()
    assert main(command(tmp_path)) == 0
    assert capsys.readouterr().out.count("It is complete") == ORDER.index(stage)
    assert finals(tmp_path) == {name: (straight / name / "model_final.pth").read_bytes() for name in ORDER}
    assert "after 1 of 2 iterations" in (tmp_path / stage / "log.txt").read_text()
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_every_stage_starts_from_the_results_of_those_before_it_and_has_a_log_of_its_own(straight):
    for name in ORDER:
        text = (straight / name / "log.txt").read_text()
        assert text.count("Training FCtL on ") == 1
        assert text.count("Saving checkpoint to") == 3
    record = json.loads((straight / "4_fused" / "stage.json").read_text())
    assert record == {
        key: sha256_of(straight / name / "model_final.pth")
        for key, name in (
            ("MODEL.START_FROM", "1_local"),
            ("MODEL.ENCODERS.MEDIUM", "2_medium"),
            ("MODEL.ENCODERS.LARGE", "3_global"),
        )
    }
    fused, large = (
        torch.load(straight / name / "model_final.pth", weights_only=True)["model"]
        for name in ("4_fused", "3_global")
    )
    weights = {key.partition(".context_encoders.large.")[2]: value for key, value in fused.items()}
    weights.pop("")
    assert weights
    for key, value in weights.items():
        assert torch.equal(value, large[f"sem_seg_head.model.encoder.{key}"])


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("SOLVER.BASE_LR", "0.5"), r"1_local/model_final.pth is complete.*SOLVER.BASE_LR 0.5 \(was 5e-05\)"),
        (("SOLVER.MAX_ITER", "3"), r"is complete.*SOLVER.MAX_ITER 3 \(was 2\)"),
        (("SEED", "2"), r"cannot be continued with SEED 2 \(was 1\)"),
        (("MODEL.START_FROM", "x.pth"), "--stages: MODEL.START_FROM x.pth would be where every stage"),
        (("MODEL.ENCODERS.LARGE", "x.pth"), "MODEL.ENCODERS.LARGE: the file x.pth does not exist"),
        (
            ("MODEL.FCTL.PATCH_SIDE", "64"),
            "--stages, .*3_global.yaml: MODEL.FCTL: patch_side=64 has no",
        ),
    ],
)
def test_a_stage_that_was_trained_otherwise_is_refused_by_the_name_of_what_has_changed(
    opts, message, straight, capsys
):
    before = finals(straight)
    assert main(command(straight, *opts)) == 2
    assert re.search(message, one_line(capsys.readouterr().err))
    assert finals(straight) == before


def test_a_stage_whose_start_was_trained_anew_is_refused(straight, tmp_path, capsys):
    for name in ORDER[:2]:
        shutil.copytree(straight / name, tmp_path / name)
    shutil.rmtree(tmp_path / "1_local")
    local, medium = (str(Path(FUSED).with_name(f"{name}.yaml")) for name in ORDER[:2])
    assert main(command(tmp_path, "INPUT.HFLIP", "0.0", "INPUT.ROTATE90", "0.0", config=local)) == 0
    # As if the first stage had been of these settings from the beginning.
    (tmp_path / "1_local").rename(tmp_path / "other")
    shutil.copytree(straight / "1_local", tmp_path / "1_local")
    state = torch.load(tmp_path / "1_local" / "model_final.pth", weights_only=True)
    other = torch.load(tmp_path / "other" / "model_final.pth", weights_only=True)
    torch.save({**state, "model": other["model"]}, tmp_path / "1_local" / "model_final.pth")
    assert main(command(tmp_path, config=medium)) == 2
    assert "2_medium was trained from another MODEL.START_FROM than" in one_line(capsys.readouterr().err)


def test_rows_share_their_stages_and_need_no_others(straight, capsys):
    assert main(command(straight, config=f"{TABLES}:table4_medium")) == 0
    said = capsys.readouterr().out
    assert re.findall(r"^Stage . of 3: .*/(\w+)$", said, re.M) == [*ORDER[:2], "ablation_table4_medium"]
    assert said.count("It is complete") == 2
    assert list(finals(straight)) == [*ORDER, "ablation_table4_medium"]


@pytest.mark.parametrize("dataset", ["deepglobe", "inria"])
def test_every_file_that_a_published_stage_starts_from_is_that_of_a_stage_before_it(dataset):
    folder = f"fctl/{dataset}"
    last = ["4_published", "mitb5_4_fused", "variant_squeeze"]
    rows = [row for row in read_rows(Path(TABLES).parents[1] / dataset / "ablations.yaml") if "1016" in row]
    for name in (*(f"{each}.yaml" for each in last), *(f"ablations.yaml:{row}" for row in rows)):
        stages, done = plan_stages(f"{folder}/{name}", ["MODEL.ENCODERS.LOCAL", "random"]), set()
        for stage in stages:
            assert set(stage.sources.values()) <= done
            cfg = load_config(stage.config, stage.opts)
            given = {key: Path(file) for key, file in starting_files(cfg).items() if file != "random"}
            assert given == stage.sources
            done.add(stage.result)
        assert len(stages) > 2 and stages[-1].folder == Path(load_config(f"{folder}/{name}").OUTPUT_DIR)


def test_two_processes_train_the_stages_too(tmp_path):
    row = f"{TABLES}:table4_local"
    flags = ("--num-gpus", "2", "--dist-url", "auto")
    assert main(command(tmp_path, config=row, flags=flags)) == 0
    assert list(finals(tmp_path)) == ["1_local", "ablation_table4_local"]


def test_flags_that_contradict_stages_are_refused(capsys):
    for flags in (("--eval-only",), ("--num-machines", "2")):
        assert main(["--config-file", FUSED, "--stages", *flags]) == 2
        assert "--stages trains several configurations" in one_line(capsys.readouterr().err)
